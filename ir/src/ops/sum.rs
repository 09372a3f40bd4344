//! Elementwise sum of several operands.

use super::map::{is_float, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// The sum of the operands in order, elementwise, broadcast.
    Sum, "Sum", [8, 13], 1..=usize::MAX, is_float, "a floating-point number",
    |b, x| x[1..].iter().fold(x[0], |y, &x| b.binary(Binary::Add, y, x))
}
