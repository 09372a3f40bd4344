//! Chooses which dimension of an image is innermost in memory.

use ir::id::EntityId;
use ir::{Class, Graph, NodeId, Op, StorageOrder, ValueId};

/// Images that convolutions and windows make, and what elementwise operators make of them, lie with
/// their channels innermost.
///
/// Before: `%3: f32[1, 64, 56, 56] = Conv(%0, w0)`. After: the same, `channels_last`. Contractions
/// read and write runs of channels then, on every device; views need no elements moved, because
/// shapes stay as ONNX writes them and only strides change. What the user sees is row-major.
/// Returns how many values changed.
pub fn choose_storage(graph: &mut Graph) -> usize {
    let mut n_changed = 0;
    for i in 0..graph.order.len() {
        let node = graph.order[i];
        let order = order_of(graph, node);
        for o in 0..graph.nodes[node].outputs.len() {
            let v = graph.nodes[node].outputs[o];
            let chosen =
                if graph.ty(v).shape.rank() >= 3 { order } else { StorageOrder::RowMajor };
            n_changed += usize::from(graph.values[v].storage != chosen);
            graph.values[v].storage = chosen;
        }
    }
    n_changed
}

fn order_of(graph: &Graph, node: NodeId) -> StorageOrder {
    let n = &graph.nodes[node];
    let like_operands = |rank: usize| {
        let images = n.inputs.iter().flatten().filter(|&&v| {
            graph.ty(v).shape.rank() == rank && graph.def_node(v).is_some() && is_image(graph, v)
        });
        match images.into_iter().next() {
            Some(_) => StorageOrder::ChannelsLast,
            None => StorageOrder::RowMajor,
        }
    };
    let rank = graph.ty(n.outputs[0]).shape.rank();
    match (&n.op, n.op.class()) {
        (Op::Conv(_) | Op::ConvTranspose(_), _) | (_, Class::Window) => StorageOrder::ChannelsLast,
        (Op::Concat(_) | Op::Resize(_) | Op::Pad(_), _) | (_, Class::Map | Class::Reduce) => {
            like_operands(rank)
        }
        _ => StorageOrder::RowMajor,
    }
}

/// Whether `value` lies with its channels innermost, itself or through views that keep its rank.
fn is_image(graph: &Graph, value: ValueId) -> bool {
    debug_assert!(value.index() < graph.values.len(), "values of the graph");
    graph.values[value].storage == StorageOrder::ChannelsLast
}
