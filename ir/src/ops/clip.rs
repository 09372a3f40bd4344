//! Limits.

use super::map::{MapOperator, attrs_of_map, is_number, operand, same_type};
use crate::infer::InferCx;
use crate::scalar::{Binary, Reg, ScalarBuilder};
use crate::shape::{Dim, Shape};
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// `min(max(x, low), high)`, elementwise; either limit, one element, may be left out.
    ///
    /// Operands: x, low, high. Where `low` is above `high`, `high` wins.
    Clip {}
}

impl MapOperator for Clip {
    const NAME: &'static str = "Clip";
    const VERSIONS: &'static [u32] = &[1, 6, 11, 12, 13];
    const INPUTS: RangeInclusive<usize> = 1..=3;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        same_type(inputs, is_number, "a number")
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        for (i, name) in [(1, "min"), (2, "max")] {
            if let Some(limit) = cx.optional(i)
                && (limit.shape.rank() > x.rank()
                    || limit.shape.0.iter().any(|d| *d != Dim::Known(1)))
            {
                return Err(OpError::Shape(format!(
                    "`{name}` has shape {}, expected one element",
                    limit.shape
                )));
            }
        }
        Ok(x.clone())
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let mut y = operand(inputs, 0);
        for (i, f) in [(1, Binary::Max), (2, Binary::Min)] {
            if let Some(limit) = inputs.get(i).copied().flatten() {
                y = b.binary(f, y, limit);
            }
        }
        y
    }
}
