//! Order.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether `a` is above `b`, elementwise, broadcast; a bool.
    Greater, "Greater", [7, 9, 13], 2..=2, is_number, "a number",
    |b, x| b.binary(Binary::Lt, x[1], x[0])
}
