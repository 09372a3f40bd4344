//! Exclusive or.

use super::map::{is_bool, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether just one of `a` and `b` holds, elementwise, broadcast.
    Xor, "Xor", [7], 2..=2, is_bool, "bool",
    |b, x| b.binary(Binary::Xor, x[0], x[1])
}
