//! Which part each node of a file goes to.

use super::{operands, results};
use crate::import::Outline;
use crate::proto::GraphProto;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// The nodes that the graph's outputs need and that are no constants, each with its part, in an order in
/// which they may run: by part, and within one by their order in the file where that is one.
///
/// Of the parts whose `origins` name a node, the first is where it should go; it goes there or to the
/// first later one that has, or comes after, all that it depends on. A node that no part names goes to
/// the first part that needs its result.
pub(super) fn assign(
    graph: &GraphProto,
    outline: &Outline,
    origins: &[BTreeSet<&str>],
) -> Vec<(usize, usize)> {
    let nodes = &graph.node;
    let constant = |name: &str| {
        let value = outline.values.get(name);
        value.is_some_and(|(_, content)| content.is_some())
    };
    let mut made: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        made.extend(results(node).map(|name| (name, i)));
    }
    let sources = |i: usize| {
        let varying = operands(&nodes[i]).filter(|name| !constant(name));
        varying.filter_map(|name| made.get(name).copied())
    };
    let mut needed = vec![false; nodes.len()];
    let outputs = graph.output.iter().filter_map(|o| o.name.as_deref());
    let mut open: Vec<usize> = outputs
        .filter(|name| !constant(name))
        .filter_map(|name| made.get(name).copied())
        .collect();
    while let Some(i) = open.pop() {
        if !std::mem::replace(&mut needed[i], true) {
            open.extend(sources(i));
        }
    }
    let order = topological(nodes.len(), &needed, sources);

    let mut hints: Vec<Option<usize>> = vec![None; nodes.len()];
    for (part, names) in origins.iter().enumerate().rev() {
        for name in names {
            // A name of several nodes says nothing about any of them.
            if let Some([i]) = outline.nodes.get(*name).map(Vec::as_slice) {
                hints[*i] = Some(part);
            }
        }
    }
    // Not before what it depends on.
    let mut part = vec![0; nodes.len()];
    for &i in &order {
        let ready = sources(i).map(|s| part[s]).max().unwrap_or(0);
        part[i] = ready.max(hints[i].unwrap_or(0));
    }
    // Those without a hint, as late as their results allow.
    let last = origins.len().saturating_sub(1);
    let mut user: Vec<Option<usize>> = vec![None; nodes.len()];
    for &i in order.iter().rev() {
        if hints[i].is_none() {
            part[i] = user[i].unwrap_or(last).max(part[i]);
        }
        for s in sources(i) {
            user[s] = Some(user[s].map_or(part[i], |u| u.min(part[i])));
        }
    }
    let mut assigned: Vec<(usize, usize)> = order.iter().map(|&i| (i, part[i])).collect();
    assigned.sort_by_key(|&(_, part)| part);
    assigned
}

/// The nodes that are `needed`, each after its `sources`, and else in their order.
fn topological<I: Iterator<Item = usize>>(
    n: usize,
    needed: &[bool],
    sources: impl Fn(usize) -> I,
) -> Vec<usize> {
    let mut waiting = vec![0usize; n];
    let mut users: Vec<Vec<usize>> = vec![vec![]; n];
    for i in (0..n).filter(|&i| needed[i]) {
        for s in sources(i) {
            waiting[i] += 1;
            users[s].push(i);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..n)
        .filter(|&i| needed[i] && waiting[i] == 0)
        .map(Reverse)
        .collect();
    let mut order = vec![];
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &user in &users[i] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    order
}
