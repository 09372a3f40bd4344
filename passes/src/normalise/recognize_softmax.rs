//! Softmax written out.

use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::{LogSoftmax, Softmax};
use ir::{NodeId, Op, Program, ValueId};

/// Exponentials over their sum are a softmax; its logarithm is a log-softmax.
///
/// Before: `%1 = ReduceMax(%0, w0)`, `%2 = Sub(%0, %1)`, `%3 = Exp(%2)`, `%4 = ReduceSum(%3, w0)`,
/// `%5 = Div(%3, %4)`. After: `%5 = Softmax(%0) {axis = 1}`.
///
/// The maximum may be missing, the division a product with the reciprocal. Refused: sums along
/// several axes.
pub fn recognize_softmax(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::Div(_) | Op::Mul(_) => softmax(s, node),
        Op::Log(_) => logarithm(s, node),
        Op::Sub(_) => log_softmax(s, node),
        _ => Ok(()),
    })
}

fn softmax(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    let quotient = s
        .operands::<2>(y, |op| matches!(op, Op::Div(_)))
        .or_else(|| {
            s.either_order(y, |op| matches!(op, Op::Mul(_)))
                .find_map(|[e, r]| Some([e, s.operand(r, |op| matches!(op, Op::Reciprocal(_)))?]))
        });
    let Some([e, sum]) = quotient else {
        return Ok(());
    };
    let Some(z) = s.operand(e, |op| matches!(op, Op::Exp(_))) else {
        return Ok(());
    };
    let Some((summed, axes, true)) = s.reduction(sum, |op| matches!(op, Op::ReduceSum(_))) else {
        return Ok(());
    };
    if summed != s.resolve(e) {
        return Ok(());
    }
    let [axis] = axes[..] else {
        s.refuse(node, || format!("the sum runs along the axes {axes:?}"));
        return Ok(());
    };
    let x = without_maximum(s, z, axis);
    let nodes = s.between(&[y], &[x]);
    s.rewrite_pattern(&nodes, y, |s| s.node(Softmax { axis: axis as i64 }, &[x]))
}

/// x where `z` is x less its maximum along `axis`; else `z`.
fn without_maximum(s: &Sweep<'_, '_, '_>, z: ValueId, axis: usize) -> ValueId {
    let z = s.resolve(z);
    let Some([x, max]) = s.operands(z, |op| matches!(op, Op::Sub(_))) else {
        return z;
    };
    match s.reduction(max, |op| matches!(op, Op::ReduceMax(_))) {
        Some((of, axes, true)) if of == x && axes == [axis] => x,
        _ => z,
    }
}

/// `Log(Softmax(x))`.
fn logarithm(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(softmax) = s.input(node, 0) else {
        return Ok(());
    };
    let (Some(x), Some(def)) = (
        s.operand(softmax, |op| matches!(op, Op::Softmax(_))),
        s.def(softmax),
    ) else {
        return Ok(());
    };
    let Op::Softmax(Softmax { axis }) = *s.op(def) else {
        return Ok(());
    };
    s.rewrite_pattern(&[def, node], s.output(node), |s| {
        s.node(LogSoftmax { axis }, &[x])
    })
}

/// `z - Log(ReduceSum(Exp(z)))`.
fn log_softmax(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    let Some([z, log]) = s.operands(y, |op| matches!(op, Op::Sub(_))) else {
        return Ok(());
    };
    let Some(sum) = s.operand(log, |op| matches!(op, Op::Log(_))) else {
        return Ok(());
    };
    let Some((e, axes, true)) = s.reduction(sum, |op| matches!(op, Op::ReduceSum(_))) else {
        return Ok(());
    };
    if s.operand(e, |op| matches!(op, Op::Exp(_))) != Some(z) {
        return Ok(());
    }
    let [axis] = axes[..] else {
        s.refuse(node, || format!("the sum runs along the axes {axes:?}"));
        return Ok(());
    };
    let x = without_maximum(s, z, axis);
    let nodes = s.between(&[y], &[x]);
    s.rewrite_pattern(&nodes, y, |s| {
        s.node(LogSoftmax { axis: axis as i64 }, &[x])
    })
}
