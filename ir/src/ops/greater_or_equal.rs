//! Order.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether `a` is at least `b`, elementwise, broadcast; a bool.
    GreaterOrEqual, "GreaterOrEqual", [12, 16], 2..=2, is_number, "a number",
    |b, x| b.binary(Binary::Le, x[1], x[0])
}
