//! Convolutions with one filter a channel: vectors of channels, a few pixels at a time.

use super::geometry::{ConvShape, InputStrides};
use crate::cpu::gemm::drive::Address;
use crate::cpu::gemm::pack::Floats;
use crate::cpu::gemm::{Epilogue, FinishedTile, Output};
use crate::cpu::level::Level;
use crate::cpu::pool::{Pool, PoolError};
use crate::cpu::simd::{Simd, for_each_level};

/// Pixels of a row that are computed together, so that a weight is loaded once for all.
const PIXELS: usize = 4;

/// Multiply-adds that are worth a task.
const TASK_MACS: usize = 60_000;

/// Weights as `[tap][channel]`.
pub(super) struct Depthwise {
    weights: Floats,
}

impl std::fmt::Debug for Depthwise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Depthwise").finish_non_exhaustive()
    }
}

/// A tap under some pixels: where it reads and its weights.
#[derive(Clone, Copy)]
struct Tap {
    /// From the first pixel's corner.
    offset: isize,
    weights: *const f32,
}

/// Neighbouring pixels of a row under the same taps.
#[derive(Clone, Copy)]
struct Run {
    taps: *const Tap,
    n_taps: usize,
    /// Corner of the first pixel's window.
    x: *const f32,
    x_step: isize,
    n_channels: usize,
    bias: *const f32,
    low: f32,
    high: f32,
    y: *mut f32,
    y_step: usize,
}

#[allow(
    clippy::needless_range_loop,
    reason = "sums of one array beside addresses"
)]
#[inline(always)]
unsafe fn pixels<S: Simd, const N: usize>(r: &Run) {
    // SAFETY: the caller promises `n_channels` floats behind every pointer used.
    unsafe {
        let mut c = 0;
        while c < r.n_channels {
            let rest = r.n_channels - c;
            let is_whole = rest >= S::LANES;
            let rest = rest.min(S::LANES);
            let bias = if r.bias.is_null() {
                S::zero()
            } else {
                S::load_n(r.bias.add(c), rest)
            };
            let mut acc = [bias; N];
            for t in 0..r.n_taps {
                let tap = *r.taps.add(t);
                let x = r.x.wrapping_offset(tap.offset).wrapping_add(c);
                if is_whole {
                    let w = S::load(tap.weights.add(c));
                    for p in 0..N {
                        let v = S::load(x.wrapping_offset(p as isize * r.x_step));
                        acc[p] = S::fma(v, w, acc[p]);
                    }
                } else {
                    let w = S::load_n(tap.weights.add(c), rest);
                    for p in 0..N {
                        let v = S::load_n(x.wrapping_offset(p as isize * r.x_step), rest);
                        acc[p] = S::fma(v, w, acc[p]);
                    }
                }
            }
            let (low, high) = (S::splat(r.low), S::splat(r.high));
            for p in 0..N {
                let v = S::min(high, S::max(low, acc[p]));
                let y = r.y.add(p * r.y_step + c);
                if is_whole {
                    S::store(y, v)
                } else {
                    S::store_n(y, v, rest)
                };
            }
            c += S::LANES;
        }
    }
}

for_each_level! {
    /// Computes `n` neighbouring pixels.
    ///
    /// # Safety
    /// Every pointer of `run` must be valid for `n` pixels of all channels; the processor must
    /// have `level`.
    unsafe fn compute<S>(run: &Run, n: usize) {
        let mut r = *run;
        let mut left = n;
        while left >= PIXELS {
            pixels::<S, PIXELS>(&r);
            r.x = r.x.wrapping_offset(PIXELS as isize * r.x_step);
            r.y = r.y.wrapping_add(PIXELS * r.y_step);
            left -= PIXELS;
        }
        match left {
            3 => pixels::<S, 3>(&r),
            2 => pixels::<S, 2>(&r),
            1 => pixels::<S, 1>(&r),
            _ => {}
        }
    }
}

