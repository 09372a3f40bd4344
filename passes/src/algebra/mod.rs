//! Algebra over regions of a graph by equality saturation (Willsey et al., "egg", POPL 2021).
//!
//! A region, a bounded stretch of the graph's order, becomes an e-graph; rules add equal terms until
//! they find no more or a limit is reached; then one term of each class is chosen, so that the
//! region's results together cost least. What flows into a region costs nothing. Searches are limited
//! by terms and iterations, never by time, so that the same graph gives the same result everywhere.

mod apply;
mod constants;
mod cost;
mod extract;
mod facts;
mod region;
mod rewrite_algebra;
mod rules;
mod saturate;
mod statistics;
mod term;

pub use cost::CostModel;
pub use rewrite_algebra::rewrite_algebra;
pub use rules::{RULES, Rule};
pub use statistics::Statistics;

use ir::patch::PatchError;
use ir::{Graph, NodeId, OpError, Patch, Program, WeightId, Weights};
use saturate::{Searcher, escaping};
use std::collections::BTreeMap;
use std::fmt;

/// What limits and steers the search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The prices.
    pub cost: CostModel,
    /// A search stops once its e-graph holds this many terms for each node of the region.
    pub most_terms_per_node: usize,
    /// A search stops after this many rounds of all rules.
    pub most_iterations: usize,
    /// Arithmetic is not folded into weights of more bytes than this that other nodes read too.
    pub most_shared_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cost: CostModel::default(),
            most_terms_per_node: 24,
            most_iterations: 24,
            most_shared_bytes: 1 << 20,
        }
    }
}

/// Why the algebra failed: a bug in a rule.
#[derive(Clone, PartialEq, Debug)]
pub enum AlgebraError {
    /// A chosen term is no node.
    Patch(PatchError),
    /// A chosen constant cannot be computed.
    Constant(OpError),
}

impl From<PatchError> for AlgebraError {
    fn from(e: PatchError) -> Self {
        Self::Patch(e)
    }
}

impl From<OpError> for AlgebraError {
    fn from(e: OpError) -> Self {
        Self::Constant(e)
    }
}

impl fmt::Display for AlgebraError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patch(e) => write!(f, "{e}"),
            Self::Constant(e) => write!(f, "a constant cannot be computed: {e}"),
        }
    }
}

impl std::error::Error for AlgebraError {}

/// A rule that left something alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Refusal {
    /// The node that it looked at.
    pub node: NodeId,
    /// The rule.
    pub rule: &'static str,
    /// Why.
    pub reason: String,
}

/// How many nodes of all graphs read each weight.
pub fn weight_readers(program: &Program) -> BTreeMap<WeightId, usize> {
    let mut readers = BTreeMap::new();
    for (_, graph) in program.graphs.iter() {
        for &n in &graph.order {
            for &v in graph.nodes[n].inputs.iter().flatten() {
                if let Some(w) = graph.weight(v) {
                    *readers.entry(w).or_insert(0) += 1;
                }
            }
        }
    }
    readers
}

/// Rewrites one graph by `rules`, region after region, as long as `allowed` says yes for one more.
///
/// `readers` says how many nodes of the whole program read each weight. Returns what rules refused.
pub fn rewrite(
    graph: &mut Graph,
    weights: &mut Weights,
    readers: &BTreeMap<WeightId, usize>,
    rules: &[Rule],
    options: &Options,
    statistics: &mut Statistics,
    allowed: &mut dyn FnMut() -> bool,
) -> Result<Vec<Refusal>, AlgebraError> {
    let ranges = region::regions(graph);
    let searcher = Searcher::new(rules, options);
    let escaping = escaping(graph, &ranges);
    let mut patch = Patch::new(graph, weights);
    let mut refusals = vec![];
    for range in ranges {
        let found = searcher.search(&patch, readers, range, &escaping);
        statistics.n_regions += 1;
        statistics.n_terms += found.egraph.total_number_of_nodes();
        statistics.n_classes += found.egraph.number_of_classes();
        statistics.n_iterations = statistics.n_iterations.max(found.n_iterations);
        *statistics.stopped.entry(found.stopped).or_default() += 1;
        for (&rule, &n) in &found.applied {
            *statistics.applied.entry(rule).or_default() += n;
        }
        statistics.ps_before += found.before.ps;
        refusals.extend(found.refusals());
        let chosen = found.choices(&options.cost).best(&found.start);
        let Some(chosen) = chosen.filter(|c| c.cost.ps < found.before.ps && allowed()) else {
            statistics.ps_after += found.before.ps;
            continue;
        };
        statistics.ps_after += chosen.cost.ps;
        statistics.n_rewritten += 1;
        statistics.n_new_nodes +=
            apply::apply(&mut patch, &found.egraph, &found.nodes, &chosen.terms)?;
    }
    patch.apply()?;
    refusals.sort();
    refusals.dedup();
    Ok(refusals)
}

/// Every graph that differs from `graph` by one term that `rules` found equal, whatever it costs: what
/// tests compare `graph` with. The graph must fit one region.
pub fn alternatives(
    graph: &Graph,
    weights: &Weights,
    rules: &[Rule],
    options: &Options,
) -> Result<Vec<(Graph, Weights)>, AlgebraError> {
    let searcher = Searcher::new(rules, options);
    let range = 0..graph.order.len();
    let escaping = escaping(graph, std::slice::from_ref(&range));
    let (mut graph_copy, mut weights_copy) = (graph.clone(), weights.clone());
    let patch = Patch::new(&mut graph_copy, &mut weights_copy);
    let found = searcher.search(&patch, &BTreeMap::new(), range, &escaping);
    let mut all = vec![];
    for chosen in found.choices(&options.cost).all(&found.start) {
        let (mut graph, mut weights) = (graph.clone(), weights.clone());
        let mut patch = Patch::new(&mut graph, &mut weights);
        let n_new = apply::apply(&mut patch, &found.egraph, &found.nodes, &chosen.terms)?;
        patch.apply()?;
        if n_new > 0 || graph.order.len() < found.nodes.nodes.len() {
            all.push((graph, weights));
        }
    }
    Ok(all)
}
