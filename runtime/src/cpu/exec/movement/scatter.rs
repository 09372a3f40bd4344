//! Updates of picked positions, one after the other in row-major order.

use super::super::access;
use super::super::error::Fault;
use super::super::functions;
use super::super::geometry::{Bump, Dim, Walk, bump_size};
use super::super::program::{Lane, wrap};
use super::super::real::copy_row;
use super::super::{Cx, Execute, Needs};
use plans::DType;
use plans::spec::{GatherAxis, Reduction, ScatterSpec};

/// A prepared scatter.
pub(crate) struct Scatter {
    /// Strides of the updates, the indices, the output.
    nest: Vec<Dim>,
    /// Updates that go to neighbouring places at positions picked once.
    inner: Dim,
    n_rows: usize,
    dtype: DType,
    index_types: Vec<DType>,
    axes: Vec<GatherAxis>,
    reduction: Reduction,
}

impl Scatter {
    pub(crate) fn new(spec: &ScatterSpec) -> Self {
        let strides: Vec<&[i64]> = [spec.updates.strides.as_slice()]
            .into_iter()
            .chain(spec.indices.iter().map(|i| i.strides.as_slice()))
            .chain([spec.out.strides.as_slice()])
            .collect();
        let n = strides.len();
        let is_empty = spec.domain.contains(&0);
        let mut nest = if is_empty {
            vec![]
        } else {
            super::super::geometry::coalesce(super::super::geometry::dims(
                &spec.domain,
                &strides,
                |_| false,
            ))
        };
        // Updates of one row must not meet: they are combined at once.
        let is_row = |d: &Dim| d.strides[1..n - 1].iter().all(|&s| s == 0) && d.strides[n - 1] != 0;
        let inner = nest.pop_if(|d| is_row(d)).unwrap_or_else(|| Dim {
            extent: 1,
            strides: vec![0; n],
            index: None,
        });
        Self {
            n_rows: if is_empty {
                0
            } else {
                nest.iter().map(|d| d.extent).product()
            },
            nest,
            inner,
            dtype: spec.updates.dtype,
            index_types: spec.indices.iter().map(|i| i.dtype).collect(),
            axes: spec.axes.clone(),
            reduction: spec.reduction,
        }
    }

    fn n_operands(&self) -> usize {
        self.index_types.len() + 2
    }

    /// The offset that picked positions add; `None` if one is out of range.
    ///
    /// # Safety
    /// As [`Execute::run`]; the walk is at a position of the domain.
    unsafe fn picked(&self, cx: &Cx<'_>, walk: &Walk<'_>) -> Option<isize> {
        let mut offset = 0;
        for axis in &self.axes {
            let n = usize::from(axis.index);
            // SAFETY: the element is in the index's reach, and is i32 or i64.
            let position = unsafe {
                let (at, i) = (cx.args[1 + n], walk.offsets[1 + n]);
                if self.index_types[n] == DType::I32 {
                    i64::from(at.cast::<i32>().offset(i).read_unaligned())
                } else {
                    at.cast::<i64>().offset(i).read_unaligned()
                }
            };
            let len = axis.len as i64;
            let position = if position < 0 {
                position + len
            } else {
                position
            };
            if !(0..len).contains(&position) {
                return None;
            }
            offset += position as isize * axis.stride as isize;
        }
        Some(offset)
    }

