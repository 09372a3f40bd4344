//! Inverse tangent.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `atan(x)` in radians, elementwise.
    Atan, "Atan", [7, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Atan, x[0])
}
