//! Blocks of spatial positions moved into channels.

use super::depth_to_space::{block, image};
use super::view::{over, times};
use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// `[N, C, H, W]` as `[N, C * b^2, H / b, W / b]`: every block of `b` by `b` becomes a position;
    /// block row and column are outermost among the channels.
    SpaceToDepth {
        /// The side of a block.
        blocksize: i64,
    }
}

impl Operator for SpaceToDepth {
    const NAME: &'static str = "SpaceToDepth";
    const VERSIONS: &'static [u32] = &[1, 13];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let b = block(self.blocksize)?;
        let [n, c, h, w] = image(cx)?;
        let dims = vec![
            n.clone(),
            times(c, &Dim::Known(b * b), cx)?,
            over(h, b, cx)?,
            over(w, b, cx)?,
        ];
        Ok(vec![TensorType::new(cx.dtype(0)?, Shape(dims))])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        let b = block(self.blocksize).ok()?;
        let x = cx.shape(0).ok()?.dims()?;
        let &[n, c, h, w] = x.as_slice() else {
            return None;
        };
        let (h, w) = (h / b, w / b);
        Some(vec![
            ViewStep::Reshape(vec![n, c, h, b, w, b]),
            ViewStep::Permute(vec![0, 3, 5, 1, 2, 4]),
            ViewStep::Reshape(vec![n, c * b * b, h, w]),
        ])
    }
}
