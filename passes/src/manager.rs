//! The pass manager: order, verification, timing, dumps, bisection, refusals, statistics.

use ir::eval::EvalError;
use ir::patch::PatchError;
use ir::verify::{self, Violation};
use ir::{Graph, NodeId, OpError, Program};
use std::fmt;
use std::time::{Duration, Instant};

/// The phases, in the order in which they run; a program never goes back to an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// One way of writing each computation: constants folded, patterns recognised.
    Normalise,
    /// Algebra around contractions, decided by equality saturation.
    Algebra,
    /// Element types of intermediate values.
    Precision,
    /// Storage orders.
    Layout,
    /// Regions: which nodes one kernel computes.
    Fuse,
    /// Parts of a model for different devices.
    Partition,
    /// Devices for the parts.
    Place,
    /// Order of the models' steps among each other.
    Interleave,
    /// Offsets of buffers in arenas.
    Memory,
    /// Kernel specs and steps.
    Lower,
}

impl Phase {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Normalise => "normalise",
            Phase::Algebra => "algebra",
            Phase::Precision => "precision",
            Phase::Layout => "layout",
            Phase::Fuse => "fuse",
            Phase::Partition => "partition",
            Phase::Place => "place",
            Phase::Interleave => "interleave",
            Phase::Memory => "memory",
            Phase::Lower => "lower",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of changes that a pass made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Changed(pub usize);

impl Changed {
    /// Whether there were any.
    pub fn any(self) -> bool {
        self.0 > 0
    }
}

impl std::ops::AddAssign for Changed {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// A pass: a function over a program, and its name.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The name: of the file, the function, the timer, the command line and the test folder.
    pub name: &'static str,
    /// The phase that it belongs to.
    pub phase: Phase,
    /// What it does.
    pub run: fn(&mut Program, &mut PassCx<'_>) -> Result<Changed, PassError>,
}

/// One entry of a phase's list.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// A pass, once.
    Once(Pass),
    /// Passes in order, again and again until none of them changes anything.
    Repeat {
        /// Most rounds.
        limit: usize,
        /// The passes.
        passes: &'static [Pass],
    },
}

/// Declares the pipeline: phases in order, each a list of passes and of
/// `repeat LIMIT { passes }`. Makes [`PIPELINE`](crate::PIPELINE).
macro_rules! passes {
    ($($phase:ident { $($stages:tt)* })*) => {
        /// Every phase's list of passes, in order.
        pub const PIPELINE: &[($crate::Phase, &[$crate::Stage])] = &[
            $(($crate::manager::phase_of!($phase), $crate::manager::passes!(@list $phase [] $($stages)*)),)*
        ];
    };
    (@list $phase:ident [$($done:expr,)*]) => { &[$($done,)*] };
    (@list $phase:ident [$($done:expr,)*] repeat $limit:literal { $($pass:ident)* } $($rest:tt)*) => {
        $crate::manager::passes!(@list $phase [$($done,)* $crate::Stage::Repeat {
            limit: $limit,
            passes: &[$($crate::manager::passes!(@pass $phase $pass)),*],
        },] $($rest)*)
    };
    (@list $phase:ident [$($done:expr,)*] $pass:ident $($rest:tt)*) => {
        $crate::manager::passes!(@list $phase [$($done,)*
            $crate::Stage::Once($crate::manager::passes!(@pass $phase $pass)),] $($rest)*)
    };
    (@pass $phase:ident $pass:ident) => {
        $crate::Pass {
            name: stringify!($pass),
            phase: $crate::manager::phase_of!($phase),
            run: $crate::$phase::$pass,
        }
    };
}
pub(crate) use passes;

macro_rules! phase_of {
    (normalise) => { $crate::Phase::Normalise };
    (algebra) => { $crate::Phase::Algebra };
    (precision) => { $crate::Phase::Precision };
    (layout) => { $crate::Phase::Layout };
    (fuse) => { $crate::Phase::Fuse };
    (partition) => { $crate::Phase::Partition };
    (place) => { $crate::Phase::Place };
    (interleave) => { $crate::Phase::Interleave };
    (memory) => { $crate::Phase::Memory };
    (lower) => { $crate::Phase::Lower };
}
pub(crate) use phase_of;

/// What the user asks of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether the program is verified before the first and after each pass.
    pub verify: bool,
    /// Passes after each of which the program's text goes to [`Observer::dump`].
    pub dump_after: Vec<String>,
    /// How many changes, of all passes together, may be made; no limit without it.
    ///
    /// To find the change that breaks a model, bisect over this number: the first `n` changes are
    /// the same ones in every run.
    pub stop_after: Option<usize>,
    /// Whether passes shall say why they leave things as they are.
    pub explain: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verify: cfg!(debug_assertions),
            dump_after: vec![],
            stop_after: None,
            explain: false,
        }
    }
}

