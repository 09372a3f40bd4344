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
    if let Some(data) = tiled(x, &dims[..outer], base, &strides[..outer], run) {
        return new(x, dims, data);
    }
    let starts = offsets(&dims[..outer], &strides[..outer]).map(|at| base.wrapping_add(at));
    runs(x, dims, run, starts)
}

/// Side of the squares that [`tiled`] copies: 16 elements of 4 bytes are a cache line.
const TILE: usize = 16;

/// The elements that [`strided`] copies, in its order, where neighbours in `x` are neighbours along
/// another dimension than the last: by squares over these two, so that each cache line of both sides
/// is used whole. `None` where there is no such dimension, or runs are longer than an element.
fn tiled(
    x: &Tensor,
    dims: &[usize],
    base: usize,
    strides: &[usize],
    run: usize,
) -> Option<Vec<u8>> {
    let last = dims.len().checked_sub(1)?;
    let inner = (0..last).find(|&d| strides[d] == 1 && dims[d] >= TILE)?;
    if run != 1 || dims[last] < TILE {
        return None;
    }
    match x.dtype().size() {
        1 => Some(tiles::<1>(x.bytes(), dims, base, strides, inner)),
        2 => Some(tiles::<2>(x.bytes(), dims, base, strides, inner)),
        4 => Some(tiles::<4>(x.bytes(), dims, base, strides, inner)),
        8 => Some(tiles::<8>(x.bytes(), dims, base, strides, inner)),
        _ => None,
    }
}

/// [`tiled`] for elements of `N` bytes.
fn tiles<const N: usize>(
    bytes: &[u8],
    dims: &[usize],
    base: usize,
    strides: &[usize],
    inner: usize,
) -> Vec<u8> {
    let last = dims.len() - 1;
    let own = row_major_strides(dims);
    let mut data = vec![0; dims.iter().product::<usize>() * N];
    let rest: Vec<usize> = (0..last).filter(|&d| d != inner).collect();
    let pick = |of: &[usize]| rest.iter().map(|&d| of[d]).collect::<Vec<_>>();
    let rest_dims = pick(dims);
    let from = offsets(&rest_dims, &pick(strides)).collect::<Vec<_>>();
    let to = offsets(&rest_dims, &pick(&own)).collect::<Vec<_>>();
    for (from, to) in from.into_iter().zip(to) {
        let from = base.wrapping_add(from);
        for i0 in (0..dims[inner]).step_by(TILE) {
            for j0 in (0..dims[last]).step_by(TILE) {
                for i in i0..dims[inner].min(i0 + TILE) {
                    let row = to + i * own[inner];
                    for j in j0..dims[last].min(j0 + TILE) {
                        let at = from
                            .wrapping_add(i)
                            .wrapping_add(j.wrapping_mul(strides[last]));
                        data[(row + j) * N..][..N].copy_from_slice(&bytes[at * N..][..N]);
                    }
                }
            }
        }
    }
    data
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_copy_what_runs_copy() {
        for (dims, perm) in [
            (vec![40, 33], vec![1, 0]),
            (vec![3, 20, 17], vec![0, 2, 1]),
            (vec![17, 2, 3, 18], vec![3, 1, 2, 0]),
            (vec![16, 16], vec![1, 0]),
        ] {
            let n = dims.iter().product::<usize>();
            let own = row_major_strides(&dims);
            let moved: Vec<usize> = perm.iter().map(|&p| dims[p]).collect();
            let strides: Vec<usize> = perm.iter().map(|&p| own[p]).collect();
            for dtype in [
                crate::DType::U8,
                crate::DType::F16,
                crate::DType::F32,
                crate::DType::I64,
            ] {
                let values: Vec<f64> = (0..n).map(|i| (i % 251) as f64).collect();
                let x = Tensor::from_f64(dtype, &dims, &values);
                let by_tiles = tiled(&x, &moved, 0, &strides, 1).unwrap();
                let by_runs = runs(&x, &moved, 1, offsets(&moved, &strides)).unwrap();
                assert_eq!(
                    by_tiles,
                    by_runs.bytes().to_vec(),
                    "{dims:?} {perm:?} {dtype}"
                );
                assert_eq!(strided(&x, &moved, 0, &strides).unwrap(), by_runs);
            }
        }
    }
}
