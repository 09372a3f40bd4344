//! Elementwise division with broadcasting.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `a / b`, elementwise, broadcast; integers are cut toward 0, and by 0 give 0.
    Div, "Div", [7, 13, 14], 2..=2, is_number, "a number",
    |b, x| b.binary(Binary::Div, x[0], x[1])
}
