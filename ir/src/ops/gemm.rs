//! Product of two matrices, scaled, plus a matrix.

use super::contract::{by_kind, expect_same_depth, multiply, transposed};
use super::map::is_number;
use super::operands::{
    Number, expect_broadcast_to, flops, known_dims, one_type, operand, optional,
};
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::eval::broadcast_offsets;
use crate::infer::InferCx;
use crate::shape::{Dim, TensorType};
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// `alpha * a * b + beta * c` of matrices a `[M, K]`, b `[K, N]` and optional c, broadcast to `[M, N]`.
    #[allow(non_snake_case, reason = "attributes are spelt as ONNX spells them")]
    Gemm {
        /// Factor of the product.
        alpha: f32 = 1.0,
        /// Factor of c.
        beta: f32 = 1.0,
        /// Whether operand 0 is the transpose of a.
        transA: bool = false,
        /// Whether operand 1 is the transpose of b.
        transB: bool = false,
    }
}

impl Gemm {
    /// M, K of the left operand, K of the right operand, N.
    fn dims<'a>(&self, a: &'a [Dim], b: &'a [Dim]) -> Result<[&'a Dim; 4], OpError> {
        let ([a0, a1], [b0, b1]) = (a, b) else {
            return Err(OpError::Shape(format!(
                "operands of ranks {} and {}, expected two matrices",
                a.len(),
                b.len()
            )));
        };
        let (m, k) = if self.transA { (a1, a0) } else { (a0, a1) };
        let (depth, n) = if self.transB { (b1, b0) } else { (b0, b1) };
        Ok([m, k, depth, n])
    }

    fn product<T: Number>(
        &self,
        inputs: &[Option<&Tensor>],
        ty: &TensorType,
        scale: impl Fn(T, f32) -> T,
    ) -> Result<Tensor, OpError> {
        let (a, b) = (operand(inputs, 0)?, operand(inputs, 1)?);
        let dims = known_dims(ty)?;
        let [m, n] = dims[..] else {
            return Err(OpError::Shape(format!("{ty} is no matrix")));
        };
        let k = a.dims()[usize::from(!self.transA)];
        let plain = |t: &Tensor, swap: bool, columns| {
            let values = T::read(t)?;
            Ok(if swap {
                transposed(&values, columns)
            } else {
                values
            })
        };
        let mut y = vec![T::ZERO; m * n];
        multiply(
            &plain(a, self.transA, m)?,
            &plain(b, self.transB, k)?,
            &mut y,
            k,
            n,
        );
        y.iter_mut().for_each(|v| *v = scale(*v, self.alpha));
        if let Some(c) = optional(inputs, 2) {
            let values = T::read(c)?;
            for (v, i) in y.iter_mut().zip(broadcast_offsets(&dims, c.dims())) {
                *v = v.plus(scale(values[i], self.beta));
            }
        }
        Ok(T::write(ty.dtype, &dims, &y))
    }
}

impl Operator for Gemm {
    const NAME: &'static str = "Gemm";
    const VERSIONS: &'static [u32] = &[1, 6, 7, 9, 11, 13];
    const INPUTS: RangeInclusive<usize> = 2..=3;
    const CLASS: Class = Class::Contract;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = one_type(cx, 3, is_number, "a number")?;
        if dtype.is_integer() && (self.alpha, self.beta) != (1.0, 1.0) {
            return Err(OpError::Unsupported(format!(
                "`alpha` {} and `beta` {} on operands of type {dtype}; expected 1",
                self.alpha, self.beta
            )));
        }
        let [m, k, depth, n] = self.dims(&cx.shape(0)?.0, &cx.shape(1)?.0)?;
        expect_same_depth(k, depth)?;
        let shape = [m, n].into_iter().cloned().collect();
        if let Some(c) = cx.optional(2) {
            expect_broadcast_to(&shape, &c.shape, "C")?;
        }
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let ty = &types[0];
        by_kind(
            ty.dtype,
            || self.product(inputs, ty, |v: f64, factor| v * f64::from(factor)),
            || self.product(inputs, ty, |v: i128, _| v),
        )
    }

    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let depth = inputs[0].and_then(|t| t.shape.0.get(usize::from(!self.transA))?.known());
        let depth = depth.unwrap_or(0) as u64;
        flops(
            depth.saturating_mul(2).saturating_add(1),
            &[outputs.first()],
            0,
        )
    }
}