/// Positions of windows, from first to past the last, that hold tap `k` inside the input.
fn valid(shape: &ConvShape, dim: usize, k: usize) -> (usize, usize) {
    let (stride, shift) = (shape.stride[dim], k * shape.dilation[dim]);
    let first = shape.pads[dim].saturating_sub(shift).div_ceil(stride);
    let end = (shape.input[dim] + shape.pads[dim])
        .saturating_sub(shift)
        .div_ceil(stride);
    (first.min(shape.output[dim]), end.min(shape.output[dim]))
}

impl Depthwise {
    /// # Safety
    /// `weights` must be valid for `[channels, taps]`.
    pub(super) unsafe fn new(shape: &ConvShape, weights: *const f32) -> Self {
        let n_taps = shape.kernel.iter().product::<usize>();
        let mut packed = Floats::zeros(n_taps * shape.c_out);
        for c in 0..shape.c_out {
            for t in 0..n_taps {
                // SAFETY: the caller's promise, and `packed` is as large.
                unsafe {
                    *packed.as_mut_ptr().add(t * shape.c_out + c) = *weights.add(c * n_taps + t);
                }
            }
        }
        Depthwise { weights: packed }
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.weights.len() * size_of::<f32>()
    }

    fn tap_bytes(shape: &ConvShape) -> usize {
        (shape.kernel.iter().product::<usize>() * size_of::<Tap>()).next_multiple_of(64)
    }

    /// Taps of a run of pixels and, for results that are not rows, a line of the result.
    pub(super) fn worker_bytes(&self, shape: &ConvShape) -> usize {
        let line = shape.output[2] * shape.c_out * size_of::<f32>();
        Self::tap_bytes(shape) + line.next_multiple_of(64)
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run), with channels of `x` consecutive.
    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
    pub(super) unsafe fn run(
        &self,
        pool: &Pool,
        level: Level,
        shape: &ConvShape,
        x: *const f32,
        strides: &InputStrides,
        output: Output,
        epilogue: Epilogue<'_>,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let [depth, height, width] = shape.output;
        let n_lines = shape.batch * depth * height;
        let macs = width * shape.c_out * shape.kernel.iter().product::<usize>();
        // Pool threads share lines; few, long tasks keep neighbouring lines in one cache.
        let wanted = (n_lines * macs / TASK_MACS).clamp(1, 8 * pool.n_threads());
        let per_task = n_lines.div_ceil(wanted).max(1);
        let per_worker = self.worker_bytes(shape);
        let job = Lines {
            shape,
            x,
            strides,
            output,
            epilogue,
            level,
            weights: self.weights.as_ptr(),
        };
        let scratch = Address(scratch);
        pool.run(n_lines.div_ceil(per_task), &|task, worker| {
            let scratch = scratch.at(worker * per_worker);
            let job = &job;
            for line in task * per_task..((task + 1) * per_task).min(n_lines) {
                // SAFETY: the caller's promises; this worker's scratch is this task's alone.
                unsafe { job.line(line, worker, scratch) };
            }
        })
    }
}

struct Lines<'a> {
    shape: &'a ConvShape,
    x: *const f32,
    strides: &'a InputStrides,
    output: Output,
    epilogue: Epilogue<'a>,
    level: Level,
    weights: *const f32,
}

// SAFETY: addresses that the caller of `run` promises to be valid on any thread.
unsafe impl Sync for Lines<'_> {}

