//! Layer normalisation.

use super::normalize::{combine, standardize};
use super::operands::{
    Number, expect_broadcast_to, flops, known_dims, one_type, operand, optional, read,
};
use super::reduce::{map_axes, reduced_shape};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::TensorType;
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias`, statistics over `axis` and all later axes.
    ///
    /// Operands: x, scale, optional bias, the last two broadcast to x. Results: y, and optionally
    /// the means and the inverses of the standard deviations, with size 1 along the axes.
    LayerNormalization {
        /// The first axis of the normalised ones; negative counts from the back.
        axis: i64 = -1,
        /// Added to the variance.
        epsilon: f32 = 1e-5,
        /// The type that statistics are computed in, by its ONNX number: 1 for f32, 16 for bf16.
        stash_type: i64 = 1,
    }
}

/// The axes from `axis` on.
pub(crate) fn trailing_axes(axis: i64, rank: usize) -> Result<Vec<usize>, OpError> {
    Ok((normalize_axis(axis, rank)?..rank).collect())
}

impl Operator for LayerNormalization {
    const NAME: &'static str = "LayerNormalization";
    const VERSIONS: &'static [u32] = &[17];
    const INPUTS: RangeInclusive<usize> = 2..=3;
    const OUTPUTS: RangeInclusive<usize> = 1..=3;
    const CLASS: Class = Class::Reduce;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        one_type(cx, 3, DType::is_float, "a floating-point number")?;
        let x = cx.input(0)?;
        let axes = trailing_axes(self.axis, x.shape.rank())?;
        expect_broadcast_to(&x.shape, cx.shape(1)?, "Scale")?;
        if let Some(bias) = cx.optional(2) {
            expect_broadcast_to(&x.shape, &bias.shape, "B")?;
        }
        let stash = match self.stash_type {
            1 => DType::F32,
            16 => DType::BF16,
            other => {
                return Err(OpError::Unsupported(format!(
                    "`stash_type` is {other}; expected 1 (f32) or 16 (bf16)"
                )));
            }
        };
        let statistics = TensorType::new(stash, reduced_shape(&x.shape, &axes, true));
        let results = [x.clone(), statistics.clone(), statistics];
        Ok(results.into_iter().take(cx.n_outputs()).collect())
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let dims = known_dims(&types[0])?;
        let axes = trailing_axes(self.axis, dims.len())?;
        let mut y: Vec<f64> = read(inputs, 0)?;
        let (mut means, mut inverses) = (vec![], vec![]);
        map_axes(&mut y, &dims, &axes, |lane| {
            let (mean, inverse) = standardize(lane, self.epsilon);
            means.push(mean);
            inverses.push(inverse);
        });
        combine(&mut y, &dims, operand(inputs, 1)?, |v, scale| v * scale)?;
        if let Some(bias) = optional(inputs, 2) {
            combine(&mut y, &dims, bias, |v, bias| v + bias)?;
        }
        let results = types.iter().zip([y, means, inverses]);
        results
            .map(|(ty, v)| Ok(f64::write(ty.dtype, &known_dims(ty)?, &v)))
            .collect()
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(8, inputs, 0)
    }
}
