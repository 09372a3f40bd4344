//! Instance normalisation.

use super::normalize::{expect_per_channel, infer_like_input, normalize_planes};
use super::operands::flops;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, statistics over each channel of each instance.
    ///
    /// Operands: x `[N, C, D1 … Dn]`, scale `[C]`, bias `[C]`.
    InstanceNormalization {
        /// Added to the variance.
        epsilon: f32 = 1e-5,
    }
}

impl Operator for InstanceNormalization {
    const NAME: &'static str = "InstanceNormalization";
    const VERSIONS: &'static [u32] = &[1, 6, 22];
    const INPUTS: RangeInclusive<usize> = 3..=3;
    const CLASS: Class = Class::Reduce;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        expect_per_channel(cx, &[(1, "scale"), (2, "B")])?;
        infer_like_input(cx)
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let channels = types[0].shape.dim(1).known().unwrap_or(0);
        normalize_planes(inputs, &types[0], channels, self.epsilon)
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(8, inputs, 0)
    }
}
