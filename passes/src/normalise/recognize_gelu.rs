//! GELU written out.

use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::{Gelu, GeluApproximation};
use ir::{NodeId, Op, Program, ValueId};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

/// Most products between the result and the gate.
const DEPTH: usize = 4;

/// Half of `x` times one more than an error function of `x`, or than the hyperbolic tangent that
/// comes near it, is GELU.
///
/// Before: `%1 = Div(%0, 1.4142)`, `%2 = Erf(%1)`, `%3 = Add(%2, 1)`, `%4 = Mul(%0, %3)`,
/// `%5 = Mul(%4, 0.5)`. After: `%5 = Gelu(%0)`.
///
/// The factors may come in any order, the half anywhere, the cube as power or product.
pub fn recognize_gelu(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::Mul(_) | Op::Div(_) => gelu(s, node),
        _ => Ok(()),
    })
}

/// `factor * (1 + f(x))`.
struct Gate {
    value: ValueId,
    x: ValueId,
    factor: f64,
    approximate: GeluApproximation,
}

fn gelu(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    if !s.is_float(y) {
        return Ok(());
    }
    let Some(gate) = find_gate(s, y) else {
        return Ok(());
    };
    let Some((factor, 1, 1)) = product(s, y, &gate, DEPTH) else {
        return Ok(());
    };
    if !s.near(y, factor * gate.factor, 0.5) {
        return Ok(());
    }
    let nodes = s.between(&[y], &[gate.x]);
    let (x, approximate) = (gate.x, gate.approximate);
    s.rewrite_pattern(&nodes, y, |s| s.node(Gelu { approximate }, &[x]))
}

/// A gate among the factors of `v`.
fn find_gate(s: &Sweep<'_, '_, '_>, v: ValueId) -> Option<Gate> {
    let mut level = vec![s.resolve(v)];
    for _ in 0..=DEPTH {
        if let Some(gate) = level.iter().find_map(|&v| gate(s, v)) {
            return Some(gate);
        }
        let factors = |&v: &ValueId| match s.times(v) {
            Some((x, _)) => vec![x],
            None => s
                .operands::<2>(v, |op| matches!(op, Op::Mul(_)))
                .map_or(vec![], |both| both.to_vec()),
        };
        level = level.iter().flat_map(factors).collect();
    }
    None
}

/// `v` as a gate.
fn gate(s: &Sweep<'_, '_, '_>, v: ValueId) -> Option<Gate> {
    let (scaled, one) = s.plus(v)?;
    let (f, factor) = s.times(scaled).unwrap_or((scaled, 1.0));
    if !s.near(v, one, factor) {
        return None;
    }
    let (x, approximate) = if let Some(z) = s.operand(f, |op| matches!(op, Op::Erf(_))) {
        let (x, inner) = s.times(z)?;
        s.near(v, inner, FRAC_1_SQRT_2).then_some(())?;
        (x, GeluApproximation::None)
    } else {
        let z = s.operand(f, |op| matches!(op, Op::Tanh(_)))?;
        (tangent_of(s, z)?, GeluApproximation::Tanh)
    };
    Some(Gate {
        value: s.resolve(v),
        x,
        factor,
        approximate,
    })
}

/// x where `z` is `sqrt(2 / pi) * (x + 0.044715 * x^3)`.
fn tangent_of(s: &Sweep<'_, '_, '_>, z: ValueId) -> Option<ValueId> {
    let slope = FRAC_2_SQRT_PI / SQRT_2;
    parts(s, z).into_iter().find(|&x| {
        polynomial(s, z, x, 8).is_some_and(|p| {
            p[0] == 0.0
                && s.near(z, p[1], slope)
                && p[2] == 0.0
                && s.near(z, p[3], slope * 0.044715)
        })
    })
}

/// The values that `z` is made of by sums and products, some of which may be the variable.
fn parts(s: &Sweep<'_, '_, '_>, z: ValueId) -> Vec<ValueId> {
    let mut found = vec![s.resolve(z)];
    let mut next = 0;
    while next < found.len() && found.len() < 16 {
        let arithmetic = |op: &Op| matches!(op, Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_));
        for v in s
            .operands::<2>(found[next], arithmetic)
            .into_iter()
            .flatten()
        {
            if !s.is_constant(v) && !found.contains(&v) {
                found.push(v);
            }
        }
        next += 1;
    }
    // Deepest first: what is left when nothing more can be taken apart.
    found.reverse();
    found
}

/// The coefficients, constant first, of `v` as a polynomial in `x` of degree 3 at most.
fn polynomial(s: &Sweep<'_, '_, '_>, v: ValueId, x: ValueId, depth: usize) -> Option<[f64; 4]> {
    if v == x {
        return Some([0.0, 1.0, 0.0, 0.0]);
    }
    if let Some(c) = s.scalar(v) {
        return Some([c, 0.0, 0.0, 0.0]);
    }
    let depth = depth.checked_sub(1)?;
    if let Some((of, c)) = s.times(v) {
        return polynomial(s, of, x, depth).map(|p| p.map(|k| k * c));
    }
    let def = s.def(v)?;
    let of = |i: usize| polynomial(s, s.input(def, i)?, x, depth);
    match s.op(def) {
        Op::Add(_) => {
            let (a, b) = (of(0)?, of(1)?);
            Some(std::array::from_fn(|i| a[i] + b[i]))
        }
        Op::Sub(_) => {
            let (a, b) = (of(0)?, of(1)?);
            Some(std::array::from_fn(|i| a[i] - b[i]))
        }
        Op::Mul(_) => {
            let (a, b) = (of(0)?, of(1)?);
            let mut p = [0.0; 4];
            for (i, j) in (0..4).flat_map(|i| (0..4).map(move |j| (i, j))) {
                let c = a[i] * b[j];
                match p.get_mut(i + j) {
                    Some(k) => *k += c,
                    None if c == 0.0 => {}
                    None => return None,
                }
            }
            Some(p)
        }
        _ => None,
    }
}

/// `v` as a number times a power of x times a power of the gate; `None` if there is more in it.
fn product(
    s: &Sweep<'_, '_, '_>,
    v: ValueId,
    gate: &Gate,
    depth: usize,
) -> Option<(f64, usize, usize)> {
    if v == gate.x {
        return Some((1.0, 1, 0));
    }
    if v == gate.value {
        return Some((1.0, 0, 1));
    }
    let depth = depth.checked_sub(1)?;
    if let Some((x, c)) = s.times(v) {
        let (factor, n, m) = product(s, x, gate, depth)?;
        return Some((factor * c, n, m));
    }
    let [a, b] = s.operands(v, |op| matches!(op, Op::Mul(_)))?;
    let (a, b) = (product(s, a, gate, depth)?, product(s, b, gate, depth)?);
    Some((a.0 * b.0, a.1 + b.1, a.2 + b.2))
}
