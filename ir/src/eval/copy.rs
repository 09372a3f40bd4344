//! Movement of elements as bytes, whatever their type.

use super::{offsets, row_major_strides};
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

/// A tensor whose element at index `i` is element `sources[0][i[0]], sources[1][i[1]], …` of `x`;
/// `fill`, the bytes of one element, where a source is `None`.
pub(crate) fn picked(
    x: &Tensor,
    sources: &[Vec<Option<usize>>],
    fill: &[u8],
) -> Result<Tensor, OpError> {
    let is_whole = |(s, &n): (&Vec<Option<usize>>, &usize)| s.iter().copied().eq((0..n).map(Some));
    // Trailing axes that stay as they are are copied as one run.
    let changed = sources
        .iter()
        .zip(x.dims())
        .rposition(|axis| !is_whole(axis));
    let tail = changed.map_or(0, |i| i + 1);
    let run: usize = x.dims()[tail..].iter().product();
    let (size, constant) = (x.dtype().size(), fill.repeat(run));
    let dims: Vec<usize> = sources.iter().map(Vec::len).collect();
    let mut data = Vec::with_capacity(dims.iter().product::<usize>() * size);
    let axes: Vec<_> = sources[..tail]
        .iter()
        .zip(row_major_strides(x.dims()))
        .collect();
    visit(&axes, Some(0), &mut |start| match start {
        Some(start) => data.extend_from_slice(&x.bytes()[start * size..][..run * size]),
        None => data.extend_from_slice(&constant),
    });
    new(x, &dims, data)
}

/// Calls `emit` with the offset of each element over `axes` (sources and stride), in order.
fn visit(
    axes: &[(&Vec<Option<usize>>, usize)],
    start: Option<usize>,
    emit: &mut impl FnMut(Option<usize>),
) {
    let Some(((sources, stride), inner)) = axes.split_first() else {
        return emit(start);
    };
    for source in *sources {
        let start = start
            .zip(*source)
            .map(|(start, source)| start + source * stride);
        visit(inner, start, emit);
    }
}
