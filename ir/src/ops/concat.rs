//! Tensors side by side.

use super::operands::{known_dims, may_equal};
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use crate::{attributes, eval};
use std::ops::RangeInclusive;

attributes! {
    /// The operands one after another along `axis`; their other dimensions are the same.
    Concat {
        /// The axis.
        axis: i64,
    }
}

impl Operator for Concat {
    const NAME: &'static str = "Concat";
    const VERSIONS: &'static [u32] = &[1, 4, 11, 13];
    const INPUTS: RangeInclusive<usize> = 1..=usize::MAX;
    const CLASS: Class = Class::Movement;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let mut ty = cx.input(0)?.clone();
        let axis = normalize_axis(self.axis, ty.shape.rank())?;
        let mut total = ty.shape.dim(axis).known();
        for i in 1..cx.n_inputs() {
            let x = cx.input(i)?;
            if x.dtype != ty.dtype {
                return Err(OpError::Type(format!(
                    "operands of types {} and {} must have one type",
                    ty.dtype, x.dtype
                )));
            }
            let fits = x.shape.rank() == ty.shape.rank()
                && (x.shape.0.iter().zip(&ty.shape.0).enumerate())
                    .all(|(d, (a, b))| d == axis || may_equal(a, b));
            if !fits {
                return Err(OpError::Shape(format!(
                    "shapes {} and {} differ beside axis {axis}",
                    cx.shape(0)?,
                    x.shape
                )));
            }
            total = total.and_then(|n| n.checked_add(x.shape.dim(axis).known()?));
            for (d, own) in ty.shape.0.iter_mut().zip(&x.shape.0) {
                if d.known().is_none() && own.known().is_some() {
                    *d = own.clone();
                }
            }
        }
        ty.shape.0[axis] = match total {
            Some(n) => Dim::Known(n),
            None if cx.n_inputs() == 1 => cx.shape(0)?.dim(axis).clone(),
            None => cx.fresh_dim(),
        };
        Ok(vec![ty])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let dims = known_dims(&types[0])?;
        let axis = normalize_axis(self.axis, dims.len())?;
        let size = types[0].dtype.size();
        let parts: Vec<(&[u8], usize)> = inputs
            .iter()
            .flatten()
            .map(|x| {
                (
                    &x.bytes()[..],
                    x.dims()[axis..].iter().product::<usize>() * size,
                )
            })
            .collect();
        let outer: usize = dims[..axis].iter().product();
        let mut data = Vec::with_capacity(dims.iter().product::<usize>() * size);
        for i in 0..outer {
            for (bytes, length) in &parts {
                data.extend_from_slice(&bytes[i * length..][..*length]);
            }
        }
        let x = inputs[0].ok_or(OpError::MissingInput(0))?;
        Ok(vec![eval::copy::new(x, &dims, data)?])
    }
}
