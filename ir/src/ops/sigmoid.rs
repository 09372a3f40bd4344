//! Logistic function.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `1 / (1 + exp(-x))`, elementwise.
    Sigmoid, "Sigmoid", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Sigmoid, x[0])
}
