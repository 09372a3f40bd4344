//! What all folds along axes share.

use super::OpError;
use super::map::is_number;
use super::operands::{Number, integer_range, known_dims, operand, with_cx};
use crate::DType;
use crate::eval::{offsets, row_major_strides};
use crate::infer::{InferCx, normalize_axes};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;

/// What a fold computes from the elements along its axes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Fold {
    Sum,
    Mean,
    Prod,
    Min,
    Max,
    /// Sum of absolute values.
    L1,
    /// Square root of the sum of squares.
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

impl Fold {
    /// The fold of `values`, in order. An empty fold gives the neutral element.
    pub fn apply(self, values: &[f64]) -> f64 {
        let max = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, nan_max);
        match self {
            Fold::Sum => values.iter().sum(),
            Fold::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Fold::Prod => values.iter().product(),
            Fold::Min => -max(&values.iter().map(|v| -v).collect::<Vec<_>>()),
            Fold::Max => max(values),
            Fold::L1 => values.iter().map(|v| v.abs()).sum(),
            Fold::L2 => values.iter().map(|v| v * v).sum::<f64>().sqrt(),
            Fold::SumSquare => values.iter().map(|v| v * v).sum(),
            Fold::LogSum => values.iter().sum::<f64>().ln(),
            Fold::LogSumExp => {
                let m = max(values);
                if m.is_finite() {
                    m + values.iter().map(|v| (v - m).exp()).sum::<f64>().ln()
                } else {
                    m
                }
            }
        }
    }

    /// The fold of integers of type `dtype`: exact where the result is one, otherwise truncated.
    fn apply_integers(self, values: &[i128], dtype: DType) -> i128 {
        let (least, greatest) = integer_range(dtype);
        let all = values.iter().copied();
        let sum = |terms: &mut dyn Iterator<Item = i128>| terms.fold(0, i128::wrapping_add);
        match self {
            Fold::Sum => sum(&mut all.into_iter()),
            Fold::Mean => sum(&mut all.into_iter()) / (values.len() as i128).max(1),
            Fold::Prod => all.fold(1, i128::wrapping_mul),
            Fold::Min => all.min().unwrap_or(greatest),
            Fold::Max => all.max().unwrap_or(least),
            Fold::L1 => sum(&mut all.map(i128::abs)),
            Fold::SumSquare => sum(&mut all.map(|v| v.wrapping_mul(v))),
            Fold::L2 | Fold::LogSum | Fold::LogSumExp => {
                self.apply(&all.map(|v| v as f64).collect::<Vec<_>>()) as i128
            }
        }
    }

    /// Whether the fold is defined for elements of `dtype`.
    fn takes(self, dtype: DType) -> bool {
        is_number(dtype) || (matches!(self, Fold::Min | Fold::Max) && dtype == DType::Bool)
    }

    /// Operations for each element of the operand.
    pub(crate) fn flop(self) -> u64 {
        match self {
            Fold::Sum | Fold::Mean | Fold::Prod | Fold::Min | Fold::Max | Fold::LogSum => 1,
            Fold::L1 | Fold::L2 | Fold::SumSquare => 2,
            Fold::LogSumExp => 4,
        }
    }
}

fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// The axes that a fold runs over: operand 1, or all; none with `noop`.
pub(crate) fn axes(cx: &InferCx<'_>, noop: bool) -> Result<Vec<usize>, OpError> {
    let rank = cx.shape(0)?.rank();
    let axes = match cx.optional(1) {
        Some(_) => cx.require_ints(1, "axes")?,
        None => vec![],
    };
    if axes.is_empty() && !noop {
        return Ok((0..rank).collect());
    }
    normalize_axes(&axes, rank)
}

/// `shape` without `axes`, or with size 1 there.
pub(crate) fn reduced_shape(shape: &Shape, axes: &[usize], keepdims: bool) -> Shape {
    let dims = shape.0.iter().enumerate();
    dims.filter_map(|(i, d)| match (axes.contains(&i), keepdims) {
        (false, _) => Some(d.clone()),
        (true, true) => Some(Dim::Known(1)),
        (true, false) => None,
    })
    .collect()
}

/// Where the elements of each lane of a row-major tensor lie: a lane holds what differs along some axes only.
struct Lanes {
    /// The first element of each lane, in row-major order over the other axes.
    bases: Vec<usize>,
    /// From there, the elements in row-major order over the axes.
    steps: Vec<usize>,
}

impl Lanes {
    fn new(dims: &[usize], axes: &[usize]) -> Self {
        let strides = row_major_strides(dims);
        let walk = |set: &[usize]| -> Vec<usize> {
            let (dims, strides): (Vec<_>, Vec<_>) =
                set.iter().map(|&i| (dims[i], strides[i])).unzip();
            offsets(&dims, &strides).collect()
        };
        let others: Vec<usize> = (0..dims.len()).filter(|i| !axes.contains(i)).collect();
        Self {
            bases: walk(&others),
            steps: walk(axes),
        }
    }
}

