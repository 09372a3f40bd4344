//! Norm of sliding windows.

use super::norm::NormOrder;
use super::operands::float_operand;
use super::pool::{fold_windows, infer_pool, pool_attributes, pool_flop, result};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

pool_attributes! {
    /// The p-norm of each window: the p-th root of the sum of `|x|^p`.
    LpPool {
        /// The order of the norm.
        p: NormOrder = NormOrder::TWO,
    }
}

impl Operator for LpPool {
    const NAME: &'static str = "LpPool";
    const VERSIONS: &'static [u32] = &[1, 2, 11, 18, 22];
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
        let mut norms = fold_windows(inputs, &geometry, 0.0, |sum, _, v| *sum += self.p.power(v))?;
        norms.iter_mut().for_each(|v| *v = self.p.root(*v));
        Ok(vec![result(&types[0], &norms)?])
    }

    pool_flop!(2);
}
