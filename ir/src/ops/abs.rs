//! Absolute value.

use super::map::{is_number, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `|x|`, elementwise; the least signed integer stays.
    Abs, "Abs", [6, 13], 1..=1, is_number, "a number",
    |b, x| b.unary(Unary::Abs, x[0])
}
