//! Products of pairs of matrices that are known only at run time.

use super::drive::{self, Address, EvenRows, Grid, Output, Product};
use super::epilogue::Epilogue;
use super::pack::{Panels, Strides, pack_panel};
use crate::cpu::level::Level;
use crate::cpu::pool::{Pool, PoolError};

/// Where element (row, column) of a matrix lies: `row * row_stride + column * column_stride`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MatrixStrides {
    /// Floats from one row to the next.
    pub row: isize,
    /// Floats from one column to the next.
    pub column: isize,
}

/// Where the matrices of one product start, in floats from the bases; equal offsets repeat an
/// operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchOffsets {
    /// Of A.
    pub a: isize,
    /// Of B.
    pub b: isize,
    /// Of C.
    pub c: isize,
    /// Of the epilogue's residual.
    pub residual: isize,
}

/// `C[i] = finish(A[i] B[i])` for many i, A of `[m, k]` and B of `[k, n]`.
#[derive(Clone, Copy, Debug)]
pub struct BatchGemm {
    m: usize,
    panels: Panels,
    a: MatrixStrides,
    b: MatrixStrides,
    c_row_stride: usize,
}

impl BatchGemm {
    /// A product of these sizes and strides; columns of C are consecutive.
    pub fn new(
        level: Level,
        [m, k, n]: [usize; 3],
        a: MatrixStrides,
        b: MatrixStrides,
        c_row_stride: usize,
    ) -> Self {
        BatchGemm {
            m,
            panels: Panels::new(level.or_lower(), k, n),
            a,
            b,
            c_row_stride,
        }
    }

    fn a_is_strided(&self) -> bool {
        self.a.column != 1 && self.panels.k > 1
    }

    fn copy_bytes(&self) -> usize {
        if self.a_is_strided() {
            copy_bytes(self.m, self.panels.k)
        } else {
            0
        }
    }

    fn b_bytes(&self) -> usize {
        (self.panels.n_floats() * size_of::<f32>()).next_multiple_of(64)
    }

    /// Bytes of scratch, aligned to 64, that a run on `n_threads` threads needs.
    pub fn scratch_bytes(&self, n_threads: usize) -> usize {
        n_threads * (self.b_bytes() + self.copy_bytes() + drive::worker_bytes(1, &self.panels))
    }

    /// Computes the products.
    ///
    /// # Errors
    /// [`PoolError::TaskPanicked`] if `epilogue.finish` panicked.
    ///
    /// # Safety
    /// A, B, C and the epilogue's operands must be valid for their shapes at every offset, C apart
    /// from A and B and its matrices apart from each other; `scratch` must be aligned to 64 bytes
    /// and hold [`scratch_bytes`](Self::scratch_bytes) that nobody else uses meanwhile.
    #[allow(clippy::too_many_arguments, reason = "the operands of a product")]
    pub unsafe fn run(
        &self,
        pool: &Pool,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        batch: &[BatchOffsets],
        epilogue: Epilogue<'_>,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        // SAFETY: the caller's promises.
        unsafe {
            if batch.len() < pool.n_threads() {
                for (i, offsets) in batch.iter().enumerate() {
                    self.one_on_all_threads(pool, a, b, c, i, offsets, epilogue, scratch)?;
                }
                return Ok(());
            }
            let (a, b, c) = (
                Address(a.cast_mut().cast()),
                Address(b.cast_mut().cast()),
                Address(c.cast()),
            );
            let scratch = Address(scratch);
            let per_worker = self.scratch_bytes(1);
            let grid = Grid::new(self.m, &self.panels, 1);
            pool.run(batch.len(), &|i, worker| {
                let scratch = scratch.at(worker * per_worker);
                let (a, b, c) = (a.at(0).cast(), b.at(0).cast(), c.at(0).cast());
                let product = |rows: &EvenRows| {
                    let product = self.product(rows, scratch, c, i, &batch[i], epilogue);
                    let rest = scratch.add(self.b_bytes() + self.copy_bytes());
                    for task in 0..grid.n_tasks() {
                        product.task(&grid, task, worker, rest);
                    }
                };
                for p in 0..self.panels.count {
                    self.pack(p, b, &batch[i], scratch);
                }
                product(&self.rows(a, &batch[i], scratch));
            })
        }
    }

