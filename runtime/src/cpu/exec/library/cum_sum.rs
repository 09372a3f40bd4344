//! Running sums.

use super::super::access::{self, Pattern};
use super::super::geometry::{Bump, bump_size};
use super::super::program::{Lane, wrap};
use super::super::{Cx, Execute, Needs};
use super::{Rows, along};
use plans::spec::CumSumSpec;

/// Elements that a thread should have at least.
const GRAIN: usize = 1 << 14;

/// Prepared running sums.
pub(crate) struct CumSum {
    spec: CumSumSpec,
    rows: Rows,
    n: usize,
}

impl CumSum {
    pub(crate) fn new(spec: &CumSumSpec) -> Self {
        Self {
            spec: spec.clone(),
            rows: Rows::new(&spec.domain),
            n: spec.domain.last().map_or(1, |&n| n as usize),
        }
    }

    /// Sums `n` lanes in place.
    ///
    /// # Safety
    /// `lanes` has `n` lanes of `T`.
    unsafe fn sum<T: Copy + Default>(&self, lanes: *mut T, add: impl Fn(T, T) -> T) {
        let mut sum = T::default();
        for step in 0..self.n {
            let i = if self.spec.reverse {
                self.n - 1 - step
            } else {
                step
            };
            // SAFETY: i < n.
            unsafe {
                let x = lanes.add(i).read();
                let next = add(sum, x);
                lanes
                    .add(i)
                    .write(if self.spec.exclusive { sum } else { next });
                sum = next;
            }
        }
    }
}

impl Execute for CumSum {
    fn implementation(&self) -> &'static str {
        "plain"
    }

    fn needs(&self) -> Needs {
        Needs {
            shared: 0,
            worker: bump_size(self.n * 8),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let (x, out) = (&self.spec.x, &self.spec.out);
        let pattern = |stride: isize| Pattern {
            rows: 1,
            cols: self.n,
            row_stride: 0,
            col_stride: stride,
        };
        let size = x.dtype.size() as isize;
        let grain = GRAIN.div_ceil(self.n.max(1));
        let n_rows = if self.n == 0 { 0 } else { self.rows.len() };
        cx.parallel(n_rows, grain, &|range, memory| {
            // SAFETY: the worker's memory is what `needs` asks for.
            let lanes = unsafe { Bump::new(memory, self.needs().worker) }.bytes(self.n * 8);
            for row in range {
                // SAFETY: rows are in the operands' reach, and disjoint; the buffer holds one.
                unsafe {
                    let from = cx.arg(0).offset(self.rows.offset(row, &x.strides) * size);
                    access::load(x.dtype, pattern(along(&x.strides)), from, lanes);
                    match Lane::of(x.dtype) {
                        Lane::F32 => self.sum::<f32>(lanes.cast(), |a, b| a + b),
                        Lane::F64 => self.sum::<f64>(lanes.cast(), |a, b| a + b),
                        Lane::I64 | Lane::Bool | Lane::Wide => {
                            self.sum::<i64>(lanes.cast(), |a, b| wrap(a.wrapping_add(b), x.dtype));
                        }
                    }
                    let to = cx.arg(1).offset(self.rows.offset(row, &out.strides) * size);
                    access::store(out.dtype, pattern(along(&out.strides)), lanes, to);
                }
            }
        });
    }
}
