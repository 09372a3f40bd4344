//! Axes, as attributes and as operands.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::attrs::Attr;
use ir::infer::{normalize_axes, normalize_axis};
use ir::ops::{Abs, Expand, Log, Mul};
use ir::{DType, NodeId, Op, ValueId};

/// The greatest of one element is at position 0.
pub(crate) fn position(s: &mut Sweep<'_, '_, '_>, node: NodeId, along: i64) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let along = normalize_axis(along, s.rank(x))?;
    let (known, dims) = (s.ty(x).shape.dim(along).known(), s.dims(s.output(node)));
    let (Some(1), Some(dims)) = (known, dims) else {
        return axis(s, node);
    };
    s.rewrite(node, |s| {
        let dims: Vec<i64> = dims.into_iter().map(|d| d as i64).collect();
        let (zero, dims) = (s.number(DType::I64, 0.0), s.list(&dims));
        s.node(Expand {}, &[zero, dims])
    })
}

/// `Softmax(%0)` is `Softmax(%0) {axis = 1}`: an axis counts from the front.
pub(crate) fn axis(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let op = s.op(node);
    let axis = match op {
        Op::Softmax(op) => op.axis,
        Op::LogSoftmax(op) => op.axis,
        Op::Hardmax(op) => op.axis,
        Op::LpNormalization(op) => op.axis,
        Op::LayerNormalization(op) => op.axis,
        Op::RMSNormalization(op) => op.axis,
        Op::ArgMax(op) => op.axis,
        Op::ArgMin(op) => op.axis,
        Op::TopK(op) => op.axis,
        Op::Gather(op) => op.axis,
        Op::GatherElements(op) => op.axis,
        Op::ScatterElements(op) => op.axis,
        Op::Split(op) => op.axis,
        Op::Concat(op) => op.axis,
        _ => return Ok(()),
    };
    if axis >= 0 {
        return Ok(());
    }
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let positive = normalize_axis(axis, s.rank(x))?;
    let op = with_attr(op, "axis", Attr::Int(positive as i64))?;
    same_operands(s, node, op)
}

/// Whether `op` is a fold along the axes in operand 1.
pub(crate) fn folds(op: &Op) -> bool {
    matches!(
        op,
        Op::ReduceSum(_)
            | Op::ReduceMean(_)
            | Op::ReduceProd(_)
            | Op::ReduceMin(_)
            | Op::ReduceMax(_)
            | Op::ReduceL1(_)
            | Op::ReduceL2(_)
            | Op::ReduceSumSquare(_)
            | Op::ReduceLogSum(_)
            | Op::ReduceLogSumExp(_)
    )
}

/// `ReduceSum(%0)` is `ReduceSum(%0, w0)` with all axes in `w0`, ascending from the front.
pub(crate) fn reduction(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let rank = s.rank(x);
    let op = s.op(node);
    let noop = matches!(op.attrs().get("noop_with_empty_axes"), Some(Attr::Int(1)));
    let given = match s.input(node, 1) {
        None => vec![],
        Some(axes) => match s.ints(axes) {
            Some(axes) => axes,
            None => return Ok(()),
        },
    };
    let axes: Vec<i64> = match given.as_slice() {
        [] if noop => vec![],
        [] => (0..rank as i64).collect(),
        given => normalize_axes(given, rank)?
            .into_iter()
            .map(|a| a as i64)
            .collect(),
    };
    let of_one = |&a: &i64| s.ty(x).shape.dim(a as usize).known() == Some(1);
    if axes.iter().all(of_one) {
        return fold_of_one(s, node, x);
    }
    if axes == given && !noop {
        return Ok(());
    }
    let op = without_attr(op, "noop_with_empty_axes")?;
    s.rewrite(node, |s| {
        let axes = s.list(&axes);
        s.node(op, &[x, axes])
    })
}

/// A fold of one element each: the element, its magnitude, square or logarithm.
fn fold_of_one(s: &mut Sweep<'_, '_, '_>, node: NodeId, x: ValueId) -> Result<(), Cause> {
    let Some(dims) = s.dims(s.output(node)) else {
        return Ok(());
    };
    let op = s.op(node).clone();
    let through_logarithms = matches!(op, Op::ReduceLogSum(_) | Op::ReduceLogSumExp(_));
    if through_logarithms && !s.is_float(x) {
        return Ok(());
    }
    s.rewrite(node, |s| {
        let y = match op {
            Op::ReduceL1(_) | Op::ReduceL2(_) => s.node(Abs {}, &[x])?,
            Op::ReduceSumSquare(_) => s.node(Mul {}, &[x, x])?,
            Op::ReduceLogSum(_) => s.node(Log {}, &[x])?,
            _ => x,
        };
        s.reshaped(y, &dims)
    })
}

/// `op` with attribute `name` set to `value`.
pub(super) fn with_attr(op: &Op, name: &str, value: Attr) -> Result<Op, Cause> {
    let mut attrs = op.attrs();
    attrs.insert(name.into(), value);
    read(op, &attrs)
}

/// `op` with attribute `name` at its default.
pub(super) fn without_attr(op: &Op, name: &str) -> Result<Op, Cause> {
    let mut attrs = op.attrs();
    attrs.remove(name);
    read(op, &attrs)
}

/// The operator of the kind of `op` with these attributes.
pub(super) fn read(op: &Op, attrs: &ir::attrs::Attrs) -> Result<Op, Cause> {
    let unknown = || Cause::Other(format!("there is no operator {}", op.name()));
    Op::read(op.name(), attrs)
        .ok_or_else(unknown)?
        .map_err(|why| Cause::Other(format!("{}: {why}", op.name())))
}

/// `node` with another operator on the same operands, each result in the place of its like.
pub(super) fn same_operands(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: Op) -> Result<(), Cause> {
    if *s.op(node) == op || !s.may_change(&[node]) {
        return Ok(());
    }
    let inputs = s.inputs(node);
    let old = s.outputs(node).to_vec();
    let new = s.node_results(op, &inputs, old.len())?;
    for (old, new) in old.into_iter().zip(new) {
        s.replace(old, new);
    }
    Ok(())
}
