//! Square root.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// The square root of `x`, elementwise; NaN below 0.
    Sqrt, "Sqrt", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Sqrt, x[0])
}
