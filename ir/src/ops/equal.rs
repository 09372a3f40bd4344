//! Test for equality.

use super::map::{is_real, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether `a` equals `b`, elementwise, broadcast; a bool.
    Equal, "Equal", [7, 11, 13, 19], 2..=2, is_real, "a number or bool",
    |b, x| b.binary(Binary::Eq, x[0], x[1])
}
