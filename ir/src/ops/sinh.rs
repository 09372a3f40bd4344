//! Hyperbolic sine.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `sinh(x)`, elementwise.
    Sinh, "Sinh", [9, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Sinh, x[0])
}
