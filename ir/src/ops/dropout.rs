//! Dropout in inference: nothing is dropped.

use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use crate::{DType, attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Result 0 is operand 0, unchanged; result 1, if asked for, is true everywhere.
    ///
    /// Operands: x, ratio, training_mode. Training is refused unless the ratio is 0.
    Dropout {
        /// The seed of the random numbers, which inference does not draw.
        seed: Option<i64> = None,
    }
}

impl Operator for Dropout {
    const NAME: &'static str = "Dropout";
    const VERSIONS: &'static [u32] = &[1, 6, 7, 10, 12, 13, 22];
    const INPUTS: RangeInclusive<usize> = 1..=3;
    const OUTPUTS: RangeInclusive<usize> = 1..=2;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        if let Some(mode) = cx.optional(2)
            && mode.dtype != DType::Bool
        {
            return Err(OpError::Type(format!(
                "`training_mode` of type {mode}, expected bool"
            )));
        }
        let ratio = cx.constant(1).and_then(Tensor::to_f64);
        if cx.optional(2).is_some()
            && cx.require_ints(2, "training_mode")? != [0]
            && ratio.is_none_or(|r| r != [0.0])
        {
            return Err(OpError::Unsupported(
                "dropout in training; export the model for inference".into(),
            ));
        }
        let mask = TensorType::new(DType::Bool, x.shape.clone());
        Ok([x.clone(), mask].into_iter().take(cx.n_outputs()).collect())
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let mut results = eval::views(self, inputs, 1)?;
        if types.len() > 1 {
            let x = &results[0];
            let mask = vec![true; x.n_elements()];
            results.push(Tensor::from_slice(x.dims(), &mask));
        }
        Ok(results)
    }

    fn view(&self, _cx: &InferCx<'_>, output: usize) -> Option<Vec<ViewStep>> {
        (output == 0).then(Vec::new)
    }
}
