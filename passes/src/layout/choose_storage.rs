//! Chooses which dimension of an image is innermost in memory.

use crate::{Changed, PassCx, PassError};
use ir::{Class, Graph, NodeId, Op, Program, StorageOrder};

/// Images that convolutions and windows make, and what elementwise operators make of them, lie with
/// their channels innermost.
///
/// Before: `%3: f32[1, 64, 56, 56] = Conv(%0, w0)`. After: the same, `channels_last`. Contractions
/// read and write runs of channels then, on every device; views need no elements moved, because
/// shapes stay as ONNX writes them and only strides change. What the user sees is row-major.
pub fn choose_storage(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let mut changed = 0;
    for (_, graph) in program.graphs.iter_mut() {
        for i in 0..graph.order.len() {
            let node = graph.order[i];
            let order = order_of(graph, node);
            for o in 0..graph.nodes[node].outputs.len() {
                let v = graph.nodes[node].outputs[o];
                let image = graph.ty(v).shape.rank() >= 3;
                let chosen = if image { order } else { StorageOrder::RowMajor };
                if graph.values[v].storage != chosen && cx.may_change() {
                    graph.values[v].storage = chosen;
                    changed += 1;
                }
            }
        }
    }
    Ok(Changed(changed))
}

fn order_of(graph: &Graph, node: NodeId) -> StorageOrder {
    let n = &graph.nodes[node];
    let rank = graph.ty(n.outputs[0]).shape.rank();
    let like_operands = || {
        let image = n.inputs.iter().flatten().any(|&v| {
            graph.ty(v).shape.rank() == rank
                && graph.values[v].storage == StorageOrder::ChannelsLast
        });
        if image {
            StorageOrder::ChannelsLast
        } else {
            StorageOrder::RowMajor
        }
    };
    match (&n.op, n.op.class()) {
        (Op::Conv(_) | Op::ConvTranspose(_), _) | (_, Class::Window) => StorageOrder::ChannelsLast,
        (Op::Concat(_) | Op::Resize(_) | Op::Pad(_), _) | (_, Class::Map | Class::Reduce) => {
            like_operands()
        }
        _ => StorageOrder::RowMajor,
    }
}
