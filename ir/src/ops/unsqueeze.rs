//! Dimensions of size 1 where there were none.

use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axes};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 with further dimensions of size 1: operand 1 says at which axes of the result.
    Unsqueeze {}
}

impl Unsqueeze {
    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        let axes = cx.require_ints(1, "axes")?;
        let rank = x.rank() + axes.len();
        let axes = normalize_axes(&axes, rank)?;
        let mut rest = x.0.iter();
        Ok((0..rank)
            .filter_map(|i| match axes.binary_search(&i) {
                Ok(_) => Some(Dim::Known(1)),
                Err(_) => rest.next().cloned(),
            })
            .collect())
    }
}

impl Operator for Unsqueeze {
    const NAME: &'static str = "Unsqueeze";
    const VERSIONS: &'static [u32] = &[1, 11, 13, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![TensorType::new(cx.dtype(0)?, self.shape(cx)?)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        Some(vec![ViewStep::Reshape(self.shape(cx).ok()?.dims()?)])
    }
}
