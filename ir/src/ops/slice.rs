//! Ranges along axes.

use super::{Class, OpError, Operator, ViewStep};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// The elements of operand 0 from `starts` to before `ends` in steps of `steps` along `axes`.
    ///
    /// Operands: x, starts, ends, axes (the first ones if left out), steps (1 if left out).
    /// Negative starts and ends count from the back, and what lies outside is cut off.
    Slice {}
}

/// What is taken along one axis.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Cut {
    start: i64,
    end: i64,
    step: i64,
}

impl Cut {
    /// The first element and the number of elements, of `n` along the axis.
    fn resolve(self, n: usize) -> (usize, usize) {
        let n = n as i128;
        let (start, end, step) = (self.start.into(), self.end.into(), i128::from(self.step));
        let from_front = |i: i128| if i < 0 { i + n } else { i };
        let (least, most) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let start = from_front(start).max(least).min(most);
        let end = from_front(end).max(least).min(most);
        let span = if step > 0 { end - start } else { start - end };
        let step = step.abs();
        match (span + step - 1) / step {
            taken @ 1.. => (start as usize, taken as usize),
            _ => (0, 0),
        }
    }

    /// Whether everything is taken whatever the size: limits beyond 32 bits stand for the ends.
    fn takes_all(self) -> bool {
        match self.step {
            1 => self.start == 0 && self.end >= i32::MAX.into(),
            -1 => {
                (self.start == -1 || self.start >= i32::MAX.into()) && self.end <= i32::MIN.into()
            }
            _ => false,
        }
    }
}

impl Slice {
    /// The axes that are cut, in the operands' order; `None` where they are computed at run time.
    fn axes(&self, cx: &InferCx<'_>) -> Result<Option<Vec<usize>>, OpError> {
        let rank = cx.shape(0)?.rank();
        if cx.optional(3).is_some() {
            let Some(axes) = cx.ints(3) else {
                return Ok(None);
            };
            let axes: Vec<_> = axes
                .iter()
                .map(|&a| normalize_axis(a, rank))
                .collect::<Result<_, _>>()?;
            if (1..axes.len()).any(|i| axes[..i].contains(&axes[i])) {
                return Err(OpError::Shape(format!("axes {axes:?} name an axis twice")));
            }
            return Ok(Some(axes));
        }
        let n = match cx.shape(1)?.0.as_slice() {
            [Dim::Known(n)] => *n,
            [Dim::Symbol(_)] => return Ok(None),
            _ => return Err(OpError::Shape("`starts` is no list".into())),
        };
        if n > rank {
            return Err(OpError::Shape(format!(
                "{n} starts for a tensor of rank {rank}"
            )));
        }
        Ok(Some((0..n).collect()))
    }

    /// What is taken along each axis; `None` where it is computed at run time.
    fn cuts(&self, cx: &InferCx<'_>) -> Result<Option<Vec<(usize, Cut)>>, OpError> {
        let Some(axes) = self.axes(cx)? else {
            return Ok(None);
        };
        let steps = match cx.optional(4) {
            Some(_) => cx.ints(4),
            None => Some(vec![1; axes.len()]),
        };
        let (Some(starts), Some(ends), Some(steps)) = (cx.ints(1), cx.ints(2), steps) else {
            return Ok(None);
        };
        if [starts.len(), ends.len(), steps.len()] != [axes.len(); 3] {
            return Err(OpError::Shape(format!(
                "{} starts, {} ends, {} axes and {} steps",
                starts.len(),
                ends.len(),
                axes.len(),
                steps.len()
            )));
        }
        if steps.contains(&0) {
            return Err(OpError::Value("a step is 0".into()));
        }
        let cut = |(i, axis)| {
            let (start, end, step) = (starts[i], ends[i], steps[i]);
            (axis, Cut { start, end, step })
        };
        Ok(Some(axes.into_iter().enumerate().map(cut).collect()))
    }

    fn shape(&self, cx: &InferCx<'_>) -> Result<Shape, OpError> {
        let mut dims = cx.shape(0)?.0.clone();
        match (self.cuts(cx)?, self.axes(cx)?) {
            (Some(cuts), _) => {
                for (axis, cut) in cuts {
                    dims[axis] = match &dims[axis] {
                        Dim::Known(n) => Dim::Known(cut.resolve(*n).1),
                        all if cut.takes_all() => all.clone(),
                        _ => cx.fresh_dim(),
                    };
                }
            }
            (None, Some(axes)) => axes.into_iter().for_each(|i| dims[i] = cx.fresh_dim()),
            (None, None) => dims.iter_mut().for_each(|d| *d = cx.fresh_dim()),
        }
        Ok(Shape(dims))
    }
}

impl Operator for Slice {
    const NAME: &'static str = "Slice";
    const VERSIONS: &'static [u32] = &[1, 10, 11, 13];
    const INPUTS: RangeInclusive<usize> = 3..=5;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        for i in 1..cx.n_inputs().max(3) {
            if let Some(ty) = cx.optional(i)
                && (!ty.dtype.is_integer() || ty.shape.rank() != 1)
            {
                return Err(OpError::Type(format!(
                    "input {i} of type {ty}, expected a list of integers"
                )));
            }
        }
        cx.input(2)?;
        Ok(vec![TensorType::new(cx.dtype(0)?, self.shape(cx)?)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        let mut dims = cx.shape(0).ok()?.dims()?;
        let mut starts = vec![0; dims.len()];
        let mut steps = vec![1; dims.len()];
        for (axis, cut) in self.cuts(cx).ok()?? {
            (starts[axis], dims[axis]) = cut.resolve(dims[axis]);
            steps[axis] = cut.step;
        }
        Some(vec![ViewStep::Slice {
            starts,
            steps,
            dims,
        }])
    }
}
