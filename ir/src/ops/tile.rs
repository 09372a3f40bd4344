//! Repetition.

use super::view::times;
use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 repeated along each dimension as often as operand 1 says.
    Tile {}
}

impl Tile {
    /// How often each dimension is repeated, if that is constant.
    fn repeats(&self, cx: &InferCx<'_>) -> Result<Option<Vec<usize>>, OpError> {
        let x = cx.shape(0)?;
        let Some(repeats) = cx.ints(1) else {
            return Ok(None);
        };
        if repeats.len() != x.rank() {
            return Err(OpError::Shape(format!("{} repeats for {x}", repeats.len())));
        }
        let repeats = repeats
            .iter()
            .map(|&r| usize::try_from(r).map_err(|_| OpError::Shape(format!("{r} repeats"))));
        repeats.collect::<Result<_, _>>().map(Some)
    }
}

impl Operator for Tile {
    const NAME: &'static str = "Tile";
    const VERSIONS: &'static [u32] = &[1, 6, 13];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        if cx.dtype(1)? != DType::I64 {
            return Err(OpError::Type(format!(
                "repeats of type {}, expected i64",
                cx.dtype(1)?
            )));
        }
        let shape = match self.repeats(cx)? {
            Some(repeats) => {
                let both = x.shape.0.iter().zip(repeats);
                both.map(|(d, r)| times(d, &Dim::Known(r), cx))
                    .collect::<Result<_, _>>()?
            }
            None => Shape(x.shape.0.iter().map(|_| cx.fresh_dim()).collect()),
        };
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        let x = cx.shape(0).ok()?.dims()?;
        let repeats = self.repeats(cx).ok()??;
        let pairs = || x.iter().zip(&repeats);
        Some(vec![
            ViewStep::Reshape(x.iter().flat_map(|&d| [1, d]).collect()),
            ViewStep::Broadcast(pairs().flat_map(|(&d, &r)| [r, d]).collect()),
            ViewStep::Reshape(pairs().map(|(d, r)| d * r).collect()),
        ])
    }
}
