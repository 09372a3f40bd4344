//! Inverse hyperbolic cosine.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `acosh(x)`, elementwise; NaN below 1.
    Acosh, "Acosh", [9, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Acosh, x[0])
}
