//! Which values share storage before any kernel is built: slices of concatenations, results that
//! lie in an output of the model.

use ir::id::EntityId;
use ir::{Class, Graph, NodeId, Op, RegionKind, StorageOrder, ValueId};
use kernels::Layout;

/// Where a value shall lie that does not get storage of its own.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Arranged {
    /// Nothing was decided.
    Own,
    /// In the part of another value's storage that starts this many positions along `axis`.
    Slice {
        of: ValueId,
        axis: usize,
        start: u64,
    },
    /// In the storage of output `n` of the model.
    Output(usize),
    /// In storage of its own, dense in this order of its dimensions.
    Permuted(Vec<usize>),
}

/// For each value of `graph`, where it shall lie.
pub(super) fn arrange(graph: &Graph) -> Vec<Arranged> {
    let mut arranged = vec![Arranged::Own; graph.values.len()];
    let written = written_by_kernels(graph);
    outputs(graph, &written, &mut arranged);
    // From the last concatenation to the first, so that one inside another finds it placed.
    for &node in graph.order.iter().rev() {
        if let Op::Concat(concat) = &graph.nodes[node].op {
            slices(graph, node, concat.axis, &written, &mut arranged);
        }
    }
    transposed(graph, &written, &mut arranged);
    arranged
}

/// A result that is only read transposed lies the way its reader sees it, so that a reshape after
/// the transpose moves nothing.
fn transposed(graph: &Graph, written: &[bool], arranged: &mut [Arranged]) {
    let users = graph.users();
    for (v, value) in graph.values.iter() {
        let [user] = users[v.index()][..] else {
            continue;
        };
        let Op::Transpose(transpose) = &graph.nodes[user].op else {
            continue;
        };
        let free =
            written[v.index()] && arranged[v.index()] == Arranged::Own && !graph.is_output(v);
        if free && let Ok(permutation) = transpose.permutation(value.ty.shape.rank()) {
            arranged[v.index()] = Arranged::Permuted(permutation);
        }
    }
}

/// Values that a kernel writes and that may therefore lie anywhere.
fn written_by_kernels(graph: &Graph) -> Vec<bool> {
    let mut written = vec![false; graph.values.len()];
    for &n in &graph.order {
        let node = &graph.nodes[n];
        let kernel = node
            .region
            .is_some_and(|r| graph.regions[r].kind != RegionKind::View);
        for v in &node.outputs {
            written[v.index()] = kernel;
        }
    }
    written
}

/// Results that are an output of the model, directly or as a reshape, are written there.
fn outputs(graph: &Graph, written: &[bool], arranged: &mut [Arranged]) {
    for (n, &(_, output)) in graph.outputs.iter().enumerate() {
        let mut v = output;
        while !written[v.index()] {
            match graph.def_node(v).map(|n| &graph.nodes[n]) {
                Some(node) if is_reshape(&node.op) => match node.inputs[0] {
                    Some(x) => v = x,
                    None => break,
                },
                _ => break,
            }
        }
        let direct = v == output;
        let suits = direct || graph.values[v].storage == StorageOrder::RowMajor;
        if written[v.index()] && suits && arranged[v.index()] == Arranged::Own {
            arranged[v.index()] = Arranged::Output(n);
        }
    }
}

fn is_reshape(op: &Op) -> bool {
    op.class() == Class::View
        && matches!(
            op,
            Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Flatten(_) | Op::Identity(_)
        )
}

/// Operands of a concatenation that a kernel writes are written to their part of its result.
fn slices(graph: &Graph, node: NodeId, axis: i64, written: &[bool], arranged: &mut [Arranged]) {
    let n = &graph.nodes[node];
    let result = n.outputs[0];
    let rank = graph.ty(result).shape.rank();
    let Ok(axis) = ir::infer::normalize_axis(axis, rank) else {
        return;
    };
    let mut start = 0;
    for &operand in n.inputs.iter().flatten() {
        let Some(extent) = graph.ty(operand).shape.dim(axis).known() else {
            return;
        };
        let suits = written[operand.index()]
            && arranged[operand.index()] == Arranged::Own
            && !graph.is_output(operand)
            && graph.values[operand].storage == graph.values[result].storage
            && n.inputs.iter().filter(|&&v| v == Some(operand)).count() == 1;
        if suits {
            arranged[operand.index()] = Arranged::Slice {
                of: result,
                axis,
                start,
            };
        }
        start += extent as u64;
    }
}

/// The layout of the part of `whole` that starts `start` positions along `axis` and has `dims`.
pub(super) fn part(whole: &Layout, axis: usize, start: u64, dims: &[u64]) -> Layout {
    Layout {
        offset: whole.offset + start as i64 * whole.strides[axis],
        dims: dims.to_vec(),
        strides: whole.strides.clone(),
    }
}
