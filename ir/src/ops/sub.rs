//! Elementwise subtraction with broadcasting.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `a - b`, elementwise, broadcast; integers wrap.
    Sub, "Sub", [7, 13, 14], 2..=2, is_number, "a number",
    |b, x| b.binary(Binary::Sub, x[0], x[1])
}
