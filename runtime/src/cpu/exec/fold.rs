//! Folds of lanes, in an order that depends on the block alone.

use super::per_level::for_each_level;
use super::program::{CHUNK, Lane};
use crate::cpu::level::Level;
use plans::DType;
use plans::spec::RowFold;

/// A fold of elements of one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold {
    pub(crate) kind: RowFold,
    pub(crate) dtype: DType,
}

/// Numbers that are folded.
trait Number: Copy + PartialOrd {
    const ZERO: Self;
    const ONE: Self;
    const LEAST: Self;
    const GREATEST: Self;
    fn add(self, other: Self) -> Self;
    /// The sum, and what is to be subtracted from the next term because this sum was rounded
    /// (Kahan 1965); `error` is what was left over by the one before.
    fn compensated(self, error: Self, other: Self) -> (Self, Self);
    fn mul(self, other: Self) -> Self;
    /// The lesser; NaN if either is NaN.
    fn lesser(self, other: Self) -> Self;
    /// The greater; NaN if either is NaN.
    fn greater(self, other: Self) -> Self;
}

macro_rules! float {
    ($t:ty) => {
        impl Number for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LEAST: Self = Self::NEG_INFINITY;
            const GREATEST: Self = Self::INFINITY;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn compensated(self, error: Self, other: Self) -> (Self, Self) {
                let term = other - error;
                let sum = self + term;
                let error = if sum.is_finite() {
                    (sum - self) - term
                } else {
                    0.0
                };
                (sum, error)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn lesser(self, other: Self) -> Self {
                if self < other || self.is_nan() {
                    self
                } else {
                    other
                }
            }
            #[inline(always)]
            fn greater(self, other: Self) -> Self {
                if self > other || self.is_nan() {
                    self
                } else {
                    other
                }
            }
        }
    };
}

macro_rules! integer {
    ($t:ty) => {
        impl Number for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LEAST: Self = Self::MIN;
            const GREATEST: Self = Self::MAX;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn compensated(self, _error: Self, other: Self) -> (Self, Self) {
                (self.wrapping_add(other), 0)
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn lesser(self, other: Self) -> Self {
                self.min(other)
            }
            #[inline(always)]
            fn greater(self, other: Self) -> Self {
                self.max(other)
            }
        }
    };
}

float!(f32);
float!(f64);
integer!(i64);
integer!(u64);

/// The running state of a fold for some rows: one value each, and its position or, for sums, the
/// error of the sum so far; 8 bytes apart.
#[derive(Clone, Copy)]
pub(crate) struct State {
    pub(crate) values: *mut u8,
    pub(crate) positions: *mut i64,
}

impl State {
    /// Folds one more value into that of row `r`.
    ///
    /// # Safety
    /// The state is one of `T`s and has the row.
    #[inline(always)]
    unsafe fn fold<T: Number>(self, r: usize, x: T, is_sum: bool, f: impl Fn(T, T) -> T) {
        // SAFETY: the caller's promise.
        unsafe {
            let value = self.values.add(8 * r).cast::<T>();
            if is_sum {
                let error = self.positions.add(r).cast::<T>();
                let (sum, left) = value.read().compensated(error.read(), x);
                value.write(sum);
                error.write(left);
            } else {
                value.write(f(value.read(), x));
            }
        }
    }
}

/// The lanes of a block that is folded: element `(row, column)` at `row * row_step + column *
/// column_step`. One of the steps is 1. With `uniform`, all are lane 0.
#[derive(Clone, Copy)]
pub(crate) struct Lanes {
    pub(crate) at: *const u8,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
}

macro_rules! by_number {
    ($fold:expr, $f:ident($($arg:expr),*)) => {
        match Lane::of($fold.dtype) {
            Lane::F32 => $f::<f32>($($arg),*),
            Lane::F64 => $f::<f64>($($arg),*),
            Lane::I64 if $fold.dtype == DType::U64 => $f::<u64>($($arg),*),
            Lane::I64 => $f::<i64>($($arg),*),
            // Checked when a spec is: what is folded is a real number.
            Lane::Bool | Lane::Wide => {}
        }
    };
}

