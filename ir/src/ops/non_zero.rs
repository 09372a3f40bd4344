//! Where a tensor is not zero.

use super::operands::operand;
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::unravel;
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// The indices of the elements that are not 0, in row-major order: a column each, of one i64 an axis.
    ///
    /// How many there are is known only where the operand is constant.
    NonZero {}
}

/// The positions in row-major order of the elements of `x` that are not 0.
fn positions(x: &Tensor) -> Vec<usize> {
    let size = x.dtype().size();
    // A negative zero has its sign bit set, and equals 0.
    let half = match x.dtype() {
        DType::C64 | DType::C128 => size / 2,
        _ => size,
    };
    let signed_zero = x.dtype().is_float() || half != size;
    let is_zero = |part: &[u8]| match part.split_last() {
        Some((last, rest)) if signed_zero => last & 0x7f == 0 && rest.iter().all(|&b| b == 0),
        _ => part.iter().all(|&b| b == 0),
    };
    let elements = x.bytes().chunks_exact(size).enumerate();
    elements
        .filter(|(_, e)| !e.chunks_exact(half).all(is_zero))
        .map(|(i, _)| i)
        .collect()
}

impl Operator for NonZero {
    const NAME: &'static str = "NonZero";
    const VERSIONS: &'static [u32] = &[9, 13];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::Library;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let rank = cx.shape(0)?.rank();
        let n = match cx.constant(0) {
            Some(x) => Dim::Known(positions(x).len()),
            None => cx.fresh_dim(),
        };
        let shape = Shape(vec![Dim::Known(rank), n]);
        Ok(vec![TensorType::new(DType::I64, shape)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let (positions, rank) = (positions(x), x.dims().len());
        let mut indices = vec![0; rank * positions.len()];
        for (column, &at) in positions.iter().enumerate() {
            for (axis, i) in unravel(at, x.dims()).into_iter().enumerate() {
                indices[axis * positions.len() + column] = i as i64;
            }
        }
        Ok(vec![Tensor::from_slice(&[rank, positions.len()], &indices)])
    }
}
