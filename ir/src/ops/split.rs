//! Parts along an axis.

use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 cut along an axis into one part a result.
    ///
    /// Operand 1 holds the parts' sizes; without it they are equal, but for a smaller last one.
    Split {
        /// The axis.
        axis: i64 = 0,
        /// The number of parts, which is the number of results.
        num_outputs: Option<i64> = None,
    }
}

impl Split {
    /// The axis and the sizes of the parts along it.
    fn parts(&self, cx: &InferCx<'_>) -> Result<(usize, Vec<Dim>), OpError> {
        let x = cx.shape(0)?;
        let axis = normalize_axis(self.axis, x.rank())?;
        let n = cx.n_outputs();
        if let Some(given) = self.num_outputs
            && given != n as i64
        {
            return Err(OpError::Arity(format!(
                "{n} outputs, `num_outputs` is {given}"
            )));
        }
        let total = x.dim(axis).known();
        if cx.optional(1).is_some() {
            let Some(sizes) = cx.ints(1) else {
                return Ok((axis, (0..n).map(|_| cx.fresh_dim()).collect()));
            };
            let known = sizes.iter().map(|&s| usize::try_from(s).ok());
            let known = known.collect::<Option<Vec<_>>>();
            let sum = known
                .as_ref()
                .and_then(|s| s.iter().try_fold(0usize, |a, &b| a.checked_add(b)));
            return match (known, sum) {
                (Some(known), Some(sum)) if known.len() == n && total.is_none_or(|t| t == sum) => {
                    Ok((axis, known.into_iter().map(Dim::Known).collect()))
                }
                _ => Err(OpError::Shape(format!(
                    "parts of sizes {sizes:?} along axis {axis} of {x} for {n} outputs"
                ))),
            };
        }
        let Some(total) = total else {
            return Ok((axis, (0..n).map(|_| cx.fresh_dim()).collect()));
        };
        let size = total.div_ceil(n.max(1));
        let part = |i: usize| total.min((i + 1) * size) - total.min(i * size);
        Ok((axis, (0..n).map(part).map(Dim::Known).collect()))
    }
}

impl Operator for Split {
    const NAME: &'static str = "Split";
    const VERSIONS: &'static [u32] = &[1, 2, 11, 13, 18];
    const INPUTS: RangeInclusive<usize> = 1..=2;
    const OUTPUTS: RangeInclusive<usize> = 1..=usize::MAX;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        let (axis, parts) = self.parts(cx)?;
        Ok(parts
            .into_iter()
            .map(|part| {
                let mut ty = x.clone();
                ty.shape.0[axis] = part;
                ty
            })
            .collect())
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, types.len())
    }

    fn view(&self, cx: &InferCx<'_>, output: usize) -> Option<Vec<ViewStep>> {
        let mut dims = cx.shape(0).ok()?.dims()?;
        let (axis, parts) = self.parts(cx).ok()?;
        let parts: Vec<usize> = parts.iter().map(Dim::known).collect::<Option<_>>()?;
        let mut starts = vec![0; dims.len()];
        starts[axis] = parts.get(..output)?.iter().sum();
        dims[axis] = *parts.get(output)?;
        Some(vec![ViewStep::Slice {
            steps: vec![1; dims.len()],
            starts,
            dims,
        }])
    }
}
