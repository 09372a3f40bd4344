//! Interpolation along each dimension.
//!
//! A row of the output is a mix of rows of x by the taps of all dimensions but the innermost, and
//! then of elements of that mix by the innermost's.

use super::super::geometry::{Bump, bump_size};
use super::super::real::{Real, copy_row, is_single, load_row, store_row};
use super::super::{Cx, Execute, Needs};
use plans::DType;
use plans::spec::{Interpolation, ResizeSpec};

/// Elements times taps that a thread should have at least.
const GRAIN: usize = 1 << 14;

struct Axis {
    input: usize,
    taps: Interpolation,
    x: isize,
    out: isize,
}

impl Axis {
    fn output(&self) -> usize {
        self.taps.output as usize
    }

    fn n_taps(&self) -> usize {
        self.taps.taps as usize
    }

    /// Position and factor of tap `t` of output `o`.
    fn tap(&self, o: usize, t: usize) -> (i32, f32) {
        let i = o * self.n_taps() + t;
        (self.taps.positions[i], self.taps.factors[i])
    }

    /// Whether every output is one element of x.
    fn is_pick(&self) -> bool {
        self.n_taps() == 1
            && self.taps.factors.iter().all(|&f| f == 1.0)
            && self.taps.positions.iter().all(|&p| p >= 0)
    }

    /// Whether outputs are the elements of x in order.
    fn is_identity(&self) -> bool {
        let in_order = |(i, &p): (usize, &i32)| usize::try_from(p) == Ok(i);
        self.is_pick()
            && self.input == self.output()
            && self.taps.positions.iter().enumerate().all(in_order)
    }
}

/// A prepared interpolation.
pub(crate) struct Resize {
    outer: Vec<Axis>,
    inner: Axis,
    inner_is_identity: bool,
    all_are_picks: bool,
    dtype: DType,
    outside: f32,
    n_rows: usize,
    /// Combinations of taps of the outer dimensions.
    n_combinations: usize,
}

impl Resize {
    pub(crate) fn new(spec: &ResizeSpec) -> Self {
        let mut outer: Vec<Axis> = spec
            .axes
            .iter()
            .enumerate()
            .map(|(d, taps)| Axis {
                input: spec.input[d] as usize,
                taps: taps.clone(),
                x: spec.x.strides[d] as isize,
                out: spec.out.strides[d] as isize,
            })
            .collect();
        outer.sort_by_key(|a| std::cmp::Reverse(a.out.unsigned_abs()));
        let inner = outer.pop().unwrap_or(Axis {
            input: 1,
            taps: Interpolation {
                output: 1,
                taps: 1,
                positions: vec![0],
                factors: vec![1.0],
            },
            x: 1,
            out: 1,
        });
        let rows: usize = outer.iter().map(Axis::output).product();
        let all_are_picks = outer.iter().chain([&inner]).all(Axis::is_pick);
        Self {
            inner_is_identity: inner.is_identity(),
            all_are_picks,
            dtype: spec.x.dtype,
            outside: spec.outside,
            n_rows: if inner.output() == 0 { 0 } else { rows },
            n_combinations: outer.iter().map(Axis::n_taps).product(),
            outer,
            inner,
        }
    }

    fn mix_bytes(&self) -> usize {
        bump_size(self.inner.input.max(self.inner.output()) * 8)
    }

    /// Copies a row whose every element is one of x.
    ///
    /// # Safety
    /// As [`Execute::run`].
    unsafe fn pick_row(&self, cx: &Cx<'_>, row: usize) {
        let size = self.dtype.size();
        let (mut rest, mut from, mut to) = (row, 0, 0);
        for axis in self.outer.iter().rev() {
            let o = rest % axis.output();
            rest /= axis.output();
            from += axis.tap(o, 0).0 as isize * axis.x;
            to += o as isize * axis.out;
        }
        let inner = &self.inner;
        // SAFETY: positions are those of x and of the output.
        unsafe {
            let x = cx.args[0].offset(from * size as isize);
            let out = cx.args[1].offset(to * size as isize);
            if self.inner_is_identity {
                return copy_row(size, x, inner.x, out, inner.out, inner.output());
            }
            match size {
                4 => self.pick_elements::<u32>(x.cast(), out.cast()),
                8 => self.pick_elements::<u64>(x.cast(), out.cast()),
                2 => self.pick_elements::<u16>(x.cast(), out.cast()),
                _ => self.pick_elements::<u8>(x, out),
            }
        }
    }

