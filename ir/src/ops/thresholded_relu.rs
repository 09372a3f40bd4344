//! Rectifier with a threshold.

use super::map::{is_float, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `x` above `alpha`, 0 from there down, elementwise.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32 = 1.0,
    }, "ThresholdedRelu", [10, 22], 1..=1, is_float, "a floating-point number",
    |op, b, x| {
        let alpha = b.constant(op.alpha.into(), b.dtype(x[0]));
        let zero = b.constant(0.0, b.dtype(x[0]));
        let is_above = b.binary(Binary::Lt, alpha, x[0]);
        b.select(is_above, x[0], zero)
    }
}
