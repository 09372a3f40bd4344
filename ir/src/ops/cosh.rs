//! Hyperbolic cosine.

use super::map::{is_float, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `cosh(x)`, elementwise.
    Cosh, "Cosh", [9, 22], 1..=1, is_float, "a floating-point number",
    |b, x| b.unary(Unary::Cosh, x[0])
}