    /// # Safety
    /// A row of x and of the output start there, of elements of the size of `T`.
    unsafe fn pick_elements<T: Copy>(&self, x: *const T, out: *mut T) {
        for (o, &p) in self.inner.taps.positions.iter().enumerate() {
            // SAFETY: positions are those of x and of the output.
            unsafe {
                let element = x.offset(p as isize * self.inner.x).read_unaligned();
                out.offset(o as isize * self.inner.out)
                    .write_unaligned(element);
            }
        }
    }

    /// # Safety
    /// As [`Execute::run`]; buffers hold a row of x and of the output as lanes of `T`.
    unsafe fn mix_row<T: Real>(&self, cx: &Cx<'_>, row: usize, buffers: [*mut T; 2]) {
        let size = self.dtype.size() as isize;
        let inner = &self.inner;
        let [mix, lanes] = buffers;
        // SAFETY: the buffer is this worker's, aligned, and holds a row.
        let mix = unsafe {
            for i in 0..inner.input {
                mix.add(i).write(T::default());
            }
            std::slice::from_raw_parts_mut(mix, inner.input)
        };
        let outside = T::of(self.outside.into());
        let (mut to, mut total) = (0, T::default());
        for combination in 0..self.n_combinations {
            let (mut rest, mut taps) = (row, combination);
            let (mut from, mut factor) = (Some(0), T::of(1.0));
            to = 0;
            for axis in self.outer.iter().rev() {
                let o = rest % axis.output();
                rest /= axis.output();
                let (position, f) = axis.tap(o, taps % axis.n_taps());
                taps /= axis.n_taps();
                to += o as isize * axis.out;
                factor = factor * T::of(f.into());
                from = from
                    .filter(|_| position >= 0)
                    .map(|from| from + position as isize * axis.x);
            }
            total += factor;
            if factor == T::default() {
                continue;
            }
            let Some(from) = from else {
                mix.iter_mut().for_each(|m| *m += factor * outside);
                continue;
            };
            // SAFETY: positions are those of x; the buffer holds a row.
            let row = unsafe {
                let x = cx.args[0].offset(from * size);
                load_row(self.dtype, x, inner.x, inner.input, lanes);
                std::slice::from_raw_parts(lanes, inner.input)
            };
            for (m, &x) in mix.iter_mut().zip(row) {
                *m += factor * x;
            }
        }
        // SAFETY: positions are those of the output; the buffers hold a row.
        unsafe {
            let out = cx.args[1].offset(to * size);
            if self.inner_is_identity {
                return store_row(self.dtype, mix.as_mut_ptr(), inner.output(), out, inner.out);
            }
            for o in 0..inner.output() {
                let mut sum = T::default();
                for t in 0..inner.n_taps() {
                    let (position, f) = inner.tap(o, t);
                    let x = usize::try_from(position).map_or(outside * total, |p| mix[p]);
                    sum += T::of(f.into()) * x;
                }
                lanes.add(o).write(sum);
            }
            store_row(self.dtype, lanes, inner.output(), out, inner.out);
        }
    }

    /// # Safety
    /// As [`Execute::run`].
    unsafe fn mix_rows<T: Real>(&self, cx: &Cx<'_>, grain: usize) {
        cx.parallel(self.n_rows, grain, &|range, memory| {
            // SAFETY: the worker's memory is what `needs` asks for.
            let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
            let buffers = [(); 2].map(|()| bump.bytes(self.mix_bytes()).cast::<T>());
            for row in range {
                // SAFETY: rows are disjoint; the rest is the caller's promise.
                unsafe { self.mix_row(cx, row, buffers) };
            }
        });
    }
}

impl Execute for Resize {
    fn implementation(&self) -> &'static str {
        if self.all_are_picks {
            "picked rows"
        } else {
            "mixed rows"
        }
    }

    fn needs(&self) -> Needs {
        Needs {
            shared: 0,
            worker: 2 * self.mix_bytes(),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let width = self.inner.input.max(self.inner.output()).max(1);
        let grain = GRAIN.div_ceil(width.saturating_mul(self.n_combinations).max(1));
        // SAFETY: the caller's promise.
        unsafe {
            if self.all_are_picks {
                cx.parallel(self.n_rows, grain, &|range, _| {
                    for row in range {
                        self.pick_row(cx, row);
                    }
                });
            } else if is_single(self.dtype) {
                self.mix_rows::<f32>(cx, grain);
            } else {
                self.mix_rows::<f64>(cx, grain);
            }
        }
    }
}
