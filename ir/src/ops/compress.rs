//! Slices chosen by a list of bools.

use super::operands::operand;
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::copy;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// The slices of operand 0 along `axis` where operand 1, a list of bools, holds; its elements
    /// in order without `axis`. How many there are is known only where the list is constant.
    Compress {
        /// The axis; of all elements in order if left out.
        axis: Option<i64> = None,
    }
}

/// The positions where `condition` holds.
fn chosen(condition: &Tensor) -> Result<Vec<usize>, OpError> {
    let holds = condition
        .to_vec::<bool>()
        .ok_or_else(|| OpError::Type("a condition that is no bool".into()))?;
    Ok((0..holds.len()).filter(|&i| holds[i]).collect())
}

impl Operator for Compress {
    const NAME: &'static str = "Compress";
    const VERSIONS: &'static [u32] = &[9, 11];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Library;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (x, condition) = (cx.input(0)?, cx.input(1)?);
        if condition.dtype != DType::Bool || condition.shape.rank() != 1 {
            return Err(OpError::Type(format!(
                "condition {condition}, expected a list of bools"
            )));
        }
        let n = match cx.constant(1) {
            Some(condition) => Dim::Known(chosen(condition)?.len()),
            None => cx.fresh_dim(),
        };
        let mut ty = x.clone();
        match self.axis {
            Some(axis) => {
                let axis = normalize_axis(axis, x.shape.rank())?;
                ty.shape.0[axis] = n;
            }
            None => ty.shape = Shape(vec![n]),
        }
        Ok(vec![ty])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, chosen) = (operand(inputs, 0)?, chosen(operand(inputs, 1)?)?);
        let flat = match self.axis {
            Some(_) => x.clone(),
            None => x
                .reshaped(&[x.n_elements()])
                .map_err(|e| OpError::Shape(format!("{e:?}")))?,
        };
        let axis = normalize_axis(self.axis.unwrap_or(0), flat.dims().len())?;
        let n = flat.dims()[axis];
        if let Some(beyond) = chosen.iter().find(|&&i| i >= n) {
            return Err(OpError::Value(format!(
                "the condition chooses position {beyond} of {n}"
            )));
        }
        let outer: usize = flat.dims()[..axis].iter().product();
        let run: usize = flat.dims()[axis + 1..].iter().product();
        let mut dims = flat.dims().to_vec();
        dims[axis] = chosen.len();
        let starts = (0..outer).flat_map(|o| chosen.iter().map(move |i| (o * n + i) * run));
        Ok(vec![copy::runs(&flat, &dims, run, starts)?])
    }
}
