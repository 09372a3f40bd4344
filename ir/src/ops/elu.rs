//! Exponential linear unit.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::{Binary, Unary};

map_operator! {
    /// `x` above 0, `alpha * (exp(x) - 1)` below, elementwise (Clevert et al. 2015).
    Elu {
        /// Where the curve levels out below 0, negated.
        alpha: f32 = 1.0,
    }, "Elu", [6, 22], 1..=1, is_float, "a floating-point number",
    |op, b, x| in_float(b, x[0], |b, x| {
        let exp = b.unary(Unary::Exp, x);
        let below = b.binary_const(Binary::Sub, exp, 1.0);
        let below = b.binary_const(Binary::Mul, below, op.alpha.into());
        let zero = b.constant(0.0, b.dtype(x));
        let is_below = b.binary(Binary::Lt, x, zero);
        b.select(is_below, below, x)
    })
}