    /// Packs panel `p` of B into the scratch.
    unsafe fn pack(&self, p: usize, b: *const f32, offsets: &BatchOffsets, scratch: *mut u8) {
        let panel = self.panels.get(p);
        let strides = Strides {
            segment: 0,
            row: self.b.row,
            column: self.b.column,
        };
        // SAFETY: the scratch starts with room for all panels; B is as the caller promises.
        unsafe {
            let to = scratch.cast::<f32>().add(panel.offset);
            pack_panel(panel, 1, self.panels.k, b.offset(offsets.b), strides, to);
        }
    }

    /// The rows of A, copied to the scratch if their floats are not consecutive.
    unsafe fn rows(&self, a: *const f32, offsets: &BatchOffsets, scratch: *mut u8) -> EvenRows {
        // SAFETY: as the caller promises; the copy follows the panels in the scratch.
        unsafe {
            let a = a.offset(offsets.a);
            if !self.a_is_strided() {
                return EvenRows {
                    first: a,
                    stride: self.a.row,
                };
            }
            let copy = scratch.add(self.b_bytes()).cast::<f32>();
            copy_rows(a, self.a.row, self.a.column, self.m, self.panels.k, copy);
            EvenRows {
                first: copy,
                stride: self.panels.k as isize,
            }
        }
    }

    fn product<'a>(
        &self,
        rows: &'a EvenRows,
        packed: *mut u8,
        c: *mut f32,
        i: usize,
        offsets: &BatchOffsets,
        mut epilogue: Epilogue<'a>,
    ) -> Product<'a, EvenRows> {
        if !epilogue.residual.is_null() {
            epilogue.residual = epilogue.residual.wrapping_offset(offsets.residual);
        }
        Product {
            rows,
            n_rows: self.m,
            n_segments: 1,
            segment: self.panels.k,
            offsets: std::ptr::null(),
            panels: self.panels,
            b: packed.cast::<f32>(),
            output: Output::Rows {
                data: c.wrapping_offset(offsets.c),
                row_stride: self.c_row_stride,
            },
            epilogue,
            batch: i,
            first_column: 0,
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the operands of a product")]
    unsafe fn one_on_all_threads(
        &self,
        pool: &Pool,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        i: usize,
        offsets: &BatchOffsets,
        epilogue: Epilogue<'_>,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        // SAFETY: the caller's promises; tasks pack different panels.
        unsafe {
            let (to, from) = (Address(scratch), Address(b.cast_mut().cast()));
            pool.run(self.panels.count, &|p, _| {
                self.pack(p, from.at(0).cast(), offsets, to.at(0));
            })?;
            let rows = self.rows(a, offsets, scratch);
            let rest = scratch.add(self.b_bytes() + self.copy_bytes());
            self.product(&rows, scratch, c, i, offsets, epilogue)
                .run(pool, rest)
        }
    }
}

/// Bytes of a copy of an `[m, k]` matrix.
pub(crate) fn copy_bytes(m: usize, k: usize) -> usize {
    (m * k * size_of::<f32>()).next_multiple_of(64)
}

/// Copies a strided `[m, k]` matrix to consecutive rows.
///
/// # Safety
/// `from` must be valid for the strided elements, `to` for `m * k` floats.
pub(crate) unsafe fn copy_rows(
    from: *const f32,
    row: isize,
    column: isize,
    m: usize,
    k: usize,
    to: *mut f32,
) {
    // Squares whose lines of both sides stay in the first-level cache.
    for i0 in (0..m).step_by(16) {
        for j0 in (0..k).step_by(16) {
            for i in i0..(i0 + 16).min(m) {
                for j in j0..(j0 + 16).min(k) {
                    // SAFETY: i < m and j < k.
                    unsafe {
                        *to.add(i * k + j) = *from.offset(i as isize * row + j as isize * column);
                    }
                }
            }
        }
    }
}
