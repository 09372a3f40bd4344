//! Remainder of a division, with broadcasting.

use super::map::{MapOperator, attrs_of_map, is_number, operand, same_type};
use crate::scalar::{Binary, Reg, ScalarBuilder};
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// The remainder of `a / b`, elementwise, broadcast; integers by 0 give 0.
    Mod {
        /// Whether the sign is the dividend's, as floating-point operands ask for, or the divisor's.
        fmod: bool = false,
    }
}

impl MapOperator for Mod {
    const NAME: &'static str = "Mod";
    const VERSIONS: &'static [u32] = &[10, 13];
    const INPUTS: RangeInclusive<usize> = 2..=2;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        same_type(inputs, is_number, "a number")?;
        match inputs[0] {
            Some(d) if d.is_float() && !self.fmod => Err(OpError::Type(format!(
                "operands of type {d} need `fmod` = 1"
            ))),
            _ => Ok(()),
        }
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let f = if self.fmod { Binary::Rem } else { Binary::Mod };
        b.binary(f, operand(inputs, 0), operand(inputs, 1))
    }
}