/// One run of one pass.
#[derive(Clone, PartialEq, Debug)]
pub struct Execution {
    /// The pass.
    pub pass: &'static str,
    /// Its phase.
    pub phase: Phase,
    /// Changes made.
    pub changes: usize,
    /// The number of all changes of the run once this pass was done, as `stop_after` counts them.
    pub changes_so_far: usize,
    /// Nodes of all graphs before.
    pub nodes_before: usize,
    /// Nodes of all graphs after.
    pub nodes_after: usize,
    /// Time that the pass took, without verification.
    pub time: Duration,
    /// What the pass noted about its work, by name.
    pub notes: Vec<(&'static str, u64)>,
}

/// Why a pass left something as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The pass.
    pub pass: &'static str,
    /// The model.
    pub model: String,
    /// The node, by the name in the user's model where it has one.
    pub node: String,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {}: {}", self.pass, self.node, self.model, self.reason)
    }
}

/// Is told what happens during a run.
pub trait Observer {
    /// `pass` is about to run.
    fn started(&mut self, pass: &Pass) {
        let _ = pass;
    }
    /// A pass has run.
    fn finished(&mut self, execution: &Execution) {
        let _ = execution;
    }
    /// The program after a pass named in [`Options::dump_after`], as text.
    fn dump(&mut self, pass: &Pass, text: &str) {
        let _ = (pass, text);
    }
}

/// What a pass reports to, and what a run leaves behind.
#[derive(Default)]
pub struct PassCx<'o> {
    /// What the user asks.
    pub options: Options,
    /// Runs of passes so far, in order.
    pub executions: Vec<Execution>,
    /// Refusals so far, if they were asked for.
    pub refusals: Vec<Refusal>,
    observer: Option<&'o mut dyn Observer>,
    pass: &'static str,
    changes: usize,
    work: u64,
    notes: Vec<(&'static str, u64)>,
    last_phase: Option<Phase>,
}

impl<'o> PassCx<'o> {
    /// A context for a run with these options.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// The same, with `observer` told of what happens.
    pub fn observed_by(mut self, observer: &'o mut dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Asks leave to make one change, and counts it. A pass that gets none leaves things as they are.
    pub fn may_change(&mut self) -> bool {
        if self.options.stop_after.is_some_and(|n| self.changes >= n) {
            return false;
        }
        self.changes += 1;
        true
    }

    /// Changes made so far, by all passes.
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// Counts `n` units of work: a node looked at, or moved.
    pub(crate) fn count_work(&mut self, n: usize) {
        self.work += n as u64;
    }

    /// Nodes looked at or moved so far, by all passes: time spent, without a clock.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Notes a number about the work of the running pass, such as the size of its e-graph.
    ///
    /// Notes of one name add up.
    pub fn note(&mut self, name: &'static str, value: u64) {
        match self.notes.iter_mut().find(|(n, _)| *n == name) {
            Some((_, sum)) => *sum += value,
            None => self.notes.push((name, value)),
        }
    }

    /// Says why the running pass leaves `node` as it is, if anybody wants to know.
    pub fn refuse(&mut self, graph: &Graph, node: NodeId, reason: impl FnOnce() -> String) {
        if !self.options.explain {
            return;
        }
        let refusal = Refusal {
            pass: self.pass,
            model: graph.name.clone(),
            node: node_name(graph, node),
            reason: reason(),
        };
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    /// The error that the running pass failed on `graph`, at `node` if that is known.
    pub fn error(&self, graph: &Graph, node: Option<NodeId>, cause: impl Into<Cause>) -> PassError {
        PassError {
            pass: self.pass,
            model: Some(graph.name.clone()),
            node: node.map(|n| node_name(graph, n)),
            cause: cause.into(),
        }
    }
}

/// `node` as a person knows it: its operator, and the names in the user's model.
pub fn node_name(graph: &Graph, node: NodeId) -> String {
    let Some(n) = graph.nodes.get(node) else {
        return node.to_string();
    };
    let names: Vec<&str> = n.origin.names().collect();
    match names.as_slice() {
        [] => format!("{node} ({})", n.op.name()),
        [one] => format!("`{one}` ({})", n.op.name()),
        [first, .., last] => format!("`{first}` to `{last}` ({})", n.op.name()),
    }
}

/// What went wrong in a pass.
#[derive(Clone, PartialEq, Debug)]
pub enum Cause {
    /// It made a wrong patch.
    Patch(PatchError),
    /// Types of the program contradict an operator.
    Operator(OpError),
    /// A constant could not be computed.
    Eval(EvalError),
    /// The program broke rules of the verifier after it, or before the first pass.
    Invalid(Vec<Violation>),
    /// Passes of an earlier phase were asked for after those of a later one.
    PhaseOrder {
        /// The phase that has run.
        done: Phase,
        /// The earlier phase that was asked for.
        asked: Phase,
    },
    /// Anything else, in words.
    Other(String),
}

impl From<PatchError> for Cause {
    fn from(e: PatchError) -> Self {
        Cause::Patch(e)
    }
}

impl From<OpError> for Cause {
    fn from(e: OpError) -> Self {
        Cause::Operator(e)
    }
}

impl From<EvalError> for Cause {
    fn from(e: EvalError) -> Self {
        Cause::Eval(e)
    }
}

impl From<String> for Cause {
    fn from(e: String) -> Self {
        Cause::Other(e)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Patch(e) => e.fmt(f),
            Cause::Operator(e) => e.fmt(f),
            Cause::Eval(e) => e.fmt(f),
            Cause::Invalid(violations) => {
                write!(f, "{} rules of the program are broken", violations.len())?;
                violations.iter().try_for_each(|v| write!(f, "\n  {v}"))
            }
            Cause::PhaseOrder { done, asked } => {
                write!(f, "the {asked} phase cannot run after the {done} phase")
            }
            Cause::Other(e) => f.write_str(e),
        }
    }
}

/// A pass that failed: where, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct PassError {
    /// The pass.
    pub pass: &'static str,
    /// The model.
    pub model: Option<String>,
    /// The node, by the name in the user's model where it has one.
    pub node: Option<String>,
    /// What went wrong.
    pub cause: Cause,
}

