//! Normalisation to mean 0 and variance 1.

use super::normalize::{eval_lanes, infer_like_input, moments};
use super::operands::flops;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axes};
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// `(x - mean) / (sqrt(variance) + 1e-9)`, statistics along `axes`.
    MeanVarianceNormalization {
        /// The axes; negative ones count from the back.
        axes: Vec<i64> = vec![0, 2, 3],
    }
}

impl Operator for MeanVarianceNormalization {
    const NAME: &'static str = "MeanVarianceNormalization";
    const VERSIONS: &'static [u32] = &[9, 13];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::Reduce;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        normalize_axes(&self.axes, cx.shape(0)?.rank())?;
        infer_like_input(cx)
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let axes = normalize_axes(&self.axes, types[0].shape.rank())?;
        eval_lanes(inputs, &types[0], &axes, |lane| {
            let (mean, variance) = moments(lane);
            let deviation = variance.sqrt() + 1e-9;
            lane.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
        })
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(6, inputs, 0)
    }
}
