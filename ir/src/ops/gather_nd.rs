//! Slices at computed positions along several axes.

use super::gather::{position, read_indices};
use super::operands::{known_dims, may_equal, operand};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::{copy, row_major_strides};
use crate::infer::InferCx;
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// The slices of operand 0 at the positions in operand 1, whose last dimension holds one
    /// position for each of the leading axes after the batch; negative positions count from the back.
    GatherND {
        /// The number of leading dimensions that both operands share.
        batch_dims: i64 = 0,
    }
}

/// For each tuple in `indices`, the offset of the slice of a tensor of `dims` that it names.
///
/// The last of `index_dims` is the size of a tuple; the first `batch_dims` go along with those of `dims`.
pub(super) fn slice_offsets(
    dims: &[usize],
    indices: &[i64],
    index_dims: &[usize],
    batch_dims: usize,
) -> Result<Vec<usize>, OpError> {
    let strides = row_major_strides(dims);
    let (size, n_tuples) = match index_dims.split_last() {
        Some((size, outer)) => (*size, outer.iter().product::<usize>()),
        None => return Err(OpError::Shape("indices of rank 0".into())),
    };
    let n_batches: usize = dims[..batch_dims].iter().product();
    let batch_stride: usize = dims[batch_dims..].iter().product();
    let per_batch = n_tuples / n_batches.max(1);
    (0..n_tuples)
        .map(|t| {
            let tuple = &indices[t * size..][..size];
            let batch = t / per_batch * batch_stride;
            tuple.iter().enumerate().try_fold(batch, |at, (i, &p)| {
                let d = batch_dims + i;
                Ok(at + position(p, dims[d])? * strides[d])
            })
        })
        .collect()
}

/// The size of the tuples in indices of shape `indices`, each of which names a slice of `x`.
pub(super) fn tuple_size(x: &Shape, indices: &Shape, batch_dims: usize) -> Result<usize, OpError> {
    let misfit = || OpError::Shape(format!("indices of shape {indices} into {x}"));
    let size = indices.0.last().ok_or_else(misfit)?.known();
    let size = size.ok_or_else(|| {
        OpError::Unsupported(format!(
            "the last dimension of indices of shape {indices} is not known; bind it"
        ))
    })?;
    let batches_fit = batch_dims < indices.rank()
        && x.0.len() >= batch_dims + size
        && (0..batch_dims).all(|i| may_equal(x.dim(i), indices.dim(i)));
    if batches_fit { Ok(size) } else { Err(misfit()) }
}

/// Refuses operand 1 unless it holds indices of 64 bits.
pub(super) fn check_wide_indices(cx: &InferCx<'_>) -> Result<(), OpError> {
    match cx.dtype(1)? {
        DType::I64 => Ok(()),
        d => Err(OpError::Type(format!("indices of type {d}, expected i64"))),
    }
}

impl GatherND {
    fn batch_dims(&self) -> Result<usize, OpError> {
        usize::try_from(self.batch_dims)
            .map_err(|_| OpError::Shape(format!("`batch_dims` is {}", self.batch_dims)))
    }
}

impl Operator for GatherND {
    const NAME: &'static str = "GatherND";
    const VERSIONS: &'static [u32] = &[11, 12, 13];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, indices) = (cx.input(0)?, cx.shape(1)?);
        check_wide_indices(cx)?;
        let batch_dims = self.batch_dims()?;
        let size = tuple_size(&x.shape, indices, batch_dims)?;
        let (tuples, rest) = (
            &indices.0[..indices.rank() - 1],
            &x.shape.0[batch_dims + size..],
        );
        Ok(vec![TensorType::new(
            x.dtype,
            Shape([tuples, rest].concat()),
        )])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, indices) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let (batch_dims, list) = (self.batch_dims()?, read_indices(inputs, 1)?);
        let starts = slice_offsets(x.dims(), &list, indices.dims(), batch_dims)?;
        let size = indices.dims().last().copied().unwrap_or(0);
        let run = x.dims()[batch_dims + size..].iter().product();
        let dims = known_dims(&types[0])?;
        Ok(vec![copy::runs(x, &dims, run, starts.into_iter())?])
    }
}
