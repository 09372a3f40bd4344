//! The dimensions of a tensor, as a tensor.

use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// The dimensions `start` to before `end` of the operand, as a list of i64.
    Shape {
        /// One past the last dimension, cut to the rank; negative counts from the back; the rank if left out.
        end: Option<i64> = None,
        /// The first dimension, cut to the rank; negative counts from the back.
        start: i64 = 0,
    }
}

impl Shape {
    /// The dimensions asked for, of an operand of shape `x`.
    pub fn of<'a>(&self, x: &'a crate::Shape) -> &'a [Dim] {
        let rank = x.rank() as i64;
        let limit = |i: i64| {
            let i = if i < 0 { i.saturating_add(rank) } else { i };
            i.clamp(0, rank) as usize
        };
        let (start, end) = (limit(self.start), limit(self.end.unwrap_or(rank)));
        &x.0[start.min(end)..end]
    }
}

impl Operator for Shape {
    const NAME: &'static str = "Shape";
    const VERSIONS: &'static [u32] = &[1, 13, 15, 19, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::Metadata;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let n = self.of(cx.shape(0)?).len();
        Ok(vec![TensorType::known(DType::I64, &[n])])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        super::operands::with_cx(inputs, 1, |cx| self.metadata(cx))
            .map(|t| vec![t])
            .ok_or(OpError::MissingInput(0))
    }

    fn metadata(&self, cx: &InferCx<'_>) -> Option<Tensor> {
        let dims = self.of(cx.shape(0).ok()?);
        let dims: Vec<i64> = dims
            .iter()
            .map(|d| d.known().map(|n| n as i64))
            .collect::<Option<_>>()?;
        Some(Tensor::from_slice(&[dims.len()], &dims))
    }
}
