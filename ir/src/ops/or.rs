//! Logical or.

use super::map::{is_bool, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether `a` or `b` holds, elementwise, broadcast.
    Or, "Or", [7], 2..=2, is_bool, "bool",
    |b, x| b.binary(Binary::Or, x[0], x[1])
}