impl Fold {
    /// Sets the state of `rows` rows to that of no columns.
    ///
    /// # Safety
    /// The state has that many rows.
    pub(crate) unsafe fn start(self, rows: usize, state: State) {
        // SAFETY: the caller's promise.
        unsafe { by_number!(self, start(self.kind, rows, state)) };
        if self.dtype.is_integer() && !matches!(self.dtype, DType::I64 | DType::U64) {
            let (least, greatest) = bounds(self.dtype);
            let value = match self.kind {
                RowFold::Max => least,
                RowFold::Min => greatest,
                _ => return,
            };
            for r in 0..rows {
                // SAFETY: the caller's promise.
                unsafe { state.values.cast::<i64>().add(r).write(value) };
            }
        }
    }

    /// Folds a block whose first column is column `first` of the row.
    ///
    /// # Safety
    /// The processor has the level; the state has the lanes' rows; the lanes can be read.
    pub(crate) unsafe fn block(self, level: Level, lanes: Lanes, first: usize, state: State) {
        // SAFETY: the caller's promise.
        unsafe { fold_block(level, self, lanes, first, state) };
    }

    /// Writes the results of `rows` rows as lanes.
    ///
    /// # Safety
    /// The state has that many rows, and `dst` room for as many lanes.
    pub(crate) unsafe fn finish(self, rows: usize, state: State, dst: *mut u8) {
        for r in 0..rows {
            // SAFETY: the caller's promise.
            unsafe {
                if self.kind.is_position() {
                    dst.cast::<i64>().add(r).write(*state.positions.add(r));
                } else if Lane::of(self.dtype) == Lane::F32 {
                    let value = state.values.add(8 * r).cast::<f32>().read();
                    dst.cast::<f32>().add(r).write(value);
                } else {
                    let bits = state.values.cast::<i64>().add(r).read();
                    let bits = if self.dtype.is_integer() {
                        super::program::wrap(bits, self.dtype)
                    } else {
                        bits
                    };
                    dst.cast::<i64>().add(r).write(bits);
                }
            }
        }
    }
}

/// The least and the greatest number of an integer type.
pub(crate) fn bounds(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::I8 => (i8::MIN.into(), i8::MAX.into()),
        DType::I16 => (i16::MIN.into(), i16::MAX.into()),
        DType::I32 => (i32::MIN.into(), i32::MAX.into()),
        DType::U8 => (0, u8::MAX.into()),
        DType::U16 => (0, u16::MAX.into()),
        DType::U32 => (0, u32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

unsafe fn start<T: Number>(kind: RowFold, rows: usize, state: State) {
    let value = match kind {
        RowFold::Sum => T::ZERO,
        RowFold::Prod => T::ONE,
        RowFold::Max | RowFold::ArgMax | RowFold::ArgMaxLast => T::LEAST,
        RowFold::Min | RowFold::ArgMin | RowFold::ArgMinLast => T::GREATEST,
    };
    for r in 0..rows {
        // SAFETY: the state has so many rows, 8 bytes apart.
        unsafe {
            state.values.add(8 * r).cast::<T>().write(value);
            state.positions.add(r).write(0);
        }
    }
}

for_each_level! {
    /// # Safety
    /// As [`Fold::block`].
    unsafe fn fold_block(fold: Fold, lanes: Lanes, first: usize, state: State) {
        // SAFETY: the caller's promise.
        unsafe { by_number!(fold, block(fold.kind, lanes, first, state)) };
    }
}

#[inline(always)]
unsafe fn block<T: Number>(kind: RowFold, lanes: Lanes, first: usize, state: State) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match kind {
            RowFold::Sum => values(lanes, state, T::ZERO, true, T::add),
            RowFold::Prod => values(lanes, state, T::ONE, false, T::mul),
            RowFold::Min => values(lanes, state, T::GREATEST, false, T::lesser),
            RowFold::Max => values(lanes, state, T::LEAST, false, T::greater),
            RowFold::ArgMax => positions::<T>(lanes, first, state, |x, best| x > best),
            RowFold::ArgMaxLast => positions::<T>(lanes, first, state, |x, best| x >= best),
            RowFold::ArgMin => positions::<T>(lanes, first, state, |x, best| x < best),
            RowFold::ArgMinLast => positions::<T>(lanes, first, state, |x, best| x <= best),
        }
    }
}