/// For each result element in order, what `f` makes of the elements of `x` along `axes` in row-major order.
pub(crate) fn fold_axes<T: Copy, U>(
    x: &[T],
    dims: &[usize],
    axes: &[usize],
    mut f: impl FnMut(&[T]) -> U,
) -> Vec<U> {
    let lanes = Lanes::new(dims, axes);
    let mut lane = Vec::with_capacity(lanes.steps.len());
    let fold = |&base: &usize| {
        lane.clear();
        lane.extend(lanes.steps.iter().map(|step| x[base + step]));
        f(&lane)
    };
    lanes.bases.iter().map(fold).collect()
}

/// Has `f` replace the elements of `x` along `axes`, one lane after the other.
pub(crate) fn map_axes<T: Number>(
    x: &mut [T],
    dims: &[usize],
    axes: &[usize],
    mut f: impl FnMut(&mut [T]),
) {
    let lanes = Lanes::new(dims, axes);
    let mut lane = vec![T::ZERO; lanes.steps.len()];
    for &base in &lanes.bases {
        for (to, step) in lane.iter_mut().zip(&lanes.steps) {
            *to = x[base + step];
        }
        f(&mut lane);
        for (&from, step) in lane.iter().zip(&lanes.steps) {
            x[base + step] = from;
        }
    }
}

/// Type of the result of a fold.
pub(crate) fn infer_fold(
    cx: &InferCx<'_>,
    fold: Fold,
    noop: bool,
    keepdims: bool,
) -> Result<Vec<TensorType>, OpError> {
    let x = cx.input(0)?;
    if !fold.takes(x.dtype) {
        return Err(OpError::Type(format!(
            "operand of type {}, expected a number",
            x.dtype
        )));
    }
    let shape = reduced_shape(&x.shape, &axes(cx, noop)?, keepdims);
    Ok(vec![TensorType::new(x.dtype, shape)])
}

/// The result of a fold. Over no axes, what the fold does beside folding is still done to each element.
pub(crate) fn eval_fold(
    fold: Fold,
    noop: bool,
    inputs: &[Option<&Tensor>],
    ty: &TensorType,
) -> Result<Vec<Tensor>, OpError> {
    let axes = with_cx(inputs, 1, |cx| axes(cx, noop))?;
    let x = operand(inputs, 0)?;
    let dims = known_dims(ty)?;
    let result = if ty.dtype.is_float() {
        let y = fold_axes(&f64::read(x)?, x.dims(), &axes, |v| fold.apply(v));
        f64::write(ty.dtype, &dims, &y)
    } else {
        let fold_lane = |v: &[i128]| fold.apply_integers(v, ty.dtype);
        let y = fold_axes(&i128::read(x)?, x.dims(), &axes, fold_lane);
        i128::write(ty.dtype, &dims, &y)
    };
    Ok(vec![result])
}

/// Declares a fold along axes: name, ONNX name, versions, what it computes.
macro_rules! reduce_operator {
    ($(#[$meta:meta])* $name:ident, $onnx:literal, [$($version:literal),*], $fold:expr) => {
        $crate::attributes! {
            $(#[$meta])*
            $name {
                /// Whether the axes stay, with size 1.
                keepdims: bool = true,
                /// Whether no axes means none rather than all.
                noop_with_empty_axes: bool = false,
            }
        }

        impl $name {
            /// What is computed along the axes.
            pub const FOLD: $crate::ops::Fold = $fold;

            /// The axes that are folded, ascending.
            pub fn axes(&self, cx: &$crate::infer::InferCx<'_>) -> Result<Vec<usize>, $crate::OpError> {
                $crate::ops::reduce::axes(cx, self.noop_with_empty_axes)
            }
        }

        impl $crate::ops::Operator for $name {
            const NAME: &'static str = $onnx;
            const VERSIONS: &'static [u32] = &[$($version),*];
            const INPUTS: std::ops::RangeInclusive<usize> = 1..=2;
            const CLASS: $crate::ops::Class = $crate::ops::Class::Reduce;

            $crate::attrs::attrs_by_macro!();

            fn infer(
                &self,
                cx: &$crate::infer::InferCx<'_>,
            ) -> Result<Vec<$crate::TensorType>, $crate::OpError> {
                let (noop, keepdims) = (self.noop_with_empty_axes, self.keepdims);
                $crate::ops::reduce::infer_fold(cx, $fold, noop, keepdims)
            }

            fn eval(
                &self,
                inputs: &[Option<&$crate::Tensor>],
                types: &[$crate::TensorType],
            ) -> Result<Vec<$crate::Tensor>, $crate::OpError> {
                $crate::ops::reduce::eval_fold($fold, self.noop_with_empty_axes, inputs, &types[0])
            }

            fn flop(
                &self,
                inputs: &[Option<&$crate::TensorType>],
                _outputs: &[$crate::TensorType],
            ) -> u64 {
                $crate::ops::operands::flops($fold.flop(), inputs, 0)
            }
        }
    };
}
pub(crate) use reduce_operator;
