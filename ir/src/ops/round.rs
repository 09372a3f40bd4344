//! Rounding to the nearest integer.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// The integer nearest to `x`, elementwise; halves go to the even one.
    Round, "Round", [11, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Round, x[0])
}
