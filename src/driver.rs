//! The pipeline: models in, one plan out.

use crate::deploy::{Deployment, Outcome};
use crate::device_code::{Compilation, Gpus, Workshop, add_images};
use crate::device_model::{DeviceModel, Sources};
use crate::report::Diagnostic;
use bytes::Bytes;
use ir::{GraphId, Program};
use kernels::cuda::Precision;
use passes::lower::{Branches, Lanes, LowerOptions, Lowered, lower};
use passes::manager::Observer;
use passes::partition::{Generation, Splitter};
use passes::{PassCx, Phase};
use plans::ValidPlan;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What to compile and how.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The models.
    pub models: Vec<PathBuf>,
    /// Sizes of dimensions that the models leave open.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// The device.
    pub target: Target,
    /// Where kernels for GPUs are compiled.
    pub workshop: Workshop,
    /// What is known of the device.
    pub costs: Sources,
    /// Classes of kernels that run on the host also where there is a GPU.
    pub on_host: Vec<String>,
    /// Whether models never run at once.
    pub one_at_a_time: bool,
    /// How models are cut into blocks.
    pub splitter: Splitter,
    /// What is asked of the models together; the models are its own, in order.
    pub deploy: Option<Deployment>,
    /// The most lanes of a model on a GPU; unless given, [`passes::lower::DEFAULT_LANES`].
    pub lanes: Option<u16>,
    /// Phases that are left out, to see what they are worth. Only those that a program can do without.
    pub without: Vec<Phase>,
    /// What the pass manager is asked.
    pub passes: passes::Options,
}

impl Request {
    fn lanes(&self) -> u16 {
        self.lanes.unwrap_or(passes::lower::DEFAULT_LANES)
    }
}

/// The phases that a program can do without.
pub const OPTIONAL: [Phase; 1] = [Phase::Algebra];

/// What plans are made for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Target {
    /// The host.
    #[default]
    Cpu,
    /// GPUs of NVIDIA's; the host for what they can't run.
    Cuda(Gpus),
}

impl Target {
    /// The name on the command line: `cpu`, or `cuda:sm_90,sm_80`.
    pub fn name(&self) -> String {
        match self {
            Target::Cpu => "cpu".into(),
            Target::Cuda(gpus) => {
                let archs: Vec<String> = gpus.archs.iter().map(|a| format!("sm_{a}")).collect();
                format!("cuda:{}", archs.join(","))
            }
        }
    }
}

/// A plan, its weights and images, and how it came about.
pub struct Compiled {
    /// The plan.
    pub plan: ValidPlan,
    /// The data of each weight, in the plan's order.
    pub weights: Vec<Bytes>,
    /// The bytes of each image, in the plan's order.
    pub images: Vec<Vec<u8>>,
    /// How it came about.
    pub summary: Summary,
}

