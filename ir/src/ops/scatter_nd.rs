//! Slices brought to computed positions along several axes.

use super::gather::read_indices;
use super::gather_nd::{check_wide_indices, slice_offsets, tuple_size};
use super::operands::{expect_type, operand};
use super::scatter::ScatterReduction;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 with the slices in operand 2 brought to the positions in operand 1, whose last
    /// dimension holds one position for each of the leading axes; negative counts from the back.
    ScatterND {
        /// What becomes of the elements that are hit.
        reduction: ScatterReduction = ScatterReduction::None,
    }
}

impl Operator for ScatterND {
    const NAME: &'static str = "ScatterND";
    const VERSIONS: &'static [u32] = &[11, 13, 16, 18];
    const INPUTS: RangeInclusive<usize> = 3..=3;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, indices) = (cx.input(0)?, cx.shape(1)?);
        cx.input(2)?;
        check_wide_indices(cx)?;
        self.reduction.check(x.dtype)?;
        let size = tuple_size(&x.shape, indices, 0)?;
        let slices = [&indices.0[..indices.rank() - 1], &x.shape.0[size..]].concat();
        expect_type(cx, 2, "updates", x.dtype, &slices)?;
        Ok(vec![x.clone()])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, updates) = (operand(inputs, 0)?, operand(inputs, 2)?);
        let index_dims = operand(inputs, 1)?.dims();
        let starts = slice_offsets(x.dims(), &read_indices(inputs, 1)?, index_dims, 0)?;
        let size = index_dims.last().copied().unwrap_or(0);
        let run = x.dims()[size..].iter().product();
        Ok(vec![self.reduction.scatter(x, updates, run, &starts)?])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        match self.reduction {
            ScatterReduction::None => 0,
            _ => super::operands::n_elements(inputs, 2),
        }
    }
}
