//! Maximum over sliding windows.

use super::operands::{integer_range, known_dims, operand};
use super::pool::{fold_windows, infer_pool, pool_attributes, pool_flop, result};
use super::{Class, OpError, Operator};
use crate::DType;
use crate::attrs::attrs_by_macro;
use crate::eval::unravel;
use crate::infer::InferCx;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

pool_attributes! {
    /// The greatest element of each window, and optionally its index in the whole operand as i64.
    ///
    /// Of equal elements the first in row-major order counts; padding never does.
    MaxPool {
        /// Whether indices count spatial dimensions from the front (column-major) rather than from the back.
        storage_order: bool = false,
    }
}

impl MaxPool {
    /// The index of the element at `position` of plane `plane` of an operand of spatial dimensions `dims`.
    fn index(&self, plane: usize, position: usize, dims: &[usize]) -> i64 {
        let within = if self.storage_order {
            let axes = unravel(position, dims).into_iter().zip(dims).rev();
            axes.fold(0, |at, (i, d)| at * d + i)
        } else {
            position
        };
        (plane * dims.iter().product::<usize>() + within) as i64
    }
}

impl Operator for MaxPool {
    const NAME: &'static str = "MaxPool";
    const VERSIONS: &'static [u32] = &[1, 8, 10, 11, 12, 22];
    const INPUTS: RangeInclusive<usize> = 1..=1;
    const OUTPUTS: RangeInclusive<usize> = 1..=2;
    const CLASS: Class = Class::Window;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let x = cx.input(0)?;
        if !(x.dtype.is_float() || matches!(x.dtype, DType::I8 | DType::U8)) {
            return Err(OpError::Type(format!(
                "operand of type {}, expected a floating-point number, i8 or u8",
                x.dtype
            )));
        }
        let y = infer_pool(cx, &self.geometry(x)?)?;
        let indices = TensorType::new(DType::I64, y.shape.clone());
        Ok([y, indices].into_iter().take(cx.n_outputs()).collect())
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let x = operand(inputs, 0)?;
        let geometry = self.geometry(&x.ty())?;
        let least = match types[0].dtype {
            dtype if dtype.is_float() => f64::NEG_INFINITY,
            dtype => integer_range(dtype).0 as f64,
        };
        let windows = fold_windows(inputs, &geometry, (least, None), |(max, at), i, v| {
            if at.is_none() || v > *max || (v.is_nan() && !max.is_nan()) {
                (*max, *at) = (v, Some(i));
            }
        })?;
        let (maxima, positions): (Vec<f64>, Vec<Option<usize>>) = windows.into_iter().unzip();
        let mut results = vec![result(&types[0], &maxima)?];
        if let Some(ty) = types.get(1) {
            let n_out: usize = geometry.output.iter().product();
            let indices = positions
                .iter()
                .enumerate()
                .map(|(i, at)| at.map_or(-1, |at| self.index(i / n_out, at, &geometry.input)));
            results.push(Tensor::from_slice(
                &known_dims(ty)?,
                &indices.collect::<Vec<_>>(),
            ));
        }
        Ok(results)
    }

    pool_flop!(1);
}
