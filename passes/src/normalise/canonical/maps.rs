//! Elementwise operators.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::ops::{Add, Cast, Clip, Div, Expand, Max, Min, Mul, Reciprocal, Relu, Sqrt};
use ir::{NodeId, Op, ValueId};

/// A cast to the type that is there already is nothing.
pub(crate) fn cast(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Cast) -> Result<(), Cause> {
    match s.input(node, 0) {
        Some(x) if s.dtype(x) == op.to => s.rewrite(node, |_| Ok(x)),
        _ => Ok(()),
    }
}

/// `CastLike(%0, %1)` is `Cast(%0)` to the type of `%1`.
pub(crate) fn cast_like(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let (Some(x), Some(like)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let to = s.dtype(like);
    s.rewrite(node, |s| s.node(Cast::to(to), &[x]))
}

/// Limits that limit nothing go; `Clip(%0, 0)` is `Relu(%0)`.
pub(crate) fn clip(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let limits = [s.input(node, 1), s.input(node, 2)];
    let limits_something = |v: Option<ValueId>, nothing: f64| {
        v.filter(|&v| s.scalar(v) != Some(nothing) || !s.is_float(v))
    };
    let low = limits_something(limits[0], f64::NEG_INFINITY);
    let high = limits_something(limits[1], f64::INFINITY);
    match (low, high) {
        (None, None) => s.rewrite(node, |_| Ok(x)),
        (Some(low), None) if s.scalar(low) == Some(0.0) => {
            s.rewrite(node, |s| s.node(Relu {}, &[x]))
        }
        (low, high) if [low, high] == limits => Ok(()),
        (low, high) => s.rewrite(node, |s| s.node_with(Clip {}, &[Some(x), low, high])),
    }
}

/// `Pow(%0, 2)` is `Mul(%0, %0)`; 0.5, 1, 3 and -1 likewise.
pub(crate) fn power(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let (Some(x), Some(exponent)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let Some(exponent) = s.scalar(exponent) else {
        return Ok(());
    };
    let float = s.is_float(x);
    if s.ty(x) != s.ty(s.output(node)) {
        return Ok(());
    }
    if exponent == 1.0 {
        s.rewrite(node, |_| Ok(x))
    } else if exponent == 2.0 {
        s.rewrite(node, |s| s.node(Mul {}, &[x, x]))
    } else if exponent == 3.0 {
        s.rewrite(node, |s| {
            let square = s.node(Mul {}, &[x, x])?;
            s.node(Mul {}, &[square, x])
        })
    } else if exponent == 0.5 && float {
        s.rewrite(node, |s| s.node(Sqrt {}, &[x]))
    } else if exponent == -1.0 && float {
        s.rewrite(node, |s| s.node(Reciprocal {}, &[x]))
    } else {
        Ok(())
    }
}

/// `Sum(%0, %1, %2)` is `Add(%0, %1)`, `Add(%3, %2)`; the others likewise.
pub(crate) fn chain(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let op = s.op(node).clone();
    let inputs: Vec<ValueId> = s.inputs(node).into_iter().flatten().collect();
    let (step, is_two): (Op, bool) = match op {
        Op::Sum(_) | Op::Mean(_) => (Add {}.into(), false),
        Op::Max(_) => (Max {}.into(), true),
        _ => (Min {}.into(), true),
    };
    if is_two && inputs.len() == 2 {
        return commute(s, node);
    }
    let Some((&first, others)) = inputs.split_first() else {
        return Ok(());
    };
    let n = inputs.len();
    s.rewrite(node, |s| {
        let add = |s: &mut Sweep<'_, '_, '_>, y, x| s.node(step.clone(), &[y, x]);
        let y = others.iter().try_fold(first, |y, &x| add(s, y, x))?;
        if !matches!(op, Op::Mean(_)) || n == 1 {
            return Ok(y);
        }
        let n = s.number(s.dtype(first), n as f64);
        s.node(Div {}, &[y, n])
    })
}

/// Neutral elements go, but for what they broadcast to, and a constant stands on the right where the order says nothing.
pub(crate) fn binary(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let (Some(a), Some(b)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let commutes = !matches!(s.op(node), Op::Sub(_) | Op::Div(_));
    let neutral = match s.op(node) {
        Op::Add(_) | Op::Sub(_) | Op::Or(_) | Op::Xor(_) => Some(0.0),
        Op::Mul(_) | Op::Div(_) | Op::And(_) => Some(1.0),
        _ => None,
    };
    for (x, c) in [(a, b), (b, a)]
        .into_iter()
        .take(if commutes { 2 } else { 1 })
    {
        let y = s.output(node);
        if neutral.is_none() || uniform(s, c) != neutral || s.dtype(x) != s.dtype(y) {
            continue;
        }
        if s.ty(x) == s.ty(y) {
            return s.rewrite(node, |_| Ok(x));
        }
        if let Some(dims) = s.dims(y) {
            return s.rewrite(node, |s| {
                let dims: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
                let dims = s.list(&dims);
                s.node(Expand {}, &[x, dims])
            });
        }
    }
    if commutes { commute(s, node) } else { Ok(()) }
}

/// The number that all elements of the constant `v` are.
fn uniform(s: &Sweep<'_, '_, '_>, v: ValueId) -> Option<f64> {
    let tensor = s.constant(v)?;
    let size = tensor.dtype().size();
    let first = tensor.bytes().get(..size)?;
    if !tensor.bytes().chunks_exact(size).all(|e| e == first) {
        return None;
    }
    let one = ir::Tensor::new(tensor.dtype(), &[], tensor.bytes().slice(..size)).ok()?;
    one.to_f64()?.first().copied()
}

/// Puts a constant left operand on the right.
fn commute(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let (Some(a), Some(b)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    if !s.is_constant(a) || s.is_constant(b) {
        return Ok(());
    }
    let op = s.op(node).clone();
    s.rewrite(node, |s| s.node(op, &[b, a]))
}

/// `Where(true, %0, %1)` is `%0`, if its shape is the result's.
pub(crate) fn choice(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(condition) = s.input(node, 0) else {
        return Ok(());
    };
    let taken = match uniform(s, condition) {
        Some(0.0) => s.input(node, 2),
        Some(_) => s.input(node, 1),
        None => None,
    };
    match taken {
        Some(x) if s.ty(x) == s.ty(s.output(node)) => s.rewrite(node, |_| Ok(x)),
        _ => Ok(()),
    }
}
