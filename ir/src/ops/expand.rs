//! Broadcasting to a shape.

use super::view::{list_length, shape_operand};
use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, broadcast};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 broadcast together with the dimensions in operand 1: either may have the 1s.
    Expand {}
}

impl Expand {
    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        if cx.constant(1).is_some() {
            return broadcast(x, &shape_operand(cx, 1, "shape")?);
        }
        // Of the target only the rank is known: dimensions of `x` that are not 1 are sure to stay.
        let target = list_length(cx, 1, "shape")?;
        let rank = x.rank().max(target);
        let dim = |i: usize| match (i + x.rank()).checked_sub(rank).map(|j| x.dim(j)) {
            Some(Dim::Known(n)) if *n != 1 => Dim::Known(*n),
            Some(own) if i + target < rank => own.clone(),
            _ => cx.fresh_dim(),
        };
        Ok((0..rank).map(dim).collect())
    }
}

impl Operator for Expand {
    const NAME: &'static str = "Expand";
    const VERSIONS: &'static [u32] = &[8, 13];
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
        Some(vec![ViewStep::Broadcast(self.shape(cx).ok()?.dims()?)])
    }
}
