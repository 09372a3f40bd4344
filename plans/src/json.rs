//! Plans as JSON for scripts.
//!
//! The schema is that of [`PlanJson`] and the types in it; fields may be added to it, and `schema`
//! rises when one is removed or changes its meaning. Indices count from 0 in the list of the same
//! name. Hashes are hexadecimal text.

use crate::blocks::{Figures, Live, figures, live as alive_in};
use crate::code::{Code, ImageKind};
pub use crate::deploy_json::{CoRunJson, DeployJson, PlacedJson, RoundJson, ServiceJson};
use crate::flow::{End, flows};
use crate::occupancy::occupancy;
use crate::plan::{ArenaKind, ModelIndex, Place, Port};
use crate::spec::Role;
use crate::stats::{live_ranges, stats};
use crate::validate::ValidPlan;
use serde::Serialize;

/// A plan.
#[derive(Clone, Debug, Serialize)]
pub struct PlanJson {
    /// The version of this schema: 1.
    pub schema: u32,
    /// The version of the compiler.
    pub compiler: String,
    /// The target: `cpu`.
    pub target: String,
    /// The options that shaped the plan.
    pub options: String,
    /// The oldest CUDA driver that loads the images: `13.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_driver: Option<String>,
    /// What should not stay silent.
    pub warnings: Vec<String>,
    /// The data of all weights, in bytes.
    pub weights_bytes: u64,
    /// The models.
    pub models: Vec<ModelJson>,
    /// Regions of memory.
    pub arenas: Vec<ArenaJson>,
    /// Tensors in them.
    pub buffers: Vec<BufferJson>,
    /// Constants.
    pub weights: Vec<WeightJson>,
    /// Kernels.
    pub kernels: Vec<KernelJson>,
    /// Compiled device code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageJson>,
    /// Kernels made into device code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<CodeJson>,
    /// Steps, those of a model side by side.
    pub steps: Vec<StepJson>,
    /// Units of preemption.
    pub blocks: Vec<BlockJson>,
    /// Blocks that were measured together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub co_run: Vec<CoRunJson>,
    /// What is asked of the models together, and rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployJson>,
    /// Which step computes what another one reads.
    pub flows: Vec<FlowJson>,
    /// The steps of each class in numbers.
    pub classes: Vec<ClassJson>,
}

/// A model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelJson {
    /// Its name.
    pub name: String,
    /// The hash of graph and weights as imported.
    pub hash: String,
    /// What it takes.
    pub inputs: Vec<PortJson>,
    /// What it gives.
    pub outputs: Vec<PortJson>,
    /// Its first step.
    pub first_step: u32,
    /// The number of its steps.
    pub n_steps: u32,
    /// Nodes of the imported graph.
    pub n_nodes: u32,
    /// Operations; a multiply-add counts as 2.
    pub flop: u64,
    /// Bytes read and written by its steps.
    pub bytes: u64,
    /// What its blocks make of its time.
    pub blocks: FiguresJson,
}

/// What blocks make of a model's time, as predicted.
#[derive(Clone, Debug, Serialize)]
pub struct FiguresJson {
    /// The number of blocks.
    pub n_blocks: usize,
    /// Nanoseconds without any cut that could be left out.
    pub whole_ns: u64,
    /// Nanoseconds of all blocks.
    pub total_ns: u64,
    /// Nanoseconds of the longest block.
    pub longest_ns: u64,
    /// The standard deviation of the blocks' nanoseconds.
    pub std_ns: f64,
    /// How much longer the blocks take than the uncut model, as a share of its time.
    pub overhead: f64,
}

impl From<Figures> for FiguresJson {
    fn from(f: Figures) -> Self {
        Self {
            n_blocks: f.n_blocks,
            whole_ns: f.whole_ns,
            total_ns: f.total_ns,
            longest_ns: f.longest_ns,
            std_ns: f.std_ns,
            overhead: f.overhead(),
        }
    }
}

/// An input or output.
#[derive(Clone, Debug, Serialize)]
pub struct PortJson {
    /// Its name.
    pub name: String,
    /// The element type: `f32`.
    pub dtype: &'static str,
    /// The dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Where it lies.
    pub buffer: u32,
    /// The dimension whose size each run decides, `dims` being the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_axis: Option<u32>,
    /// The buffer in which a run leaves that size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_buffer: Option<u32>,
}

/// A region of memory.
#[derive(Clone, Debug, Serialize)]
pub struct ArenaJson {
    /// The device: `cpu`.
    pub device: String,
    /// `io` for inputs and outputs, `scratch` for results in between, `counters` of device code.
    pub kind: &'static str,
    /// The models that use it; several never run at once.
    pub models: Vec<u32>,
    /// Its size in bytes.
    pub planned_bytes: u64,
    /// What its buffers would take side by side.
    pub sum_bytes: u64,
    /// The most bytes that are live at once.
    pub live_bytes: u64,
}

