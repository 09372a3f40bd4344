//! Division by the norm along an axis.

use super::norm::NormOrder;
use super::normalize::{eval_lanes, infer_like_input};
use super::operands::flops;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// x over its p-norm along `axis`; 0 where the norm is 0.
    LpNormalization {
        /// The axis; negative counts from the back.
        axis: i64 = -1,
        /// The order of the norm.
        p: NormOrder = NormOrder::TWO,
    }
}

impl Operator for LpNormalization {
    const NAME: &'static str = "LpNormalization";
    const VERSIONS: &'static [u32] = &[1, 22];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::Reduce;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        normalize_axis(self.axis, cx.shape(0)?.rank())?;
        infer_like_input(cx)
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let axis = normalize_axis(self.axis, types[0].shape.rank())?;
        eval_lanes(inputs, &types[0], &[axis], |lane| {
            let norm = self.p.of(lane);
            let scale = |v: f64| if norm == 0.0 { 0.0 } else { v / norm };
            lane.iter_mut().for_each(|v| *v = scale(*v));
        })
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(3, inputs, 0)
    }
}
