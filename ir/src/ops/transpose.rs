//! Permutation of dimensions.

use super::{Class, OpError, Operator, ViewStep};
use crate::infer::{normalize_axis, InferCx};
use crate::shape::TensorType;
use crate::tensor::Tensor;
use crate::attrs::attrs_by_macro;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Dimension `i` of the result is dimension `perm[i]` of the operand; without `perm` the order is reversed.
    Transpose {
        /// The permutation.
        perm: Option<Vec<i64>> = None,
    }
}

impl Transpose {
    /// Transposes by `perm`.
    pub fn by(perm: &[usize]) -> Self {
        Self { perm: Some(perm.iter().map(|&p| p as i64).collect()) }
    }

    /// The permutation for an operand of `rank`.
    pub fn permutation(&self, rank: usize) -> Result<Vec<usize>, OpError> {
        let Some(perm) = &self.perm else { return Ok((0..rank).rev().collect()) };
        let perm = perm.iter().map(|&p| normalize_axis(p, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(OpError::Shape(format!("{perm:?} is no permutation of {rank} dimensions")));
        }
        Ok(perm)
    }
}

impl Operator for Transpose {
    const NAME: &'static str = "Transpose";
    const VERSIONS: &'static [u32] = &[1, 13, 21, 23];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        let perm = self.permutation(x.shape.rank())?;
        let shape = perm.iter().map(|&p| x.shape.dim(p).clone()).collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        Some(vec![ViewStep::Permute(self.permutation(cx.shape(0).ok()?.rank()).ok()?)])
    }
}
