//! The greatest or least elements of rows.

use super::super::access::{self, Pattern};
use super::super::geometry::{Bump, bump_size};
use super::super::program::Lane;
use super::super::{Cx, Execute, Needs};
use super::{Rows, along};
use plans::DType;
use plans::spec::TopKSpec;
use std::cmp::Ordering;

/// Elements that a thread should have at least.
const GRAIN: usize = 1 << 12;

/// A prepared selection.
pub(crate) struct TopK {
    spec: TopKSpec,
    rows: Rows,
    n: usize,
    k: usize,
}

/// The order of two numbers, NaN the last.
fn compare<T: PartialOrd>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| {
        let is_nan = |x: &T| x.partial_cmp(x).is_none();
        is_nan(&a).cmp(&is_nan(&b))
    })
}

impl TopK {
    pub(crate) fn new(spec: &TopKSpec) -> Self {
        Self {
            spec: spec.clone(),
            rows: Rows::new(&spec.domain),
            n: spec.domain.last().map_or(1, |&n| n as usize),
            k: spec.k as usize,
        }
    }

    /// Puts the positions of the first `k` lanes at the front of `picked`, in order.
    ///
    /// # Safety
    /// `lanes` has a lane of `T` for each position in `picked`.
    unsafe fn select<T: PartialOrd + Copy>(&self, lanes: *const T, picked: &mut [i64]) {
        let order = |&a: &i64, &b: &i64| {
            // SAFETY: positions of lanes.
            let (x, y) = unsafe { (*lanes.add(a as usize), *lanes.add(b as usize)) };
            let by_value = if self.spec.largest {
                compare(y, x)
            } else {
                compare(x, y)
            };
            by_value.then(a.cmp(&b))
        };
        if self.k < picked.len() {
            picked.select_nth_unstable_by(self.k, order);
        }
        picked[..self.k].sort_unstable_by(order);
    }
}

impl Execute for TopK {
    fn implementation(&self) -> &'static str {
        "plain"
    }

    fn needs(&self) -> Needs {
        Needs {
            shared: 0,
            worker: 3 * bump_size(self.n * 8),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let TopKSpec {
            domain: _,
            k: _,
            largest: _,
            x,
            values,
            indices,
        } = &self.spec;
        let pattern = |n: usize, strides: &[i64]| Pattern {
            rows: 1,
            cols: n,
            row_stride: 0,
            col_stride: along(strides),
        };
        let n_rows = if self.k == 0 { 0 } else { self.rows.len() };
        let grain = GRAIN.div_ceil(self.n.max(1));
        cx.parallel(n_rows, grain, &|range, memory| {
            // SAFETY: the worker's memory is what `needs` asks for.
            let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
            let picked = bump.zeroed::<i64>(self.n);
            let lanes = bump.bytes(self.n * 8);
            let best = bump.bytes(self.n * 8);
            for row in range {
                for (i, p) in picked.iter_mut().enumerate() {
                    *p = i as i64;
                }
                let at = |arg: usize, o: &plans::spec::Operand| {
                    let offset = self.rows.offset(row, &o.strides) * o.dtype.size() as isize;
                    // SAFETY: rows are in the operand's reach.
                    unsafe { cx.arg(arg).offset(offset) }
                };
                // SAFETY: rows are disjoint; buffers hold a row of lanes.
                unsafe {
                    access::load(x.dtype, pattern(self.n, &x.strides), at(0, x), lanes);
                    match Lane::of(x.dtype) {
                        Lane::F32 => {
                            self.select::<f32>(lanes.cast(), picked);
                            take::<f32>(lanes, &picked[..self.k], best);
                        }
                        Lane::F64 => {
                            self.select::<f64>(lanes.cast(), picked);
                            take::<f64>(lanes, &picked[..self.k], best);
                        }
                        Lane::I64 | Lane::Bool | Lane::Wide => {
                            if x.dtype == DType::U64 {
                                self.select::<u64>(lanes.cast(), picked);
                            } else {
                                self.select::<i64>(lanes.cast(), picked);
                            }
                            take::<i64>(lanes, &picked[..self.k], best);
                        }
                    }
                    let to = pattern(self.k, &values.strides);
                    access::store(values.dtype, to, best, at(1, values));
                    let to = pattern(self.k, &indices.strides);
                    access::store(DType::I64, to, picked.as_ptr().cast(), at(2, indices));
                }
            }
        });
    }
}

/// Copies the lanes at `picked` to `to`.
///
/// # Safety
/// `lanes` has lanes of `T` at these positions, and `to` room for them.
unsafe fn take<T: Copy>(lanes: *const u8, picked: &[i64], to: *mut u8) {
    for (i, &p) in picked.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let lane = *lanes.cast::<T>().add(p as usize);
            to.cast::<T>().add(i).write(lane);
        }
    }
}
