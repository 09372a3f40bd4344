//! Slices at computed positions along an axis.

use super::operands::{known_dims, operand};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// The slices of operand 0 along `axis` at the positions in operand 1, whose dimensions take the axis' place.
    ///
    /// Negative positions count from the back.
    Gather {
        /// The axis.
        axis: i64 = 0,
    }
}

/// Refuses operand `i` unless it holds indices.
pub(super) fn check_indices(cx: &InferCx<'_>, i: usize) -> Result<(), OpError> {
    match cx.dtype(i)? {
        DType::I32 | DType::I64 => Ok(()),
        d => Err(OpError::Type(format!(
            "indices of type {d}, expected i32 or i64"
        ))),
    }
}

/// The position that `index` stands for, along an axis of `n` elements.
pub(super) fn position(index: i64, n: usize) -> Result<usize, OpError> {
    let from_front = if index < 0 { index + n as i64 } else { index };
    usize::try_from(from_front)
        .ok()
        .filter(|&i| i < n)
        .ok_or_else(|| OpError::Value(format!("index {index} along an axis of {n} elements")))
}

/// The elements of operand `i`, a tensor of indices.
pub(super) fn read_indices(inputs: &[Option<&Tensor>], i: usize) -> Result<Vec<i64>, OpError> {
    operand(inputs, i)?
        .to_i64()
        .ok_or_else(|| OpError::Type("indices of a type that is no integer".into()))
}

impl Operator for Gather {
    const NAME: &'static str = "Gather";
    const VERSIONS: &'static [u32] = &[1, 11, 13];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, indices) = (cx.input(0)?, cx.shape(1)?);
        check_indices(cx, 1)?;
        let axis = normalize_axis(self.axis, x.shape.rank())?;
        let (before, after) = (&x.shape.0[..axis], &x.shape.0[axis + 1..]);
        let shape = Shape([before, &indices.0, after].concat());
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let axis = normalize_axis(self.axis, x.dims().len())?;
        let n = x.dims()[axis];
        let positions = read_indices(inputs, 1)?
            .into_iter()
            .map(|i| position(i, n))
            .collect::<Result<Vec<_>, _>>()?;
        let outer: usize = x.dims()[..axis].iter().product();
        let run: usize = x.dims()[axis + 1..].iter().product();
        let starts = (0..outer).flat_map(|o| positions.iter().map(move |p| (o * n + p) * run));
        Ok(vec![eval::copy::runs(
            x,
            &known_dims(&types[0])?,
            run,
            starts,
        )?])
    }
}