/// How a plan came about.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// For each model: its name, nodes in the file, nodes after optimisation, regions.
    pub models: Vec<ModelSummary>,
    /// Times of the phases, in order.
    pub phases: Vec<(&'static str, Duration)>,
    /// Runs of passes.
    pub executions: Vec<passes::manager::Execution>,
    /// Regions that had to be split into their nodes.
    pub n_split: usize,
    /// For each model what is expected of its lanes, if the plan is for a GPU.
    pub branches: Vec<Branches>,
    /// How device code came about, if there is any.
    pub device_code: Option<Compilation>,
    /// Of each model, the best split of each generation, where a genetic search made it.
    pub generations: Vec<Vec<Generation>>,
    /// What became of the deployment, if there is one.
    pub deploy: Option<Outcome>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// What became of one model.
#[derive(Clone, Debug, Default)]
pub struct ModelSummary {
    /// Its name.
    pub name: String,
    /// Nodes in the file.
    pub n_nodes: usize,
    /// Nodes after optimisation.
    pub n_optimised: usize,
    /// Regions: kernels, and views that need none.
    pub n_regions: usize,
}

/// Reads models into one program.
pub fn read(request: &Request, summary: &mut Summary) -> Result<Program, Diagnostic> {
    let mut program = Program::default();
    let mut names = BTreeSet::new();
    for (i, path) in request.models.iter().enumerate() {
        let name = match &request.deploy {
            Some(deployment) => deployment.models[i].name.clone(),
            None => unique_name(path, &mut names),
        };
        let options = onnx::ReadOptions {
            name: Some(name.clone()),
            bind: request.shapes.clone(),
        };
        let imported = onnx::read(path, &options, &mut program)?;
        summary
            .notes
            .extend(imported.notes.iter().map(|n| format!("{name}: {n}")));
        summary.models.push(ModelSummary {
            name,
            n_nodes: imported.n_nodes,
            ..Default::default()
        });
    }
    Ok(program)
}

/// Optimises `program` up to its regions, leaving out the phases `without`.
pub fn optimise(
    program: &mut Program,
    cx: &mut PassCx<'_>,
    without: &[Phase],
) -> Result<(), Diagnostic> {
    let phases = passes::PIPELINE.iter().map(|(phase, _)| *phase);
    for phase in phases.filter(|p| !without.contains(p)) {
        passes::manager::run(phase, program, cx)?;
    }
    Ok(())
}

/// Reads, optimises, lowers and validates.
pub fn compile(request: &Request, observer: &mut dyn Watch) -> Result<Compiled, Diagnostic> {
    let mut summary = Summary::default();
    let mut clock = Clock {
        started: Instant::now(),
    };
    let device = DeviceModel::find(&request.costs, &request.target)?;
    summary.notes.extend(device.notes.iter().cloned());
    observer.phase("read");
    let mut program = read(request, &mut summary)?;
    summary.phases.push(("read", clock.lap()));
    let hashes: Vec<[u8; 32]> = program
        .graphs
        .ids()
        .map(|g| ir::program::ContentHash::of_graph(&program, g).0)
        .collect();
    summary.phases.push(("hash", clock.lap()));

    observer.phase("optimise");
    let mut cx = PassCx::new(request.passes.clone()).observed_by(observer.passes());
    optimise(&mut program, &mut cx, &request.without)?;
    summary.executions = std::mem::take(&mut cx.executions);
    drop(cx);
    summary.phases.push(("optimise", clock.lap()));
    for (m, (_, graph)) in summary.models.iter_mut().zip(program.graphs.iter()) {
        m.n_optimised = graph.order.len();
        m.n_regions = graph.regions.len();
    }

    observer.phase("lower");
    let gpu = match &request.target {
        Target::Cpu => None,
        Target::Cuda(gpus) => Some(
            gpus.target()
                .map_err(|e| Diagnostic::error("target", e.to_string()))?,
        ),
    };
    let options = LowerOptions {
        target: request.target.name(),
        gpu,
        host_classes: request.on_host.clone(),
        one_at_a_time: request.one_at_a_time,
        lanes: Some(Lanes {
            most: request.lanes(),
            predict: device.costs().gpu,
        }),
        n_nodes: summary.models.iter().map(|m| m.n_nodes as u32).collect(),
        hashes,
        options: canonical_options(request) + &device.options,
        compiler: format!("dlirc {}", env!("CARGO_PKG_VERSION")),
    };
    let Lowered {
        mut plan,
        weights,
        n_split,
        sources,
        branches,
    } = lower(&program, &options)?;
    summary.n_split = n_split;
    summary.branches = branches;
    summary.phases.push(("lower", clock.lap()));

    let mut images = vec![];
    if let (Target::Cuda(gpus), false) = (&request.target, sources.is_empty()) {
        observer.phase("kernels");
        let progress = observer.kernels();
        let (bytes, compilation) =
            add_images(&mut plan, &sources, gpus, &request.workshop, &*progress)?;
        images = bytes;
        summary.device_code = Some(compilation);
        summary.phases.push(("kernels", clock.lap()));
    }

    summary.generations = crate::blocks::cut(&mut plan, &device, &request.splitter);
    summary.phases.push(("partition", clock.lap()));
    if let Some(deployment) = &request.deploy {
        observer.phase("interleave");
        summary.deploy = Some(deployment.apply(&mut plan));
        summary.phases.push(("interleave", clock.lap()));
    }

    observer.phase("validate");
    let lengths = plans::Lengths::needed(&plan);
    let plan = plans::validate(plan, lengths).map_err(|errors| {
        let mut defect = Diagnostic::error(
            "invalid-plan",
            "the plan that was made breaks its own rules",
        )
        .help("this is a defect of dlirc; please report it with the model");
        defect.notes = errors.iter().take(8).map(ToString::to_string).collect();
        defect
    })?;
    summary.phases.push(("validate", clock.lap()));
    Ok(Compiled {
        plan,
        weights,
        images,
        summary,
    })
}

/// The phases of [`compile`], in order.
pub const PHASES: [&str; 6] = [
    "read",
    "optimise",
    "lower",
    "kernels",
    "interleave",
    "validate",
];

/// Is told how far a compilation has come.
pub trait Watch {
    /// `name` begins.
    fn phase(&mut self, name: &str);
    /// Who is told of single passes.
    fn passes(&mut self) -> &mut dyn Observer;
    /// Who is told, by several threads, how many of how many kernels are compiled.
    fn kernels(&self) -> Box<dyn Fn(usize, usize) + Sync + '_> {
        Box::new(|_, _| {})
    }
}

