//! Matrices of ones on a diagonal.

use super::map::{MapOperator, attrs_of_map, is_real, operand};
use crate::infer::InferCx;
use crate::scalar::{Binary, Reg, ScalarBuilder};
use crate::shape::Shape;
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// A matrix of the operand's shape: 1 on diagonal `k`, 0 elsewhere; the operand's content says nothing.
    EyeLike {
        /// The result's element type; the operand's if it is left out.
        dtype: Option<DType> = None,
        /// How far above the main diagonal the ones stand.
        k: i64 = 0,
    }
}

impl MapOperator for EyeLike {
    const NAME: &'static str = "EyeLike";
    const VERSIONS: &'static [u32] = &[9, 22];
    const INPUTS: RangeInclusive<usize> = 1..=1;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        match self.dtype.or(inputs[0]) {
            Some(d) if !is_real(d) => Err(OpError::Type(format!(
                "result of type {d}, expected a number or bool"
            ))),
            _ => Ok(()),
        }
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        match x.rank() {
            2 => Ok(x.clone()),
            _ => Err(OpError::Shape(format!("{x} is no matrix"))),
        }
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let dtype = self.dtype.unwrap_or(b.dtype(operand(inputs, 0)));
        let (row, column) = (b.index(0), b.index(1));
        let column_of_one = b.binary_const(Binary::Add, row, self.k as f64);
        let is_one = b.binary(Binary::Eq, column, column_of_one);
        b.cast(is_one, dtype)
    }
}
