//! What pooling over all spatial positions shares.

use super::OpError;
use super::operands::{Number, float_operand, known_dims, operand};
use super::reduce::{fold_axes, reduced_shape};
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;

/// Type of the result: size 1 along every spatial dimension.
pub(crate) fn infer_global(cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
    let x = float_operand(cx, 0)?;
    let rank = x.shape.rank();
    if rank < 3 {
        return Err(OpError::Shape(format!(
            "{} has no spatial dimensions",
            x.shape
        )));
    }
    let spatial: Vec<usize> = (2..rank).collect();
    Ok(vec![TensorType::new(
        x.dtype,
        reduced_shape(&x.shape, &spatial, true),
    )])
}

/// For each batch and channel, the fold of all spatial positions.
pub(crate) fn eval_global(
    inputs: &[Option<&Tensor>],
    ty: &TensorType,
    fold: impl FnMut(&[f64]) -> f64,
) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let spatial: Vec<usize> = (2..x.dims().len()).collect();
    let y = fold_axes(&f64::read(x)?, x.dims(), &spatial, fold);
    Ok(vec![f64::write(ty.dtype, &known_dims(ty)?, &y)])
}

/// Implements [`Operator`](super::Operator) for a fold over all spatial positions: operator, ONNX
/// name, versions, the fold of one channel.
macro_rules! global_pool {
    ($name:ident, $onnx:literal, [$($version:literal),*], |$op:ident, $lane:ident| $fold:expr) => {
        impl $crate::ops::Operator for $name {
            const NAME: &'static str = $onnx;
            const VERSIONS: &'static [u32] = &[$($version),*];
            const INPUTS: std::ops::RangeInclusive<usize> = 1..=1;
            const CLASS: $crate::ops::Class = $crate::ops::Class::Reduce;

            $crate::attrs::attrs_by_macro!();

            fn infer(
                &self,
                cx: &$crate::infer::InferCx<'_>,
            ) -> Result<Vec<$crate::TensorType>, $crate::OpError> {
                $crate::ops::global_pool::infer_global(cx)
            }

            fn eval(
                &self,
                inputs: &[Option<&$crate::Tensor>],
                types: &[$crate::TensorType],
            ) -> Result<Vec<$crate::Tensor>, $crate::OpError> {
                let $op = self;
                $crate::ops::global_pool::eval_global(inputs, &types[0], |$lane| $fold)
            }

            fn flop(
                &self,
                inputs: &[Option<&$crate::TensorType>],
                _outputs: &[$crate::TensorType],
            ) -> u64 {
                $crate::ops::operands::n_elements(inputs, 0)
            }
        }
    };
}
pub(crate) use global_pool;
