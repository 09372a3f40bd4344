//! Mean over sliding windows.

use super::operands::float_operand;
use super::pool::{fold_windows, infer_pool, pool_attributes, pool_flop, result};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

pool_attributes! {
    /// The mean of each window, of the input or, with `count_include_pad`, of the padded input.
    ///
    /// What a window covers beyond the padding (`ceil_mode`) never counts.
    AveragePool {
        /// Whether padding counts, as zeros.
        count_include_pad: bool = false,
    }
}

impl Operator for AveragePool {
    const NAME: &'static str = "AveragePool";
    const VERSIONS: &'static [u32] = &[1, 7, 10, 11, 19, 22];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::Window;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let geometry = self.geometry(float_operand(cx, 0)?)?;
        Ok(vec![infer_pool(cx, &geometry)?])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let geometry = self.geometry(&super::operands::operand(inputs, 0)?.ty())?;
        let windows = fold_windows(inputs, &geometry, (0.0, 0usize), |(sum, n), _, v| {
            *sum += v;
            *n += 1;
        })?;
        let padded = geometry.taps_in_padding();
        let means = windows.iter().enumerate().map(|(i, &(sum, n))| {
            let count = if self.count_include_pad {
                padded[i % padded.len()]
            } else {
                n
            };
            sum / count as f64
        });
        Ok(vec![result(&types[0], &means.collect::<Vec<_>>())?])
    }

    pool_flop!(1);
}
