//! Tensors as matrices.

use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::ops::view::product;
use crate::shape::{Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// The operand as a matrix: the dimensions before `axis` are its rows, the others its columns.
    Flatten {
        /// The first dimension of the columns, 0 to the rank; negative counts from the back.
        axis: i64 = 1,
    }
}

impl Flatten {
    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        let rank = x.rank() as i64;
        let axis = if self.axis < 0 {
            self.axis + rank
        } else {
            self.axis
        };
        if !(0..=rank).contains(&axis) {
            return Err(OpError::Shape(format!(
                "axis {} of a tensor of rank {rank}",
                self.axis
            )));
        }
        let (rows, columns) = x.0.split_at(axis as usize);
        Ok(Shape(vec![product(rows, cx)?, product(columns, cx)?]))
    }
}

impl Operator for Flatten {
    const NAME: &'static str = "Flatten";
    const VERSIONS: &'static [u32] = &[1, 9, 11, 13, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        Ok(vec![TensorType::new(cx.dtype(0)?, self.shape(cx)?)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        Some(vec![ViewStep::Reshape(self.shape(cx).ok()?.dims()?)])
    }
}
