//! Exclusive or of bits.

use super::map::{is_integer, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// The bits that just one of `a` and `b` has, elementwise, broadcast.
    BitwiseXor, "BitwiseXor", [18], 2..=2, is_integer, "an integer",
    |b, x| b.binary(Binary::BitXor, x[0], x[1])
}
