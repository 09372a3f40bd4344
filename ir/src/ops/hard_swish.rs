//! Swish by straight lines.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::Binary;

map_operator! {
    /// `x * max(0, min(1, x / 6 + 1 / 2))`, elementwise (Howard et al. 2019).
    HardSwish, "HardSwish", [14, 22], 1..=1, is_float, "a floating-point number",
    |b, x| in_float(b, x[0], |b, x| {
        let gate = b.binary_const(Binary::Mul, x, 1.0 / 6.0);
        let gate = b.binary_const(Binary::Add, gate, 0.5);
        let gate = b.binary_const(Binary::Min, gate, 1.0);
        let gate = b.binary_const(Binary::Max, gate, 0.0);
        b.binary(Binary::Mul, x, gate)
    })
}
