//! Logistic function by straight lines.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `max(0, min(1, alpha * x + beta))`, elementwise.
    HardSigmoid {
        /// The slope.
        alpha: f32 = 0.2,
        /// The value at 0.
        beta: f32 = 0.5,
    }, "HardSigmoid", [6, 22], 1..=1, is_float, "a floating-point number",
    |op, b, x| in_float(b, x[0], |b, x| {
        let y = b.binary_const(Binary::Mul, x, op.alpha.into());
        let y = b.binary_const(Binary::Add, y, op.beta.into());
        let y = b.binary_const(Binary::Min, y, 1.0);
        b.binary_const(Binary::Max, y, 0.0)
    })
}
