//! One region as an e-graph: read, searched, ready to choose from.

use super::apply::Nodes;
use super::cost::CostModel;
use super::extract::{Choices, Cost, canonical};
use super::facts::Facts;
use super::rules::{self, RULES, Rule};
use super::term::{EGraph, Head, Term, Terms};
use super::{Options, Refusal};
use egg::{Id, Runner, SimpleScheduler, StopReason};
use ir::id::EntityId;
use ir::{Def, Graph, NodeId, Patch, ValueId, WeightId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

/// For each value, whether the graph or a region other than its own needs it.
pub(super) fn escaping(graph: &Graph, ranges: &[Range<usize>]) -> Vec<bool> {
    let mut region = vec![usize::MAX; graph.nodes.len()];
    for (r, range) in ranges.iter().enumerate() {
        for &n in &graph.order[range.clone()] {
            region[n.index()] = r;
        }
    }
    let mut escaping = vec![false; graph.values.len()];
    for &n in &graph.order {
        for &v in graph.nodes[n].inputs.iter().flatten() {
            if let Def::Node { node, .. } = graph.values[v].def
                && region[node.index()] != region[n.index()]
            {
                escaping[v.index()] = true;
            }
        }
    }
    for &(_, v) in &graph.outputs {
        escaping[v.index()] = true;
    }
    escaping
}

/// The rules as `egg` runs them.
pub(super) struct Searcher<'a> {
    joins: Vec<egg::Rewrite<Term, Facts>>,
    rules: Vec<egg::Rewrite<Term, Facts>>,
    names: Vec<&'static str>,
    options: &'a Options,
}

/// The e-graph of one region after the search.
pub(super) struct Found {
    pub egraph: EGraph,
    pub nodes: Nodes,
    roots: Vec<Id>,
    /// The terms of the region as it was, by class, with the best kernels to compute it by.
    pub start: BTreeMap<Id, Term>,
    /// All terms before any rule.
    old: BTreeSet<Term>,
    pub before: Cost,
    pub n_iterations: usize,
    pub stopped: &'static str,
    pub applied: BTreeMap<&'static str, usize>,
}

impl<'a> Searcher<'a> {
    /// Made once for all regions.
    pub(super) fn new(rules: &[Rule], options: &'a Options) -> Self {
        let is_join = |r: &&Rule| matches!(r.trigger, rules::Trigger::Joins);
        Self {
            joins: RULES.iter().filter(is_join).map(rules::rewrite).collect(),
            rules: rules.iter().map(rules::rewrite).collect(),
            names: rules.iter().map(|r| r.name).collect(),
            options,
        }
    }

    /// Searches the nodes at `range` of the order of the patched graph.
    pub(super) fn search(
        &self,
        patch: &Patch<'_>,
        readers: &BTreeMap<WeightId, usize>,
        range: Range<usize>,
        escaping: &[bool],
    ) -> Found {
        let graph = patch.graph();
        let order = &graph.order[range];
        let mut facts = Facts::default();
        for &n in order {
            for &v in graph.nodes[n].inputs.iter().flatten() {
                if let Some(w) = graph.weight(v) {
                    let tensor = &patch.weights()[w];
                    let shared = readers.get(&w).is_some_and(|&n| n > 1)
                        && tensor.bytes().len() > self.options.most_shared_bytes;
                    facts.weights.insert(w, (tensor.clone(), shared));
                }
            }
        }
        let mut egraph = EGraph::new(facts);
        let (nodes, roots) = read(graph, order, escaping, &mut egraph);
        egraph.rebuild();
        let (egraph, ..) = self.run(egraph, &self.joins, usize::MAX);
        let old: BTreeSet<Term> = egraph
            .classes()
            .flat_map(|c| c.nodes.iter().map(|t| canonical(&egraph, t)))
            .collect();
        let mut start = BTreeMap::new();
        for (_, term, classes) in &nodes.nodes {
            if let [class] = classes[..] {
                start
                    .entry(egraph.find(class))
                    .or_insert_with(|| canonical(&egraph, term));
            }
        }
        let (before, start) =
            match Choices::new(&egraph, &self.options.cost, &roots, &old).best(&start) {
                Some(chosen) => (chosen.cost, chosen.terms),
                None => (Cost::default(), vec![]),
            };
        let most_terms = self.options.most_terms_per_node * order.len().max(8);
        let (egraph, n_iterations, stopped, applied) = self.run(egraph, &self.rules, most_terms);
        let mut moved = BTreeMap::new();
        for (class, term) in start {
            moved
                .entry(egraph.find(class))
                .or_insert_with(|| canonical(&egraph, &term));
        }
        let old = old.iter().map(|t| canonical(&egraph, t)).collect();
        Found {
            egraph,
            nodes,
            roots,
            start: moved,
            old,
            before,
            n_iterations,
            stopped,
            applied,
        }
    }

