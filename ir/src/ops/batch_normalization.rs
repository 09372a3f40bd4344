//! Batch normalisation with known statistics.

use super::normalize::{
    combine, expect_per_channel, infer_like_input, per_channel, scale_channels,
};
use super::operands::{Number, flops, known_dims, read};
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, with one number a channel.
    ///
    /// Operands: x `[N, C, …]`, then scale, bias, mean and variance, each `[C]`.
    BatchNormalization {
        /// Added to the variance.
        epsilon: f32 = 1e-5,
        /// Weight of the old statistics in training.
        momentum: f32 = 0.9,
        /// Whether statistics are computed from x; refused.
        training_mode: bool = false,
    }
}

impl Operator for BatchNormalization {
    const NAME: &'static str = "BatchNormalization";
    const VERSIONS: &'static [u32] = &[1, 6, 7, 9, 14, 15];
    const INPUTS: RangeInclusive<usize> = 5..=5;
    const OUTPUTS: RangeInclusive<usize> = 1..=5;
    const CLASS: Class = Class::Reduce;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        if self.training_mode || cx.n_outputs() > 1 {
            return Err(OpError::Unsupported(
                "batch normalisation in training mode; export the model for inference".into(),
            ));
        }
        let operands = [(1, "scale"), (2, "B"), (3, "input_mean"), (4, "input_var")];
        expect_per_channel(cx, &operands)?;
        infer_like_input(cx)
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let dims = known_dims(&types[0])?;
        let mut y: Vec<f64> = read(inputs, 0)?;
        let (mean, variance) = (
            per_channel(inputs, 3, dims.len())?,
            per_channel(inputs, 4, dims.len())?,
        );
        let epsilon = f64::from(self.epsilon);
        combine(&mut y, &dims, &mean, |v, mean| v - mean)?;
        combine(&mut y, &dims, &variance, |v, variance| {
            v / (variance + epsilon).sqrt()
        })?;
        scale_channels(&mut y, &dims, inputs)?;
        Ok(vec![f64::write(types[0].dtype, &dims, &y)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(2, inputs, 0)
    }
}
