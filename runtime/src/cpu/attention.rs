//! `softmax(scale Q Kᵀ + mask) V` for many heads, without the scores in memory between kernels.

use super::gemm::drive::{self, Address, EvenRows, Grid, Output, Product};
use super::gemm::pack::{Panels, Strides, pack_panel};
use super::gemm::{Epilogue, MatrixStrides, batch};
use super::level::Level;
use super::pool::{Pool, PoolError};
use super::rows;

/// Floats of scores that a task keeps: with packed keys they fit into a second-level cache.
const SCORE_FLOATS: usize = 128 << 10;

/// Where the operands of one head start, in floats from the bases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeadOffsets {
    /// Of Q.
    pub q: isize,
    /// Of K.
    pub k: isize,
    /// Of V.
    pub v: isize,
    /// Of the mask.
    pub mask: isize,
    /// Of the result.
    pub o: isize,
}

/// Sizes and strides of attention; rows are positions, columns elements of a head.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AttentionShape {
    /// Queries.
    pub n_queries: usize,
    /// Keys.
    pub n_keys: usize,
    /// Elements of a query and of a key.
    pub depth: usize,
    /// Elements of a value.
    pub value_depth: usize,
    /// Factor of the scores, before the mask.
    pub scale: f32,
    /// Query i sees keys up to `i + causal`, if given.
    pub causal: Option<isize>,
    /// Strides of Q.
    pub q: MatrixStrides,
    /// Strides of K.
    pub k: MatrixStrides,
    /// Strides of V.
    pub v: MatrixStrides,
    /// Strides of the mask by query (row) and key (column); 0 repeats.
    pub mask: MatrixStrides,
    /// Floats from one row of the result to the next; its columns are consecutive.
    pub o_row_stride: usize,
}

/// Attention bound to its shapes.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    level: Level,
    shape: AttentionShape,
    keys: Panels,
    values: Panels,
    /// Floats from one row of scores to the next.
    score_stride: usize,
    block_rows: usize,
}

fn aligned_bytes(n_floats: usize) -> usize {
    (n_floats * size_of::<f32>()).next_multiple_of(64)
}

impl Attention {
    /// Attention of these shapes.
    pub fn new(level: Level, shape: AttentionShape) -> Self {
        let level = level.or_lower();
        let score_stride = shape.n_keys.next_multiple_of(16);
        let block_rows = (SCORE_FLOATS / score_stride.max(1)).clamp(24, 192) / 24 * 24;
        Attention {
            level,
            shape,
            keys: Panels::new(level, shape.depth, shape.n_keys),
            values: Panels::new(level, shape.n_keys, shape.value_depth),
            score_stride,
            block_rows: block_rows.min(shape.n_queries.max(1)),
        }
    }

    /// Bytes of packed keys, packed values, scores, copied queries and a product, in this order.
    fn parts(&self) -> [usize; 5] {
        [
            aligned_bytes(self.keys.n_floats()),
            aligned_bytes(self.values.n_floats()),
            aligned_bytes(self.block_rows * self.score_stride),
            if self.shape.q.column == 1 {
                0
            } else {
                aligned_bytes(self.block_rows * self.shape.depth)
            },
            drive::worker_bytes(1, &self.keys).max(drive::worker_bytes(1, &self.values)),
        ]
    }

    /// Bytes of scratch, aligned to 64, that a run on `n_threads` threads needs.
    pub fn scratch_bytes(&self, n_threads: usize) -> usize {
        n_threads * self.parts().iter().sum::<usize>()
    }

    /// Computes every head of `heads`. A query all of whose keys are masked with minus infinity
    /// gives NaN, as softmax does; one that sees no key for `causal` gives zeros.
    ///
    /// # Errors
    /// None of its own; the type is that of the pool.
    ///
    /// # Safety
    /// `q`, `k`, `v`, `o` and `mask` (which may be null) must be valid for their shapes at every
    /// head, the results apart from the operands and each other; `scratch` must be aligned to 64
    /// bytes and hold [`scratch_bytes`](Self::scratch_bytes) that nobody else uses meanwhile.
    #[allow(clippy::too_many_arguments, reason = "the operands of attention")]
    pub unsafe fn run(
        &self,
        pool: &Pool,
        heads: &[HeadOffsets],
        q: *const f32,
        k: *const f32,
        v: *const f32,
        mask: *const f32,
        o: *mut f32,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let n_blocks = self.shape.n_queries.div_ceil(self.block_rows);
        // A task packs the keys and values of its head: blocks of a head stay together unless
        // threads would be idle.
        let n_chunks = if heads.len() >= 2 * pool.n_threads() {
            1
        } else {
            n_blocks.min((4 * pool.n_threads()).div_ceil(heads.len().max(1)))
        };
        let per_chunk = n_blocks.div_ceil(n_chunks.max(1)).max(1);
        let n_chunks = n_blocks.div_ceil(per_chunk);
        let per_worker = self.scratch_bytes(1);
        let job = Job {
            a: self,
            q,
            k,
            v,
            mask,
            o,
        };
        let scratch = Address(scratch);
        pool.run(heads.len() * n_chunks, &|task, worker| {
            let (head, chunk) = (task / n_chunks, task % n_chunks);
            let blocks = chunk * per_chunk..((chunk + 1) * per_chunk).min(n_blocks);
            let job = &job;
            // SAFETY: the caller's promises; this worker's scratch is this task's alone, and
            // tasks write different rows of the result.
            unsafe {
                job.head(
                    &heads[head],
                    blocks,
                    worker,
                    scratch.at(worker * per_worker),
                )
            }
        })
    }
}

