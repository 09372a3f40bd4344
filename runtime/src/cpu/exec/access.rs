//! Elements between memory and registers.

use super::program::Lane;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use plans::DType;

/// Two-dimensional blocks of elements: `rows * cols`, strides in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: isize,
    pub(crate) col_stride: isize,
}

impl Pattern {
    /// Whether the elements follow each other.
    pub(crate) fn is_dense(&self) -> bool {
        self.col_stride == 1 && (self.rows == 1 || self.row_stride == self.cols as isize)
    }

    /// The same elements as one row, if they follow each other.
    fn flattened(self) -> Self {
        if self.is_dense() && self.rows > 1 {
            Pattern {
                rows: 1,
                cols: self.rows * self.cols,
                row_stride: 0,
                col_stride: 1,
            }
        } else {
            self
        }
    }
}

/// Tiles of a transposing copy are squares of this many elements.
const TILE: usize = 16;

/// Copies the pattern at `src` to lanes at `dst`, each converted by `f`.
///
/// # Safety
/// The pattern at `src` can be read, `dst` has room for its elements, and they don't overlap.
#[inline(always)]
unsafe fn load_with<T: Copy, L: Copy>(
    p: Pattern,
    src: *const T,
    dst: *mut L,
    f: impl Fn(T) -> L + Copy,
) {
    let p = p.flattened();
    // SAFETY: every offset is that of an element of the pattern, or of its place in `dst`.
    unsafe {
        if p.col_stride == 0 {
            for r in 0..p.rows {
                let value = f(src.offset(r as isize * p.row_stride).read_unaligned());
                let dst = dst.add(r * p.cols);
                for c in 0..p.cols {
                    dst.add(c).write_unaligned(value);
                }
            }
        } else if p.col_stride == 1 {
            for r in 0..p.rows {
                let src = src.offset(r as isize * p.row_stride);
                let dst = dst.add(r * p.cols);
                for c in 0..p.cols {
                    dst.add(c).write_unaligned(f(src.add(c).read_unaligned()));
                }
            }
        } else if p.row_stride == 1 && p.rows > 1 {
            for (rows, cols) in tiles(p.rows, p.cols) {
                for c in cols {
                    let src = src.offset(c as isize * p.col_stride);
                    for r in rows.clone() {
                        dst.add(r * p.cols + c)
                            .write_unaligned(f(src.add(r).read_unaligned()));
                    }
                }
            }
        } else {
            for r in 0..p.rows {
                let src = src.offset(r as isize * p.row_stride);
                let dst = dst.add(r * p.cols);
                for c in 0..p.cols {
                    let value = src.offset(c as isize * p.col_stride).read_unaligned();
                    dst.add(c).write_unaligned(f(value));
                }
            }
        }
    }
}

/// Copies lanes at `src` to the pattern at `dst`, each converted by `f`.
///
/// # Safety
/// The pattern at `dst` can be written, `src` has its elements, and they don't overlap.
#[inline(always)]
unsafe fn store_with<L: Copy, T: Copy>(
    p: Pattern,
    src: *const L,
    dst: *mut T,
    f: impl Fn(L) -> T + Copy,
) {
    let p = p.flattened();
    // SAFETY: every offset is that of an element of the pattern, or of its place in `src`.
    unsafe {
        if p.col_stride == 1 {
            for r in 0..p.rows {
                let dst = dst.offset(r as isize * p.row_stride);
                let src = src.add(r * p.cols);
                for c in 0..p.cols {
                    dst.add(c).write_unaligned(f(src.add(c).read_unaligned()));
                }
            }
        } else if p.row_stride == 1 && p.rows > 1 {
            for (rows, cols) in tiles(p.rows, p.cols) {
                for c in cols {
                    let dst = dst.offset(c as isize * p.col_stride);
                    for r in rows.clone() {
                        dst.add(r)
                            .write_unaligned(f(src.add(r * p.cols + c).read_unaligned()));
                    }
                }
            }
        } else {
            for r in 0..p.rows {
                let dst = dst.offset(r as isize * p.row_stride);
                let src = src.add(r * p.cols);
                for c in 0..p.cols {
                    dst.offset(c as isize * p.col_stride)
                        .write_unaligned(f(src.add(c).read_unaligned()));
                }
            }
        }
    }
}

/// The tiles of a block of `rows * cols`.
fn tiles(
    rows: usize,
    cols: usize,
) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
    (0..rows).step_by(TILE).flat_map(move |r| {
        (0..cols)
            .step_by(TILE)
            .map(move |c| (r..rows.min(r + TILE), c..cols.min(c + TILE)))
    })
}

