//! Indices as vectors of which one element stands out.

use super::map::is_number;
use super::operands::{known_dims, operand};
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::eval::copy;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// For each index of operand 0 a vector along a new axis: "on" at the index, "off" elsewhere.
    ///
    /// Operands: indices, depth (the vectors' length, one element), values (off, on). Negative
    /// indices count from the back; beyond the depth all elements are off.
    OneHot {
        /// The new axis.
        axis: i64 = -1,
    }
}

/// The elements of a tensor of numbers as integers, cut toward 0.
fn whole(t: &Tensor) -> Result<Vec<i64>, OpError> {
    let floats = || Some(t.to_f64()?.into_iter().map(|v| v as i64).collect());
    t.to_i64()
        .or_else(floats)
        .ok_or_else(|| OpError::Type(format!("operand of type {}, expected a number", t.dtype())))
}

impl Operator for OneHot {
    const NAME: &'static str = "OneHot";
    const VERSIONS: &'static [u32] = &[9, 11];
    const INPUTS: RangeInclusive<usize> = 3..=3;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (indices, depth, values) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        for ty in [indices, depth] {
            if !is_number(ty.dtype) {
                return Err(OpError::Type(format!(
                    "operand of type {ty}, expected numbers"
                )));
            }
        }
        if depth.shape.rank() > 1 || depth.shape.n_elements() != Some(1) {
            return Err(OpError::Shape(format!(
                "`depth` has shape {}, expected one element",
                depth.shape
            )));
        }
        if values.shape.rank() != 1 || values.shape.dim(0).known().is_some_and(|n| n != 2) {
            return Err(OpError::Shape(format!(
                "`values` has shape {}, expected two elements",
                values.shape
            )));
        }
        let axis = normalize_axis(self.axis, indices.shape.rank() + 1)?;
        let depth = match cx.constant(1) {
            Some(depth) => match whole(depth)?.as_slice() {
                &[n] if n >= 0 => Dim::Known(n as usize),
                n => return Err(OpError::Value(format!("`depth` is {n:?}"))),
            },
            None => cx.fresh_dim(),
        };
        let mut dims = indices.shape.0.clone();
        dims.insert(axis, depth);
        Ok(vec![TensorType::new(values.dtype, Shape(dims))])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let indices = whole(operand(inputs, 0)?)?;
        let values = operand(inputs, 2)?;
        let dims = known_dims(&types[0])?;
        let axis = normalize_axis(self.axis, dims.len())?;
        let (depth, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
        let n: usize = dims.iter().product();
        let mut starts = vec![0; n];
        for (i, &index) in indices.iter().enumerate() {
            let from_front = if index < 0 {
                index + depth as i64
            } else {
                index
            };
            if (0..depth as i64).contains(&from_front) {
                starts[(i / inner * depth + from_front as usize) * inner + i % inner] = 1;
            }
        }
        Ok(vec![copy::runs(values, &dims, 1, starts.into_iter())?])
    }
}
