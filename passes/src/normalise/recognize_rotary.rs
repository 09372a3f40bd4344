//! Rotary position embedding written out.

use super::canonical::views::sliced;
use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::{Add, Concat, Mul, Sub};
use ir::patch::PatchError;
use ir::{NodeId, Op, Program, ValueId};

/// The halves of a rotary embedding are computed where they belong in its result, not put together
/// in another order first.
///
/// Before: `%1 = Slice(%0, 2, 4)`, `%2 = Neg(%1)`, `%3 = Slice(%0, 0, 2)`, `%4 = Concat(%2, %3)`,
/// `%5 = Mul(%0, %cos)`, `%6 = Mul(%4, %sin)`, `%7 = Add(%5, %6)`. After: `%7 = Concat(%8, %9)`, where
/// `%8` is `%3 * cos - %1 * sin` of the first half of the tables, and `%9` is `%1 * cos + %3 * sin`
/// of the second.
///
/// Refused: halves in another order that something else reads.
pub fn recognize_rotary(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::Add(_) => rotary(s, node),
        _ => Ok(()),
    })
}

/// `x * cos + turned(x) * sin`.
struct Rotary {
    x: ValueId,
    cos: ValueId,
    sin: ValueId,
    /// The halves of x with the first one negated last.
    turned: ValueId,
    /// The elements of half a row.
    half: i64,
}

fn rotary(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    let Some(found) = find(s, y) else {
        return Ok(());
    };
    if s.n_readers(found.turned) > 1 {
        s.refuse(node, || "something else reads the turned elements".into());
        return Ok(());
    }
    let halves = |s: &Sweep<'_, '_, '_>, v: ValueId| is_halved(s, v, found.half);
    if !(halves(s, found.cos) && halves(s, found.sin)) {
        s.refuse(node, || "the tables are not as long as a row".into());
        return Ok(());
    }
    let nodes = s.between(&[y], &[found.x, found.cos, found.sin]);
    s.rewrite_pattern(&nodes, y, |s| build(s, &found))
}

fn find(s: &Sweep<'_, '_, '_>, y: ValueId) -> Option<Rotary> {
    let products = |v| s.either_order(v, |op| matches!(op, Op::Mul(_)));
    s.either_order(y, |op| matches!(op, Op::Add(_)))
        .find_map(|[plain, other]| {
            products(other).find_map(|[turned, sin]| {
                products(plain).find_map(|[x, cos]| {
                    let half = turned_half(s, turned, x)?;
                    (s.ty(x) == s.ty(y)).then_some(Rotary {
                        x,
                        cos,
                        sin,
                        turned,
                        half,
                    })
                })
            })
        })
}

/// The elements of half a row of `x`, if `turned` is its second half negated, and then its first.
fn turned_half(s: &Sweep<'_, '_, '_>, turned: ValueId, x: ValueId) -> Option<i64> {
    let last = s.rank(x).checked_sub(1)?;
    let n = s.ty(x).shape.dim(last).known()?;
    let half = i64::try_from(n / 2).ok().filter(|_| n.is_multiple_of(2))?;
    let concat = s.def(turned)?;
    let Op::Concat(op) = s.op(concat) else {
        return None;
    };
    let axis = ir::infer::normalize_axis(op.axis, last + 1).ok()?;
    let [negated, first] = s.operands(turned, |op| matches!(op, Op::Concat(_)))?;
    let second = s.operand(negated, |op| matches!(op, Op::Neg(_)))?;
    let is_part = |v: ValueId, start: i64| {
        let cut = s.operands::<4>(v, |op| matches!(op, Op::Slice(_)));
        cut.is_some_and(|[of, starts, ends, axes]| {
            s.resolve(of) == s.resolve(x)
                && s.ints(starts) == Some(vec![start])
                && s.ints(ends) == Some(vec![start + half])
                && s.ints(axes) == Some(vec![last as i64])
        })
    };
    (axis == last && is_part(first, 0) && is_part(second, half)).then_some(half)
}

/// Whether a table is the same along rows, or has a row's length of two times `half`.
fn is_halved(s: &Sweep<'_, '_, '_>, table: ValueId, half: i64) -> bool {
    match s.ty(table).shape.0.last() {
        None => true,
        Some(d) => d.known().is_some_and(|d| d == 1 || d as i64 == 2 * half),
    }
}

/// The part of a table, or of x, for the half of a row that starts at `start`.
fn part(
    s: &mut Sweep<'_, '_, '_>,
    v: ValueId,
    start: i64,
    half: i64,
) -> Result<ValueId, PatchError> {
    let rank = s.rank(v);
    match s.ty(v).shape.0.last().and_then(|d| d.known()) {
        Some(n) if n as i64 == 2 * half => sliced(s, v, &[(rank - 1, start, start + half, 1)]),
        _ => Ok(v),
    }
}

fn build(s: &mut Sweep<'_, '_, '_>, found: &Rotary) -> Result<ValueId, PatchError> {
    let half = found.half;
    let axis = s.rank(found.x) as i64 - 1;
    let (a, b) = (part(s, found.x, 0, half)?, part(s, found.x, half, half)?);
    let mut term = |x, table, start| {
        let table = part(s, table, start, half)?;
        s.node(Mul {}, &[x, table])
    };
    let (cos_a, sin_b) = (term(a, found.cos, 0)?, term(b, found.sin, 0)?);
    let (cos_b, sin_a) = (term(b, found.cos, half)?, term(a, found.sin, half)?);
    let first = s.node(Sub {}, &[cos_a, sin_b])?;
    let second = s.node(Add {}, &[cos_b, sin_a])?;
    s.node(Concat { axis }, &[first, second])
}
