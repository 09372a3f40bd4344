//! Rotary position embedding.

use super::attention::{by_head, heads, swap_middle};
use super::operands::{
    Number, expect_type, flops, known_dims, one_type, operand, read, read_optional,
};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// Rotates pairs of elements of each head by angles that depend on the position:
    /// `(a, b)` becomes `(cos * a - sin * b, sin * a + cos * b)`.
    ///
    /// Operands: x, `[N, heads, length, size]` or `[N, length, heads * size]`; the cosines and the
    /// sines, `[N, length, pairs]`, or `[positions, pairs]` with the positions i64 `[N, length]` as
    /// operand 3. Elements beyond the pairs stay.
    RotaryEmbedding {
        /// Whether a pair is two neighbours rather than one element of each half.
        interleaved: bool = false,
        /// Heads; required where x has rank 3.
        num_heads: Option<i64> = None,
        /// Elements of a head that are rotated; 0 for all.
        rotary_embedding_dim: i64 = 0,
    }
}

impl RotaryEmbedding {
    fn heads(&self, x: &Shape) -> Result<[Dim; 4], OpError> {
        heads(x, self.num_heads, "X")
    }

    /// The number of pairs in a head of `size` elements.
    pub fn pairs(&self, size: &Dim) -> Result<usize, OpError> {
        let rotated = match self.rotary_embedding_dim {
            0 => size.known(),
            n => usize::try_from(n).ok(),
        };
        let rotated = rotated.filter(|&n| n % 2 == 0 && size.known().is_none_or(|s| n <= s));
        rotated.map(|n| n / 2).ok_or_else(|| {
            OpError::Shape(format!(
                "`rotary_embedding_dim` {} for heads of {size} elements, expected an even number up to that",
                self.rotary_embedding_dim
            ))
        })
    }
}

impl Operator for RotaryEmbedding {
    const NAME: &'static str = "RotaryEmbedding";
    const VERSIONS: &'static [u32] = &[23];
    const INPUTS: RangeInclusive<usize> = 3..=4;
    const CLASS: Class = Class::Library;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = one_type(cx, 3, DType::is_float, "a floating-point number")?;
        let [batch, _, length, size] = self.heads(cx.shape(0)?)?;
        let pairs = Dim::Known(self.pairs(&size)?);
        let table = match cx.optional(3) {
            None => vec![batch, length, pairs],
            Some(_) => {
                expect_type(cx, 3, "position_ids", DType::I64, &[batch, length])?;
                vec![
                    cx.shape(1)?.0.first().cloned().unwrap_or(Dim::Known(0)),
                    pairs,
                ]
            }
        };
        for (i, name) in [(1, "cos_cache"), (2, "sin_cache")] {
            cx.input(i)?;
            expect_type(cx, i, name, dtype, &table)?;
        }
        Ok(vec![cx.input(0)?.clone()])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let dims = self.heads(&types[0].shape)?;
        let pairs = self.pairs(&dims[3])?;
        let [_, heads, length, size] = dims.map(|d| d.known().unwrap_or(0));
        let (cos, sin): (Vec<f64>, Vec<f64>) = (read(inputs, 1)?, read(inputs, 2)?);
        let positions = read_optional::<i128>(inputs, 3)?;
        let n_rows = cos.len().checked_div(pairs).unwrap_or(0);
        let row = |token: usize| match &positions {
            None => Ok(token),
            Some(p) => usize::try_from(p[token])
                .ok()
                .filter(|&p| p < n_rows)
                .ok_or_else(|| {
                    let position = p[token];
                    OpError::Value(format!(
                        "`position_ids` holds {position}, expected 0 to {n_rows} - 1"
                    ))
                }),
        };
        let mut y = by_head(x, heads)?;
        for (i, head) in y.chunks_exact_mut(size.max(1)).enumerate() {
            let token = i / (heads * length) * length + i % length;
            let row = row(token)? * pairs;
            for pair in 0..pairs {
                let (a, b) = if self.interleaved {
                    (2 * pair, 2 * pair + 1)
                } else {
                    (pair, pair + pairs)
                };
                let (cos, sin) = (cos[row + pair], sin[row + pair]);
                (head[a], head[b]) = (cos * head[a] - sin * head[b], sin * head[a] + cos * head[b]);
            }
        }
        if types[0].shape.rank() == 3 {
            y = swap_middle(&y, heads, length, size);
        }
        Ok(vec![f64::write(
            types[0].dtype,
            &known_dims(&types[0])?,
            &y,
        )])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        flops(3, inputs, 0)
    }
}
