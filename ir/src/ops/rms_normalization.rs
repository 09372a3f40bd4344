//! Root-mean-square normalisation.

use super::layer_normalization::trailing_axes;
use super::normalize::combine;
use super::operands::{
    Number, expect_broadcast_to, float_operand, flops, known_dims, operand, read,
};
use super::reduce::map_axes;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// `x / sqrt(mean(x^2) + epsilon) * scale`, the mean over `axis` and all later axes.
    ///
    /// Operands: x, and scale, which broadcasts to x and gives the type of the result.
    RMSNormalization {
        /// The first axis of the normalised ones; negative counts from the back.
        axis: i64 = -1,
        /// Added to the mean square.
        epsilon: f32 = 1e-5,
        /// The type that the mean is computed in, by its ONNX number.
        stash_type: i64 = 1,
    }
}

impl Operator for RMSNormalization {
    const NAME: &'static str = "RMSNormalization";
    const VERSIONS: &'static [u32] = &[23];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Reduce;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, scale) = (float_operand(cx, 0)?, float_operand(cx, 1)?);
        trailing_axes(self.axis, x.shape.rank())?;
        expect_broadcast_to(&x.shape, &scale.shape, "scale")?;
        Ok(vec![TensorType::new(scale.dtype, x.shape.clone())])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let dims = known_dims(&types[0])?;
        let mut y: Vec<f64> = read(inputs, 0)?;
        map_axes(
            &mut y,
            &dims,
            &trailing_axes(self.axis, dims.len())?,
            |lane| {
                let mean = lane.iter().map(|v| v * v).sum::<f64>() / lane.len() as f64;
                let root = (mean + f64::from(self.epsilon)).sqrt();
                lane.iter_mut().for_each(|v| *v /= root);
            },
        );
        combine(&mut y, &dims, operand(inputs, 1)?, |v, scale| v * scale)?;
        Ok(vec![f64::write(types[0].dtype, &dims, &y)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(4, inputs, 0)
    }
}
