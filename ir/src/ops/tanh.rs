//! Hyperbolic tangent.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `tanh(x)`, elementwise.
    Tanh, "Tanh", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Tanh, x[0])
}
