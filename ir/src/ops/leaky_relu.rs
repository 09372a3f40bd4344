//! Rectifier with a slope below 0.

use super::map::{is_float, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `x` from 0 up, `alpha * x` below, elementwise.
    LeakyRelu {
        /// The slope below 0.
        alpha: f32 = 0.01,
    }, "LeakyRelu", [6, 16], 1..=1, is_float, "a floating-point number",
    |op, b, x| {
        let below = b.binary_const(Binary::Mul, x[0], op.alpha.into());
        let zero = b.constant(0.0, b.dtype(x[0]));
        let is_below = b.binary(Binary::Lt, x[0], zero);
        b.select(is_below, below, x[0])
    }
}
