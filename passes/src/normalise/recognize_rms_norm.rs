//! Root-mean-square normalisation written out.

use super::normalization::{inverse_root, ones, onto, trailing};
use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::RMSNormalization;
use ir::{NodeId, Op, Program};

/// A value over the root of the mean of its squares is a root-mean-square normalisation; a product
/// with a constant after it becomes its scale.
///
/// Before: `%1 = Mul(%0, %0)`, `%2 = ReduceMean(%1, w0)`, `%3 = Add(%2, 1e-6)`, `%4 = Sqrt(%3)`,
/// `%5 = Div(%0, %4)`, `%6 = Mul(%5, w1)`. After: `%6 = RMSNormalization(%0, w1) {axis = 2}`.
///
/// Refused: means along axes that are not the last ones.
pub fn recognize_rms_norm(
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::Div(_) => normalized(s, node),
        Op::Mul(_) => {
            normalized(s, node)?;
            scale(s, node)
        }
        _ => Ok(()),
    })
}

fn normalized(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    let Some((x, axes, epsilon)) = inverse_root(s, y, |s, x, mean| {
        let (square, axes, keeps) = s.reduction(mean, |op| matches!(op, Op::ReduceMean(_)))?;
        let squared = s.operands(square, |op| matches!(op, Op::Mul(_)))?;
        (keeps && squared == [x, x]).then_some(axes)
    }) else {
        return Ok(());
    };
    let Some((axis, dims)) = trailing(s, x, &axes) else {
        s.refuse(node, || {
            format!("the mean runs along the axes {axes:?}, not the last ones")
        });
        return Ok(());
    };
    let nodes = s.between(&[y], &[x]);
    let dtype = s.dtype(x);
    s.rewrite_pattern(&nodes, y, |s| {
        let one = ones(s, dtype, &dims);
        let op = RMSNormalization {
            axis: axis as i64,
            epsilon: epsilon as f32,
            stash_type: 1,
        };
        s.node(op, &[x, one])
    })
}

fn scale(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    for [normal, c] in s.either_order(y, |op| matches!(op, Op::Mul(_))) {
        let Some(norm) = s.def(normal) else {
            continue;
        };
        if s.n_readers(normal) != 1 || s.ty(normal) != s.ty(y) {
            continue;
        }
        let Op::RMSNormalization(op) = s.op(norm).clone() else {
            continue;
        };
        let (Some(x), Some(old)) = (s.input(norm, 0), s.input(norm, 1)) else {
            continue;
        };
        let is_one = s.constant(old).and_then(|t| t.to_f64());
        let Some(tensor) = onto(s, x, op.axis, c) else {
            continue;
        };
        if is_one.is_some_and(|t| t.iter().all(|&v| v == 1.0)) {
            return s.rewrite_pattern(&[norm, node], y, |s| {
                let scale = s.constant_value(tensor);
                s.node(op, &[x, scale])
            });
        }
    }
    Ok(())
}
