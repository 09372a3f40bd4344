//! Sine.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `sin(x)`, elementwise, `x` in radians.
    Sin, "Sin", [7, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Sin, x[0])
}
