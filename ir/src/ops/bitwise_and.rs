//! And of bits.

use super::map::{is_integer, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// The bits that `a` and `b` both have, elementwise, broadcast.
    BitwiseAnd, "BitwiseAnd", [18], 2..=2, is_integer, "an integer",
    |b, x| b.binary(Binary::BitAnd, x[0], x[1])
}
