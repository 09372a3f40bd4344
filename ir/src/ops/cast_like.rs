//! Conversion to the element type of another operand.

use super::cast::check_cast;
use super::map::{MapOperator, attrs_of_map, operand};
use crate::infer::InferCx;
use crate::scalar::{Reg, ScalarBuilder};
use crate::shape::Shape;
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 as elements of operand 1's type, by the rules of [`Cast`](super::Cast);
    /// operand 1's shape and content say nothing.
    CastLike {
        /// Whether numbers beyond the range of an 8-bit float become its limits; says nothing about other types.
        saturate: bool = true,
        /// How numbers are rounded to 8-bit powers of two; says nothing about other types.
        round_mode: String = "up".to_string(),
    }
}

impl MapOperator for CastLike {
    const NAME: &'static str = "CastLike";
    const VERSIONS: &'static [u32] = &[15, 19, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 2..=2;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        check_cast(
            inputs[0].ok_or(OpError::MissingInput(0))?,
            inputs[1].ok_or(OpError::MissingInput(1))?,
        )
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        cx.shape(0).cloned()
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let to = b.dtype(operand(inputs, 1));
        b.cast(operand(inputs, 0), to)
    }
}
