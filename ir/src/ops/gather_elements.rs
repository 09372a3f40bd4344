//! Elements at computed positions along an axis.

use super::gather::{check_indices, position, read_indices};
use super::operands::operand;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::eval::{copy, offsets, row_major_strides};
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// For each element of operand 1, the element of operand 0 at the same place but for `axis`,
    /// where it stands at the position that the element of operand 1 says; negative counts from the back.
    GatherElements {
        /// The axis.
        axis: i64 = 0,
    }
}

/// Refuses `indices` whose dimensions beside `axis` reach beyond those of `x`.
pub(super) fn check_reach(x: &Shape, indices: &Shape, axis: usize) -> Result<(), OpError> {
    let fits = |(d, (x, i)): (usize, (&crate::Dim, &crate::Dim))| {
        d == axis || !matches!((x.known(), i.known()), (Some(x), Some(i)) if i > x)
    };
    if x.rank() == indices.rank() && x.0.iter().zip(&indices.0).enumerate().all(fits) {
        return Ok(());
    }
    Err(OpError::Shape(format!(
        "indices of shape {indices} along axis {axis} of {x}"
    )))
}

/// For each of `indices`, a tensor of `index_dims`, the offset of the element of a tensor of
/// `dims` that it names along `axis`.
pub(super) fn element_offsets(
    dims: &[usize],
    axis: usize,
    indices: &[i64],
    index_dims: &[usize],
) -> Result<Vec<usize>, OpError> {
    let mut strides = row_major_strides(dims);
    let step = std::mem::take(&mut strides[axis]);
    offsets(index_dims, &strides)
        .zip(indices)
        .map(|(at, &i)| Ok(at + position(i, dims[axis])? * step))
        .collect()
}

impl Operator for GatherElements {
    const NAME: &'static str = "GatherElements";
    const VERSIONS: &'static [u32] = &[11, 13];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, indices) = (cx.input(0)?, cx.shape(1)?);
        check_indices(cx, 1)?;
        let axis = normalize_axis(self.axis, x.shape.rank())?;
        check_reach(&x.shape, indices, axis)?;
        Ok(vec![TensorType::new(x.dtype, indices.clone())])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, dims) = (operand(inputs, 0)?, operand(inputs, 1)?.dims());
        let axis = normalize_axis(self.axis, x.dims().len())?;
        let starts = element_offsets(x.dims(), axis, &read_indices(inputs, 1)?, dims)?;
        Ok(vec![copy::runs(x, dims, 1, starts.into_iter())?])
    }
}
