//! Triangles of matrices.

use super::map::{MapOperator, attrs_of_map, is_real, operand};
use crate::infer::InferCx;
use crate::scalar::{Binary, Reg, ScalarBuilder};
use crate::shape::Shape;
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// The upper or lower triangle of each matrix in the last two dimensions, 0 elsewhere.
    ///
    /// Operands: x, optional k (i64, one element): how many diagonals above the main one the
    /// triangle's edge lies.
    Trilu {
        /// Whether the upper triangle stays.
        upper: bool = true,
    }
}

impl MapOperator for Trilu {
    const NAME: &'static str = "Trilu";
    const VERSIONS: &'static [u32] = &[14];
    const INPUTS: RangeInclusive<usize> = 1..=2;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        match inputs {
            [Some(x), ..] if !is_real(*x) => Err(OpError::Type(format!(
                "operand of type {x}, expected a number or bool"
            ))),
            [_, Some(k)] if *k != DType::I64 => {
                Err(OpError::Type(format!("`k` of type {k}, expected i64")))
            }
            _ => Ok(()),
        }
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let x = cx.shape(0)?;
        if x.rank() < 2 {
            return Err(OpError::Shape(format!("{x} is no matrix")));
        }
        if let Some(k) = cx.optional(1)
            && (k.shape.rank() > 1 || k.shape.n_elements() != Some(1))
        {
            return Err(OpError::Shape(format!(
                "`k` has shape {}, expected one element",
                k.shape
            )));
        }
        Ok(x.clone())
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let x = operand(inputs, 0);
        let (row, column) = (b.index(-2), b.index(-1));
        let edge = match inputs.get(1).copied().flatten() {
            Some(k) => b.binary(Binary::Add, row, k),
            None => row,
        };
        let stays = if self.upper {
            b.binary(Binary::Le, edge, column)
        } else {
            b.binary(Binary::Le, column, edge)
        };
        let zero = b.constant(0.0, b.dtype(x));
        b.select(stays, x, zero)
    }
}
