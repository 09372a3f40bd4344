//! Sequences turned around, each by its own length.

use super::gather::read_indices;
use super::operands::{expect_type, operand};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::copy;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 with the first steps of each sequence in reverse order: operand 1 says how many.
    ///
    /// Of the first two dimensions one is the batch, the other time.
    ReverseSequence {
        /// The batch's axis, 0 or 1.
        batch_axis: i64 = 1,
        /// The time's axis, the other one.
        time_axis: i64 = 0,
    }
}

impl Operator for ReverseSequence {
    const NAME: &'static str = "ReverseSequence";
    const VERSIONS: &'static [u32] = &[10];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        cx.input(1)?;
        if x.shape.rank() < 2 || ![(0, 1), (1, 0)].contains(&(self.batch_axis, self.time_axis)) {
            return Err(OpError::Shape(format!(
                "batch axis {} and time axis {} of {}, expected 0 and 1 of at least 2 dimensions",
                self.batch_axis, self.time_axis, x.shape
            )));
        }
        let batch = x.shape.dim(self.batch_axis as usize).clone();
        expect_type(cx, 1, "sequence_lens", DType::I64, &[batch])?;
        Ok(vec![x.clone()])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (x, lengths) = (operand(inputs, 0)?, read_indices(inputs, 1)?);
        let (n, m) = (x.dims()[0], x.dims()[1]);
        let steps = x.dims()[self.time_axis as usize];
        let lengths = lengths.into_iter().map(|length| {
            let known = usize::try_from(length).ok().filter(|&n| n <= steps);
            known.ok_or_else(|| {
                OpError::Value(format!("a sequence of length {length} in {steps} steps"))
            })
        });
        let lengths = lengths.collect::<Result<Vec<_>, _>>()?;
        let turned = |t: usize, batch: usize| match lengths[batch] {
            length if t < length => length - 1 - t,
            _ => t,
        };
        let run: usize = x.dims()[2..].iter().product();
        let starts = (0..n * m).map(|at| match (self.time_axis, at / m, at % m) {
            (0, t, batch) => (turned(t, batch) * m + batch) * run,
            (_, batch, t) => (batch * m + turned(t, batch)) * run,
        });
        Ok(vec![copy::runs(x, x.dims(), run, starts)?])
    }
}
