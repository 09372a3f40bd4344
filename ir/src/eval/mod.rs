//! Reference evaluation: results computed in the plainest way, in `f64` and `i64`.
//!
//! What every optimisation and every device is compared with; speed does not matter here.

pub(crate) mod copy;
mod graph;
mod map;
mod view;

pub use graph::{EvalError, graph};
pub use map::map;
pub use view::{view, views};

/// Strides in elements of a row-major tensor of `dims`.
pub fn row_major_strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for i in (1..dims.len()).rev() {
        strides[i - 1] = strides[i] * dims[i];
    }
    strides
}

/// The index along each dimension of the `i`-th element of a row-major tensor of `dims`.
pub fn unravel(mut i: usize, dims: &[usize]) -> Vec<usize> {
    let mut index = vec![0; dims.len()];
    for (x, &d) in index.iter_mut().zip(dims).rev() {
        *x = i % d;
        i /= d;
    }
    index
}

/// The offset of each element in row-major order over `dims`, for these strides.
///
/// Sums wrap, so that a negative stride may be given as its two's complement.
pub fn offsets<'a>(dims: &'a [usize], strides: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let n = dims.iter().product::<usize>();
    let mut index = vec![0usize; dims.len()];
    let mut at = 0usize;
    (0..n).map(move |_| {
        let here = at;
        for d in (0..dims.len()).rev() {
            index[d] += 1;
            at = at.wrapping_add(strides[d]);
            if index[d] < dims[d] {
                break;
            }
            at = at.wrapping_sub(strides[d].wrapping_mul(dims[d]));
            index[d] = 0;
        }
        here
    })
}

/// The strides by which an operand of `operand_dims` broadcasts to `dims`: 0 along what repeats.
pub fn broadcast_strides(dims: &[usize], operand_dims: &[usize]) -> Vec<usize> {
    let own = row_major_strides(operand_dims);
    let lead = dims.len() - operand_dims.len();
    (0..dims.len())
        .map(|i| match i.checked_sub(lead) {
            Some(j) if operand_dims[j] != 1 => own[j],
            _ => 0,
        })
        .collect()
}

/// For each element of `dims`, the element of an operand of `operand_dims` broadcast to it.
pub fn broadcast_offsets(dims: &[usize], operand_dims: &[usize]) -> Vec<usize> {
    offsets(dims, &broadcast_strides(dims, operand_dims)).collect()
}