/// Folds the columns of a block to one value a row, then that into the state.
#[inline(always)]
unsafe fn values<T: Number>(
    lanes: Lanes,
    state: State,
    neutral: T,
    is_sum: bool,
    f: impl Fn(T, T) -> T + Copy,
) {
    let at = lanes.at.cast::<T>();
    // SAFETY: offsets are those of the block's lanes and of the state's rows.
    unsafe {
        if lanes.column_step == 1 {
            for r in 0..lanes.rows {
                let row = at.add(r * lanes.row_step);
                state.fold(r, row_value(row, lanes.columns, neutral, f), is_sum, f);
            }
            return;
        }
        // Neighbouring lanes are rows: as many at a time as a few registers hold.
        let mut r = 0;
        while r < lanes.rows {
            let n = CHUNK.min(lanes.rows - r);
            let mut partial = [neutral; CHUNK];
            for c in 0..lanes.columns {
                let column = at.add(r * lanes.row_step + c * lanes.column_step);
                if n == CHUNK && lanes.row_step == 1 {
                    let x = column.cast::<[T; CHUNK]>().read_unaligned();
                    for j in 0..CHUNK {
                        partial[j] = f(partial[j], x[j]);
                    }
                } else {
                    for (j, p) in partial.iter_mut().enumerate().take(n) {
                        *p = f(*p, column.add(j * lanes.row_step).read_unaligned());
                    }
                }
            }
            for (j, &p) in partial.iter().enumerate().take(n) {
                state.fold(r + j, p, is_sum, f);
            }
            r += n;
        }
    }
}

/// `n` neighbouring elements folded: in CHUNK strands, which are folded pairwise at the end.
#[inline(always)]
unsafe fn row_value<T: Number>(
    row: *const T,
    n: usize,
    neutral: T,
    f: impl Fn(T, T) -> T + Copy,
) -> T {
    let mut strands = [neutral; CHUNK];
    let whole = n / CHUNK * CHUNK;
    // SAFETY: `n` elements are there.
    unsafe {
        for c in (0..whole).step_by(CHUNK) {
            let x = row.add(c).cast::<[T; CHUNK]>().read_unaligned();
            for j in 0..CHUNK {
                strands[j] = f(strands[j], x[j]);
            }
        }
        for (j, strand) in strands.iter_mut().enumerate().take(n - whole) {
            *strand = f(*strand, row.add(whole + j).read_unaligned());
        }
    }
    let mut width = CHUNK / 2;
    while width > 0 {
        for j in 0..width {
            strands[j] = f(strands[j], strands[j + width]);
        }
        width /= 2;
    }
    strands[0]
}

/// Keeps the best value of each row and its column.
#[inline(always)]
unsafe fn positions<T: Number>(
    lanes: Lanes,
    first: usize,
    state: State,
    is_better: impl Fn(T, T) -> bool + Copy,
) {
    let at = lanes.at.cast::<T>();
    for r in 0..lanes.rows {
        // SAFETY: offsets are those of the block's lanes and of the state's rows.
        unsafe {
            let best = state.values.add(8 * r).cast::<T>();
            let position = state.positions.add(r);
            let (mut value, mut column) = (best.read(), position.read());
            for c in 0..lanes.columns {
                let x = at
                    .add(r * lanes.row_step + c * lanes.column_step)
                    .read_unaligned();
                if is_better(x, value) {
                    value = x;
                    column = (first + c) as i64;
                }
            }
            best.write(value);
            position.write(column);
        }
    }
}
