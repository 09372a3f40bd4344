//! What all folds along axes share.

use crate::DType;
use crate::infer::{InferCx, normalize_axes};
use crate::ops::OpError;
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

/// For each result element in order, the elements of `x` along `axes` in row-major order, as given to `f`.
pub(crate) fn fold_axes(
    x: &[f64],
    dims: &[usize],
    axes: &[usize],
    mut f: impl FnMut(&[f64]) -> f64,
) -> Vec<f64> {
    let outer: Vec<usize> = (0..dims.len()).filter(|i| !axes.contains(i)).collect();
    let strides = crate::eval::row_major_strides(dims);
    let pick = |set: &[usize]| -> (Vec<usize>, Vec<usize>) {
        (
            set.iter().map(|&i| dims[i]).collect(),
            set.iter().map(|&i| strides[i]).collect(),
        )
    };
    let (outer_dims, outer_strides) = pick(&outer);
    let (inner_dims, inner_strides) = pick(axes);
    let inner: Vec<usize> = crate::eval::offsets(&inner_dims, &inner_strides).collect();
    let mut buffer = vec![0.0; inner.len()];
    crate::eval::offsets(&outer_dims, &outer_strides)
        .map(|base| {
            for (b, &o) in buffer.iter_mut().zip(&inner) {
                *b = x[base + o];
            }
            f(&buffer)
        })
        .collect()
}

/// Type of the result of a fold.
pub(crate) fn infer_fold(
    cx: &InferCx<'_>,
    noop: bool,
    keepdims: bool,
    allowed: fn(DType) -> bool,
) -> Result<Vec<TensorType>, OpError> {
    let x = cx.input(0)?;
    if !allowed(x.dtype) {
        return Err(OpError::Type(format!(
            "operand of type {}, expected a number",
            x.dtype
        )));
    }
    Ok(vec![TensorType::new(
        x.dtype,
        reduced_shape(&x.shape, &axes(cx, noop)?, keepdims),
    )])
}

/// The result of a fold.
pub(crate) fn eval_fold(
    fold: Fold,
    noop: bool,
    inputs: &[Option<&Tensor>],
    ty: &TensorType,
) -> Result<Vec<Tensor>, OpError> {
    let types: Vec<_> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
    let types: Vec<_> = types.iter().map(Option::as_ref).collect();
    let axes = axes(&InferCx::new(&types, inputs, 1), noop)?;
    let x = inputs[0].ok_or(OpError::MissingInput(0))?;
    let values = x
        .to_f64()
        .ok_or_else(|| OpError::Type("complex operand".into()))?;
    let dims = ty
        .shape
        .dims()
        .ok_or_else(|| OpError::Shape("unknown shape".into()))?;
    let result = if axes.is_empty() && noop && inputs.get(1).is_some() {
        values
    } else {
        fold_axes(&values, x.dims(), &axes, |v| fold.apply(v))
    };
    Ok(vec![Tensor::from_f64(ty.dtype, &dims, &result)])
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
                $crate::ops::reduce::infer_fold(
                    cx,
                    self.noop_with_empty_axes,
                    self.keepdims,
                    $crate::ops::map::is_number,
                )
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
                inputs[0].and_then(|t| t.shape.n_elements()).unwrap_or(0) as u64
            }
        }
    };
}
pub(crate) use reduce_operator;
