//! Soft sign.

use super::map::{in_float, is_float, map_operator};
use crate::scalar::{Binary, Unary};

map_operator! {
    /// `x / (1 + |x|)`, elementwise.
    Softsign, "Softsign", [1, 22], 1..=1, is_float, "a floating-point number",
    |b, x| in_float(b, x[0], |b, x| {
        let scale = b.unary(Unary::Abs, x);
        let scale = b.binary_const(Binary::Add, scale, 1.0);
        b.binary(Binary::Div, x, scale)
    })
}
