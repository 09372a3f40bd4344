//! Elements around a tensor.

use super::operands::{known_dims, operand, optional, with_cx};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::copy;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attr_enum, attributes};
use std::ops::RangeInclusive;

attr_enum! {
    /// What [`Pad`] adds.
    PadMode {
        /// One number.
        Constant = "constant",
        /// The tensor mirrored at its first and last element, which are not repeated.
        Reflect = "reflect",
        /// The first and the last element.
        Edge = "edge",
        /// The tensor again and again.
        Wrap = "wrap",
    }
}

attributes! {
    /// Operand 0 with elements before and after it along each axis; negative numbers cut them off.
    ///
    /// Operands: x, pads (begins, then ends), the constant (0 if left out), axes (all if left out).
    Pad {
        /// What is added.
        mode: PadMode = PadMode::Constant,
    }
}

impl PadMode {
    /// For each position of an axis that grows by `begin` and `end`, where its element comes
    /// from among `n`; `None` is the constant.
    pub fn sources(self, n: usize, begin: i64, end: i64) -> Result<Vec<Option<usize>>, OpError> {
        let size = padded(n, begin, end)?;
        if n == 0 && size > 0 && self != PadMode::Constant {
            return Err(OpError::Shape(
                "an axis of no elements has none to repeat".into(),
            ));
        }
        let n = n as i64;
        let source = |o: usize| {
            let i = o as i64 - begin;
            let source = match self {
                PadMode::Constant => return (0..n).contains(&i).then_some(i as usize),
                PadMode::Edge => i.clamp(0, n - 1),
                PadMode::Wrap => i.rem_euclid(n),
                PadMode::Reflect if n == 1 => 0,
                PadMode::Reflect => {
                    let i = i.rem_euclid(2 * (n - 1));
                    i.min(2 * (n - 1) - i)
                }
            };
            Some(source as usize)
        };
        Ok((0..size).map(source).collect())
    }
}

/// The size of an axis of `n` elements with `begin` and `end` more.
fn padded(n: usize, begin: i64, end: i64) -> Result<usize, OpError> {
    let size = n as i128 + i128::from(begin) + i128::from(end);
    usize::try_from(size).map_err(|_| {
        OpError::Shape(format!(
            "an axis of {n} elements padded by {begin} and {end}"
        ))
    })
}

/// `x` with each axis padded by `pads` (begin and end); `fill` is the constant's bytes.
pub(super) fn pad(
    x: &Tensor,
    mode: PadMode,
    pads: &[(i64, i64)],
    fill: &[u8],
) -> Result<Tensor, OpError> {
    let axes = x.dims().iter().zip(pads);
    let sources = axes.map(|(&n, &(begin, end))| mode.sources(n, begin, end));
    copy::picked(x, &sources.collect::<Result<Vec<_>, _>>()?, fill)
}

impl Pad {
    /// What each axis of operand 0 grows by at its begin and end; `None` where it is computed at
    /// run time.
    pub fn pads(&self, cx: &InferCx<'_>) -> Result<Option<Vec<(i64, i64)>>, OpError> {
        let rank = cx.shape(0)?.rank();
        let Some(list) = cx.ints(1) else {
            return Ok(None);
        };
        let axes: Vec<usize> = match cx.optional(3) {
            Some(_) => {
                let Some(axes) = cx.ints(3) else {
                    return Ok(None);
                };
                let axes = axes.iter().map(|&a| normalize_axis(a, rank));
                axes.collect::<Result<_, _>>()?
            }
            None => (0..rank).collect(),
        };
        let n = axes.len();
        if list.len() != 2 * n || (1..n).any(|i| axes[..i].contains(&axes[i])) {
            return Err(OpError::Shape(format!(
                "{} pads for axes {axes:?}",
                list.len()
            )));
        }
        let mut pads = vec![(0, 0); rank];
        for (i, &axis) in axes.iter().enumerate() {
            pads[axis] = (list[i], list[n + i]);
        }
        Ok(Some(pads))
    }
}

impl Operator for Pad {
    const NAME: &'static str = "Pad";
    const VERSIONS: &'static [u32] = &[1, 2, 11, 13, 18, 19, 21, 23, 24, 25];
    const INPUTS: RangeInclusive<usize> = 2..=4;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        cx.input(1)?;
        if let Some(value) = cx.optional(2)
            && (value.dtype != x.dtype || value.shape.n_elements() != Some(1))
        {
            return Err(OpError::Type(format!(
                "`constant_value` is {value}, expected one element of type {}",
                x.dtype
            )));
        }
        let pads = self.pads(cx)?;
        let dim = |(i, d): (usize, &Dim)| match (&pads, d) {
            (None, _) => Ok(cx.fresh_dim()),
            (Some(pads), Dim::Known(n)) => padded(*n, pads[i].0, pads[i].1).map(Dim::Known),
            (Some(pads), d) if pads[i] == (0, 0) => Ok(d.clone()),
            _ => Ok(cx.fresh_dim()),
        };
        let shape = x.shape.0.iter().enumerate().map(dim);
        let shape = Shape(shape.collect::<Result<_, _>>()?);
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        known_dims(&types[0])?;
        let pads = with_cx(inputs, 1, |cx| self.pads(cx))?.ok_or(OpError::NotConstant("pads"))?;
        let zero = vec![0; x.dtype().size()];
        let fill = optional(inputs, 2).map_or(&zero[..], |value| &value.bytes()[..]);
        Ok(vec![pad(x, self.mode, &pads, fill)?])
    }
}
