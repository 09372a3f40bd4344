//! Complement of bits.

use super::map::{is_integer, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// Every bit of `x` inverted, elementwise.
    BitwiseNot, "BitwiseNot", [18], 1..=1, is_integer, "an integer",
    |b, x| b.unary(Unary::BitNot, x[0])
}
