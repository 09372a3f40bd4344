//! Shrinkage.

use super::map::{in_float, is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `x + bias` below `-lambd`, `x - bias` above `lambd`, 0 between, elementwise;
    /// of integers cut toward 0.
    Shrink {
        /// How far elements move toward 0.
        bias: f32 = 0.0,
        /// Half the width of the range that becomes 0.
        lambd: f32 = 0.5,
    }, "Shrink", [9], 1..=1, is_number, "a number",
    |op, b, x| in_float(b, x[0], |b, x| {
        let up = b.binary_const(Binary::Add, x, op.bias.into());
        let down = b.binary_const(Binary::Sub, x, op.bias.into());
        let low = b.constant((-op.lambd).into(), b.dtype(x));
        let high = b.constant(op.lambd.into(), b.dtype(x));
        let zero = b.constant(0.0, b.dtype(x));
        let is_above = b.binary(Binary::Lt, high, x);
        let y = b.select(is_above, down, zero);
        let is_below = b.binary(Binary::Lt, x, low);
        b.select(is_below, up, y)
    })
}