impl fmt::Display for PassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass {}", self.pass)?;
        if let Some(model) = &self.model {
            write!(f, ", model {model}")?;
        }
        if let Some(node) = &self.node {
            write!(f, ", node {node}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for PassError {}

/// The pass called `name`.
pub fn find(name: &str) -> Option<Pass> {
    all().find(|p| p.name == name)
}

/// Every pass once, in the order of its first run.
pub fn all() -> impl Iterator<Item = Pass> {
    let mut seen = std::collections::BTreeSet::new();
    crate::PIPELINE
        .iter()
        .flat_map(|(_, stages)| stages.iter())
        .flat_map(|stage| match stage {
            Stage::Once(pass) => std::slice::from_ref(pass),
            Stage::Repeat { passes, .. } => passes,
        })
        .copied()
        .filter(move |p| seen.insert(p.name))
}

/// Runs the list of `phase` on `program`.
///
/// # Errors
/// The first pass that fails, or, with [`Options::verify`], the first that breaks a rule; a phase
/// that comes before one that has run in this context.
pub fn run(
    phase: Phase,
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    let stages = crate::PIPELINE
        .iter()
        .find(|(p, _)| *p == phase)
        .map_or(&[][..], |(_, stages)| *stages);
    run_stages(phase, stages, program, cx)
}

/// Runs `stages`, which belong to `phase`, on `program`; see [`run`].
pub fn run_stages(
    phase: Phase,
    stages: &[Stage],
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    if let Some(done) = cx.last_phase.filter(|&done| done > phase) {
        return Err(PassError {
            pass: phase.name(),
            model: None,
            node: None,
            cause: Cause::PhaseOrder { done, asked: phase },
        });
    }
    cx.last_phase = Some(phase);
    check(phase.name(), program, cx)?;
    let mut total = Changed::default();
    for stage in stages {
        match stage {
            Stage::Once(pass) => total += run_pass(pass, program, cx)?,
            Stage::Repeat { limit, passes } => {
                for _ in 0..*limit {
                    let mut round = Changed::default();
                    for pass in *passes {
                        round += run_pass(pass, program, cx)?;
                    }
                    total += round;
                    if !round.any() {
                        break;
                    }
                }
            }
        }
    }
    Ok(total)
}

/// Runs one pass on `program`, with everything that [`Options`] asks for around it.
pub fn run_pass(
    pass: &Pass,
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    let n_nodes = |p: &Program| p.graphs.iter().map(|(_, g)| g.order.len()).sum();
    if let Some(observer) = &mut cx.observer {
        observer.started(pass);
    }
    let nodes_before = n_nodes(program);
    cx.pass = pass.name;
    cx.notes.clear();
    let start = Instant::now();
    let changed = (pass.run)(program, cx)?;
    let execution = Execution {
        pass: pass.name,
        phase: pass.phase,
        changes: changed.0,
        changes_so_far: cx.changes,
        nodes_before,
        nodes_after: n_nodes(program),
        time: start.elapsed(),
        notes: std::mem::take(&mut cx.notes),
    };
    check(pass.name, program, cx)?;
    if let Some(observer) = &mut cx.observer {
        observer.finished(&execution);
        if cx.options.dump_after.iter().any(|name| name == pass.name) {
            observer.dump(pass, &ir::text::print(program));
        }
    }
    cx.executions.push(execution);
    Ok(changed)
}

fn check(pass: &'static str, program: &Program, cx: &PassCx<'_>) -> Result<(), PassError> {
    if !cx.options.verify {
        return Ok(());
    }
    verify::program(program).map_err(|violations| {
        let first = violations.first();
        let graph = |v: &Violation| program.graphs.get(v.graph).cloned();
        PassError {
            pass,
            model: first.map(|v| v.model.clone()),
            node: first.and_then(|v| Some(node_name(&graph(v)?, v.node?))),
            cause: Cause::Invalid(violations),
        }
    })
}
