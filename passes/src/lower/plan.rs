//! Drafts of all models to one plan.

use super::bound::bound;
use super::devices::{self, Codes, GPU};
use super::lanes::{self, Branches, Lanes};
use super::memory::{Lifetime, place};
use super::order::Clocks;
use super::steps::{ModelDraft, StorageKind, lower_graph};
use super::weights::Ordered;
use bytes::Bytes;
use ir::{Graph, Program, WeightId, Weights};
use plans::{
    Arena, ArenaIndex, ArenaKind, Arg, BUFFER_ALIGN, Block, Buffer, BufferIndex, Code, CodeIndex,
    Demand, Device, Fingerprint, KernelIndex, KernelSpec, Model, ModelIndex, Place, Plan, Port,
    RunSize, Step, StepCode, StepIndex, Weight, WeightIndex,
};
use std::collections::BTreeMap;
use std::fmt;

/// Why a program has no plan.
#[derive(Clone, PartialEq, Debug)]
pub enum LowerError {
    /// A dimension is not known.
    UnknownShape {
        /// The model.
        model: String,
        /// The value.
        value: String,
        /// Its shape, with the names of what is not known.
        shape: String,
    },
    /// No kernel computes a node.
    Build {
        /// The model.
        model: String,
        /// The user's nodes.
        node: String,
        /// The operator.
        operator: &'static str,
        /// Why.
        why: String,
    },
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LowerError::UnknownShape {
                model,
                value,
                shape,
            } => {
                write!(
                    f,
                    "model {model}: the shape {shape} of `{value}` is not known at compile time"
                )
            }
            LowerError::Build {
                model,
                node,
                operator,
                why,
            } => {
                write!(f, "model {model}: node `{node}` ({operator}): {why}")
            }
        }
    }
}

impl std::error::Error for LowerError {}

/// What shapes a plan beside the program.
#[derive(Clone, Debug, Default)]
pub struct LowerOptions<'a> {
    /// The target as the user gave it.
    pub target: String,
    /// The GPU that device code is made for; without one, everything runs on the host.
    pub gpu: Option<kernels::cuda::Target>,
    /// Classes of kernels that run on the host all the same.
    pub host_classes: Vec<String>,
    /// Whether models never run at once, so that one arena serves them all in turn.
    pub one_at_a_time: bool,
    /// Lanes that the steps of a model on a GPU may be spread over; without, they run one after the
    /// other.
    pub lanes: Option<Lanes<'a>>,
    /// Number of nodes of each model before optimisation.
    pub n_nodes: Vec<u32>,
    /// BLAKE3 of each model after import.
    pub hashes: Vec<[u8; 32]>,
    /// All options in canonical text.
    pub options: String,
    /// The compiler's version.
    pub compiler: String,
}

/// A plan and the content of its weights.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The plan.
    pub plan: Plan,
    /// The data of each weight, in the plan's order.
    pub weights: Vec<Bytes>,
    /// Regions that no single kernel computes and that were split into their nodes.
    pub n_split: usize,
    /// Device code that is still to be compiled, each once; the plan has no images yet.
    pub sources: Vec<Source>,
    /// For each model what is expected of its lanes, if the plan is for a GPU and lanes were asked for.
    pub branches: Vec<Branches>,
}

/// CUDA C, and the codes of a plan that its images are for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The text.
    pub text: String,
    /// Codes that run its functions.
    pub codes: Vec<CodeIndex>,
}