/// A tensor in an arena.
#[derive(Clone, Debug, Serialize)]
pub struct BufferJson {
    /// What it holds.
    pub name: String,
    /// The arena.
    pub arena: u32,
    /// Where it starts, in bytes.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
    /// The model.
    pub model: u32,
    /// The first and the last step at which it holds something; null if none uses it.
    pub live: Option<(usize, usize)>,
}

/// A constant.
#[derive(Clone, Debug, Serialize)]
pub struct WeightJson {
    /// Its content hash.
    pub hash: String,
    /// The element type.
    pub dtype: &'static str,
    /// The dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Where it starts in the weights section.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
}

/// A kernel.
#[derive(Clone, Debug, Serialize)]
pub struct KernelJson {
    /// Its class.
    pub class: &'static str,
    /// What it computes and of what size, in a few words.
    pub summary: String,
    /// All of its spec, as lines of text for people.
    pub spec: Vec<String>,
}

/// Compiled device code.
#[derive(Clone, Debug, Serialize)]
pub struct ImageJson {
    /// What it is for: `sm_90`, or `compute_90` for PTX.
    pub arch: String,
    /// Its length.
    pub bytes: u64,
    /// What its functions take, where an assembler has said so.
    pub functions: Vec<FunctionJson>,
}

/// What a function takes of a multiprocessor.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionJson {
    /// Its name.
    pub name: String,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes a thread spills.
    pub spills: u32,
    /// Bytes of local memory a thread.
    pub stack_bytes: u32,
    /// Bytes of shared memory a block that the function declares itself.
    pub shared_bytes: u32,
}

/// A kernel made into device code.
#[derive(Clone, Debug, Serialize)]
pub struct CodeJson {
    /// The kernel.
    pub kernel: u32,
    /// The schedule; null if it is no JSON.
    pub schedule: serde_json::Value,
    /// Images with the same functions.
    pub images: Vec<u32>,
    /// What is launched, in order.
    pub launches: Vec<LaunchJson>,
    /// Bytes of workspace.
    pub workspace: u64,
    /// Bytes of counters.
    pub counters: u64,
    /// All of it, as lines of text for people.
    pub lines: Vec<String>,
}

/// One launch of a function.
#[derive(Clone, Debug, Serialize)]
pub struct LaunchJson {
    /// The function.
    pub function: String,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster.
    pub cluster: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Whether all blocks must run at once.
    pub cooperative: bool,
    /// Whether it may start while the launches before it run.
    pub starts_early: bool,
    /// For each architecture with machine code, warps that a multiprocessor holds of those that it
    /// could, in percent.
    pub occupancy: Vec<(String, u32)>,
}

/// One run of a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct StepJson {
    /// The operators that it computes.
    pub label: String,
    /// The kernel.
    pub kernel: u32,
    /// The kernel's arguments.
    pub args: Vec<ArgJson>,
    /// The model.
    pub model: u32,
    /// The device.
    pub device: String,
    /// What it runs there, if that is device code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u32>,
    /// The buffer of its workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<u32>,
    /// The buffer of its counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counters: Option<u32>,
    /// Steps of a model in one lane run in order.
    pub lane: u16,
    /// Steps of other lanes that must have finished.
    pub waits: Vec<u32>,
    /// The nodes of the user's model that it stands for.
    pub nodes: Vec<String>,
    /// Operations; a multiply-add counts as 2.
    pub flop: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// An argument: of `buffer` and `weight`, one is there.
#[derive(Clone, Debug, Serialize)]
pub struct ArgJson {
    /// What it is to the kernel: `x`, `weight`, `out`.
    pub name: &'static str,
    /// `read`, `write` or `update`.
    pub role: &'static str,
    /// The element type.
    pub dtype: &'static str,
    /// The buffer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<u32>,
    /// The weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Where it starts there, in bytes.
    pub offset: u64,
}

/// Consecutive steps.
#[derive(Clone, Debug, Serialize)]
pub struct BlockJson {
    /// The model.
    pub model: u32,
    /// The first step.
    pub first_step: u32,
    /// The number of steps.
    pub n_steps: u32,
    /// Predicted nanoseconds; 0 if nothing was predicted.
    pub predicted_ns: u64,
    /// What of that the cut before the block costs.
    pub cut_ns: u64,
    /// Tensors that are alive where it starts.
    pub live_tensors: u32,
    /// Their bytes.
    pub live_bytes: u64,
    /// Measured nanoseconds.
    pub measured_ns: Option<u64>,
    /// The share of multiprocessors that it needs, in 1/1000; 0 in both shares: not known.
    pub demand_compute: u16,
    /// The share of bandwidth, in 1/1000.
    pub demand_memory: u16,
}

