//! Elementwise mean.

use super::map::{is_float, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// The sum of the operands in order over their number, elementwise, broadcast.
    Mean, "Mean", [8, 13], 1..=usize::MAX, is_float, "a floating-point number",
    |b, x| {
        let sum = x[1..].iter().fold(x[0], |y, &x| b.binary(Binary::Add, y, x));
        b.binary_const(Binary::Div, sum, x.len() as f64)
    }
}
