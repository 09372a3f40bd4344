//! Smooth rectifier.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `ln(1 + exp(x))`, elementwise, without overflow.
    Softplus, "Softplus", [1, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Softplus, x[0])
}
