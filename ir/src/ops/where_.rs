//! Choice between two operands, with broadcasting.

use super::map::{MapOperator, attrs_of_map, is_real, operand, same_type};
use crate::scalar::{Reg, ScalarBuilder};
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 1 where operand 0 (bools) holds, else operand 2; elementwise, broadcast.
    Where {}
}

impl MapOperator for Where {
    const NAME: &'static str = "Where";
    const VERSIONS: &'static [u32] = &[9, 16];
    const INPUTS: RangeInclusive<usize> = 3..=3;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        if let Some(d) = inputs[0]
            && d != DType::Bool
        {
            return Err(OpError::Type(format!(
                "condition of type {d}, expected bool"
            )));
        }
        same_type(&inputs[1..], is_real, "a number or bool")
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        b.select(operand(inputs, 0), operand(inputs, 1), operand(inputs, 2))
    }
}
