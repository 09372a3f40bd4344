//! The middle of a tensor, or a tensor in the middle of zeros.

use super::operands::{operand, with_cx};
use super::pad::{PadMode, pad};
use super::view::shape_operand;
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 with the sizes in operand 1 along `axes`: larger ones are cut around their
    /// middle, smaller ones get zeros on both sides, the odd one at the end.
    CenterCropPad {
        /// The axes, one for each size; all if left out.
        axes: Option<Vec<i64>> = None,
    }
}

impl CenterCropPad {
    /// The size that each axis of operand 0 shall have; `None` where it stays.
    fn sizes(&self, cx: &InferCx<'_>) -> Result<Vec<Option<Dim>>, OpError> {
        let rank = cx.shape(0)?.rank();
        let sizes = shape_operand(cx, 1, "shape")?;
        let axes: Vec<usize> = match &self.axes {
            Some(axes) => {
                let axes = axes.iter().map(|&a| normalize_axis(a, rank));
                axes.collect::<Result<_, _>>()?
            }
            None => (0..rank).collect(),
        };
        let n = axes.len();
        if sizes.rank() != n || (1..n).any(|i| axes[..i].contains(&axes[i])) {
            return Err(OpError::Shape(format!(
                "{} sizes for axes {axes:?}",
                sizes.rank()
            )));
        }
        let mut result = vec![None; rank];
        for (axis, size) in axes.into_iter().zip(sizes.0) {
            result[axis] = Some(size);
        }
        Ok(result)
    }
}

impl Operator for CenterCropPad {
    const NAME: &'static str = "CenterCropPad";
    const VERSIONS: &'static [u32] = &[18];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        let sizes = self.sizes(cx)?.into_iter().zip(&x.shape.0);
        let shape = sizes.map(|(size, own)| size.unwrap_or_else(|| own.clone()));
        Ok(vec![TensorType::new(x.dtype, shape.collect())])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let sizes = with_cx(inputs, 1, |cx| self.sizes(cx))?;
        let growth = |(size, &own): (&Option<Dim>, &usize)| {
            let size = size.as_ref().and_then(Dim::known).unwrap_or(own);
            let more = size as i64 - own as i64;
            // Division cuts toward 0: the smaller half comes first, whether added or cut off.
            (more / 2, more - more / 2)
        };
        let pads: Vec<_> = sizes.iter().zip(x.dims()).map(growth).collect();
        let zero = vec![0; x.dtype().size()];
        Ok(vec![pad(x, PadMode::Constant, &pads, &zero)?])
    }
}
