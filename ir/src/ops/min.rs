//! Elementwise minimum.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// The least of the operands, elementwise, broadcast; NaN if any is NaN.
    Min, "Min", [8, 12, 13], 1..=usize::MAX, is_number, "a number",
    |b, x| x[1..].iter().fold(x[0], |y, &x| b.binary(Binary::Min, y, x))
}
