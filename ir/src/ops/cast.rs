//! Conversion between element types.

use super::map::{MapOperator, attrs_of_map, is_real, operand};
use crate::scalar::{Reg, ScalarBuilder};
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// `x` as elements of another type: to integers cut toward 0, to bool whether `x` is not 0.
    Cast {
        /// The result's element type.
        to: DType,
        /// Whether numbers beyond the range of an 8-bit float become its limits; says nothing about other types.
        saturate: bool = true,
        /// How numbers are rounded to 8-bit powers of two; says nothing about other types.
        round_mode: String = "up".to_string(),
    }
}

impl Cast {
    /// Converts to `dtype`.
    pub fn to(dtype: DType) -> Self {
        Self {
            to: dtype,
            saturate: true,
            round_mode: "up".to_string(),
        }
    }
}

/// Refuses conversions from or to complex numbers.
pub(super) fn check_cast(from: DType, to: DType) -> Result<(), OpError> {
    match [from, to].into_iter().find(|&d| !is_real(d)) {
        Some(d) => Err(OpError::Type(format!(
            "a cast from {from} to {to}: {d} has no conversion"
        ))),
        None => Ok(()),
    }
}

impl MapOperator for Cast {
    const NAME: &'static str = "Cast";
    const VERSIONS: &'static [u32] = &[6, 9, 13, 19, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 1..=1;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        check_cast(inputs[0].ok_or(OpError::MissingInput(0))?, self.to)
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        b.cast(operand(inputs, 0), self.to)
    }
}
