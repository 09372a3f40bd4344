//! Gaussian error linear unit.

use super::map::{in_float, is_float, map_operator};
use crate::attr_enum;
use crate::scalar::{Binary, Unary};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

attr_enum! {
    /// How closely [`Gelu`] follows the normal distribution.
    GeluApproximation {
        /// By the error function.
        None = "none",
        /// `(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2` for the distribution function.
        Tanh = "tanh",
    }
}

map_operator! {
    /// `x` times the normal distribution function at `x`, elementwise (Hendrycks and Gimpel 2016).
    Gelu {
        /// How closely the distribution is followed.
        approximate: GeluApproximation = GeluApproximation::None,
    }, "Gelu", [20], 1..=1, is_float, "a floating-point number",
    |op, b, x| in_float(b, x[0], |b, x| {
        let spread = match op.approximate {
            GeluApproximation::None => {
                let scaled = b.binary_const(Binary::Mul, x, FRAC_1_SQRT_2);
                b.unary(Unary::Erf, scaled)
            }
            GeluApproximation::Tanh => {
                let square = b.binary(Binary::Mul, x, x);
                let cube = b.binary(Binary::Mul, square, x);
                let bend = b.binary_const(Binary::Mul, cube, 0.044715);
                let inner = b.binary(Binary::Add, x, bend);
                // sqrt(2 / pi)
                let scaled = b.binary_const(Binary::Mul, inner, FRAC_2_SQRT_PI / SQRT_2);
                b.unary(Unary::Tanh, scaled)
            }
        };
        let twice = b.binary_const(Binary::Add, spread, 1.0);
        let half = b.binary_const(Binary::Mul, x, 0.5);
        b.binary(Binary::Mul, half, twice)
    })
}
