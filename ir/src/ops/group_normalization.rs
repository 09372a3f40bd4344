//! Group normalisation.

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
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, statistics over groups of channels of each instance.
    ///
    /// Operands: x `[N, C, D1 … Dn]`, scale `[C]`, bias `[C]`.
    GroupNormalization {
        /// Added to the variance.
        epsilon: f32 = 1e-5,
        /// The number of groups; it divides C.
        num_groups: i64,
        /// The type that statistics are computed in, by its ONNX number.
        stash_type: i64 = 1,
    }
}

impl GroupNormalization {
    fn groups(&self) -> Result<usize, OpError> {
        usize::try_from(self.num_groups)
            .ok()
            .filter(|&g| g > 0)
            .ok_or_else(|| {
                OpError::Shape(format!(
                    "`num_groups` is {}, expected at least 1",
                    self.num_groups
                ))
            })
    }
}

impl Operator for GroupNormalization {
    const NAME: &'static str = "GroupNormalization";
    const VERSIONS: &'static [u32] = &[18, 21];
    const INPUTS: RangeInclusive<usize> = 3..=3;
    const CLASS: Class = Class::Reduce;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        expect_per_channel(cx, &[(1, "scale"), (2, "bias")])?;
        let (groups, channels) = (self.groups()?, cx.shape(0)?.dim(1));
        if channels.known().is_some_and(|c| c % groups != 0) {
            return Err(OpError::Shape(format!(
                "{channels} channels in {groups} groups"
            )));
        }
        infer_like_input(cx)
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        normalize_planes(inputs, &types[0], self.groups()?, self.epsilon)
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(8, inputs, 0)
    }
}
