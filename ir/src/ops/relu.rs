//! Rectified linear unit.

use super::map::{is_number, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `max(x, 0)`, elementwise.
    Relu, "Relu", [6, 13, 14], 1..=1, is_number, "a number",
    |b, x| b.binary_const(Binary::Max, x[0], 0.0)
}
