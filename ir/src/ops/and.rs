//! Logical and.

use super::map::{is_bool, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether `a` and `b` hold, elementwise, broadcast.
    And, "And", [7], 2..=2, is_bool, "bool",
    |b, x| b.binary(Binary::And, x[0], x[1])
}
