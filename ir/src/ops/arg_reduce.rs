//! What the positions of the greatest and of the least element share.

use super::OpError;
use super::map::is_number;
use super::operands::{Number, known_dims, operand};
use super::reduce::{fold_axes, reduced_shape};
use crate::DType;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::TensorType;
use crate::tensor::Tensor;

/// Type of the result: positions along `axis`.
pub(crate) fn infer_arg(
    cx: &InferCx<'_>,
    axis: i64,
    keepdims: bool,
) -> Result<Vec<TensorType>, OpError> {
    let x = cx.input(0)?;
    if !is_number(x.dtype) {
        return Err(OpError::Type(format!(
            "operand of type {}, expected a number",
            x.dtype
        )));
    }
    let axis = normalize_axis(axis, x.shape.rank())?;
    if x.shape.dim(axis).known() == Some(0) {
        return Err(OpError::Shape(format!(
            "no position along axis {axis} of {}",
            x.shape
        )));
    }
    Ok(vec![TensorType::new(
        DType::I64,
        reduced_shape(&x.shape, &[axis], keepdims),
    )])
}

/// For each lane along `axis`, the position of the element that no other one is `better` than.
pub(crate) fn eval_arg(
    axis: i64,
    last: bool,
    inputs: &[Option<&Tensor>],
    ty: &TensorType,
    better: std::cmp::Ordering,
) -> Result<Vec<Tensor>, OpError> {
    let x = operand(inputs, 0)?;
    let axis = normalize_axis(axis, x.dims().len())?;
    let positions = if x.dtype().is_float() {
        positions(&f64::read(x)?, x.dims(), axis, last, better)
    } else {
        positions(&i128::read(x)?, x.dims(), axis, last, better)
    };
    Ok(vec![Tensor::from_slice(&known_dims(ty)?, &positions)])
}

fn positions<T: Number>(
    x: &[T],
    dims: &[usize],
    axis: usize,
    last: bool,
    better: std::cmp::Ordering,
) -> Vec<i64> {
    fold_axes(x, dims, &[axis], |lane| {
        let mut best = 0;
        for (i, v) in lane.iter().enumerate().skip(1) {
            let order = v.partial_cmp(&lane[best]);
            if order == Some(better) || (last && order == Some(std::cmp::Ordering::Equal)) {
                best = i;
            }
        }
        best as i64
    })
}

/// Declares the position of an extremum along an axis: name, ONNX name, versions, the order of a
/// better element to the best one so far.
macro_rules! arg_operator {
    ($(#[$meta:meta])* $name:ident, $onnx:literal, [$($version:literal),*], $better:expr) => {
        $crate::attributes! {
            $(#[$meta])*
            $name {
                /// The axis; negative counts from the back.
                axis: i64 = 0,
                /// Whether the axis stays, with size 1.
                keepdims: bool = true,
                /// Whether the last of equal elements counts rather than the first.
                select_last_index: bool = false,
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
                $crate::ops::arg_reduce::infer_arg(cx, self.axis, self.keepdims)
            }

            fn eval(
                &self,
                inputs: &[Option<&$crate::Tensor>],
                types: &[$crate::TensorType],
            ) -> Result<Vec<$crate::Tensor>, $crate::OpError> {
                let (axis, last) = (self.axis, self.select_last_index);
                $crate::ops::arg_reduce::eval_arg(axis, last, inputs, &types[0], $better)
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
pub(crate) use arg_operator;