/// Data that goes from one end to another.
#[derive(Clone, Debug, Serialize)]
pub struct FlowJson {
    /// Where it is written.
    pub from: EndJson,
    /// Where it is read.
    pub to: EndJson,
    /// Where it lies.
    pub buffer: u32,
}

/// An end of a flow: `{"step": 3}`, or `{"input": [model, number]}`, or an output alike.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum EndJson {
    Step(u32),
    Input(u32, usize),
    Output(u32, usize),
}

/// The steps of a class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassJson {
    /// The class.
    pub class: &'static str,
    /// Distinct kernels.
    pub n_kernels: usize,
    /// Steps.
    pub n_steps: usize,
    /// Operations.
    pub flop: u64,
    /// Bytes read and written.
    pub bytes: u64,
}

/// The JSON text of a plan.
pub fn json(plan: &ValidPlan) -> String {
    // Text keys and finite numbers only: nothing that JSON lacks.
    serde_json::to_string(&PlanJson::new(plan)).expect("the schema has no map and no other keys")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn ports(ports: &[Port]) -> Vec<PortJson> {
    let port = |p: &Port| PortJson {
        name: p.name.clone(),
        dtype: p.dtype.name(),
        dims: p.dims.clone(),
        buffer: p.buffer.0,
        size_axis: p.size.map(|s| s.axis),
        size_buffer: p.size.map(|s| s.count.0),
    };
    ports.iter().map(port).collect()
}

impl From<End> for EndJson {
    fn from(end: End) -> Self {
        match end {
            End::Input(model, n) => EndJson::Input(model.0, n),
            End::Step(step) => EndJson::Step(step.0),
            End::Output(model, n) => EndJson::Output(model.0, n),
        }
    }
}

impl PlanJson {
    /// The JSON form of a plan.
    pub fn new(plan: &ValidPlan) -> Self {
        let stats = stats(plan);
        let live = live_ranges(plan);
        let alive: Vec<Vec<Live>> = plan.models.iter().map(|m| alive_in(plan, m)).collect();
        Self {
            schema: 1,
            compiler: plan.fingerprint.compiler.clone(),
            target: plan.fingerprint.target.clone(),
            options: plan.fingerprint.options.clone(),
            cuda_driver: Some(plan.fingerprint.cuda_driver)
                .filter(|&v| v > 0)
                .map(crate::text::driver),
            warnings: plan.warnings.clone(),
            weights_bytes: stats.weights_bytes,
            models: plan
                .models
                .iter()
                .zip(&plan.fingerprint.models)
                .zip(&stats.models)
                .zip((0..).map(ModelIndex))
                .map(|(((m, hash), numbers), index)| ModelJson {
                    name: m.name.clone(),
                    hash: hex(hash),
                    inputs: ports(&m.inputs),
                    outputs: ports(&m.outputs),
                    first_step: m.first_step.0,
                    n_steps: m.n_steps,
                    n_nodes: m.n_nodes,
                    flop: numbers.flop,
                    bytes: numbers.bytes,
                    blocks: figures(plan, index).into(),
                })
                .collect(),
            arenas: plan
                .arenas
                .iter()
                .zip(&stats.arenas)
                .map(|(a, numbers)| ArenaJson {
                    device: a.device.to_string(),
                    kind: match a.kind {
                        ArenaKind::Io => "io",
                        ArenaKind::Scratch => "scratch",
                        ArenaKind::Counters => "counters",
                    },
                    models: a.models.iter().map(|m| m.0).collect(),
                    planned_bytes: numbers.planned_bytes,
                    sum_bytes: numbers.sum_bytes,
                    live_bytes: numbers.live_bytes,
                })
                .collect(),
            buffers: plan
                .buffers
                .iter()
                .zip(live)
                .map(|(b, live)| BufferJson {
                    name: b.name.clone(),
                    arena: b.arena.0,
                    offset: b.offset,
                    bytes: b.bytes,
                    model: b.model.0,
                    live: live.map(|range| (*range.start(), *range.end())),
                })
                .collect(),
            weights: plan
                .weights
                .iter()
                .map(|w| WeightJson {
                    hash: hex(&w.hash),
                    dtype: w.dtype.name(),
                    dims: w.dims.clone(),
                    offset: w.offset,
                    bytes: w.bytes,
                })
                .collect(),
            kernels: plan
                .kernels
                .iter()
                .map(|k| KernelJson {
                    class: k.class(),
                    summary: k.summary(),
                    spec: crate::text::kernel_lines(k),
                })
                .collect(),
            images: plan
                .images
                .iter()
                .map(|i| ImageJson {
                    arch: i.kind.to_string(),
                    bytes: i.bytes,
                    functions: i
                        .resources
                        .iter()
                        .map(|r| FunctionJson {
                            name: r.function.clone(),
                            registers: r.registers,
                            spills: r.spills,
                            stack_bytes: r.stack_bytes,
                            shared_bytes: r.shared_bytes,
                        })
                        .collect(),
                })
                .collect(),
            codes: plan.codes.iter().map(|c| code(plan, c)).collect(),
            steps: steps(plan),
            blocks: plan
                .blocks
                .iter()
                .map(|b| {
                    let first = plan.models[b.model.index()].first_step;
                    let live = alive[b.model.index()][(b.first_step.0 - first.0) as usize];
                    BlockJson {
                        model: b.model.0,
                        first_step: b.first_step.0,
                        n_steps: b.n_steps,
                        predicted_ns: b.predicted_ns,
                        cut_ns: b.cut_ns,
                        live_tensors: live.tensors,
                        live_bytes: live.bytes,
                        measured_ns: b.measured_ns,
                        demand_compute: b.demand.compute,
                        demand_memory: b.demand.memory,
                    }
                })
                .collect(),
            co_run: crate::deploy_json::co_run(plan),
            deploy: plan.deploy.as_ref().map(crate::deploy_json::deploy),
            flows: flows(plan)
                .into_iter()
                .map(|f| FlowJson {
                    from: f.from.into(),
                    to: f.to.into(),
                    buffer: f.buffer.0,
                })
                .collect(),
            classes: stats
                .classes
                .into_iter()
                .map(|c| ClassJson {
                    class: c.class,
                    n_kernels: c.n_kernels,
                    n_steps: c.n_steps,
                    flop: c.flop,
                    bytes: c.bytes,
                })
                .collect(),
        }
    }
}

fn code(plan: &ValidPlan, code: &Code) -> CodeJson {
    CodeJson {
        kernel: code.kernel.0,
        schedule: serde_json::from_str(&code.schedule).unwrap_or_default(),
        images: code.images.iter().map(|i| i.0).collect(),
        launches: code
            .launches
            .iter()
            .map(|l| LaunchJson {
                function: l.function.clone(),
                grid: l.grid,
                block: l.block,
                cluster: l.cluster,
                shared_bytes: l.shared_bytes,
                cooperative: l.cooperative,
                starts_early: l.starts_early,
                occupancy: code
                    .images
                    .iter()
                    .filter_map(|i| {
                        let image = &plan.images[i.index()];
                        let ImageKind::Cubin(arch) = image.kind else {
                            return None;
                        };
                        let taken = image.resources.iter().find(|r| r.function == l.function)?;
                        let occupancy = occupancy(arch, taken, l)?;
                        Some((image.kind.to_string(), occupancy.percent()))
                    })
                    .collect(),
            })
            .collect(),
        workspace: code.workspace,
        counters: code.counters,
        lines: crate::code_lines::lines(plan, code),
    }
}

fn steps(plan: &ValidPlan) -> Vec<StepJson> {
    let kernels: Vec<_> = plan.kernels.iter().map(|k| k.args()).collect();
    plan.steps
        .iter()
        .map(|step| StepJson {
            label: step.label.clone(),
            kernel: step.kernel.0,
            args: step
                .args
                .iter()
                .zip(&kernels[step.kernel.index()])
                .map(|(arg, spec)| {
                    let (buffer, weight) = match arg.place {
                        Place::Buffer(b) => (Some(b.0), None),
                        Place::Weight(w) => (None, Some(w.0)),
                    };
                    ArgJson {
                        name: spec.name,
                        role: match spec.role {
                            Role::Read => "read",
                            Role::Write => "write",
                            Role::Update => "update",
                        },
                        dtype: spec.dtype.name(),
                        buffer,
                        weight,
                        offset: arg.offset,
                    }
                })
                .collect(),
            model: step.model.0,
            device: step.device.to_string(),
            code: step.code.as_ref().map(|c| c.code.0),
            workspace: step.code.as_ref().and_then(|c| c.workspace).map(|b| b.0),
            counters: step.code.as_ref().and_then(|c| c.counters).map(|b| b.0),
            lane: step.lane,
            waits: step.waits.iter().map(|w| w.0).collect(),
            nodes: step.origin.clone(),
            flop: step.flop,
            bytes_read: step.bytes_read,
            bytes_written: step.bytes_written,
        })
        .collect()
}