/// Loads the elements of `dtype` of the pattern at `src` into lanes at `dst`, row-major.
///
/// # Safety
/// The pattern at `src` can be read, `dst` has room for its elements as lanes, and they don't overlap.
pub(crate) unsafe fn load(dtype: DType, p: Pattern, src: *const u8, dst: *mut u8) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match dtype {
            DType::Bool => load_with(p, src, dst, |x| u8::from(x != 0)),
            DType::I8 => load_with(p, src.cast::<i8>(), dst.cast(), i64::from),
            DType::I16 => load_with(p, src.cast::<i16>(), dst.cast(), i64::from),
            DType::I32 => load_with(p, src.cast::<i32>(), dst.cast(), i64::from),
            DType::U8 => load_with(p, src, dst.cast(), i64::from),
            DType::U16 => load_with(p, src.cast::<u16>(), dst.cast(), i64::from),
            DType::U32 => load_with(p, src.cast::<u32>(), dst.cast(), i64::from),
            DType::I64 | DType::U64 | DType::C64 | DType::F64 => {
                load_with(p, src.cast::<u64>(), dst.cast(), |x: u64| x);
            }
            DType::F16 => {
                let q = p.flattened();
                if q.rows == 1 && q.col_stride == 1 && src.cast::<f16>().is_aligned() {
                    let src = std::slice::from_raw_parts(src.cast::<f16>(), q.cols);
                    src.convert_to_f32_slice(std::slice::from_raw_parts_mut(dst.cast(), q.cols));
                } else {
                    load_with(p, src.cast::<f16>(), dst.cast(), f16::to_f32);
                }
            }
            DType::BF16 => load_with(p, src.cast::<bf16>(), dst.cast(), bf16::to_f32),
            DType::F32 => load_with(p, src.cast::<u32>(), dst.cast(), |x: u32| x),
            DType::C128 => load_with(p, src.cast::<[u64; 2]>(), dst.cast(), |x: [u64; 2]| x),
        }
    }
}

/// Stores the lanes at `src`, row-major, to the elements of `dtype` of the pattern at `dst`.
///
/// # Safety
/// The pattern at `dst` can be written, `src` has its elements as lanes, and they don't overlap.
pub(crate) unsafe fn store(dtype: DType, p: Pattern, src: *const u8, dst: *mut u8) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match dtype {
            DType::Bool => store_with(p, src, dst, |x: u8| x),
            DType::I8 | DType::U8 => store_with(p, src.cast(), dst, |x: i64| x as u8),
            DType::I16 | DType::U16 => {
                store_with(p, src.cast(), dst.cast(), |x: i64| x as u16);
            }
            DType::I32 | DType::U32 => {
                store_with(p, src.cast(), dst.cast(), |x: i64| x as u32);
            }
            DType::I64 | DType::U64 | DType::C64 | DType::F64 => {
                store_with(p, src.cast(), dst.cast(), |x: u64| x);
            }
            DType::F16 => store_with(p, src.cast(), dst.cast(), f16::from_f32),
            DType::BF16 => store_with(p, src.cast(), dst.cast(), bf16::from_f32),
            DType::F32 => store_with(p, src.cast(), dst.cast(), |x: u32| x),
            DType::C128 => store_with(p, src.cast(), dst.cast(), |x: [u64; 2]| x),
        }
    }
}

/// Loads one element into a lane.
///
/// # Safety
/// The element at `src` can be read and the lane at `dst` written.
pub(crate) unsafe fn load_one(dtype: DType, src: *const u8, dst: *mut u8) {
    let p = Pattern {
        rows: 1,
        cols: 1,
        row_stride: 0,
        col_stride: 1,
    };
    // SAFETY: the caller's promise is handed on.
    unsafe { load(dtype, p, src, dst) };
}

/// Fills `n` lanes at `dst` with the lane at `value`, which is not among them.
///
/// # Safety
/// The lane at `value` can be read and `n` lanes at `dst` written.
pub(crate) unsafe fn splat(lane: Lane, value: *const u8, n: usize, dst: *mut u8) {
    let p = Pattern {
        rows: 1,
        cols: n,
        row_stride: 0,
        col_stride: 0,
    };
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match lane {
            Lane::Bool => load_with(p, value, dst, |x| x),
            Lane::F32 => load_with(p, value.cast::<u32>(), dst.cast(), |x: u32| x),
            Lane::I64 | Lane::F64 => load_with(p, value.cast::<u64>(), dst.cast(), |x: u64| x),
            Lane::Wide => load_with(p, value.cast::<[u64; 2]>(), dst.cast(), |x: [u64; 2]| x),
        }
    }
}
