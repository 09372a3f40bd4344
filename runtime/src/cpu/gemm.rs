//! Matrix products in `f32`.
//!
//! [`Gemm`] multiplies by a constant matrix that is packed once; [`BatchGemm`] multiplies pairs of
//! matrices known only when it runs. Neither allocates when it runs: both say how much scratch
//! they need.

pub(crate) mod batch;
pub(crate) mod drive;
pub(crate) mod epilogue;
pub(crate) mod kernel;
pub(crate) mod pack;

pub use batch::{BatchGemm, BatchOffsets, MatrixStrides};
pub use drive::Output;
pub use epilogue::{Activation, Epilogue, Finish, FinishedTile};
pub use pack::PackedB;

use super::level::Level;
use super::pool::{Pool, PoolError};
use drive::{EvenRows, Product};
use pack::Strides;

/// `C[m, n] = finish(A[m, k] B[k, n])` with a constant B.
#[derive(Debug)]
pub struct Gemm {
    b: PackedB,
}

impl Gemm {
    /// Packs B: element (k, n) is `b[k * row_stride + n * column_stride]`.
    ///
    /// # Safety
    /// `b` must be valid for all these elements.
    pub unsafe fn new(
        level: Level,
        k: usize,
        n: usize,
        b: *const f32,
        row_stride: isize,
        column_stride: isize,
    ) -> Self {
        let strides = Strides {
            segment: 0,
            row: row_stride,
            column: column_stride,
        };
        // SAFETY: the caller's promise.
        let b = unsafe { PackedB::new(level.or_lower(), 1, k, n, b, strides) };
        Gemm { b }
    }

    /// The depth of the product.
    pub fn k(&self) -> usize {
        self.b.panels.k
    }

    /// Columns of the result.
    pub fn n(&self) -> usize {
        self.b.panels.n
    }

    /// Bytes of packed weights.
    pub fn n_weight_bytes(&self) -> usize {
        self.b.n_bytes()
    }

    /// Bytes of scratch, aligned to 64, that a run on `n_threads` threads needs, for any m.
    /// `a_is_strided` tells that columns of A are not consecutive.
    pub fn scratch_bytes(&self, m: usize, n_threads: usize, a_is_strided: bool) -> usize {
        let copy = if a_is_strided {
            batch::copy_bytes(m, self.k())
        } else {
            0
        };
        copy + n_threads * drive::worker_bytes(1, &self.b.panels)
    }

    /// Computes the product. Element (i, k) of A is `a[i * a_row_stride + k * a_column_stride]`;
    /// a column stride of 1 is fast, others cost a copy of A.
    ///
    /// # Errors
    /// [`PoolError::TaskPanicked`] if `epilogue.finish` panicked.
    ///
    /// # Safety
    /// A, output and the epilogue's operands must be valid for their shapes, the output apart from
    /// A; `scratch` must be aligned to 64 bytes and hold [`scratch_bytes`](Self::scratch_bytes)
    /// that nobody else uses meanwhile.
    #[allow(clippy::too_many_arguments, reason = "the operands of a product")]
    pub unsafe fn run(
        &self,
        pool: &Pool,
        m: usize,
        a: *const f32,
        a_row_stride: isize,
        a_column_stride: isize,
        output: Output,
        epilogue: Epilogue<'_>,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let mut rows = EvenRows {
            first: a,
            stride: a_row_stride,
        };
        let mut scratch = scratch;
        if a_column_stride != 1 && self.k() > 1 {
            let copy = scratch.cast::<f32>();
            // SAFETY: `scratch_bytes` counts the copy.
            unsafe {
                batch::copy_rows(a, a_row_stride, a_column_stride, m, self.k(), copy);
                scratch = scratch.add(batch::copy_bytes(m, self.k()));
            }
            rows = EvenRows {
                first: copy,
                stride: self.k() as isize,
            };
        }
        let product = Product {
            rows: &rows,
            n_rows: m,
            n_segments: 1,
            segment: self.k(),
            offsets: std::ptr::null(),
            panels: self.b.panels,
            b: self.b.as_ptr(),
            output,
            epilogue,
            batch: 0,
            first_column: 0,
        };
        // SAFETY: the caller's promises; `new` chose a level that the processor has.
        unsafe { product.run(pool, scratch) }
    }
}

#[cfg(test)]
mod tests;