/// Writes `compiled` to `path`, whole or not at all.
pub fn write(compiled: &Compiled, path: &Path) -> Result<(), Diagnostic> {
    let weight = |w: plans::WeightIndex| compiled.weights[w.index()].clone();
    let image = |i: plans::ImageIndex| &compiled.images[i.index()];
    plans::file::write(&compiled.plan, weight, image, path)?;
    Ok(())
}

/// The file's stem, with a number where another model has it.
fn unique_name(path: &Path, taken: &mut BTreeSet<String>) -> String {
    let stem = path
        .file_stem()
        .map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned());
    let mut name = stem.clone();
    let mut n = 2;
    while !taken.insert(name.clone()) {
        name = format!("{stem}_{n}");
        n += 1;
    }
    name
}

/// What shapes the plan, as text for its fingerprint.
fn canonical_options(request: &Request) -> String {
    let mut options = format!("target={}", request.target.name());
    if let Target::Cuda(gpus) = &request.target {
        if !gpus.ptx {
            options += " no-ptx";
        }
        if gpus.precision != Precision::default() {
            options += &format!(" precision={}", gpus.precision);
        }
        options += &format!(" lanes={}", request.lanes());
    }
    for class in &request.on_host {
        options += &format!(" on-host={class}");
    }
    for (name, dims) in &request.shapes {
        let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
        options += &format!(" shape:{name}={}", dims.join(","));
    }
    if request.one_at_a_time {
        options += " one-at-a-time";
    }
    options += &crate::blocks::options(&request.splitter);
    if let Some(deployment) = &request.deploy {
        options += &deployment.options();
    }
    for phase in &request.without {
        options += &format!(" without={phase}");
    }
    if let Some(n) = request.passes.stop_after {
        options += &format!(" stop-after={n}");
    }
    options
}

struct Clock {
    started: Instant,
}

impl Clock {
    fn lap(&mut self) -> Duration {
        let lap = self.started.elapsed();
        self.started = Instant::now();
        lap
    }
}

/// The graph called `name`.
pub fn graph_of(program: &Program, name: &str) -> Option<GraphId> {
    program
        .graphs
        .iter()
        .find(|(_, g)| g.name == name)
        .map(|(id, _)| id)
}
