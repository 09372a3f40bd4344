//! Error function.

use super::map::{in_float, is_number, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// The error function `2 / sqrt(pi) * integral of exp(-t^2) from 0 to x`, elementwise;
    /// of integers cut toward 0.
    Erf, "Erf", [9, 13], 1..=1, is_number, "a number",
    |b, x| in_float(b, x[0], |b, x| b.unary(Unary::Erf, x))
}
