//! Running sums along an axis.

use super::map::is_number;
use super::operands::{Number, operand, with_cx};
use super::reduce::map_axes;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// Each element the sum of those up to it along the axis in operand 1, a constant; integers wrap.
    CumSum {
        /// Whether the element itself is left out.
        exclusive: bool = false,
        /// Whether sums run from the end.
        reverse: bool = false,
    }
}

impl CumSum {
    /// The axis, counted from the front.
    pub fn axis(&self, cx: &InferCx<'_>) -> Result<usize, OpError> {
        let axis = cx.require_ints(1, "axis")?;
        match axis[..] {
            [axis] => normalize_axis(axis, cx.shape(0)?.rank()),
            _ => Err(OpError::Shape(format!(
                "`axis` is {axis:?}, expected one number"
            ))),
        }
    }

    fn sums<T: Number>(&self, x: &Tensor, axis: usize) -> Result<Tensor, OpError> {
        let mut y = T::read(x)?;
        map_axes(&mut y, x.dims(), &[axis], |lane| {
            let mut sum = T::ZERO;
            let mut add = |v: &mut T| {
                let next = sum.plus(*v);
                *v = if self.exclusive { sum } else { next };
                sum = next;
            };
            if self.reverse {
                lane.iter_mut().rev().for_each(&mut add);
            } else {
                lane.iter_mut().for_each(&mut add);
            }
        });
        Ok(T::write(x.dtype(), x.dims(), &y))
    }
}

impl Operator for CumSum {
    const NAME: &'static str = "CumSum";
    const VERSIONS: &'static [u32] = &[11, 14];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Library;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        if !is_number(x.dtype) {
            return Err(OpError::Type(format!(
                "operand of type {}, expected a number",
                x.dtype
            )));
        }
        self.axis(cx)?;
        Ok(vec![x.clone()])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let axis = with_cx(inputs, 1, |cx| self.axis(cx))?;
        super::contract::by_kind(
            x.dtype(),
            || self.sums::<f64>(x, axis),
            || self.sums::<i128>(x, axis),
        )
    }
}
