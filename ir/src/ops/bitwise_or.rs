//! Or of bits.

use super::map::{is_integer, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// The bits that `a` or `b` has, elementwise, broadcast.
    BitwiseOr, "BitwiseOr", [18], 2..=2, is_integer, "an integer",
    |b, x| b.binary(Binary::BitOr, x[0], x[1])
}
