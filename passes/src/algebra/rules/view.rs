//! Views that change nothing, follow one another, or stand before elementwise operators.

use crate::algebra::term::{Application, Terms};
use egg::Id;
use ir::ops::{Transpose, ViewStep};
use ir::{Class, Op};

pub(super) fn is_view(op: &Op) -> bool {
    op.class() == Class::View
}

/// Elementwise operators of any number of operands that broadcast, and read no position.
pub(super) fn is_movable_map(op: &Op) -> bool {
    use Op::*;
    matches!(
        op,
        Abs(_)
            | Add(_)
            | Ceil(_)
            | Clip(_)
            | Cos(_)
            | Div(_)
            | Elu(_)
            | Erf(_)
            | Exp(_)
            | Floor(_)
            | Gelu(_)
            | HardSigmoid(_)
            | HardSwish(_)
            | LeakyRelu(_)
            | Log(_)
            | Max(_)
            | Min(_)
            | Mish(_)
            | Mul(_)
            | Neg(_)
            | Pow(_)
            | Reciprocal(_)
            | Relu(_)
            | Round(_)
            | Selu(_)
            | Sigmoid(_)
            | Sign(_)
            | Sin(_)
            | Softplus(_)
            | Softsign(_)
            | Sqrt(_)
            | Sub(_)
            | Swish(_)
            | Tanh(_)
    )
}

/// The operand of a view that is not constant, and the step.
fn step(t: &Terms<'_>, m: &Application) -> Option<(Id, ViewStep)> {
    let x = m.operands.first().copied()??;
    (!t.is_constant(x)).then_some(())?;
    Some((x, t.view(m)?))
}

pub(super) fn plain_view(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (x, step) = step(t, m)?;
    let dims = t.dims(x)?;
    match step {
        ViewStep::Permute(perm) if perm.iter().copied().eq(0..dims.len()) => Some(vec![x]),
        ViewStep::Permute(perm) => {
            let moved: Vec<usize> = perm.iter().copied().filter(|&p| dims[p] != 1).collect();
            if !moved.is_sorted() {
                return None;
            }
            let dims: Vec<usize> = perm.iter().map(|&p| dims[p]).collect();
            Some(vec![t.reshaped(x, &dims)?])
        }
        ViewStep::Reshape(to) | ViewStep::Broadcast(to) if to == dims => Some(vec![x]),
        ViewStep::Slice {
            steps, dims: to, ..
        } if to == dims && steps.iter().all(|&s| s > 0) => Some(vec![x]),
        ViewStep::Reshape(_) | ViewStep::Slice { .. } | ViewStep::Broadcast(_) => None,
    }
}

pub(super) fn merge_views(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (y, outer) = step(t, m)?;
    let mut equal = vec![];
    for inner in t.applications(y, is_view) {
        let Some((x, inner)) = step(t, &inner) else {
            continue;
        };
        equal.extend(match (&outer, inner) {
            (ViewStep::Permute(q), ViewStep::Permute(p)) => {
                let both: Vec<usize> = q.iter().map(|&i| p[i]).collect();
                if both.iter().copied().eq(0..both.len()) {
                    Some(x)
                } else {
                    t.add(Transpose::by(&both), &[x])
                }
            }
            (ViewStep::Reshape(dims), ViewStep::Reshape(_)) => t.reshaped(x, dims),
            _ => None,
        });
    }
    Some(equal)
}

/// All operands that are not constant have the result's shape and the same view; the view comes
/// after the operator, and constants are seen through its inverse.
pub(super) fn view_after_map(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let shape = t.shape(m.class)?.clone();
    let first = m
        .operands
        .iter()
        .flatten()
        .copied()
        .find(|&x| !t.is_constant(x))?;
    let mut equal = vec![];
    for view in t.applications(first, is_view) {
        let Some((x, how)) = step(t, &view) else {
            continue;
        };
        let inverse = match &how {
            ViewStep::Permute(perm) => Some(inverse(perm)),
            ViewStep::Reshape(_) => None,
            ViewStep::Slice { .. } | ViewStep::Broadcast(_) => continue,
        };
        let Some(before) = t.shape(x).cloned() else {
            continue;
        };
        let mut operands = vec![];
        for operand in &m.operands {
            let Some(operand) = *operand else {
                operands.push(None);
                continue;
            };
            let seen = if t.is_constant(operand) {
                constant_before(t, operand, shape.rank(), inverse.as_deref())
            } else if t.shape(operand) == Some(&shape) {
                same_view(t, operand, &how, &before)
            } else {
                None
            };
            match seen {
                Some(seen) => operands.push(Some(seen)),
                None => break,
            }
        }
        if operands.len() < m.operands.len() {
            continue;
        }
        let Some(mapped) = t.add_with(m.op.clone(), &operands, 1) else {
            continue;
        };
        if t.shape(mapped) != Some(&before) {
            continue;
        }
        let mut again = view.operands.clone();
        again[0] = Some(mapped);
        equal.extend(t.add_with(view.op.clone(), &again, 1));
    }
    Some(equal)
}

/// What is added to a transposed contraction is transposed back instead, so that the sum can join
/// the contraction; what was transposed itself costs nothing then.
pub(super) fn add_before_transpose(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let [Some(a), Some(b)] = m.operands[..] else {
        return None;
    };
    let shape = t.shape(m.class)?.clone();
    let mut equal = vec![];
    for (from, other) in [(a, b), (b, a)] {
        if t.is_constant(other) || t.shape(other) != Some(&shape) {
            continue;
        }
        for view in t.applications(from, |op| matches!(op, Op::Transpose(_))) {
            let Some((x, ViewStep::Permute(perm))) = step(t, &view) else {
                continue;
            };
            let is_contraction = |op: &Op| matches!(op, Op::MatMul(_) | Op::Gemm(_) | Op::Conv(_));
            if t.applications(x, is_contraction).is_empty() {
                continue;
            }
            let sum = t
                .add(Transpose::by(&inverse(&perm)), &[other])
                .and_then(|back| t.add(m.op.clone(), &[x, back]))
                .and_then(|sum| t.add(view.op.clone(), &[sum]));
            equal.extend(sum);
        }
    }
    Some(equal)
}

/// What `operand` is a view of, by the step `how` from the shape `before`.
fn same_view(t: &Terms<'_>, operand: Id, how: &ViewStep, before: &ir::Shape) -> Option<Id> {
    t.applications(operand, is_view).iter().find_map(|view| {
        let (x, step) = step(t, view)?;
        (step == *how && t.shape(x) == Some(before)).then_some(x)
    })
}

/// A constant operand as it is seen before the view: one element is the same everywhere, more
/// follow the inverse permutation of `rank` dimensions.
fn constant_before(
    t: &mut Terms<'_>,
    constant: Id,
    rank: usize,
    inverse: Option<&[usize]>,
) -> Option<Id> {
    let dims = t.dims(constant)?;
    if dims.iter().product::<usize>() == 1 {
        return t.reshaped(constant, &[]);
    }
    let inverse = inverse?;
    let mut full = vec![1; rank.checked_sub(dims.len())?];
    full.extend(&dims);
    let constant = t.reshaped(constant, &full)?;
    t.add(Transpose::by(inverse), &[constant])
}

fn inverse(perm: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; perm.len()];
    for (i, &p) in perm.iter().enumerate() {
        inverse[p] = i;
    }
    inverse
}
