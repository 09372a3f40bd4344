//! The same elements under other dimensions.

use super::view::shape_operand;
use super::{Class, OpError, Operator, ViewStep};
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::attrs::attrs_by_macro;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// Operand 0 with the dimensions in operand 1: 0 keeps a dimension, -1 is what remains.
    Reshape {
        /// Whether 0 in the shape means 0 elements rather than "keep".
        allowzero: bool = false,
    }
}

impl Reshape {
    fn shape(&self, x: &Shape, target: &[i64]) -> Result<Shape, OpError> {
        let mut dims = Vec::with_capacity(target.len());
        let mut rest = None;
        for (i, &t) in target.iter().enumerate() {
            dims.push(match t {
                0 if !self.allowzero => x.0.get(i).cloned().ok_or_else(|| {
                    OpError::Shape(format!("the shape keeps dimension {i} of {x}, which has none"))
                })?,
                -1 if rest.is_none() => {
                    rest = Some(i);
                    Dim::Known(1)
                }
                -1 => return Err(OpError::Shape("the shape holds -1 twice".into())),
                t => Dim::Known(usize::try_from(t).map_err(|_| {
                    OpError::Shape(format!("the shape holds the dimension {t}"))
                })?),
            });
        }
        let mut shape = Shape(dims);
        if let Some(i) = rest {
            shape.0[i] = self.rest(x, &shape)?;
        }
        match (x.n_elements(), shape.n_elements()) {
            (Some(a), Some(b)) if a != b => {
                Err(OpError::Shape(format!("{x} has {a} elements, {shape} has {b}")))
            }
            _ => Ok(shape),
        }
    }

    /// The dimension that -1 stands for: known also where the symbols of both sides cancel.
    fn rest(&self, x: &Shape, others: &Shape) -> Result<Dim, OpError> {
        let mut left: Vec<&Dim> = x.0.iter().filter(|d| d.known().is_none()).collect();
        let mut n = x.0.iter().filter_map(Dim::known).product::<usize>();
        let mut divisor = 1usize;
        for d in &others.0 {
            match d {
                Dim::Known(k) => divisor = divisor.saturating_mul(*k),
                Dim::Symbol(_) => match left.iter().position(|l| *l == d) {
                    Some(i) => {
                        left.remove(i);
                    }
                    None => return Err(OpError::Shape(format!("{x} cannot be reshaped by -1 beside `{d}`"))),
                },
            }
        }
        match (left.as_slice(), divisor) {
            ([], 0) => Err(OpError::Shape("-1 beside a dimension of 0 elements".into())),
            ([], d) if n % d == 0 => {
                n /= d;
                Ok(Dim::Known(n))
            }
            ([], d) => Err(OpError::Shape(format!("{n} elements are no multiple of {d}"))),
            ([one], d) if n == d => Ok((*one).clone()),
            _ => Ok(Dim::Symbol(crate::shape::Symbol::new("_rest"))),
        }
    }
}

impl Operator for Reshape {
    const NAME: &'static str = "Reshape";
    const VERSIONS: &'static [u32] = &[5, 13, 14, 19, 21, 23];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::View;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        let Some(target) = cx.ints(1) else {
            return Ok(vec![TensorType::new(x.dtype, shape_operand(cx, 1, "shape")?)]);
        };
        Ok(vec![TensorType::new(x.dtype, self.shape(&x.shape, &target)?)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        _types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        eval::views(self, inputs, 1)
    }

    fn view(&self, cx: &InferCx<'_>, _output: usize) -> Option<Vec<ViewStep>> {
        let shape = self.shape(cx.shape(0).ok()?, &cx.ints(1)?).ok()?;
        Some(vec![ViewStep::Reshape(shape.dims()?)])
    }
}
