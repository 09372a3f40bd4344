//! Floating-point lanes, and rows of elements as such.

use super::access::{self, Pattern};
use super::functions;
use super::program::Lane;
use plans::DType;
use plans::tape::UnaryFn;

/// f32 or f64.
pub(crate) trait Real:
    Copy
    + Default
    + Send
    + Sync
    + PartialOrd
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
{
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;

    /// `f` of the number, in double precision.
    fn apply(self, f: UnaryFn) -> Self {
        Self::of(functions::unary_f64(f, self.wide()))
    }
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// Whether elements of `dtype` are computed with in f32.
pub(crate) fn is_single(dtype: DType) -> bool {
    Lane::of(dtype) == Lane::F32
}

/// Loads `n` elements at `stride` from `at` as lanes: f32 where [`is_single`] says so, f64 for all
/// other types.
///
/// # Safety
/// The elements can be read, and `to` has room for `n` lanes; `T` is the lane.
pub(crate) unsafe fn load_row<T: Real>(
    dtype: DType,
    at: *const u8,
    stride: isize,
    n: usize,
    to: *mut T,
) {
    let pattern = Pattern {
        rows: 1,
        cols: n,
        row_stride: 0,
        col_stride: stride,
    };
    // SAFETY: the caller's promise; integers are loaded as 64 bits, which are then replaced.
    unsafe {
        access::load(dtype, pattern, at, to.cast());
        if dtype.is_integer() {
            for i in 0..n {
                let bits = to.add(i).cast::<i64>().read();
                let value = if dtype == DType::U64 {
                    bits as u64 as f64
                } else {
                    bits as f64
                };
                to.add(i).write(T::of(value));
            }
        }
    }
}

/// Stores `n` lanes as elements at `stride` from `at`; integers are rounded, halves to the even one,
/// and saturate.
///
/// # Safety
/// The elements can be written, and `from` has `n` lanes, which are overwritten; `T` is the lane.
pub(crate) unsafe fn store_row<T: Real>(
    dtype: DType,
    from: *mut T,
    n: usize,
    at: *mut u8,
    stride: isize,
) {
    let pattern = Pattern {
        rows: 1,
        cols: n,
        row_stride: 0,
        col_stride: stride,
    };
    // SAFETY: the caller's promise.
    unsafe {
        if dtype.is_integer() {
            for i in 0..n {
                let value = from.add(i).read().wide();
                let bits = functions::nearest(value, dtype);
                from.add(i).cast::<i64>().write(bits);
            }
        }
        access::store(dtype, pattern, from.cast(), at);
    }
}

/// Copies `n` elements of `size` bytes; strides are in elements.
///
/// # Safety
/// The elements can be read and written, and don't overlap.
pub(crate) unsafe fn copy_row(
    size: usize,
    from: *const u8,
    from_stride: isize,
    to: *mut u8,
    to_stride: isize,
    n: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => copy_as::<u8>(from, from_stride, to, to_stride, n),
            2 => copy_as::<u16>(from.cast(), from_stride, to.cast(), to_stride, n),
            4 => copy_as::<u32>(from.cast(), from_stride, to.cast(), to_stride, n),
            8 => copy_as::<u64>(from.cast(), from_stride, to.cast(), to_stride, n),
            _ => copy_as::<u128>(from.cast(), from_stride, to.cast(), to_stride, n),
        }
    }
}

unsafe fn copy_as<T: Copy>(
    from: *const T,
    from_stride: isize,
    to: *mut T,
    to_stride: isize,
    n: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if from_stride == 1 && to_stride == 1 {
            std::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast(), n * size_of::<T>());
            return;
        }
        for i in 0..n as isize {
            let x = from.offset(i * from_stride).read_unaligned();
            to.offset(i * to_stride).write_unaligned(x);
        }
    }
}
