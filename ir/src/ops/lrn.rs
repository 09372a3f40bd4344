//! Local response normalisation across channels.

use super::normalize::infer_like_input;
use super::operands::{Number, float_operand, flops, known_dims, read};
use super::reduce::map_axes;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// `x / (bias + alpha / size * sum of x^2 over size neighbouring channels)^beta`.
    LRN {
        /// Factor of the mean square.
        alpha: f32 = 1e-4,
        /// Exponent.
        beta: f32 = 0.75,
        /// Added to the mean square.
        bias: f32 = 1.0,
        /// Channels that are summed over: `(size - 1) / 2` before, rounded down, as many after, rounded up.
        size: i64,
    }
}

impl LRN {
    /// How many channels are summed before, and how many after each one.
    pub fn reach(&self) -> Result<(usize, usize), OpError> {
        match usize::try_from(self.size) {
            Ok(size @ 1..) => Ok(((size - 1) / 2, size / 2)),
            _ => Err(OpError::Shape(format!(
                "`size` is {}, expected at least 1",
                self.size
            ))),
        }
    }
}

impl Operator for LRN {
    const NAME: &'static str = "LRN";
    const VERSIONS: &'static [u32] = &[1, 13];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::Window;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        self.reach()?;
        let x = float_operand(cx, 0)?;
        if x.shape.rank() < 2 {
            return Err(OpError::Shape(format!("{} has no channels", x.shape)));
        }
        infer_like_input(cx)
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (before, after) = self.reach()?;
        let dims = known_dims(&types[0])?;
        let mut y: Vec<f64> = read(inputs, 0)?;
        let [alpha, beta, bias] = [self.alpha, self.beta, self.bias].map(f64::from);
        map_axes(&mut y, &dims, &[1], |channels| {
            let squares: Vec<f64> = channels.iter().map(|v| v * v).collect();
            for (c, v) in channels.iter_mut().enumerate() {
                let end = (c + after + 1).min(squares.len());
                let sum: f64 = squares[c.saturating_sub(before)..end].iter().sum();
                *v /= (bias + alpha / self.size as f64 * sum).powf(beta);
            }
        });
        Ok(vec![f64::write(types[0].dtype, &dims, &y)])
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        let each = self.size.unsigned_abs().saturating_mul(2).saturating_add(3);
        flops(each, inputs, 0)
    }
}
