//! Inverse cosine.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `acos(x)` in radians, elementwise; NaN outside -1 to 1.
    Acos, "Acos", [7, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Acos, x[0])
}
