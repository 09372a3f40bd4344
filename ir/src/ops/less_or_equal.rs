//! Order.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether `a` is at most `b`, elementwise, broadcast; a bool.
    LessOrEqual, "LessOrEqual", [12, 16], 2..=2, is_number, "a number",
    |b, x| b.binary(Binary::Le, x[0], x[1])
}
