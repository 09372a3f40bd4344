//! Which nodes one e-graph holds: stretches of the graph's order.

use ir::id::EntityId;
use ir::{Graph, NodeId};
use std::ops::Range;

/// The most nodes of a region.
pub(super) const MOST: usize = 128;

/// A region is at least this long where the graph goes on: cuts are looked for beyond it.
const LEAST: usize = 64;

/// Cuts the order of `graph` into stretches of at most [`MOST`] nodes.
///
/// What follows from operands inside a stretch of a topological order never passes through nodes
/// outside it, so that any equal term may replace any other. A cut is made where the fewest values
/// pass, and of those rather where values have several readers, through which little algebra goes,
/// than between an operator and its only reader.
pub(super) fn regions(graph: &Graph) -> Vec<Range<usize>> {
    let n = graph.order.len();
    let score = crossings(graph);
    let mut regions = vec![];
    let mut start = 0;
    while start < n {
        let end = if n - start <= MOST {
            n
        } else {
            let cuts = start + LEAST..=start + MOST;
            cuts.min_by_key(|&p| (score[p], std::cmp::Reverse(p)))
                .unwrap_or(start + MOST)
        };
        regions.push(start..end);
        start = end;
    }
    regions
}

/// For each position, how bad a cut before it is: 2 for each value that passes, 1 more if it has one
/// reader.
fn crossings(graph: &Graph) -> Vec<i64> {
    let mut position = vec![0; graph.nodes.len()];
    for (p, &n) in graph.order.iter().enumerate() {
        position[n.index()] = p;
    }
    let at = |n: &NodeId| position[n.index()];
    let users = graph.users();
    let mut steps = vec![0i64; graph.order.len() + 2];
    for (p, &n) in graph.order.iter().enumerate() {
        for &v in &graph.nodes[n].outputs {
            let readers = &users[v.index()];
            if let Some(last) = readers.iter().map(at).max() {
                let weight = if readers.len() == 1 { 3 } else { 2 };
                steps[p + 1] += weight;
                steps[last + 1] -= weight;
            }
        }
    }
    steps
        .iter()
        .scan(0, |sum, &step| {
            *sum += step;
            Some(*sum)
        })
        .collect()
}