    /// Combines a row of floats.
    ///
    /// # Safety
    /// Both rows can be read and the second written.
    unsafe fn combine_floats(&self, update: *const f32, from: isize, out: *mut f32, to: isize) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.reduction {
                // Replacing copies; see `run`.
                Reduction::Replace | Reduction::Add => {
                    self.each_float(update, from, out, to, |x, y| x + y);
                }
                Reduction::Mul => self.each_float(update, from, out, to, |x, y| x * y),
                Reduction::Min => self.each_float(update, from, out, to, functions::min_f32),
                Reduction::Max => self.each_float(update, from, out, to, functions::max_f32),
            }
        }
    }

    /// # Safety
    /// As [`Scatter::combine_floats`].
    #[inline(always)]
    unsafe fn each_float(
        &self,
        update: *const f32,
        from: isize,
        out: *mut f32,
        to: isize,
        f: impl Fn(f32, f32) -> f32,
    ) {
        let n = self.inner.extent;
        // SAFETY: the caller's promise; arguments are aligned to their elements.
        unsafe {
            if from == 1 && to == 1 {
                let update = std::slice::from_raw_parts(update, n);
                let out = std::slice::from_raw_parts_mut(out, n);
                for (x, &y) in out.iter_mut().zip(update) {
                    *x = f(*x, y);
                }
                return;
            }
            for i in 0..n as isize {
                let x = out.offset(i * to);
                *x = f(*x, *update.offset(i * from));
            }
        }
    }

    /// # Safety
    /// Both elements can be read and the second written.
    unsafe fn combine(&self, update: *const u8, out: *mut u8) {
        let dtype = self.dtype;
        // SAFETY: the caller's promise; lanes are 8 bytes or less for all but C128, which is only
        // replaced.
        unsafe {
            let (mut a, mut b) = (0u64, 0u64);
            access::load_one(dtype, out, (&raw mut a).cast());
            access::load_one(dtype, update, (&raw mut b).cast());
            let result = match Lane::of(dtype) {
                Lane::F32 => {
                    let (x, y) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
                    let z = match self.reduction {
                        Reduction::Replace => y,
                        Reduction::Add => x + y,
                        Reduction::Mul => x * y,
                        Reduction::Min => functions::min_f32(x, y),
                        Reduction::Max => functions::max_f32(x, y),
                    };
                    u64::from(z.to_bits())
                }
                Lane::F64 => {
                    let (x, y) = (f64::from_bits(a), f64::from_bits(b));
                    functions::binary_f64(self.function(), x, y).to_bits()
                }
                Lane::I64 | Lane::Bool | Lane::Wide => {
                    let z = functions::binary_i64(self.function(), a as i64, b as i64, dtype);
                    wrap(z, dtype) as u64
                }
            };
            let pattern = access::Pattern {
                rows: 1,
                cols: 1,
                row_stride: 0,
                col_stride: 1,
            };
            access::store(dtype, pattern, (&raw const result).cast(), out);
        }
    }

    fn function(&self) -> plans::tape::BinaryFn {
        use plans::tape::BinaryFn;
        match self.reduction {
            // Replacing copies; see `run`.
            Reduction::Replace | Reduction::Add => BinaryFn::Add,
            Reduction::Mul => BinaryFn::Mul,
            Reduction::Min => BinaryFn::Min,
            Reduction::Max => BinaryFn::Max,
        }
    }
}

impl Execute for Scatter {
    fn implementation(&self) -> &'static str {
        "rows in order"
    }

    fn needs(&self) -> Needs {
        Needs {
            shared: 0,
            worker: bump_size(self.nest.len() * size_of::<usize>())
                + bump_size(self.n_operands() * size_of::<isize>()),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let last = self.n_operands() - 1;
        let size = self.dtype.size() as isize;
        // SAFETY: the first worker's memory is what `needs` asks for, and only this thread runs.
        let mut bump = unsafe { Bump::new(cx.workers, self.needs().worker) };
        let positions = bump.zeroed::<usize>(self.nest.len());
        let offsets = bump.zeroed::<isize>(self.n_operands());
        let mut walk = Walk::new(&self.nest, 0, positions, offsets);
        for _ in 0..self.n_rows {
            // SAFETY: the walk is at a position of the domain, and picked positions lie in their
            // dimensions, so that all elements are in reach.
            unsafe {
                let Some(picked) = self.picked(cx, &walk) else {
                    return cx.fault.raise(Fault::IndexOutOfRange);
                };
                let update = cx.args[0].offset(walk.offsets[0] * size);
                let out = cx.args[last].offset((walk.offsets[last] + picked) * size);
                let (from, to) = (self.inner.strides[0], self.inner.strides[last]);
                if self.reduction == Reduction::Replace {
                    copy_row(size as usize, update, from, out, to, self.inner.extent);
                } else if self.dtype == DType::F32 {
                    self.combine_floats(update.cast(), from, out.cast(), to);
                } else {
                    for i in 0..self.inner.extent as isize {
                        self.combine(update.offset(i * from * size), out.offset(i * to * size));
                    }
                }
            }
            walk.advance();
        }
    }
}
