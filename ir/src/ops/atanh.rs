//! Inverse hyperbolic tangent.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `atanh(x)`, elementwise; NaN outside -1 to 1.
    Atanh, "Atanh", [9, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Atanh, x[0])
}
