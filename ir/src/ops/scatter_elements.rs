//! Elements brought to computed positions along an axis.

use super::gather::{check_indices, read_indices};
use super::gather_elements::{check_reach, element_offsets};
use super::operands::{expect_type, operand};
use super::scatter::ScatterReduction;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 with the elements of operand 2 brought to the same places but for `axis`, where
    /// operand 1 says the position; negative counts from the back.
    ScatterElements {
        /// The axis.
        axis: i64 = 0,
        /// What becomes of the elements that are hit.
        reduction: ScatterReduction = ScatterReduction::None,
    }
}

impl Operator for ScatterElements {
    const NAME: &'static str = "ScatterElements";
    const VERSIONS: &'static [u32] = &[11, 13, 16, 18];
    const INPUTS: RangeInclusive<usize> = 3..=3;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, indices) = (cx.input(0)?, cx.shape(1)?);
        cx.input(2)?;
        check_indices(cx, 1)?;
        self.reduction.check(x.dtype)?;
        check_reach(
            &x.shape,
            indices,
            normalize_axis(self.axis, x.shape.rank())?,
        )?;
        expect_type(cx, 2, "updates", x.dtype, &indices.0)?;
        Ok(vec![x.clone()])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, updates) = (operand(inputs, 0)?, operand(inputs, 2)?);
        let axis = normalize_axis(self.axis, x.dims().len())?;
        let index_dims = operand(inputs, 1)?.dims();
        let starts = element_offsets(x.dims(), axis, &read_indices(inputs, 1)?, index_dims)?;
        Ok(vec![self.reduction.scatter(x, updates, 1, &starts)?])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        match self.reduction {
            ScatterReduction::None => 0,
            _ => super::operands::n_elements(inputs, 2),
        }
    }
}
