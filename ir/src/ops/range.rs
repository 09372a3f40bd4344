//! Arithmetic progressions.

use super::map::{MapOperator, attrs_of_map, is_number, operand, same_type};
use crate::infer::InferCx;
use crate::scalar::{Binary, Reg, ScalarBuilder};
use crate::shape::{Dim, Shape};
use crate::tensor::Tensor;
use crate::{DType, OpError, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// `start + i * delta` for `i` from 0 while the result is short of `limit`.
    ///
    /// Operands, one element each: start, limit, delta. The length is known where they are constant.
    Range {
        /// The type that half precision is computed in, by its ONNX number: 1, which is f32.
        stash_type: i64 = 1,
    }
}

/// The number of elements.
fn length(start: &Tensor, limit: &Tensor, delta: &Tensor) -> Result<usize, OpError> {
    let zero = || OpError::Value("`delta` is 0".into());
    let wide = |t: &Tensor| {
        let v = *t.to_i64()?.first()?;
        Some(if t.dtype() == DType::U64 {
            i128::from(v as u64)
        } else {
            i128::from(v)
        })
    };
    let n = if let (Some(a), Some(b), Some(d)) = (wide(start), wide(limit), wide(delta)) {
        let (span, d) = if d < 0 { (a - b, -d) } else { (b - a, d) };
        if d == 0 {
            return Err(zero());
        }
        usize::try_from((span.max(0) + d - 1) / d).ok()
    } else {
        let read = |t: &Tensor| t.to_f64().and_then(|v| v.first().copied());
        let (Some(a), Some(b), Some(d)) = (read(start), read(limit), read(delta)) else {
            return Err(OpError::Shape("an operand without elements".into()));
        };
        if d == 0.0 {
            return Err(zero());
        }
        let n = ((b - a) / d).ceil().max(0.0);
        (n < usize::MAX as f64).then_some(n as usize)
    };
    n.ok_or_else(|| OpError::Value("the progression has no end".into()))
}

impl MapOperator for Range {
    const NAME: &'static str = "Range";
    const VERSIONS: &'static [u32] = &[11, 27];
    const INPUTS: RangeInclusive<usize> = 3..=3;

    attrs_of_map!();

    fn check(&self, inputs: &[Option<DType>]) -> Result<(), OpError> {
        if self.stash_type != 1 {
            return Err(OpError::Unsupported(format!(
                "`stash_type` is {}, expected 1",
                self.stash_type
            )));
        }
        same_type(inputs, is_number, "a number")
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        for (i, name) in ["start", "limit", "delta"].into_iter().enumerate() {
            let shape = cx.shape(i)?;
            if shape.rank() > 1 || shape.n_elements() != Some(1) {
                return Err(OpError::Shape(format!(
                    "`{name}` has shape {shape}, expected one element"
                )));
            }
        }
        let n = match (cx.constant(0), cx.constant(1), cx.constant(2)) {
            (Some(start), Some(limit), Some(delta)) => Dim::Known(length(start, limit, delta)?),
            _ => cx.fresh_dim(),
        };
        Ok(Shape(vec![n]))
    }

    fn build(&self, b: &mut ScalarBuilder, inputs: &[Option<Reg>]) -> Reg {
        let (start, delta) = (operand(inputs, 0), operand(inputs, 2));
        let dtype = b.dtype(start);
        let wide = match dtype {
            DType::F16 | DType::BF16 => DType::F32,
            d => d,
        };
        let (start, delta) = (b.cast(start, wide), b.cast(delta, wide));
        let i = b.index(0);
        let i = b.cast(i, wide);
        let distance = b.binary(Binary::Mul, i, delta);
        let y = b.binary(Binary::Add, start, distance);
        b.cast(y, dtype)
    }
}
