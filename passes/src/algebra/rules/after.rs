//! Scales and offsets after a contraction become part of its constants.

use super::arithmetic::with_constant;
use super::channel::{Along, scale_grouped};
use crate::algebra::term::{Application, Terms};
use egg::Id;
use ir::Op;
use ir::ops::{Add, Mul};

/// `x`, the constant weight and the optional constant bias of a contraction whose result is combined.
struct Weighted {
    op: Op,
    x: Id,
    weight: Id,
    bias: Option<Id>,
}

fn weighted(t: &mut Terms<'_>, m: &Application, class: Id) -> Option<Weighted> {
    let (x, weight) = (m.operands.first().copied()??, m.operands.get(1).copied()??);
    let bias = m.operands.get(2).copied().flatten();
    if !t.is_constant(weight) || bias.is_some_and(|b| !t.is_constant(b)) {
        t.refuse(class, "the weight is computed at run time");
        return None;
    }
    if t.keeps_weight(weight, class) {
        return None;
    }
    Some(Weighted {
        op: m.op.clone(),
        x,
        weight,
        bias,
    })
}

fn is_conv(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_))
}

/// Tries `make` on every contraction that `y` of `y ∘ c` is.
fn each(
    t: &mut Terms<'_>,
    m: &Application,
    wanted: fn(&Op) -> bool,
    make: impl Fn(&mut Terms<'_>, &Application, Id, Id) -> Option<Id>,
) -> Option<Vec<Id>> {
    let (y, c) = with_constant(t, m)?;
    let contractions = t.applications(y, wanted);
    Some(
        contractions
            .iter()
            .filter_map(|inner| make(t, inner, y, c))
            .collect(),
    )
}

/// `c` along the channels, dimension 1, of `y`; refused if it varies elsewhere.
fn along_channels(t: &mut Terms<'_>, class: Id, y: Id, c: Id) -> Option<Along> {
    let along = Along::new(t, c, &t.shape(y)?.clone(), 1);
    if along.is_none() {
        t.refuse(
            class,
            "the constant varies along other dimensions than the channels",
        );
    }
    along
}

pub(super) fn scale_into_conv(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    each(t, m, is_conv, |t, conv, y, c| {
        let scale = along_channels(t, m.class, y, c)?;
        let Weighted {
            op,
            x,
            weight,
            bias,
        } = weighted(t, conv, m.class)?;
        // The result's channels lie along dimension 0 of a convolution's weight, and along
        // dimension 1, group by group, of a transposed one's.
        let weight = match &op {
            Op::ConvTranspose(op) => {
                scale_grouped(t, weight, scale, 1, usize::try_from(op.group).ok()?)?
            }
            _ => scale_grouped(t, weight, scale, 0, 1)?,
        };
        let bias = match bias {
            Some(bias) => {
                let scale = t.reshaped(scale.constant, &[scale.n])?;
                Some(t.add(Mul {}, &[bias, scale])?)
            }
            None => None,
        };
        t.add_with(op, &[Some(x), Some(weight), bias], 1)
    })
}

pub(super) fn offset_into_conv(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    each(t, m, is_conv, |t, conv, y, c| {
        let offset = along_channels(t, m.class, y, c)?;
        let x = conv.operands.first().copied()??;
        let weight = conv.operands.get(1).copied()??;
        let n = t.shape(y)?.dim(1).known()?;
        let bias = match conv.operands.get(2).copied().flatten() {
            Some(bias) if t.is_constant(bias) => {
                let offset = t.reshaped(offset.constant, &[offset.n])?;
                t.add(Add {}, &[bias, offset])?
            }
            Some(_) => return None,
            None => offset.vector(t, n)?,
        };
        t.add(conv.op.clone(), &[x, weight, bias])
    })
}

fn is_matmul(op: &Op) -> bool {
    matches!(op, Op::MatMul(_))
}

pub(super) fn scale_into_matmul(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (y, c) = with_constant(t, m)?;
    let mut equal = vec![];
    for matmul in t.applications(y, is_matmul) {
        let [Some(a), Some(b)] = matmul.operands[..] else {
            continue;
        };
        let n = |class| t.shape(class).and_then(ir::Shape::n_elements);
        // Between two factors that are computed, the smaller one gets a number, the left one if in doubt.
        let sides = match (t.is_constant(a), t.is_constant(b)) {
            (false, false) if n(b) < n(a) => 1..2,
            (false, false) => 0..1,
            _ => 0..2,
        };
        for side in sides {
            equal.extend(scale_factor(t, m.class, y, c, [a, b], side));
        }
    }
    Some(equal)
}

/// `a @ b * c` with `c` moved onto the factor on `side`.
fn scale_factor(
    t: &mut Terms<'_>,
    class: Id,
    y: Id,
    c: Id,
    factors: [Id; 2],
    side: usize,
) -> Option<Id> {
    let factor = factors[side];
    let shape = t.shape(y)?.clone();
    let rank = t.shape(factor)?.rank();
    let is_constant = t.is_constant(factor);
    // A number may move onto a factor that is computed: it meets what made the factor there.
    let scale = if let Some(number) = Along::new(t, c, &shape, 0).filter(|along| along.n == 1) {
        number.at(t, 0, 0)?
    } else if !is_constant || rank < 2 {
        return None;
    } else {
        let axis = shape.rank().checked_sub(if side == 0 { 2 } else { 1 })?;
        let along = Along::new(t, c, &shape, axis)?;
        along.at(t, side, 2)?
    };
    if is_constant && t.keeps_weight(factor, class) {
        return None;
    }
    let scaled = t.add(Mul {}, &[factor, scale])?;
    let mut operands = factors;
    operands[side] = scaled;
    t.add(ir::ops::MatMul {}, &operands)
}

fn is_gemm(op: &Op) -> bool {
    matches!(op, Op::Gemm(_))
}

pub(super) fn scale_into_gemm(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    each(t, m, is_gemm, |t, gemm, y, c| {
        let scale = along_channels(t, m.class, y, c)?;
        let Weighted {
            op,
            x,
            weight,
            bias,
        } = weighted(t, gemm, m.class)?;
        let Op::Gemm(attrs) = &op else { return None };
        let scale_weight = scale.at(t, usize::from(!attrs.transB), 2)?;
        let weight = t.add(Mul {}, &[weight, scale_weight])?;
        let bias = match bias {
            Some(bias) => {
                let scale = t.reshaped(scale.constant, &[scale.n])?;
                Some(t.add(Mul {}, &[bias, scale])?)
            }
            None => None,
        };
        t.add_with(op, &[Some(x), Some(weight), bias], 1)
    })
}

pub(super) fn offset_into_gemm(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    each(t, m, is_gemm, |t, gemm, y, c| {
        let Op::Gemm(attrs) = &gemm.op else {
            return None;
        };
        let (a, b) = (
            gemm.operands.first().copied()??,
            gemm.operands.get(1).copied()??,
        );
        if t.ty(m.class)?.shape != t.ty(y)?.shape {
            return None;
        }
        let offset = match gemm.operands.get(2).copied().flatten() {
            Some(old) if !t.is_constant(old) => return None,
            Some(old) => {
                let scaled = if attrs.beta == 1.0 {
                    old
                } else {
                    let beta = t.scalar_like(old, attrs.beta.into())?;
                    t.add(Mul {}, &[old, beta])?
                };
                t.add(Add {}, &[scaled, c])?
            }
            None => c,
        };
        t.add(
            ir::ops::Gemm {
                beta: 1.0,
                ..attrs.clone()
            },
            &[a, b, offset],
        )
    })
}
