//! What a run is asked, what it is told, and what it leaves behind.

use super::{Cause, Pass, PassError, Phase};
use ir::{Graph, NodeId};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
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
        write!(
            f,
            "{}: {} of {}: {}",
            self.pass, self.node, self.model, self.reason
        )
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
    /// The same, to say each once.
    refused: BTreeSet<Refusal>,
    pub(super) observer: Option<&'o mut dyn Observer>,
    pub(super) pass: &'static str,
    pub(super) changes: usize,
    work: u64,
    pub(super) notes: Vec<(&'static str, u64)>,
    pub(super) last_phase: Option<Phase>,
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
        if self.refused.insert(refusal.clone()) {
            self.refusals.push(refusal);
        }
    }

    /// The error that the running pass failed on `graph`, at `node` if that is known.
    pub fn error(&self, graph: &Graph, node: Option<NodeId>, cause: impl Into<Cause>) -> PassError {
        PassError {
            pass: self.pass,
            model: Some(graph.name.clone()),
            node: node.map(|n| node_name(graph, n)),
            cause: Box::new(cause.into()),
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
