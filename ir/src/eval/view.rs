//! Evaluation of views.

use super::{broadcast_strides, copy, row_major_strides};
use crate::infer::InferCx;
use crate::ops::{OpError, Operator, ViewStep};
use crate::tensor::Tensor;

/// The elements of `x` that `step` picks.
pub fn view(x: &Tensor, step: &ViewStep) -> Result<Tensor, OpError> {
    let own = row_major_strides(x.dims());
    match step {
        ViewStep::Reshape(dims) => x
            .reshaped(dims)
            .map_err(|e| OpError::Shape(format!("{e:?}"))),
        ViewStep::Permute(perm) => {
            let dims: Vec<usize> = perm.iter().map(|&p| x.dims()[p]).collect();
            let strides: Vec<usize> = perm.iter().map(|&p| own[p]).collect();
            copy::strided(x, &dims, 0, &strides)
        }
        ViewStep::Broadcast(dims) => copy::strided(x, dims, 0, &broadcast_strides(dims, x.dims())),
        ViewStep::Slice {
            starts,
            steps,
            dims,
        } => {
            let base = starts.iter().zip(&own).map(|(a, s)| a * s).sum();
            let strides: Vec<usize> = own
                .iter()
                .zip(steps)
                .map(|(&s, &step)| s.wrapping_mul(step as usize))
                .collect();
            copy::strided(x, dims, base, &strides)
        }
    }
}

/// The results of an operator of class [`View`](crate::Class::View), by its own [`Operator::view`].
pub fn views<T: Operator>(
    op: &T,
    inputs: &[Option<&Tensor>],
    n_outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let types: Vec<_> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
    let types: Vec<_> = types.iter().map(Option::as_ref).collect();
    let cx = InferCx::new(&types, inputs, n_outputs);
    let x = inputs
        .first()
        .copied()
        .flatten()
        .ok_or(OpError::MissingInput(0))?;
    (0..n_outputs)
        .map(|output| {
            let steps = op
                .view(&cx, output)
                .ok_or_else(|| OpError::Shape(format!("{} is no view of constants", T::NAME)))?;
            steps.iter().try_fold(x.clone(), |x, step| view(&x, step))
        })
        .collect()
}
