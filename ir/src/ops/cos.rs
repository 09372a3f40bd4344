//! Cosine.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `cos(x)`, elementwise, `x` in radians.
    Cos, "Cos", [7, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Cos, x[0])
}