struct Job<'a> {
    a: &'a Attention,
    q: *const f32,
    k: *const f32,
    v: *const f32,
    mask: *const f32,
    o: *mut f32,
}

// SAFETY: addresses that the caller of `run` promises to be valid on any thread.
unsafe impl Sync for Job<'_> {}

impl Job<'_> {
    /// # Safety
    /// As for [`Attention::run`], with the scratch of one worker.
    unsafe fn head(
        &self,
        at: &HeadOffsets,
        blocks: std::ops::Range<usize>,
        worker: usize,
        scratch: *mut u8,
    ) {
        let (a, s) = (self.a, &self.a.shape);
        let [keys, values, scores, queries, _] = a.parts();
        // SAFETY: the parts of the scratch are those of `parts`; operands as the caller promises.
        unsafe {
            let packed_keys = scratch.cast::<f32>();
            let packed_values = scratch.add(keys).cast::<f32>();
            let score = scratch.add(keys + values).cast::<f32>();
            let copy = scratch.add(keys + values + scores).cast::<f32>();
            let rest = scratch.add(keys + values + scores + queries);
            for p in 0..a.keys.count {
                let panel = a.keys.get(p);
                let strides = Strides {
                    segment: 0,
                    row: s.k.column,
                    column: s.k.row,
                };
                let to = packed_keys.add(panel.offset);
                pack_panel(panel, 1, s.depth, self.k.offset(at.k), strides, to);
            }
            for p in 0..a.values.count {
                let panel = a.values.get(p);
                let strides = Strides {
                    segment: 0,
                    row: s.v.row,
                    column: s.v.column,
                };
                let to = packed_values.add(panel.offset);
                pack_panel(panel, 1, s.n_keys, self.v.offset(at.v), strides, to);
            }
            for block in blocks {
                let first = block * a.block_rows;
                let n_rows = a.block_rows.min(s.n_queries - first);
                let mut q = self.q.offset(at.q + first as isize * s.q.row);
                let mut q_stride = s.q.row;
                if s.q.column != 1 {
                    batch::copy_rows(q, s.q.row, s.q.column, n_rows, s.depth, copy);
                    (q, q_stride) = (copy, s.depth as isize);
                }
                let product = |rows: &EvenRows, panels: Panels, b, data, row_stride, scale| {
                    let product = Product {
                        rows,
                        n_rows,
                        n_segments: 1,
                        segment: panels.k,
                        offsets: std::ptr::null(),
                        panels,
                        b,
                        output: Output::Rows { data, row_stride },
                        epilogue: Epilogue {
                            scale,
                            ..Epilogue::default()
                        },
                        batch: 0,
                        first_column: 0,
                    };
                    let grid = Grid::new(n_rows, &panels, 1);
                    for task in 0..grid.n_tasks() {
                        product.task(&grid, task, worker, rest);
                    }
                };
                let query_rows = EvenRows {
                    first: q,
                    stride: q_stride,
                };
                product(
                    &query_rows,
                    a.keys,
                    packed_keys,
                    score,
                    a.score_stride,
                    s.scale,
                );
                let o = self.o.offset(at.o).add(first * s.o_row_stride);
                for i in 0..n_rows {
                    self.softmax(at, first + i, score.add(i * a.score_stride));
                }
                let score_rows = EvenRows {
                    first: score,
                    stride: a.score_stride as isize,
                };
                product(&score_rows, a.values, packed_values, o, s.o_row_stride, 1.0);
            }
        }
    }

    /// Turns a row of scores into weights.
    ///
    /// # Safety
    /// `row` must hold the scores of query `query`; mask as for [`Attention::run`].
    unsafe fn softmax(&self, at: &HeadOffsets, query: usize, row: *mut f32) {
        let (level, s) = (self.a.level, &self.a.shape);
        let n_seen = match s.causal {
            None => s.n_keys,
            Some(shift) => (query as isize + shift + 1).clamp(0, s.n_keys as isize) as usize,
        };
        // SAFETY: as the caller promises, for the first `n_seen` keys.
        unsafe {
            if !self.mask.is_null() {
                let mask = self.mask.offset(at.mask + query as isize * s.mask.row);
                if s.mask.column == 1 {
                    super::gemm::epilogue::add_row(level, row, mask, n_seen);
                } else {
                    for j in 0..n_seen {
                        *row.add(j) += *mask.offset(j as isize * s.mask.column);
                    }
                }
            }
            if n_seen > 0 {
                rows::softmax(level, row, row, n_seen);
            }
            std::ptr::write_bytes(row.add(n_seen), 0, s.n_keys - n_seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::gemm::pack::Floats;
    use crate::cpu::testing::{Rng, assert_close};

    #[test]
    fn attention_agrees_with_double_precision_and_does_not_depend_on_threads() {
        let mut rng = Rng::new(31);
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            for case in 0..40 {
                let (heads, lq, lk) = (rng.range(1, 5), rng.range(1, 220), rng.range(1, 140));
                let (d, dv) = (rng.range(1, 70), rng.range(1, 70));
                // Heads side by side in rows, as projections leave them.
                let (q, k, v) = (
                    rng.floats(lq * heads * d),
                    rng.floats(lk * heads * d),
                    rng.floats(lk * heads * dv),
                );
                let mask_columns = rng.pick(&[0, 1]);
                let mask = rng.floats(lq * lk);
                let has_mask = rng.one_in(2);
                let causal = rng.pick(&[None, Some(0), Some(lk as isize - lq as isize)]);
                let transposed_k = rng.one_in(2);
                let (hd, hdv) = ((heads * d) as isize, (heads * dv) as isize);
                let kt: Vec<f32> = (0..k.len())
                    .map(|i| k[i % lk * heads * d + i / lk])
                    .collect();
                let shape = AttentionShape {
                    n_queries: lq,
                    n_keys: lk,
                    depth: d,
                    value_depth: dv,
                    scale: 0.3,
                    causal,
                    q: MatrixStrides { row: hd, column: 1 },
                    k: if transposed_k {
                        MatrixStrides {
                            row: 1,
                            column: lk as isize,
                        }
                    } else {
                        MatrixStrides { row: hd, column: 1 }
                    },
                    v: MatrixStrides {
                        row: hdv,
                        column: 1,
                    },
                    mask: MatrixStrides {
                        row: lk as isize,
                        column: mask_columns,
                    },
                    o_row_stride: heads * dv,
                };
                let mut want = vec![0.0; lq * heads * dv];
                for h in 0..heads {
                    for i in 0..lq {
                        let seen = causal
                            .map_or(lk, |c| (i as isize + c + 1).clamp(0, lk as isize) as usize);
                        let scores: Vec<f64> = (0..seen)
                            .map(|j| {
                                let dot: f64 = (0..d)
                                    .map(|e| {
                                        f64::from(q[i * heads * d + h * d + e])
                                            * f64::from(k[j * heads * d + h * d + e])
                                    })
                                    .sum();
                                let m = mask[i * lk + j * mask_columns as usize];
                                dot * 0.3 + if has_mask { f64::from(m) } else { 0.0 }
                            })
                            .collect();
                        let total: f64 = scores.iter().map(|s| s.exp()).sum();
                        for (j, s) in scores.iter().enumerate() {
                            for e in 0..dv {
                                want[(i * heads + h) * dv + e] +=
                                    s.exp() / total * f64::from(v[j * heads * dv + h * dv + e]);
                            }
                        }
                    }
                }
                let offsets: Vec<HeadOffsets> = (0..heads)
                    .map(|h| HeadOffsets {
                        q: (h * d) as isize,
                        k: (h * d * if transposed_k { lk } else { 1 }) as isize,
                        v: (h * dv) as isize,
                        mask: 0,
                        o: (h * dv) as isize,
                    })
                    .collect();
                let attention = Attention::new(level, shape);
                let mut first: Option<Vec<f32>> = None;
                for threads in 1..=3 {
                    let pool = Pool::new(threads).unwrap();
                    let mut o = vec![f32::NAN; want.len()];
                    let mut s = Floats::zeros(attention.scratch_bytes(threads).div_ceil(4));
                    let k = if transposed_k { &kt } else { &k };
                    let mask = if has_mask {
                        mask.as_ptr()
                    } else {
                        std::ptr::null()
                    };
                    // SAFETY: the operands have the sizes of the shape, the scratch its own.
                    unsafe {
                        let (q, k, v) = (q.as_ptr(), k.as_ptr(), v.as_ptr());
                        let (o, s) = (o.as_mut_ptr(), s.as_mut_ptr().cast());
                        attention.run(&pool, &offsets, q, k, v, mask, o, s).unwrap();
                    }
                    println!("{level:?} {case} {shape:?}");
                    assert_close(&o, &want, 1e-5);
                    assert_eq!(first.get_or_insert(o.clone()), &o);
                }
            }
        }
    }
}
