//! Inverse hyperbolic sine.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `asinh(x)`, elementwise.
    Asinh, "Asinh", [9, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Asinh, x[0])
}
