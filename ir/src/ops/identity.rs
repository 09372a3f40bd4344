//! The operand itself.

use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// The operand, unchanged.
    Identity {}
}

impl Operator for Identity {
    const NAME: &'static str = "Identity";
    const VERSIONS: &'static [u32] = &[1, 13, 14, 16, 19, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![cx.input(0)?.clone()])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, _cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        Some(vec![])
    }
}
