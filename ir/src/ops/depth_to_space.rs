//! Channels moved into blocks of spatial positions.

use super::view::{over, times};
use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attr_enum, attributes, eval};
use std::ops::RangeInclusive;

attr_enum! {
    /// How [`DepthToSpace`] splits channels.
    DepthOrder {
        /// Block row, block column, channel: the channel is innermost.
        Dcr = "DCR",
        /// Channel, block row, block column: the block column is innermost.
        Crd = "CRD",
    }
}

attributes! {
    /// `[N, C, H, W]` as `[N, C / b^2, H * b, W * b]`: every position becomes a block of `b` by `b`.
    DepthToSpace {
        /// The side of a block.
        blocksize: i64,
        /// How channels are split.
        mode: DepthOrder = DepthOrder::Dcr,
    }
}

/// The side of a block; an error if it is not positive.
pub(super) fn block(blocksize: i64) -> Result<usize, OpError> {
    match usize::try_from(blocksize) {
        Ok(b @ 1..=0xffff) => Ok(b),
        _ => Err(OpError::Shape(format!("`blocksize` is {blocksize}"))),
    }
}

/// The dimensions N, C, H, W of operand 0.
pub(super) fn image<'a>(cx: &InferCx<'a>) -> Result<&'a [Dim; 4], OpError> {
    let shape = cx.shape(0)?;
    shape.0.as_slice().try_into().map_err(|_| {
        OpError::Shape(format!(
            "{shape} is no image; expected 4 dimensions: N, C, H, W"
        ))
    })
}

impl Operator for DepthToSpace {
    const NAME: &'static str = "DepthToSpace";
    const VERSIONS: &'static [u32] = &[1, 11, 13];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let b = block(self.blocksize)?;
        let [n, c, h, w] = image(cx)?;
        let side = Dim::Known(b);
        let dims = vec![
            n.clone(),
            over(c, b * b, cx)?,
            times(h, &side, cx)?,
            times(w, &side, cx)?,
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
        let c = c / (b * b);
        let (split, perm) = match self.mode {
            DepthOrder::Dcr => (vec![n, b, b, c, h, w], vec![0, 3, 4, 1, 5, 2]),
            DepthOrder::Crd => (vec![n, c, b, b, h, w], vec![0, 1, 4, 2, 5, 3]),
        };
        Some(vec![
            ViewStep::Reshape(split),
            ViewStep::Permute(perm),
            ViewStep::Reshape(vec![n, c, h * b, w * b]),
        ])
    }
}
