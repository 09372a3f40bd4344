//! Layer normalisation written out.

use super::normalization::{deviation, inverse_root, ones, onto, trailing};
use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::LayerNormalization;
use ir::{NodeId, Op, Program, ValueId};

/// A deviation from the mean over its standard deviation is a layer normalisation; a product with
/// and a sum with a constant after it become its scale and bias.
///
/// Before: `%1 = ReduceMean(%0, w0)`, `%2 = Sub(%0, %1)`, `%3 = Mul(%2, %2)`,
/// `%4 = ReduceMean(%3, w0)`, `%5 = Add(%4, 1e-5)`, `%6 = Sqrt(%5)`, `%7 = Div(%2, %6)`,
/// `%8 = Mul(%7, w1)`, `%9 = Add(%8, w2)`. After: `%9 = LayerNormalization(%0, w1, w2) {axis = 2}`.
///
/// Refused: statistics along axes that are not the last ones.
pub fn recognize_layer_norm(
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::Div(_) => standardized(s, node),
        Op::Mul(_) => {
            standardized(s, node)?;
            scale(s, node)
        }
        Op::Add(_) => bias(s, node),
        _ => Ok(()),
    })
}

fn standardized(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    let Some((d, variance, epsilon)) = inverse_root(s, y, |s, d, mean| {
        // The mean of the squares of the deviations.
        let (square, axes, keeps) = s.reduction(mean, |op| matches!(op, Op::ReduceMean(_)))?;
        let [a, b] = s.operands(square, |op| matches!(op, Op::Mul(_)))?;
        let same =
            |v: ValueId| v == d || deviation(s, v).is_some_and(|x| Some(x) == deviation(s, d));
        (keeps && same(a) && same(b)).then_some(axes)
    }) else {
        return Ok(());
    };
    let Some((x, axes)) = deviation(s, d).filter(|(_, axes)| *axes == variance) else {
        return Ok(());
    };
    let Some((axis, dims)) = trailing(s, x, &axes) else {
        s.refuse(node, || {
            format!("the statistics run along the axes {axes:?}, not the last ones")
        });
        return Ok(());
    };
    let nodes = s.between(&[y], &[x]);
    let dtype = s.dtype(x);
    s.rewrite_pattern(&nodes, y, |s| {
        let one = ones(s, dtype, &dims);
        let op = LayerNormalization {
            axis: axis as i64,
            epsilon: epsilon as f32,
            stash_type: 1,
        };
        s.node(op, &[x, one])
    })
}

/// The layer normalisation that gives `v` to one reader only.
fn before(s: &Sweep<'_, '_, '_>, v: ValueId) -> Option<(NodeId, LayerNormalization)> {
    let node = s.def(v)?;
    match s.op(node) {
        Op::LayerNormalization(op) if s.n_readers(v) == 1 && s.outputs(node).len() == 1 => {
            Some((node, op.clone()))
        }
        _ => None,
    }
}

fn scale(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    for [normal, c] in s.either_order(y, |op| matches!(op, Op::Mul(_))) {
        let Some((norm, op)) = before(s, normal).filter(|_| s.ty(normal) == s.ty(y)) else {
            continue;
        };
        let (Some(x), Some(old), None) = (s.input(norm, 0), s.input(norm, 1), s.input(norm, 2))
        else {
            continue;
        };
        let is_one = s.constant(old).and_then(|t| t.to_f64());
        if !is_one.is_some_and(|t| t.iter().all(|&v| v == 1.0)) {
            continue;
        }
        let Some(tensor) = onto(s, x, op.axis, c) else {
            s.refuse(node, || {
                "the factor is not constant along the other axes".into()
            });
            continue;
        };
        return s.rewrite_pattern(&[norm, node], y, |s| {
            let scale = s.constant_value(tensor);
            s.node(op, &[x, scale])
        });
    }
    Ok(())
}

fn bias(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    for [normal, c] in s.either_order(y, |op| matches!(op, Op::Add(_))) {
        let Some((norm, op)) = before(s, normal).filter(|_| s.ty(normal) == s.ty(y)) else {
            continue;
        };
        let (Some(x), Some(scale), None) = (s.input(norm, 0), s.input(norm, 1), s.input(norm, 2))
        else {
            continue;
        };
        let Some(tensor) = onto(s, x, op.axis, c) else {
            continue;
        };
        return s.rewrite_pattern(&[norm, node], y, |s| {
            let bias = s.constant_value(tensor);
            s.node(op, &[x, scale, bias])
        });
    }
    Ok(())
}
