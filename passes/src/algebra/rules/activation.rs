//! Activations that follow one another, or that scales pass through.

use super::arithmetic::{is_mul, with_constant};
use crate::algebra::term::{Application, Terms};
use egg::Id;
use ir::Op;
use ir::ops::{Clip, Max, Min, Mul, Relu, Swish};

pub(super) fn is_clamp(op: &Op) -> bool {
    matches!(op, Op::Relu(_) | Op::Clip(_))
}

/// Limits of `min(max(x, low), high)`; both constant, either may be left out.
struct Clamp {
    x: Id,
    low: Option<Id>,
    high: Option<Id>,
}

fn clamp(t: &mut Terms<'_>, m: &Application) -> Option<Clamp> {
    let x = m.operands.first().copied().flatten()?;
    if matches!(m.op, Op::Relu(_)) {
        let low = Some(t.scalar_like(x, 0.0)?);
        return Some(Clamp { x, low, high: None });
    }
    let limit = |i: usize| m.operands.get(i).copied().flatten();
    let (low, high) = (limit(1), limit(2));
    let constant = |limit: Option<Id>| limit.is_none_or(|c| t.is_constant(c));
    (constant(low) && constant(high)).then_some(Clamp { x, low, high })
}

/// Both clamps rise with x and are the identity between their limits, so that their composition is
/// the clamp between what the outer makes of the inner's limits.
pub(super) fn clamp_of_clamp(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let outer = clamp(t, m)?;
    let mut equal = vec![];
    for inner in t.applications(outer.x, is_clamp) {
        if let Some(composed) = compose(t, &outer, &inner) {
            equal.push(composed);
        }
    }
    Some(equal)
}

fn compose(t: &mut Terms<'_>, outer: &Clamp, inner: &Application) -> Option<Id> {
    let is_relu = matches!(inner.op, Op::Relu(_));
    let inner = clamp(t, inner)?;
    // Where the inner clamp has both limits, the upper wins over the lower.
    let inner_low = match (inner.low, inner.high) {
        (Some(low), Some(high)) => Some(scalar(t, Min {}, low, high)?),
        (low, _) => low,
    };
    let through = |t: &mut Terms<'_>, mut v: Id| {
        if let Some(low) = outer.low {
            v = scalar(t, Max {}, v, low)?;
        }
        if let Some(high) = outer.high {
            v = scalar(t, Min {}, v, high)?;
        }
        Some(v)
    };
    let low = match (inner_low, outer.low, outer.high) {
        (Some(low), ..) => Some(through(t, low)?),
        (None, Some(low), Some(high)) => Some(scalar(t, Min {}, low, high)?),
        (None, low, _) => low,
    };
    let high = match inner.high {
        Some(high) => Some(through(t, high)?),
        None => outer.high,
    };
    let low_value = low.and_then(|low| t.splat(low));
    if is_relu && high.is_none() && low_value == Some(0.0) {
        return t.add(Relu {}, &[inner.x]);
    }
    t.add_with(Clip {}, &[Some(inner.x), low, high], 1)
}

/// An elementwise function of two limits, as one element of rank 0.
fn scalar(t: &mut Terms<'_>, op: impl Into<Op>, a: Id, b: Id) -> Option<Id> {
    let (a, b) = (t.reshaped(a, &[])?, t.reshaped(b, &[])?);
    t.add(op, &[a, b])
}

pub(super) fn scale_before_relu(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (y, c) = with_constant(t, m)?;
    let relus = t.applications(y, |op| matches!(op, Op::Relu(_)));
    if relus.is_empty() {
        return None;
    }
    if !t.numbers(c)?.iter().all(|&v| v > 0.0 && v.is_finite()) {
        t.refuse(m.class, "a factor is not positive");
        return None;
    }
    let mut equal = vec![];
    for relu in relus {
        let x = relu.operands[0]?;
        let scaled = t.add(Mul {}, &[x, c])?;
        equal.push(t.add(Relu {}, &[scaled])?);
    }
    Some(equal)
}

pub(super) fn swish(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let [Some(a), Some(b)] = m.operands[..] else {
        return None;
    };
    let mut equal = vec![];
    for (x, gate) in [(a, b), (b, a)] {
        if !t.ty(x)?.dtype.is_float() {
            continue;
        }
        for sigmoid in t.applications(gate, |op| matches!(op, Op::Sigmoid(_))) {
            let inner = sigmoid.operands[0]?;
            if inner == x {
                equal.extend(t.add(Swish { alpha: 1.0 }, &[x]));
            }
            for scaled in t.applications(inner, is_mul) {
                if let Some((y, c)) = with_constant(t, &scaled)
                    && y == x
                    && let Some(alpha) = t.splat(c)
                {
                    equal.extend(t.add(
                        Swish {
                            alpha: alpha as f32,
                        },
                        &[x],
                    ));
                }
            }
        }
    }
    Some(equal)
}
