//! Test for NaN.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// Whether `x` is NaN, elementwise; a bool.
    IsNaN, "IsNaN", [9, 13, 20], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::IsNan, x[0])
}
