//! Activations that are their operand times a gate.

use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::{HardSwish, Mish, Swish};
use ir::{NodeId, Op, Program, ValueId};

/// `x * sigmoid(x)` is Swish, `x * tanh(softplus(x))` Mish, `x * max(0, min(1, x / 6 + 1 / 2))` HardSwish.
///
/// Before: `%1 = Sigmoid(%0)`, `%2 = Mul(%0, %1)`. After: `%2 = Swish(%0)`.
///
/// The sigmoid may be of a multiple of x, the softplus a logarithm written out, the last gate
/// `HardSigmoid` or `Clip(x + 3, 0, 6)` with the 6th taken before or after.
pub fn recognize_gates(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::Mul(_) | Op::Div(_) => gated(s, node),
        _ => Ok(()),
    })
}

fn gated(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    // A factor before or after the product, 1/6 for one that clips to 6.
    let (product, factor) = s.times(y).unwrap_or((y, 1.0));
    for [a, gate] in s.either_order(product, |op| matches!(op, Op::Mul(_))) {
        let (x, before) = if s.operand(gate, |op| matches!(op, Op::Clip(_))).is_none() {
            (a, 1.0)
        } else {
            s.times(a).unwrap_or((a, 1.0))
        };
        let (gate, inside) = s.times(gate).unwrap_or((gate, 1.0));
        let Some(op) = activation(s, x, gate, factor * before * inside) else {
            continue;
        };
        let nodes = s.between(&[y], &[x]);
        return s.rewrite_pattern(&nodes, y, |s| s.node(op, &[x]));
    }
    Ok(())
}

/// The activation that `factor * x * gate` is.
fn activation(s: &Sweep<'_, '_, '_>, x: ValueId, gate: ValueId, factor: f64) -> Option<Op> {
    let def = s.def(gate)?;
    match s.op(def) {
        Op::Sigmoid(_) if s.near(x, factor, 1.0) => {
            let z = s.input(def, 0)?;
            let (of, alpha) = if z == x { (z, 1.0) } else { s.times(z)? };
            (of == x).then(|| {
                Swish {
                    alpha: alpha as f32,
                }
                .into()
            })
        }
        Op::Tanh(_) if s.near(x, factor, 1.0) => {
            (softplus_of(s, s.input(def, 0)?)? == x).then(|| Mish {}.into())
        }
        Op::HardSigmoid(op) if s.near(x, factor, 1.0) => {
            let (alpha, beta) = (f64::from(op.alpha), f64::from(op.beta));
            let fits = s.near(x, alpha, 1.0 / 6.0) && s.near(x, beta, 0.5);
            (fits && s.input(def, 0)? == x).then(|| HardSwish {}.into())
        }
        Op::Clip(_) => {
            let (low, high) = (s.scalar(s.input(def, 1)?)?, s.scalar(s.input(def, 2)?)?);
            let (of, three) = s.plus(s.input(def, 0)?)?;
            let fits = low == 0.0
                && s.near(x, high, 6.0)
                && s.near(x, three, 3.0)
                && s.near(x, factor, 1.0 / 6.0);
            (fits && of == x).then(|| HardSwish {}.into())
        }
        _ => None,
    }
}

/// x where `v` is `Softplus(x)` or `Log(1 + Exp(x))`.
fn softplus_of(s: &Sweep<'_, '_, '_>, v: ValueId) -> Option<ValueId> {
    if let Some(x) = s.operand(v, |op| matches!(op, Op::Softplus(_))) {
        return Some(x);
    }
    let (e, one) = s.plus(s.operand(v, |op| matches!(op, Op::Log(_)))?)?;
    (one == 1.0).then_some(())?;
    s.operand(e, |op| matches!(op, Op::Exp(_)))
}
