//! Every value defined once, and before it is used.

use super::flatten::{FlatGraph, Name};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// What gives a value its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Definer {
    /// An input of the graph.
    Input,
    /// A constant.
    Initializer,
    /// A node, by its position in the flat graph.
    Node(usize),
}

/// A violation of the rules of a graph.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the fields carry the values that the messages show"
)]
pub enum GraphProblem {
    /// Several inputs, constants or nodes define one value.
    #[error("value {value:?} is defined {n} times{}", by(.nodes))]
    Duplicate {
        value: String,
        n: usize,
        nodes: Vec<String>,
    },
    /// A node, or an output of the graph, reads a value that nothing defines.
    #[error("value {value:?} is not defined{}", by(.readers))]
    Undefined { value: String, readers: Vec<String> },
    /// Nodes that wait for each other.
    #[error("nodes depend on each other in a circle: {}", nodes.join(", "))]
    Cycle { nodes: Vec<String> },
    /// A sparse constant.
    #[error("initializer {name:?} is sparse, which is not supported")]
    SparseInitializer { name: String },
    /// The graph has no outputs.
    #[error("the graph has no outputs")]
    NoOutputs,
    /// Two outputs of one name.
    #[error("the graph has output {name:?} more than once")]
    RepeatedOutput { name: String },
    /// An input, output or initializer without a name.
    #[error("an {what} of the graph has no name")]
    Nameless { what: &'static str },
}

fn by(nodes: &[String]) -> String {
    let some = nodes
        .iter()
        .take(5)
        .map(|n| format!("{n:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    match nodes.len() {
        0 => String::new(),
        1..=5 => format!(": {some}"),
        n => format!(": {some} and {} others", n - 5),
    }
}

/// The nodes in an order in which every value is defined before it is read: the file's own
/// order where it is one, else the nearest to it.
///
/// `definers` says what defines each value, by [`Name::index`]; `outputs` are read by the graph.
///
/// # Errors
/// All values that are defined twice or not at all; if there are none, nodes in a circle.
pub(crate) fn order(
    flat: &FlatGraph<'_>,
    definers: &[Vec<Definer>],
    outputs: &[Name],
) -> Result<Vec<usize>, Vec<GraphProblem>> {
    let mut problems = duplicates(flat, definers);
    problems.extend(undefined(flat, definers, outputs));
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); flat.nodes.len()];
    let mut waiting = vec![0usize; flat.nodes.len()];
    for (i, node) in flat.nodes.iter().enumerate() {
        for input in node.inputs.iter().flatten() {
            if let [Definer::Node(source)] = definers[input.index()][..] {
                readers[source].push(i);
                waiting[i] += 1;
            }
        }
    }
    let mut ready: BinaryHeap<_> = (0..flat.nodes.len())
        .filter(|&i| waiting[i] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(flat.nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() < flat.nodes.len() {
        let nodes = circle(flat, definers, &waiting);
        return Err(vec![GraphProblem::Cycle { nodes }]);
    }
    Ok(order)
}

fn duplicates(flat: &FlatGraph<'_>, definers: &[Vec<Definer>]) -> Vec<GraphProblem> {
    let several = flat.names().filter(|name| definers[name.index()].len() > 1);
    let problem = |name: Name| {
        let all = &definers[name.index()];
        let nodes = all.iter().filter_map(|d| match d {
            Definer::Node(i) => Some(flat.display_node(&flat.nodes[*i])),
            Definer::Input | Definer::Initializer => None,
        });
        let value = flat.display(name);
        GraphProblem::Duplicate {
            value,
            n: all.len(),
            nodes: nodes.collect(),
        }
    };
    several.map(problem).collect()
}

fn undefined(
    flat: &FlatGraph<'_>,
    definers: &[Vec<Definer>],
    outputs: &[Name],
) -> Vec<GraphProblem> {
    let missing = |v: &&Name| definers[v.index()].is_empty();
    let mut readers: BTreeMap<Name, Vec<String>> = BTreeMap::new();
    for node in &flat.nodes {
        for &value in node.inputs.iter().flatten().filter(missing) {
            readers
                .entry(value)
                .or_default()
                .push(flat.display_node(node));
        }
    }
    for &value in outputs.iter().filter(missing) {
        readers
            .entry(value)
            .or_default()
            .push("the graph's outputs".to_owned());
    }
    let problem = |(value, readers)| GraphProblem::Undefined {
        value: flat.display(value),
        readers,
    };
    readers.into_iter().map(problem).collect()
}

/// The nodes of one circle: walk backwards along nodes that wait until one comes again.
fn circle(flat: &FlatGraph<'_>, definers: &[Vec<Definer>], waiting: &[usize]) -> Vec<String> {
    let mut path: Vec<usize> = Vec::new();
    let mut place = vec![None; flat.nodes.len()];
    let mut at = waiting.iter().position(|&n| n > 0);
    while let Some(i) = at {
        if let Some(start) = place[i] {
            path.drain(..start);
            break;
        }
        place[i] = Some(path.len());
        path.push(i);
        let sources = flat.nodes[i].inputs.iter().flatten();
        at = sources
            .filter_map(|v| match definers[v.index()][..] {
                [Definer::Node(source)] if waiting[source] > 0 => Some(source),
                _ => None,
            })
            .next();
    }
    path.iter()
        .rev()
        .take(20)
        .map(|&i| flat.display_node(&flat.nodes[i]))
        .collect()
}
