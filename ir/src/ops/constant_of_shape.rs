//! Tensors of one number.

use super::map::{MapOperator, attrs_of_map, is_real};
use super::view::shape_operand;
use crate::infer::InferCx;
use crate::scalar::{Reg, ScalarBuilder};
use crate::shape::Shape;
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// A tensor of the dimensions in operand 0 whose elements are all operand 1, or 0 as f32 without it.
    ///
    /// Operand 1 is ONNX's attribute `value`: a tensor of one element, and tensors are operands here.
    ConstantOfShape {}
}

impl MapOperator for ConstantOfShape {
    const NAME: &'static str = "ConstantOfShape";
    const VERSIONS: &'static [u32] = &[9, 20, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 1..=2;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        match inputs {
            [Some(shape), ..] if *shape != DType::I64 => Err(OpError::Type(format!(
                "shape of type {shape}, expected i64"
            ))),
            [_, Some(value)] if !is_real(*value) => Err(OpError::Type(format!(
                "value of type {value}, expected a number or bool"
            ))),
            _ => Ok(()),
        }
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let shape = shape_operand(cx, 0, "input")?;
        if let Some(value) = cx.optional(1)
            && (value.shape.rank() > shape.rank() || value.shape.n_elements() != Some(1))
        {
            return Err(OpError::Shape(format!(
                "`value` has shape {}, expected one element",
                value.shape
            )));
        }
        Ok(shape)
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        match inputs.get(1).copied().flatten() {
            Some(value) => value,
            None => b.constant(0.0, DType::F32),
        }
    }
}
