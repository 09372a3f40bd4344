//! Matrix product, as numpy's `matmul`.

use super::contract::{by_kind, expect_same_depth, multiply};
use super::map::is_number;
use super::operands::{Number, flops, known_dims, one_type, operand};
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::eval::broadcast_offsets;
use crate::infer::{InferCx, broadcast};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// The products of the matrices in the last two dimensions of both operands, earlier dimensions broadcast.
    ///
    /// An operand of rank 1 is a row on the left and a column on the right, and that dimension is
    /// not in the result.
    MatMul {}
}

/// A shape as a batch of matrices.
struct Matrices {
    batch: Shape,
    rows: Dim,
    columns: Dim,
}

impl Matrices {
    /// `shape` of operand `i`, with the dimension that a vector lacks.
    fn new(shape: &Shape, i: usize) -> Result<Self, OpError> {
        let one = Dim::Known(1);
        let (batch, rows, columns) = match (shape.0.as_slice(), i) {
            ([], _) => {
                return Err(OpError::Shape(format!(
                    "input {i} has rank 0, expected at least 1"
                )));
            }
            ([n], 0) => (&[][..], one, n.clone()),
            ([n], _) => (&[][..], n.clone(), one),
            ([batch @ .., rows, columns], _) => (batch, rows.clone(), columns.clone()),
        };
        Ok(Self {
            batch: Shape(batch.to_vec()),
            rows,
            columns,
        })
    }
}

impl Operator for MatMul {
    const NAME: &'static str = "MatMul";
    const VERSIONS: &'static [u32] = &[1, 9, 13];
    const INPUTS: RangeInclusive<usize> = 2..=2;
    const CLASS: Class = Class::Contract;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = one_type(cx, 2, is_number, "a number")?;
        let (a, b) = (cx.shape(0)?, cx.shape(1)?);
        let (left, right) = (Matrices::new(a, 0)?, Matrices::new(b, 1)?);
        expect_same_depth(&left.columns, &right.rows)?;
        let mut shape = broadcast(&left.batch, &right.batch)?;
        shape.0.extend((a.rank() > 1).then_some(left.rows));
        shape.0.extend((b.rank() > 1).then_some(right.columns));
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let (a, b, ty) = (operand(inputs, 0)?, operand(inputs, 1)?, &types[0]);
        by_kind(
            ty.dtype,
            || product::<f64>(a, b, ty),
            || product::<i128>(a, b, ty),
        )
    }

    fn flop(&self, inputs: &[Option<&TensorType>], outputs: &[TensorType]) -> u64 {
        let depth = inputs[0]
            .and_then(|t| t.shape.0.last()?.known())
            .unwrap_or(0);
        flops((depth as u64).saturating_mul(2), &[outputs.first()], 0)
    }
}

fn product<T: Number>(a: &Tensor, b: &Tensor, ty: &TensorType) -> Result<Tensor, OpError> {
    let (left, right) = (
        Matrices::new(&a.ty().shape, 0)?,
        Matrices::new(&b.ty().shape, 1)?,
    );
    let size = |d: &Dim| d.known().unwrap_or(0);
    let (m, k, n) = (size(&left.rows), size(&left.columns), size(&right.columns));
    let batch = broadcast(&left.batch, &right.batch)?
        .dims()
        .unwrap_or_default();
    let matrices = |operand: &Matrices| {
        broadcast_offsets(&batch, &operand.batch.dims().unwrap_or_default()).into_iter()
    };
    let (a, b) = (T::read(a)?, T::read(b)?);
    let mut c = vec![T::ZERO; batch.iter().product::<usize>() * m * n];
    for (i, (ai, bi)) in matrices(&left).zip(matrices(&right)).enumerate() {
        multiply(
            &a[ai * m * k..][..m * k],
            &b[bi * k * n..][..k * n],
            &mut c[i * m * n..][..m * n],
            k,
            n,
        );
    }
    Ok(T::write(ty.dtype, &known_dims(ty)?, &c))
}
