//! Exponential.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `e ^ x`, elementwise.
    Exp, "Exp", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Exp, x[0])
}
