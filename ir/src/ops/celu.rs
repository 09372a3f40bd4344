//! Continuously differentiable exponential linear unit.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::{Binary, Unary};

map_operator! {
    /// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`, elementwise (Barron 2017).
    Celu {
        /// Where the curve levels out below 0, negated.
        alpha: f32 = 1.0,
    }, "Celu", [12], 1..=1, is_float, "a floating-point number",
    |op, b, x| in_float(b, x[0], |b, x| {
        let alpha = f64::from(op.alpha);
        let scaled = b.binary_const(Binary::Div, x, alpha);
        let exp = b.unary(Unary::Exp, scaled);
        let below = b.binary_const(Binary::Sub, exp, 1.0);
        let below = b.binary_const(Binary::Mul, below, alpha);
        let below = b.binary_const(Binary::Min, below, 0.0);
        let above = b.binary_const(Binary::Max, x, 0.0);
        b.binary(Binary::Add, above, below)
    })
}
