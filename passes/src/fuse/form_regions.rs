//! Assigns every node to the region that one kernel computes.

use super::grow::{Growth, uses_index};
use crate::{Changed, PassCx, PassError};
use ir::id::EntityId;
use ir::{Class, Graph, NodeId, Op, Program, Region, RegionKind, ValueId};

/// Elementwise chains join the contraction, window or reduction before them, what only they read
/// joins them, and the rest become elementwise kernels, as long as each region has one exit.
///
/// Before: `%1 = Conv(%0, w0)`, `%2 = Add(%1, %9)`, `%3 = Relu(%2)`, each alone. After: the three in
/// one region `contract`. Contractions choose first, because what joins them never touches memory.
pub fn form_regions(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let mut changed = 0;
    for (_, graph) in program.graphs.iter_mut() {
        graph.regions = Default::default();
        let order = graph.order.clone();
        let mut growth = Growth::new(graph);
        let mut regions: Vec<(RegionKind, Vec<NodeId>)> = vec![];
        for anchor in ANCHORS {
            for &node in &order {
                if growth.taken[node.index()] {
                    continue;
                }
                let Some(kind) = anchor(growth.graph, node) else {
                    continue;
                };
                let mut nodes = grow(&growth, kind, node);
                if nodes.len() > 1 && !cx.may_change() {
                    nodes = vec![node];
                }
                changed += usize::from(nodes.len() > 1);
                regions.push((kind, growth.take(nodes)));
            }
        }
        for &node in &order {
            if !growth.taken[node.index()] {
                let kind = kind_alone(growth.graph, node);
                regions.push((kind, growth.take(vec![node])));
            }
        }
        cx.note("regions", regions.len() as u64);
        write_regions(graph, regions);
    }
    Ok(Changed(changed))
}

/// From which nodes regions grow, those that gain most first.
const ANCHORS: [fn(&Graph, NodeId) -> Option<RegionKind>; 4] =
    [is_contract, is_windowed, is_row, is_map];

fn grow(growth: &Growth<'_>, kind: RegionKind, anchor: NodeId) -> Vec<NodeId> {
    let graph = growth.graph;
    let out = graph.nodes[anchor].outputs[0];
    let mut region = vec![anchor];
    match kind {
        RegionKind::RowReduce => {
            let x = graph.nodes[anchor].inputs[0].unwrap_or(out);
            if graph.ty(out).shape == graph.ty(x).shape {
                growth.forward(&mut region, out);
            }
            // What feeds the row, but not what feeds the work after it.
            let mut before = vec![anchor];
            growth.backward(&mut before, x, false, None);
            region.extend(
                before
                    .into_iter()
                    .skip(1)
                    .filter(|n| same_shape(graph, *n, x)),
            );
        }
        RegionKind::Map => {
            if !uses_index(graph, anchor) {
                growth.forward(&mut region, out);
            }
            growth.backward(&mut region, out, true, None);
        }
        _ => {
            growth.forward(&mut region, out);
            growth.backward(&mut region, out, false, Some(anchor));
        }
    }
    region
}

fn same_shape(graph: &Graph, node: NodeId, value: ValueId) -> bool {
    graph.ty(graph.nodes[node].outputs[0]).shape == graph.ty(value).shape
}

fn is_contract(graph: &Graph, node: NodeId) -> Option<RegionKind> {
    match &graph.nodes[node].op {
        Op::Conv(_) if is_depthwise(graph, node) => None,
        Op::Conv(_) | Op::ConvTranspose(_) | Op::MatMul(_) => Some(RegionKind::Contract),
        _ => None,
    }
}

/// A convolution in which every output channel reads one input channel of its own.
fn is_depthwise(graph: &Graph, node: NodeId) -> bool {
    let n = &graph.nodes[node];
    let Op::Conv(conv) = &n.op else { return false };
    let Some(w) = n.inputs.get(1).copied().flatten() else {
        return false;
    };
    let dims = &graph.ty(w).shape;
    conv.group > 1
        && dims.dim(0).known() == Some(conv.group as usize)
        && dims.dim(1).known() == Some(1)
}