    fn run(
        &self,
        mut egraph: EGraph,
        rules: &[egg::Rewrite<Term, Facts>],
        most_terms: usize,
    ) -> (EGraph, usize, &'static str, BTreeMap<&'static str, usize>) {
        egraph.analysis.most_terms = most_terms;
        let runner = Runner::<Term, Facts>::new(Facts::default())
            .with_egraph(egraph)
            .with_scheduler(SimpleScheduler)
            .with_time_limit(Duration::MAX)
            .with_node_limit(most_terms - 1)
            .with_iter_limit(self.options.most_iterations)
            .run(rules);
        let mut applied = BTreeMap::new();
        for iteration in &runner.iterations {
            for (rule, &n) in &iteration.applied {
                if let Some(&name) = self.names.iter().find(|name| **name == rule.as_str()) {
                    *applied.entry(name).or_insert(0) += n;
                }
            }
        }
        let stopped = match runner.stop_reason {
            Some(StopReason::NodeLimit(_)) => "searches at the term limit",
            Some(StopReason::IterationLimit(_)) => "searches at the iteration limit",
            Some(StopReason::Saturated | StopReason::TimeLimit(_) | StopReason::Other(_))
            | None => "searches saturated",
        };
        (runner.egraph, runner.iterations.len(), stopped, applied)
    }
}

impl Found {
    /// What can be chosen from.
    pub(super) fn choices(&self, cost: &CostModel) -> Choices {
        Choices::new(&self.egraph, cost, &self.roots, &self.old)
    }

    /// What rules left alone, as far as it is a node of the region.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let mut by_class: BTreeMap<Id, NodeId> = BTreeMap::new();
        for (node, _, classes) in &self.nodes.nodes {
            for &class in classes {
                by_class.entry(self.egraph.find(class)).or_insert(*node);
            }
        }
        let refused = self.egraph.analysis.refused.iter();
        refused
            .filter_map(|(rule, class, reason)| {
                let node = *by_class.get(&self.egraph.find(*class))?;
                Some(Refusal {
                    node,
                    rule,
                    reason: reason.clone(),
                })
            })
            .collect()
    }
}

/// Adds the nodes `order` to `egraph`. Returns their terms, and the classes that are needed outside.
fn read(
    graph: &Graph,
    order: &[NodeId],
    escaping: &[bool],
    egraph: &mut EGraph,
) -> (Nodes, Vec<Id>) {
    let mut terms = Terms { egraph, rule: "" };
    let mut nodes = Nodes::default();
    let mut classes: BTreeMap<ValueId, Id> = BTreeMap::new();
    let mut roots = vec![];
    for &n in order {
        let node = &graph.nodes[n];
        let mut operands = vec![];
        for &operand in &node.inputs {
            operands.push(operand.map(|v| {
                if let Some(&class) = classes.get(&v) {
                    return class;
                }
                let value = &graph.values[v];
                let head = match value.def {
                    Def::Weight(w) => {
                        nodes.weights.entry(w).or_insert(v);
                        Head::Weight(w)
                    }
                    Def::Input(_) | Def::Node { .. } => Head::Leaf(v),
                };
                let class = terms.insert(head, Box::new([]), vec![value.ty.clone()]);
                classes.insert(v, class);
                class
            }));
        }
        let types = node.outputs.iter().map(|&v| graph.ty(v).clone()).collect();
        let term = terms.term(&node.op, &operands, node.outputs.len());
        let class = terms.insert(term.head, term.operands.clone(), types);
        let mut results = vec![];
        for (i, &v) in node.outputs.iter().enumerate() {
            let result = if node.outputs.len() == 1 {
                class
            } else {
                terms
                    .part(class, i)
                    .expect("the term has as many results as the node")
            };
            classes.insert(v, result);
            results.push(result);
            if escaping[v.index()] {
                roots.push(result);
            }
        }
        nodes.nodes.push((n, term, results));
    }
    (nodes, roots)
}
