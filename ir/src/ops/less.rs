//! Order.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// Whether `a` is below `b`, elementwise, broadcast; a bool.
    Less, "Less", [7, 9, 13], 2..=2, is_number, "a number",
    |b, x| b.binary(Binary::Lt, x[0], x[1])
}