impl Lines<'_> {
    /// Computes one line of the result.
    ///
    /// # Safety
    /// As for [`Depthwise::run`], with the scratch of one worker.
    unsafe fn line(&self, line: usize, worker: usize, scratch: *mut u8) {
        let (shape, e) = (self.shape, &self.epilogue);
        let [depth, height, width] = shape.output;
        let (h, d, image) = (line % height, line / height % depth, line / height / depth);
        let n_channels = shape.c_out;
        let taps = scratch.cast::<Tap>();
        // SAFETY: `worker_bytes` counts the taps and the line.
        let own_line = unsafe { scratch.add(Depthwise::tap_bytes(shape)).cast::<f32>() };
        let (y, y_step) = match self.output {
            Output::Rows { data, row_stride } => {
                (data.wrapping_add(line * width * row_stride), row_stride)
            }
            Output::Columns { .. } | Output::Grid { .. } => (own_line, n_channels),
        };
        let is_simple = e.scale == 1.0 && e.residual.is_null();
        let bounds = e.activation.bounds().filter(|_| is_simple);
        let (low, high) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let base = self.x.wrapping_offset(
            image as isize * self.strides.image + self.corner(0, d) + self.corner(1, h),
        );
        // Windows fully inside in width.
        let inner_first = valid(shape, 2, 0).0;
        let inner_end = valid(shape, 2, shape.kernel[2] - 1).1.max(inner_first);
        let mut w = 0;
        while w < width {
            let n = if w == inner_first && inner_end > w {
                inner_end - w
            } else {
                1
            };
            // SAFETY: taps whose pixels are inside the input, and channels of them.
            unsafe {
                let n_taps = self.taps_under(d, h, w, taps);
                let run = Run {
                    taps,
                    n_taps,
                    x: base.wrapping_offset(self.corner(2, w)),
                    x_step: shape.stride[2] as isize * self.strides.space[2],
                    n_channels,
                    bias: if bounds.is_some() {
                        e.bias
                    } else {
                        std::ptr::null()
                    },
                    low,
                    high,
                    y: y.wrapping_add(w * y_step),
                    y_step,
                };
                compute(self.level, &run, n);
            }
            w += n;
        }
        let row = line * width;
        // SAFETY: the line is one of the result's.
        unsafe {
            if bounds.is_none() {
                e.apply_rows(self.level, row, width, 0, n_channels, y, y_step);
            }
            if let Some(finish) = e.finish {
                finish(FinishedTile {
                    row,
                    n_rows: width,
                    column: 0,
                    n_columns: n_channels,
                    data: y,
                    row_stride: y_step,
                    batch: 0,
                    worker,
                });
            }
            if !matches!(self.output, Output::Rows { .. }) {
                self.output.place_rows(row, width, 0, n_channels, y, y_step);
            }
        }
    }

    /// Floats from the image's start to the corner of a window at `at` in one dimension.
    fn corner(&self, dim: usize, at: usize) -> isize {
        ((at * self.shape.stride[dim]) as isize - self.shape.pads[dim] as isize)
            * self.strides.space[dim]
    }

    /// Lists the taps inside the input under the window at (d, h, w).
    ///
    /// # Safety
    /// `to` must have room for all taps.
    unsafe fn taps_under(&self, d: usize, h: usize, w: usize, to: *mut Tap) -> usize {
        let shape = self.shape;
        let [kd, kh, kw] = shape.kernel;
        let is_inside = |dim: usize, at: usize, k: usize| {
            let p = at * shape.stride[dim] + k * shape.dilation[dim];
            p >= shape.pads[dim] && p - shape.pads[dim] < shape.input[dim]
        };
        let step =
            |dim: usize, k: usize| (k * shape.dilation[dim]) as isize * self.strides.space[dim];
        let mut n = 0;
        for i in (0..kd).filter(|k| is_inside(0, d, *k)) {
            for j in (0..kh).filter(|k| is_inside(1, h, *k)) {
                for k in (0..kw).filter(|k| is_inside(2, w, *k)) {
                    let weights = self
                        .weights
                        .wrapping_add(((i * kh + j) * kw + k) * shape.c_out);
                    let offset = step(0, i) + step(1, j) + step(2, k);
                    // SAFETY: fewer than all taps so far.
                    unsafe { *to.add(n) = Tap { offset, weights } };
                    n += 1;
                }
            }
        }
        n
    }
}
