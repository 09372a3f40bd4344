//! Swish activation.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::{Binary, Unary};

map_operator! {
    /// `x / (1 + exp(-alpha * x))`, elementwise (Ramachandran et al. 2017).
    Swish {
        /// The steepness.
        alpha: f32 = 1.0,
    }, "Swish", [24], 1..=1, is_float, "a floating-point number",
    |op, b, x| in_float(b, x[0], |b, x| {
        let gate = b.binary_const(Binary::Mul, x, op.alpha.into());
        let gate = b.unary(Unary::Sigmoid, gate);
        b.binary(Binary::Mul, x, gate)
    })
}
