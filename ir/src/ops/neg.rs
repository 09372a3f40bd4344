//! Negation.

use super::map::{is_signed, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// `-x`, elementwise; the least integer stays.
    Neg, "Neg", [6, 13], 1..=1, is_signed, "a signed number",
    |b, x| b.unary(Unary::Neg, x[0])
}
