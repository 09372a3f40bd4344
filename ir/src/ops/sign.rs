//! Sign.

use super::map::{is_number, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// -1, 0 or 1 as `x` is below, at or above 0, elementwise; NaN stays.
    Sign, "Sign", [9, 13], 1..=1, is_number, "a number",
    |b, x| b.unary(Unary::Sign, x[0])
}
