//! Scales and offsets of what a contraction reads become part of its constants.

use super::arithmetic::{is_add, is_mul, with_constant};
use super::channel::{Along, scale_grouped};
use crate::algebra::term::{Application, Terms};
use egg::Id;
use ir::Op;
use ir::ops::{Add, MatMul, Mul};

pub(super) fn is_conv(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_))
}

pub(super) fn is_matmul(op: &Op) -> bool {
    matches!(op, Op::MatMul(_))
}

pub(super) fn is_gemm(op: &Op) -> bool {
    matches!(op, Op::Gemm(_))
}

/// For each way in which operand 0 is `x ∘ c` with `c` along `axis` (from the back if negative) of
/// `x`, whose shape is the same: `x` and `c`.
fn combined(
    t: &mut Terms<'_>,
    m: &Application,
    wanted: fn(&Op) -> bool,
    axis: isize,
) -> Vec<(Id, Along)> {
    let Some(operand) = m.operands.first().copied().flatten() else {
        return vec![];
    };
    let Some(shape) = t.shape(operand).cloned() else {
        return vec![];
    };
    let axis = if axis < 0 {
        shape.rank() as isize + axis
    } else {
        axis
    };
    let mut found = vec![];
    for inner in t.applications(operand, wanted) {
        let Some((x, c)) = with_constant(t, &inner) else {
            continue;
        };
        if t.shape(x) != Some(&shape) {
            continue;
        }
        match Along::new(t, c, &shape, axis as usize) {
            Some(along) => found.push((x, along)),
            None => t.refuse(
                m.class,
                "what the operand is combined with varies along other dimensions",
            ),
        }
    }
    found
}

/// The constant weight, which is operand 1.
fn weight(t: &mut Terms<'_>, m: &Application) -> Option<Id> {
    let weight = m.operands.get(1).copied()??;
    (t.is_constant(weight) && !t.keeps_weight(weight, m.class)).then_some(weight)
}

fn groups(op: &Op) -> Option<usize> {
    match op {
        Op::Conv(op) => usize::try_from(op.group).ok(),
        Op::ConvTranspose(op) => usize::try_from(op.group).ok(),
        _ => None,
    }
}

/// Zero padding stays zero under a scale, so that any window will do.
pub(super) fn scale_before_conv(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let bias = m.operands.get(2).copied().flatten();
    let mut equal = vec![];
    for (x, scale) in combined(t, m, is_mul, 1) {
        let w = weight(t, m)?;
        let scaled = match &m.op {
            Op::ConvTranspose(_) => scale_grouped(t, w, scale, 0, 1)?,
            _ => scale_grouped(t, w, scale, 1, groups(&m.op)?)?,
        };
        equal.extend(t.add_with(m.op.clone(), &[Some(x), Some(scaled), bias], 1));
    }
    Some(equal)
}

pub(super) fn offset_before_conv(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let Op::Conv(conv) = &m.op else { return None };
    let mut equal = vec![];
    for (x, offset) in combined(t, m, is_add, 1) {
        let w = weight(t, m)?;
        let geometry = conv.geometry(t.ty(x)?, t.ty(w)?).ok()?;
        if geometry
            .pads_begin
            .iter()
            .chain(&geometry.pads_end)
            .any(|&p| p != 0)
        {
            t.refuse(m.class, "the padding would have to hold the offset");
            continue;
        }
        let dims = t.dims(w)?;
        let weighted = scale_grouped(t, w, offset, 1, groups(&m.op)?)?;
        let flat = t.reshaped(weighted, &[dims[0], dims[1..].iter().product()])?;
        let ones = t.literal(ir::Tensor::from_f64(
            t.ty(w)?.dtype,
            &[dims[1..].iter().product()],
            &vec![1.0; dims[1..].iter().product()],
        ));
        let sums = t.add(MatMul {}, &[flat, ones])?;
        let mut along = vec![1; dims.len()];
        along[1] = dims[0];
        let sums = t.reshaped(sums, &along)?;
        let mut operands = m.operands.clone();
        operands[0] = Some(x);
        let plain = t.add_with(m.op.clone(), &operands, 1)?;
        equal.extend(t.add(Add {}, &[plain, sums]));
    }
    Some(equal)
}

pub(super) fn scale_before_matmul(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let mut equal = vec![];
    for (x, scale) in combined(t, m, is_mul, -1) {
        let w = weight(t, m)?;
        let rank = t.shape(w)?.rank().min(2);
        let scale = scale.at(t, 0, rank)?;
        let scaled = t.add(Mul {}, &[w, scale])?;
        equal.extend(t.add(MatMul {}, &[x, scaled]));
    }
    Some(equal)
}

pub(super) fn offset_before_matmul(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let mut equal = vec![];
    for (x, offset) in combined(t, m, is_add, -1) {
        let w = m.operands.get(1).copied()?.filter(|&w| t.is_constant(w))?;
        let [depth, _] = t.dims(w)?[..] else {
            t.refuse(m.class, "the weight is no matrix");
            continue;
        };
        let row = offset.vector(t, depth)?;
        let sums = t.add(MatMul {}, &[row, w])?;
        let plain = t.add(MatMul {}, &[x, w])?;
        equal.extend(t.add(Add {}, &[plain, sums]));
    }
    Some(equal)
}

pub(super) fn scale_before_gemm(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let Op::Gemm(gemm) = &m.op else { return None };
    if gemm.transA {
        return None;
    }
    let mut equal = vec![];
    for (x, scale) in combined(t, m, is_mul, 1) {
        let w = weight(t, m)?;
        let scale = scale.at(t, usize::from(gemm.transB), 2)?;
        let scaled = t.add(Mul {}, &[w, scale])?;
        let mut operands = m.operands.clone();
        operands[0] = Some(x);
        operands[1] = Some(scaled);
        equal.extend(t.add_with(m.op.clone(), &operands, 1));
    }
    Some(equal)
}

pub(super) fn offset_before_gemm(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let Op::Gemm(gemm) = &m.op else { return None };
    if gemm.transA {
        return None;
    }
    let mut equal = vec![];
    for (x, offset) in combined(t, m, is_add, 1) {
        let w = m.operands.get(1).copied()?.filter(|&w| t.is_constant(w))?;
        let dims = t.dims(w)?;
        let row = offset.vector(t, dims[usize::from(gemm.transB)])?;
        let sums = if gemm.transB { [w, row] } else { [row, w] };
        let sums = t.add(MatMul {}, &sums)?;
        let alpha = t.scalar_like(sums, gemm.alpha.into())?;
        let sums = t.add(Mul {}, &[sums, alpha])?;
        let mut operands = m.operands.clone();
        operands[0] = Some(x);
        let plain = t.add_with(m.op.clone(), &operands, 1)?;
        equal.extend(t.add(Add {}, &[plain, sums]));
    }
    Some(equal)
}
