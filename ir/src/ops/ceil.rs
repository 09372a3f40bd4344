//! Rounding up.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// The least integer that is not below `x`, elementwise.
    Ceil, "Ceil", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Ceil, x[0])
}
