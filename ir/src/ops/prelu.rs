//! Rectifier with a learnt slope below 0.

use super::map::{MapOperator, attrs_of_map, broadcast_all, is_number, operand, same_type};
use crate::infer::InferCx;
use crate::scalar::{Binary, Reg, ScalarBuilder};
use crate::shape::Shape;
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// `x` from 0 up, `slope * x` below, elementwise; the slope, operand 1, broadcasts to `x`.
    PRelu {}
}

impl MapOperator for PRelu {
    const NAME: &'static str = "PRelu";
    const VERSIONS: &'static [u32] = &[7, 9, 16];
    const INPUTS: RangeInclusive<usize> = 2..=2;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        same_type(inputs, is_number, "a number")
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        let both = broadcast_all(cx, 0..2)?;
        let grew = |(have, want): (&crate::Dim, &crate::Dim)| {
            have.known().is_some_and(|n| want.known() != Some(n))
        };
        if both.rank() != x.rank() || x.0.iter().zip(&both.0).any(grew) {
            return Err(OpError::Shape(format!(
                "slope of shape {} does not broadcast to {x}",
                cx.shape(1)?
            )));
        }
        Ok(x.clone())
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let (x, slope) = (operand(inputs, 0), operand(inputs, 1));
        let below = b.binary(Binary::Mul, x, slope);
        let zero = b.constant(0.0, b.dtype(x));
        let is_below = b.binary(Binary::Lt, x, zero);
        b.select(is_below, below, x)
    }
}
