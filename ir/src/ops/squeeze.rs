//! Removal of dimensions of size 1.

use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axes};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 without the dimensions of size 1 in operand 1; without all of them where that is left out.
    Squeeze {}
}

impl Squeeze {
    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        let axes = match cx.optional(1) {
            Some(_) => normalize_axes(&cx.require_ints(1, "axes")?, x.rank())?,
            None if x.0.iter().any(|d| d.known().is_none()) => {
                return Err(OpError::Unsupported(format!(
                    "which dimensions of {x} are 1 is not known; bind them, or give `axes`"
                )));
            }
            None => (0..x.rank())
                .filter(|&i| *x.dim(i) == Dim::Known(1))
                .collect(),
        };
        if let Some(&axis) = axes
            .iter()
            .find(|&&i| x.dim(i).known().is_some_and(|n| n != 1))
        {
            return Err(OpError::Shape(format!("dimension {axis} of {x} is not 1")));
        }
        let dims = x.0.iter().enumerate();
        Ok(dims
            .filter(|(i, _)| !axes.contains(i))
            .map(|(_, d)| d.clone())
            .collect())
    }
}

impl Operator for Squeeze {
    const NAME: &'static str = "Squeeze";
    const VERSIONS: &'static [u32] = &[1, 11, 13, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 1..=2;
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
