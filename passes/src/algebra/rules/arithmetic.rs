//! Arithmetic with constants: one canonical form, and fewer operations.

use crate::algebra::term::{Application, Terms};
use egg::Id;
use ir::Op;
use ir::ops::{Add, Mul, Neg, Reciprocal};

pub(super) fn is_add(op: &Op) -> bool {
    matches!(op, Op::Add(_))
}

pub(super) fn is_mul(op: &Op) -> bool {
    matches!(op, Op::Mul(_))
}

pub(super) fn is_add_or_mul(op: &Op) -> bool {
    is_add(op) || is_mul(op)
}

pub(super) fn is_sub(op: &Op) -> bool {
    matches!(op, Op::Sub(_))
}

pub(super) fn is_div(op: &Op) -> bool {
    matches!(op, Op::Div(_))
}

pub(super) fn is_neg(op: &Op) -> bool {
    matches!(op, Op::Neg(_))
}

/// `x` and the constant `c` of `x ∘ c`, in real numbers.
pub(super) fn with_constant(t: &Terms<'_>, m: &Application) -> Option<(Id, Id)> {
    match m.operands[..] {
        [Some(x), Some(c)] if t.is_real(m.class) && t.is_constant(c) && !t.is_constant(x) => {
            Some((x, c))
        }
        _ => None,
    }
}

pub(super) fn constant_second(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    match m.operands[..] {
        [Some(c), Some(x)] if t.is_constant(c) && !t.is_constant(x) => {
            Some(vec![t.add(m.op.clone(), &[x, c])?])
        }
        _ => None,
    }
}

/// Numbers whose reciprocal neither overflows nor loses digits.
fn is_invertible(v: f64) -> bool {
    (1e-30..=1e30).contains(&v.abs())
}

pub(super) fn divide_as_scale(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (x, c) = with_constant(t, m)?;
    match t.numbers(c) {
        Some(numbers) if numbers.iter().copied().all(is_invertible) => {
            let scale = t.add(Reciprocal {}, &[c])?;
            Some(vec![t.add(Mul {}, &[x, scale])?])
        }
        Some(_) => {
            t.refuse(m.class, "the divisor has no accurate reciprocal");
            None
        }
        None => None,
    }
}

pub(super) fn subtract_as_offset(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    if let Some((x, c)) = with_constant(t, m) {
        let offset = t.add(Neg {}, &[c])?;
        return Some(vec![t.add(Add {}, &[x, offset])?]);
    }
    match m.operands[..] {
        [Some(c), Some(x)] if t.is_real(m.class) && t.is_constant(c) => {
            let minus_one = t.scalar_like(x, -1.0)?;
            let negative = t.add(Mul {}, &[x, minus_one])?;
            Some(vec![t.add(Add {}, &[negative, c])?])
        }
        _ => None,
    }
}

pub(super) fn negate_as_scale(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let x = m.operands[0].filter(|&x| t.is_real(x))?;
    let minus_one = t.scalar_like(x, -1.0)?;
    Some(vec![t.add(Mul {}, &[x, minus_one])?])
}

pub(super) fn scale_by_one(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (x, c) = with_constant(t, m)?;
    (t.splat(c)? == 1.0).then(|| vec![x])
}

pub(super) fn offset_by_zero(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (x, c) = with_constant(t, m)?;
    (t.splat(c)? == 0.0).then(|| vec![x])
}

pub(super) fn merge_scales(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    merge(t, m, is_mul)
}

pub(super) fn merge_offsets(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    merge(t, m, is_add)
}

/// `x ∘ c ∘ d` as `x ∘ (c ∘ d)`, unless `c ∘ d` has more elements than both.
fn merge(t: &mut Terms<'_>, m: &Application, same: fn(&Op) -> bool) -> Option<Vec<Id>> {
    let (y, d) = with_constant(t, m)?;
    let mut equal = vec![];
    for inner in t.applications(y, same) {
        let Some((x, c)) = with_constant(t, &inner) else {
            continue;
        };
        let Some(both) = t.add(m.op.clone(), &[c, d]) else {
            continue;
        };
        let n = |class| t.shape(class).and_then(ir::Shape::n_elements);
        if n(both) > n(c).max(n(d)) {
            t.refuse(m.class, "the constants vary along different dimensions");
            continue;
        }
        if !keeps_range(t, is_mul(&m.op), [c, d], both) {
            t.refuse(
                m.class,
                "the constants together leave the range of accurate numbers",
            );
            continue;
        }
        equal.extend(t.add(m.op.clone(), &[x, both]));
    }
    Some(equal)
}

/// Whether what two constants make together, as far as it has been looked at, is as accurate as they
/// are: it does not overflow, and a product does not vanish where neither factor does.
fn keeps_range(t: &Terms<'_>, is_product: bool, parts: [Id; 2], both: Id) -> bool {
    let all = |class, wanted: &dyn Fn(f64) -> bool| {
        t.numbers(class)
            .is_none_or(|numbers| numbers.into_iter().all(wanted))
    };
    let is_plain = |v: f64| v == 0.0 || is_invertible(v);
    let vanishes = is_product
        && !all(both, &|v| v != 0.0)
        && parts.iter().all(|&part| all(part, &|v| v != 0.0));
    !vanishes
        && parts
            .iter()
            .chain([&both])
            .all(|&class| all(class, &is_plain))
}

pub(super) fn scale_offset(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let (y, d) = with_constant(t, m)?;
    let mut equal = vec![];
    for inner in t.applications(y, is_add) {
        let Some((x, c)) = with_constant(t, &inner) else {
            continue;
        };
        let scaled = t.add(Mul {}, &[x, d]);
        let offset = t.add(Mul {}, &[c, d]);
        if let (Some(scaled), Some(offset)) = (scaled, offset) {
            equal.extend(t.add(Add {}, &[scaled, offset]));
        }
    }
    Some(equal)
}
