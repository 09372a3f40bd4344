//! Scaled exponential linear unit.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::{Binary, Unary};

map_operator! {
    /// `gamma * x` above 0, `gamma * alpha * (exp(x) - 1)` below, elementwise (Klambauer et al. 2017).
    Selu {
        /// Where the curve levels out below 0, negated, before scaling.
        alpha: f32 = 1.673_263_2,
        /// The scale.
        gamma: f32 = 1.050_701,
    }, "Selu", [6, 22], 1..=1, is_float, "a floating-point number",
    |op, b, x| in_float(b, x[0], |b, x| {
        let exp = b.unary(Unary::Exp, x);
        let below = b.binary_const(Binary::Sub, exp, 1.0);
        let below = b.binary_const(Binary::Mul, below, op.alpha.into());
        let zero = b.constant(0.0, b.dtype(x));
        let is_above = b.binary(Binary::Lt, zero, x);
        let y = b.select(is_above, x, below);
        b.binary_const(Binary::Mul, y, op.gamma.into())
    })
}