fn is_windowed(graph: &Graph, node: NodeId) -> Option<RegionKind> {
    let n = &graph.nodes[node];
    match &n.op {
        Op::Conv(_) => Some(RegionKind::Window),
        op if op.class() == Class::Window && n.outputs.len() == 1 => Some(RegionKind::Window),
        _ => None,
    }
}

fn is_row(graph: &Graph, node: NodeId) -> Option<RegionKind> {
    (graph.nodes[node].op.class() == Class::Reduce).then_some(RegionKind::RowReduce)
}

fn is_map(graph: &Graph, node: NodeId) -> Option<RegionKind> {
    match &graph.nodes[node].op {
        Op::Gather(_) | Op::GatherElements(_) | Op::GatherND(_) => Some(RegionKind::Map),
        op => (op.class() == Class::Map).then_some(RegionKind::Map),
    }
}

/// The class of the kernel that computes a node alone.
pub(crate) fn kind_alone(graph: &Graph, node: NodeId) -> RegionKind {
    let op = &graph.nodes[node].op;
    if let Some(kind) = ANCHORS.into_iter().find_map(|anchor| anchor(graph, node)) {
        return kind;
    }
    match (op, op.class()) {
        (Op::Attention(_), _) => RegionKind::Attention,
        (Op::GridSample(_), _) => RegionKind::Library,
        (_, Class::View | Class::Metadata) => RegionKind::View,
        (_, Class::Movement) => RegionKind::Movement,
        (_, Class::Recurrent) => RegionKind::Recurrent,
        (_, Class::Window) => RegionKind::Window,
        (_, Class::Contract) => RegionKind::Contract,
        (_, Class::Reduce) => RegionKind::RowReduce,
        (_, Class::Map) => RegionKind::Map,
        (_, Class::Library) => RegionKind::Library,
    }
}

/// Stores the regions in the graph and orders its nodes so that those of a region stand together.
fn write_regions(graph: &mut Graph, mut regions: Vec<(RegionKind, Vec<NodeId>)>) {
    let mut position = vec![usize::MAX; graph.nodes.len()];
    for (i, n) in graph.order.iter().enumerate() {
        position[n.index()] = i;
    }
    regions.sort_by_key(|(_, nodes)| nodes.iter().map(|n| position[n.index()]).max());
    let mut region_of = vec![usize::MAX; graph.nodes.len()];
    for (r, (_, nodes)) in regions.iter().enumerate() {
        for n in nodes {
            region_of[n.index()] = r;
        }
    }
    // Depth first over regions: one follows all that it reads from.
    let mut done = vec![false; regions.len()];
    let mut order = vec![];
    for root in 0..regions.len() {
        let mut stack = vec![(root, false)];
        while let Some((r, expanded)) = stack.pop() {
            if expanded {
                order.push(r);
                continue;
            }
            if std::mem::replace(&mut done[r], true) {
                continue;
            }
            stack.push((r, true));
            let operands = regions[r]
                .1
                .iter()
                .flat_map(|&n| graph.nodes[n].inputs.iter().flatten());
            let mut needed: Vec<usize> = operands
                .filter_map(|&v| graph.def_node(v))
                .map(|n| region_of[n.index()])
                .filter(|&other| other != r && !done[other])
                .collect();
            needed.sort_unstable_by(|a, b| b.cmp(a));
            needed.dedup();
            stack.extend(needed.into_iter().map(|other| (other, false)));
        }
    }
    graph.order.clear();
    for r in order {
        let (kind, nodes) = &regions[r];
        let id = graph.regions.push(Region { kind: *kind });
        for &n in nodes {
            graph.nodes[n].region = Some(id);
            graph.order.push(n);
        }
    }
}
