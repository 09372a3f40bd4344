//! Natural logarithm.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `ln(x)`, elementwise; NaN below 0.
    Log, "Log", [6, 13], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Log, x[0])
}