/// The plan of `program`, whose graphs have regions.
pub fn lower(program: &Program, options: &LowerOptions<'_>) -> Result<Lowered, LowerError> {
    let bounded = program
        .graphs
        .iter()
        .map(|(_, graph)| bound(graph, &program.weights))
        .collect::<Result<Vec<_>, _>>()?;
    let mut drafts = bounded
        .iter()
        .map(|bounded| lower_graph(bounded, &program.weights))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plan = empty_plan(options);
    let mut codes = Codes::default();
    let mut branches = vec![];
    let mut ordered = Ordered::new(&program.weights);
    if let Some(target) = &options.gpu {
        for (draft, (_, graph)) in drafts.iter_mut().zip(program.graphs.iter()) {
            devices::place(
                draft,
                &graph.name,
                target,
                options,
                &mut codes,
                &mut ordered,
                &mut plan.warnings,
            );
            if let Some(lanes) = options.lanes {
                branches.push(lanes::assign(draft, &codes.generated, target, lanes));
            }
        }
    }
    let mut builder = Builder {
        weights: &ordered.weights,
        plan,
        kernels: BTreeMap::new(),
        home: options.gpu.map_or(Device::Cpu, |_| GPU),
        shared: BTreeMap::new(),
    };
    if options.one_at_a_time {
        let on_host = drafts
            .iter()
            .flat_map(|d| &d.storages)
            .any(|s| s.kind == StorageKind::Scratch && s.device == Device::Cpu);
        for device in [builder.home, Device::Cpu] {
            let is_used = device == builder.home || on_host;
            if is_used && !builder.shared.contains_key(&device) {
                let arena = builder.arena(device, ArenaKind::Scratch, vec![]);
                builder.shared.insert(device, arena);
            }
        }
    }
    let (weights, data) = builder.used_weights(&drafts);
    let sources = builder.codes(codes);
    for (m, (draft, bounded)) in drafts.iter().zip(&bounded).enumerate() {
        builder.model((m, &bounded.graph), draft, &weights, options);
    }
    let n_split = drafts.iter().map(|d| d.n_split).sum();
    Ok(Lowered {
        plan: builder.plan,
        weights: data,
        n_split,
        sources,
        branches,
    })
}

fn empty_plan(options: &LowerOptions<'_>) -> Plan {
    Plan {
        fingerprint: Fingerprint {
            compiler: options.compiler.clone(),
            target: options.target.clone(),
            models: options.hashes.clone(),
            options: options.options.clone(),
            ..Fingerprint::default()
        },
        ..Plan::default()
    }
}

struct Builder<'a> {
    /// The program's, and those in an order that device code reads better.
    weights: &'a Weights,
    plan: Plan,
    /// Kernels by their encoding.
    kernels: BTreeMap<Vec<u8>, KernelIndex>,
    /// Where inputs and outputs lie.
    home: Device,
    /// Arenas of intermediate results that serve all models in turn.
    shared: BTreeMap<Device, ArenaIndex>,
}

/// A kernel's encoding: equal kernels have the same.
pub(super) fn key(spec: &KernelSpec) -> Vec<u8> {
    postcard::to_allocvec(spec).unwrap_or_else(|_| format!("{spec:?}").into_bytes())
}

