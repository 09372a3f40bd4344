//! Powers, with broadcasting.

use super::map::{MapOperator, attrs_of_map, is_number, operand};
use crate::scalar::{Binary, Reg, ScalarBuilder};
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// `a ^ b`, elementwise, broadcast, as elements of `a`'s type; the exponent may have another.
    ///
    /// Integers to integers wrap; an integer base with a floating-point exponent is computed in
    /// f64 and cut toward 0.
    Pow {}
}

impl MapOperator for Pow {
    const NAME: &'static str = "Pow";
    const VERSIONS: &'static [u32] = &[7, 12, 13, 15];
    const INPUTS: RangeInclusive<usize> = 2..=2;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        match inputs.iter().flatten().find(|&&d| !is_number(d)) {
            Some(d) => Err(OpError::Type(format!(
                "operand of type {d}, expected a number"
            ))),
            None => Ok(()),
        }
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let (base, exponent) = (operand(inputs, 0), operand(inputs, 1));
        let (to, by) = (b.dtype(base), b.dtype(exponent));
        let wide = match (to, by) {
            _ if to == by => to,
            (DType::F64, _) => DType::F64,
            _ if to.is_float() => DType::F32,
            _ if by.is_float() => DType::F64,
            _ => DType::I64,
        };
        let (base, exponent) = (b.cast(base, wide), b.cast(exponent, wide));
        let power = b.binary(Binary::Pow, base, exponent);
        b.cast(power, to)
    }
}
