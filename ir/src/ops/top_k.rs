//! The greatest or least elements along an axis.

use super::map::is_number;
use super::operands::{Number, known_dims, n_elements, operand};
use super::reduce::fold_axes;
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::{offsets, row_major_strides};
use crate::infer::{InferCx, normalize_axis};
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::cmp::Ordering;
use std::ops::RangeInclusive;

attributes! {
    /// The `k` greatest (or least) elements along `axis`, and their positions as i64.
    ///
    /// Operands: x, and k, a constant. Results are in order, of equal elements the first one first,
    /// also where `sorted` does not ask for that. NaN is greater than everything.
    TopK {
        /// The axis; negative counts from the back.
        axis: i64 = -1,
        /// Whether the greatest are taken rather than the least.
        largest: bool = true,
        /// Whether results must be in order.
        sorted: bool = true,
    }
}

impl TopK {
    /// The number of elements taken.
    pub fn k(&self, cx: &InferCx<'_>) -> Result<usize, OpError> {
        let k = cx.require_ints(1, "K")?;
        match k[..] {
            [k] => usize::try_from(k).map_err(|_| OpError::Shape(format!("`K` is {k}"))),
            _ => Err(OpError::Shape(format!("`K` is {k:?}, expected one number"))),
        }
    }

    fn positions<T: Number>(&self, x: &Tensor, axis: usize, k: usize) -> Result<Vec<i64>, OpError> {
        let lanes = fold_axes(&T::read(x)?, x.dims(), &[axis], |lane| {
            let mut order: Vec<usize> = (0..lane.len()).collect();
            order.sort_by(|&a, &b| {
                let ascending = nan_last(&lane[a], &lane[b]);
                if self.largest {
                    ascending.reverse()
                } else {
                    ascending
                }
            });
            order.truncate(k);
            order
        });
        // Lanes come one after the other; the result interleaves them around the axis.
        let mut dims = x.dims().to_vec();
        dims[axis] = k;
        let inner: usize = dims[axis + 1..].iter().product();
        let at = |i: usize| lanes[i / (k * inner) * inner + i % inner][i / inner % k] as i64;
        Ok((0..dims.iter().product()).map(at).collect())
    }
}

/// The order of two numbers, NaN the last.
fn nan_last<T: Number>(a: &T, b: &T) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| {
        let is_nan = |v: &T| v.partial_cmp(v).is_none();
        is_nan(a).cmp(&is_nan(b))
    })
}

impl Operator for TopK {
    const NAME: &'static str = "TopK";
    const VERSIONS: &'static [u32] = &[1, 10, 11];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const OUTPUTS: RangeInclusive<usize> = 1..=2;
    const CLASS: Class = Class::Library;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        if !is_number(x.dtype) {
            return Err(OpError::Type(format!(
                "operand of type {}, expected a number",
                x.dtype
            )));
        }
        let axis = normalize_axis(self.axis, x.shape.rank())?;
        let k = self.k(cx)?;
        let mut shape = x.shape.clone();
        if shape.dim(axis).known().is_some_and(|n| k > n) {
            return Err(OpError::Shape(format!(
                "{k} elements along axis {axis} of {shape}"
            )));
        }
        shape.0[axis] = Dim::Known(k);
        let positions = TensorType::new(DType::I64, shape.clone());
        let results = [TensorType::new(x.dtype, shape), positions];
        Ok(results.into_iter().take(cx.n_outputs()).collect())
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let dims = known_dims(&types[0])?;
        let axis = normalize_axis(self.axis, dims.len())?;
        let positions = if x.dtype().is_float() {
            self.positions::<f64>(x, axis, dims[axis])?
        } else {
            self.positions::<i128>(x, axis, dims[axis])?
        };
        let mut strides = row_major_strides(x.dims());
        let step = std::mem::replace(&mut strides[axis], 0);
        let size = x.dtype().size();
        let mut data = Vec::with_capacity(positions.len() * size);
        for (lane, &position) in offsets(&dims, &strides).zip(&positions) {
            let at = lane + position as usize * step;
            data.extend_from_slice(&x.bytes()[at * size..(at + 1) * size]);
        }
        let values = Tensor::new(x.dtype(), &dims, data.into())
            .map_err(|e| OpError::Shape(format!("{e:?}")))?;
        let results = [values, Tensor::from_slice(&dims, &positions)];
        Ok(results.into_iter().take(types.len()).collect())
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        n_elements(inputs, 0)
    }
}