impl Builder<'_> {
    /// The weights that any step reads, and their data.
    fn used_weights(
        &mut self,
        drafts: &[ModelDraft],
    ) -> (BTreeMap<WeightId, WeightIndex>, Vec<Bytes>) {
        let used: std::collections::BTreeSet<WeightId> = drafts
            .iter()
            .flat_map(|d| {
                d.steps
                    .iter()
                    .flat_map(|s| s.args.iter().map(|&(s, _)| d.storages[s].kind))
            })
            .filter_map(|kind| match kind {
                StorageKind::Weight(w) => Some(w),
                _ => None,
            })
            .collect();
        let (mut index, mut data, mut offset) = (BTreeMap::new(), vec![], 0u64);
        for w in used {
            let tensor = &self.weights[w];
            let bytes = tensor.bytes();
            index.insert(w, WeightIndex(self.plan.weights.len() as u32));
            self.plan.weights.push(Weight {
                hash: self.weights.hash(w).0,
                dtype: kernels::tape::dtype(tensor.dtype()),
                dims: tensor.dims().iter().map(|&d| d as u64).collect(),
                offset,
                bytes: bytes.len() as u64,
                crc: crc32fast::hash(bytes),
            });
            offset = (offset + bytes.len() as u64).next_multiple_of(BUFFER_ALIGN);
            data.push(bytes.clone());
        }
        (index, data)
    }

    /// Adds all codes, without images; their kernels are known when a step runs them.
    fn codes(&mut self, codes: Codes) -> Vec<Source> {
        let mut sources: Vec<Source> = vec![];
        let mut by_text: BTreeMap<String, usize> = BTreeMap::new();
        for (i, generated) in codes.generated.into_iter().enumerate() {
            self.plan.codes.push(Code {
                kernel: KernelIndex(u32::MAX),
                schedule: generated.schedule,
                images: vec![],
                launches: generated.launches,
                workspace: generated.workspace,
                counters: generated.counters,
                may_fault: generated.may_fault,
            });
            let n = *by_text.entry(generated.source).or_insert_with_key(|text| {
                sources.push(Source {
                    text: text.clone(),
                    codes: vec![],
                });
                sources.len() - 1
            });
            sources[n].codes.push(CodeIndex(i as u32));
        }
        sources
    }

    fn arena(&mut self, device: Device, kind: ArenaKind, models: Vec<ModelIndex>) -> ArenaIndex {
        self.plan.arenas.push(Arena {
            device,
            bytes: 0,
            kind,
            models,
        });
        ArenaIndex(self.plan.arenas.len() as u32 - 1)
    }

    /// Adds one model.
    fn model(
        &mut self,
        (m, graph): (usize, &Graph),
        draft: &ModelDraft,
        weights: &BTreeMap<WeightId, WeightIndex>,
        options: &LowerOptions<'_>,
    ) {
        let model = ModelIndex(m as u32);
        let places = self.buffers(model, draft, weights);
        let buffer_of = |storage: usize| match places[storage] {
            Place::Buffer(buffer) => buffer,
            Place::Weight(_) => unreachable!("code works in buffers, never in weights"),
        };
        let first_step = StepIndex(self.plan.steps.len() as u32);
        for step in &draft.steps {
            let kernel = self.kernel(&step.spec);
            let code = step.code.map(|c| {
                self.plan.codes[c].kernel = kernel;
                StepCode {
                    code: CodeIndex(c as u32),
                    workspace: step.workspace.map(buffer_of),
                    counters: step.counters.map(buffer_of),
                }
            });
            let args = step
                .args
                .iter()
                .map(|&(storage, offset)| Arg {
                    place: places[storage],
                    offset,
                })
                .collect();
            self.plan.steps.push(Step {
                kernel,
                args,
                model,
                device: step.device,
                code,
                lane: step.lane,
                waits: step
                    .waits
                    .iter()
                    .map(|&w| StepIndex(first_step.0 + w as u32))
                    .collect(),
                label: step.label.clone(),
                origin: step.origin.names().map(str::to_string).collect(),
                flop: step.flop,
                bytes_read: step.bytes_read,
                bytes_written: step.bytes_written,
            });
        }
        let n_steps = draft.steps.len() as u32;
        let buffer = |storage: usize| match places[storage] {
            Place::Buffer(buffer) => buffer,
            Place::Weight(_) => unreachable!("ports are buffers, never weights"),
        };
        let port = |name: &str, v: ir::ValueId, storage: usize| {
            let ty = graph.ty(v);
            Port {
                name: name.to_string(),
                dtype: kernels::tape::dtype(ty.dtype),
                dims: ty
                    .shape
                    .dims()
                    .unwrap_or_default()
                    .iter()
                    .map(|&d| d as u64)
                    .collect(),
                buffer: buffer(storage),
                size: None,
            }
        };
        let name = |v: ir::ValueId| graph.values[v].name.as_deref().unwrap_or_default();
        let inputs = graph
            .inputs
            .iter()
            .zip(&draft.inputs)
            .map(|(&v, &s)| port(name(v), v, s))
            .collect();
        let outputs = graph
            .outputs
            .iter()
            .zip(&draft.outputs)
            .zip(&draft.sizes)
            .map(|(((n, v), &s), size)| Port {
                size: size.map(|(axis, count)| RunSize {
                    axis: axis as u32,
                    count: buffer(count),
                }),
                ..port(n, *v, s)
            })
            .collect();
        self.plan.models.push(Model {
            name: graph.name.clone(),
            inputs,
            outputs,
            first_step,
            n_steps,
            n_nodes: options.n_nodes.get(m).copied().unwrap_or(0),
        });
        let mut first = first_step.0;
        for steps in draft.steps.chunk_by(|a, b| a.device == b.device) {
            self.plan.blocks.push(Block {
                model,
                first_step: StepIndex(first),
                n_steps: steps.len() as u32,
                predicted_ns: 0,
                cut_ns: 0,
                measured_ns: None,
                demand: Demand::UNKNOWN,
            });
            first += steps.len() as u32;
        }
    }

    /// The arena of intermediate results of `model` on `device`, at least `bytes` long.
    fn scratch(&mut self, device: Device, model: ModelIndex, bytes: u64) -> ArenaIndex {
        let arena = match self.shared.get(&device) {
            Some(&arena) => arena,
            None => self.arena(device, ArenaKind::Scratch, vec![]),
        };
        let a = &mut self.plan.arenas[arena.index()];
        a.models.push(model);
        a.bytes = a.bytes.max(bytes);
        arena
    }

    /// Buffers for the storages of a model; returns the place of each storage.
    fn buffers(
        &mut self,
        model: ModelIndex,
        draft: &ModelDraft,
        weights: &BTreeMap<WeightId, WeightIndex>,
    ) -> Vec<Place> {
        let clocks = Clocks::of(&draft.steps);
        let latest = clocks.latest();
        let mut touched: Vec<Vec<usize>> = vec![vec![]; draft.storages.len()];
        for (i, step) in draft.steps.iter().enumerate() {
            let own = [step.workspace, step.counters];
            for s in step
                .args
                .iter()
                .map(|a| a.0)
                .chain(own.into_iter().flatten())
            {
                touched[s].push(i);
            }
        }
        let io = self.arena(self.home, ArenaKind::Io, vec![model]);
        let mut scratch_arenas: BTreeMap<Device, ArenaIndex> = BTreeMap::new();
        let mut scratch_offset = vec![0; draft.storages.len()];
        for device in [self.home, Device::Cpu] {
            let scratch: Vec<usize> = (0..draft.storages.len())
                .filter(|&s| {
                    let storage = &draft.storages[s];
                    storage.kind == StorageKind::Scratch
                        && storage.device == device
                        && !touched[s].is_empty()
                })
                .collect();
            if scratch_arenas.contains_key(&device) || device != self.home && scratch.is_empty() {
                continue;
            }
            let lifetimes: Vec<Lifetime> = scratch
                .iter()
                .map(|&s| Lifetime::new(draft.storages[s].bytes, &touched[s], &clocks, &latest))
                .collect();
            let (offsets, bytes) = place(&lifetimes, BUFFER_ALIGN);
            scratch_arenas.insert(device, self.scratch(device, model, bytes));
            for (&s, &offset) in scratch.iter().zip(&offsets) {
                scratch_offset[s] = offset;
            }
        }
        let has_counters = draft.steps.iter().any(|s| s.counters.is_some());
        let counters =
            has_counters.then(|| self.arena(self.home, ArenaKind::Counters, vec![model]));
        let mut sizes = None;
        let mut places = vec![];
        for (s, storage) in draft.storages.iter().enumerate() {
            let (arena, offset) = match storage.kind {
                StorageKind::Size if self.home != Device::Cpu => {
                    let arena = *sizes
                        .get_or_insert_with(|| self.arena(Device::Cpu, ArenaKind::Io, vec![model]));
                    self.append(arena, storage.bytes)
                }
                StorageKind::Weight(w) => {
                    // A weight that no step reads has no place; nothing asks for it.
                    let index = weights.get(&w).copied().unwrap_or(WeightIndex(u32::MAX));
                    places.push(Place::Weight(index));
                    continue;
                }
                StorageKind::Scratch | StorageKind::Counters if touched[s].is_empty() => {
                    places.push(Place::Buffer(BufferIndex(u32::MAX)));
                    continue;
                }
                StorageKind::Scratch => {
                    let arena = scratch_arenas.get(&storage.device).copied();
                    (arena.unwrap_or(io), scratch_offset[s])
                }
                StorageKind::Input | StorageKind::Output | StorageKind::Size => {
                    self.append(io, storage.bytes)
                }
                StorageKind::Counters => self.append(counters.unwrap_or(io), storage.bytes),
            };
            places.push(Place::Buffer(BufferIndex(self.plan.buffers.len() as u32)));
            self.plan.buffers.push(Buffer {
                arena,
                offset,
                bytes: storage.bytes,
                model,
                name: storage.name.clone(),
            });
        }
        places
    }

    /// Room for `bytes` at the end of an arena.
    fn append(&mut self, arena: ArenaIndex, bytes: u64) -> (ArenaIndex, u64) {
        let a = &mut self.plan.arenas[arena.index()];
        let at = a.bytes;
        a.bytes += bytes.next_multiple_of(BUFFER_ALIGN);
        (arena, at)
    }

    /// The kernel of `spec`, shared with every step that needs the same.
    fn kernel(&mut self, spec: &KernelSpec) -> KernelIndex {
        let next = KernelIndex(self.plan.kernels.len() as u32);
        let index = *self.kernels.entry(key(spec)).or_insert(next);
        if index == next {
            self.plan.kernels.push(spec.clone());
        }
        index
    }
}
