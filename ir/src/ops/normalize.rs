//! What normalisations share: each lane of a tensor becomes another lane of the same size.

use super::OpError;
use super::operands::{Number, float_operand, known_dims, operand, read};
use super::reduce::map_axes;
use crate::eval::broadcast_offsets;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;

/// Type of a result that is like operand 0, which holds floating-point numbers.
pub(crate) fn infer_like_input(cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
    Ok(vec![float_operand(cx, 0)?.clone()])
}

/// Operand 0, its lanes along `axes` replaced by `f`.
pub(crate) fn eval_lanes(
    inputs: &[Option<&Tensor>],
    ty: &TensorType,
    axes: &[usize],
    f: impl FnMut(&mut [f64]),
) -> Result<Vec<Tensor>, OpError> {
    let dims = known_dims(ty)?;
    let mut x: Vec<f64> = read(inputs, 0)?;
    map_axes(&mut x, &dims, axes, f);
    Ok(vec![f64::write(ty.dtype, &dims, &x)])
}

/// Mean and variance (of the whole population, not of a sample).
pub(crate) fn moments(lane: &[f64]) -> (f64, f64) {
    let n = lane.len() as f64;
    let mean = lane.iter().sum::<f64>() / n;
    let variance = lane.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, variance)
}

/// Brings `lane` to mean 0 and variance 1; returns the mean and `1 / sqrt(variance + epsilon)`.
pub(crate) fn standardize(lane: &mut [f64], epsilon: f32) -> (f64, f64) {
    let (mean, variance) = moments(lane);
    let inverse = 1.0 / (variance + f64::from(epsilon)).sqrt();
    lane.iter_mut().for_each(|v| *v = (*v - mean) * inverse);
    (mean, inverse)
}

/// Replaces each element `v` of `y` by `f(v, w)`, `w` from `operand` broadcast to `dims`.
pub(crate) fn combine(
    y: &mut [f64],
    dims: &[usize],
    operand: &Tensor,
    f: impl Fn(f64, f64) -> f64,
) -> Result<(), OpError> {
    let values = f64::read(operand)?;
    for (v, i) in y.iter_mut().zip(broadcast_offsets(dims, operand.dims())) {
        *v = f(*v, values[i]);
    }
    Ok(())
}

/// Operand `i`, one number a channel, such that it broadcasts to a tensor N, C, D1, …, Dn of `rank`.
pub(crate) fn per_channel(
    inputs: &[Option<&Tensor>],
    i: usize,
    rank: usize,
) -> Result<Tensor, OpError> {
    let t = operand(inputs, i)?;
    let mut dims = vec![1; rank - 1];
    dims[0] = t.n_elements();
    t.reshaped(&dims)
        .map_err(|e| OpError::Shape(format!("{e:?}")))
}

/// Scales and shifts each channel of `y` by operands 1 and 2.
pub(crate) fn scale_channels(
    y: &mut [f64],
    dims: &[usize],
    inputs: &[Option<&Tensor>],
) -> Result<(), OpError> {
    combine(y, dims, &per_channel(inputs, 1, dims.len())?, |v, scale| {
        v * scale
    })?;
    combine(y, dims, &per_channel(inputs, 2, dims.len())?, |v, bias| {
        v + bias
    })
}

/// Operand 0 `[N, C, D1 … Dn]` standardised in `groups` equal groups of neighbouring channels of each
/// instance, its channels then scaled and shifted by operands 1 and 2.
pub(crate) fn normalize_planes(
    inputs: &[Option<&Tensor>],
    ty: &TensorType,
    groups: usize,
    epsilon: f32,
) -> Result<Vec<Tensor>, OpError> {
    let dims = known_dims(ty)?;
    let mut y: Vec<f64> = read(inputs, 0)?;
    let plane = y.len().checked_div(dims[0] * groups).unwrap_or(0).max(1);
    for plane in y.chunks_exact_mut(plane) {
        standardize(plane, epsilon);
    }
    scale_channels(&mut y, &dims, inputs)?;
    Ok(vec![f64::write(ty.dtype, &dims, &y)])
}

/// Refuses operand 0 without dimensions N and C, and the other operands unless they are one number a channel.
pub(crate) fn expect_per_channel(
    cx: &InferCx<'_>,
    operands: &[(usize, &str)],
) -> Result<(), OpError> {
    let x = float_operand(cx, 0)?;
    if x.shape.rank() < 2 {
        return Err(OpError::Shape(format!("{} has no channels", x.shape)));
    }
    for &(i, name) in operands {
        let ty = float_operand(cx, i)?;
        super::operands::expect_type(cx, i, name, ty.dtype, &x.shape.0[1..2])?;
    }
    Ok(())
}

/// Declares a normalisation along one axis without other operands: name, ONNX name, versions,
/// operations for each element, what happens to a lane.
macro_rules! axis_operator {
    ($(#[$meta:meta])* $name:ident, $onnx:literal, [$($version:literal),*], $flop:literal,
     |$lane:ident| $body:expr) => {
        $crate::attributes! {
            $(#[$meta])*
            $name {
                /// The axis; negative counts from the back.
                axis: i64 = -1,
            }
        }

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
                $crate::infer::normalize_axis(self.axis, cx.shape(0)?.rank())?;
                $crate::ops::normalize::infer_like_input(cx)
            }

            fn eval(
                &self,
                inputs: &[Option<&$crate::Tensor>],
                types: &[$crate::TensorType],
            ) -> Result<Vec<$crate::Tensor>, $crate::OpError> {
                let axis = $crate::infer::normalize_axis(self.axis, types[0].shape.rank())?;
                let lane = |$lane: &mut [f64]| $body;
                $crate::ops::normalize::eval_lanes(inputs, &types[0], &[axis], lane)
            }

            fn flop(
                &self,
                inputs: &[Option<&$crate::TensorType>],
                _outputs: &[$crate::TensorType],
            ) -> u64 {
                $crate::ops::operands::flops($flop, inputs, 0)
            }
        }
    };
}
pub(crate) use axis_operator;
