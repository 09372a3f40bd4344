//! The number of elements of a tensor, as a tensor.

use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// The number of elements of the operand, as an i64 of rank 0.
    Size {}
}

impl Operator for Size {
    const NAME: &'static str = "Size";
    const VERSIONS: &'static [u32] = &[1, 13, 19, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::Metadata;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        cx.input(0)?;
        Ok(vec![TensorType::known(DType::I64, &[])])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        super::operands::with_cx(inputs, 1, |cx| self.metadata(cx))
            .map(|t| vec![t])
            .ok_or(OpError::MissingInput(0))
    }

    fn metadata(&self, cx: &InferCx<'_>) -> Option<Tensor> {
        let n = cx.shape(0).ok()?.n_elements()?;
        Some(Tensor::scalar(n as i64))
    }
}
