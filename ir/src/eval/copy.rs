//! Movement of elements as bytes, whatever their type.

use super::offsets;
use crate::ops::OpError;
use crate::tensor::Tensor;

/// A tensor of `dims` whose elements are runs of `run` elements of `x`, one from each offset of
/// `starts` (in elements), in order.
///
/// The offsets must lie inside `x` and give as many elements as `dims` holds.
pub(crate) fn runs(
    x: &Tensor,
    dims: &[usize],
    run: usize,
    starts: impl Iterator<Item = usize>,
) -> Result<Tensor, OpError> {
    let (size, bytes) = (x.dtype().size(), x.bytes());
    let n: usize = dims.iter().product();
    let mut data = Vec::with_capacity(n * size);
    // Copies of a length known at compile time are single moves.
    macro_rules! copy {
        ($n:literal) => {
            for at in starts {
                data.extend_from_slice(&bytes[at * $n..][..$n]);
            }
        };
    }
    match run * size {
        0 => {}
        1 => copy!(1),
        2 if size == 2 => copy!(2),
        4 if size == 4 => copy!(4),
        8 if size == 8 => copy!(8),
        length => {
            for at in starts {
                data.extend_from_slice(&bytes[at * size..][..length]);
            }
        }
    }
    new(x, dims, data)
}

/// A tensor like `x` over `data`.
pub(crate) fn new(x: &Tensor, dims: &[usize], data: Vec<u8>) -> Result<Tensor, OpError> {
    Tensor::new(x.dtype(), dims, data.into()).map_err(|e| {
        OpError::Shape(format!(
            "{} bytes of elements for dimensions {dims:?}",
            e.given
        ))
    })
}

/// A tensor of `dims` whose element at index `i` is element `base + sum of i[d] * strides[d]` of `x`.
///
/// Every such element must lie inside `x`. Sums wrap: a negative stride is its two's complement.
pub(crate) fn strided(
    x: &Tensor,
    dims: &[usize],
    base: usize,
    strides: &[usize],
) -> Result<Tensor, OpError> {
    // Trailing dimensions that lie side by side in `x` are copied as one.
    let (mut outer, mut run) = (dims.len(), 1);
    while outer > 0 && (dims[outer - 1] == 1 || strides[outer - 1] == run) {
        outer -= 1;
        run *= dims[outer];
    }
    let starts = offsets(&dims[..outer], &strides[..outer]).map(|at| base.wrapping_add(at));
    runs(x, dims, run, starts)
}
