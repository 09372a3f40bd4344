//! Evaluation of views.

use super::{broadcast_offsets, offsets, row_major_strides};
use crate::infer::InferCx;
use crate::ops::{OpError, Operator, ViewStep};
use crate::tensor::Tensor;

/// The elements of `x` that `step` picks.
pub fn view(x: &Tensor, step: &ViewStep) -> Result<Tensor, OpError> {
    let strides = row_major_strides(x.dims());
    let (dims, at): (Vec<usize>, Vec<usize>) = match step {
        ViewStep::Reshape(dims) => {
            return x
                .reshaped(dims)
                .map_err(|e| OpError::Shape(format!("{e:?}")));
        }
        ViewStep::Permute(perm) => {
            let dims: Vec<usize> = perm.iter().map(|&p| x.dims()[p]).collect();
            let strides: Vec<usize> = perm.iter().map(|&p| strides[p]).collect();
            let at = offsets(&dims, &strides).collect();
            (dims, at)
        }
        ViewStep::Broadcast(dims) => (dims.clone(), broadcast_offsets(dims, x.dims())),
        ViewStep::Slice {
            starts,
            steps,
            dims,
        } => {
            let own = row_major_strides(dims);
            let at = (0..dims.iter().product::<usize>())
                .map(|i| {
                    let position = (0..dims.len()).map(|d| {
                        let index = (i / own[d] % dims[d].max(1)) as i64;
                        (starts[d] as i64 + index * steps[d]) as usize * strides[d]
                    });
                    position.sum()
                })
                .collect();
            (dims.clone(), at)
        }
    };
    let size = x.dtype().size();
    let mut data = Vec::with_capacity(at.len() * size);
    for i in at {
        data.extend_from_slice(&x.bytes()[i * size..(i + 1) * size]);
    }
    Tensor::new(x.dtype(), &dims, data.into()).map_err(|e| OpError::Shape(format!("{e:?}")))
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
