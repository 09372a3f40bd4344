//! Reciprocal.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `1 / x`, elementwise.
    Reciprocal, "Reciprocal", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Reciprocal, x[0])
}
