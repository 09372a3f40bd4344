//! Rounding down.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// The greatest integer that is not above `x`, elementwise.
    Floor, "Floor", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Floor, x[0])
}
