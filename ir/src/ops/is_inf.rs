//! Test for infinity.

use super::map::{is_float, map_operator};
use crate::DType;
use crate::scalar::{Binary, Unary};

map_operator! {
    /// Whether `x` is infinite, elementwise; a bool.
    IsInf {
        /// Whether negative infinity counts.
        detect_negative: bool = true,
        /// Whether positive infinity counts.
        detect_positive: bool = true,
    }, "IsInf", [10, 20], 1..=1, is_float, "a floating-point number",
    |op, b, x| {
        let is_inf = b.unary(Unary::IsInf, x[0]);
        let zero = b.constant(0.0, b.dtype(x[0]));
        match (op.detect_negative, op.detect_positive) {
            (true, true) => is_inf,
            (true, false) => {
                let negative = b.binary(Binary::Lt, x[0], zero);
                b.binary(Binary::And, is_inf, negative)
            }
            (false, true) => {
                let positive = b.binary(Binary::Lt, zero, x[0]);
                b.binary(Binary::And, is_inf, positive)
            }
            (false, false) => b.constant(0.0, DType::Bool),
        }
    }
}
