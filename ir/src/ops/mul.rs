//! Elementwise multiplication with broadcasting.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `a * b`, elementwise, broadcast; integers wrap.
    Mul, "Mul", [7, 13, 14], 2..=2, is_number, "a number",
    |b, x| b.binary(Binary::Mul, x[0], x[1])
}
