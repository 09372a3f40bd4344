//! Logical negation.

use super::map::{is_bool, map_operator};
use crate::scalar::Unary;

map_operator! {
    /// Whether `x` does not hold, elementwise.
    Not, "Not", [1], 1..=1, is_bool, "bool",
    |b, x| b.unary(Unary::Not, x[0])
}
