//! Mish activation.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::{Binary, Unary};

map_operator! {
    /// `x * tanh(ln(1 + exp(x)))`, elementwise (Misra 2019).
    Mish, "Mish", [18, 22], 1..=1, is_float, "a floating-point number",
    |b, x| in_float(b, x[0], |b, x| {
        let gate = b.unary(Unary::Softplus, x);
        let gate = b.unary(Unary::Tanh, gate);
        b.binary(Binary::Mul, x, gate)
    })
}
