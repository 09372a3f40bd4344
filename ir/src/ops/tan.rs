//! Tangent.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `tan(x)`, elementwise, `x` in radians.
    Tan, "Tan", [7, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Tan, x[0])
}
