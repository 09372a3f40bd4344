//! Transposed convolutions as one convolution a phase.
//!
//! With stride s, the pixels of the result at distance s see the same taps of the kernel: each of
//! the s³ phases is a convolution of stride 1 with its own taps, written to a grid of the result.

use super::geometry::{ConvShape, InputStrides, Window, WindowRows};
use super::prepare;
use crate::cpu::gemm::drive::{self, Address, Grid, Product};
use crate::cpu::gemm::pack::{Floats, PackedB, Strides};
use crate::cpu::gemm::{Epilogue, Output};
use crate::cpu::level::Level;
use crate::cpu::pool::{Pool, PoolError};

/// A transposed convolution bound to its shapes, with packed weights.
///
/// In its [`ConvShape`], `stride`, `dilation`, `pads` and `kernel` are those of the operator:
/// input pixel i meets result pixel `i * stride - pads + k * dilation` at tap k.
#[derive(Debug)]
pub struct ConvTranspose {
    shape: ConvShape,
    input: InputStrides,
    copies_input: bool,
    phases: Vec<Phase>,
    zeros: Floats,
}

#[derive(Debug)]
struct Phase {
    /// First pixel of the result.
    first: [usize; 3],
    window: Window,
    groups: Vec<PackedB>,
}

impl ConvTranspose {
    /// Binds a transposed convolution; `weights` are `[c_in, c_out / groups, D, H, W]`, contiguous.
    ///
    /// # Panics
    /// If `shape` has a zero kernel extent or stride, or channels that `groups` does not divide.
    ///
    /// # Safety
    /// `weights` must be valid for all elements.
    pub unsafe fn new(
        level: Level,
        shape: ConvShape,
        weights: *const f32,
        input: InputStrides,
    ) -> Self {
        shape.check();
        let level = level.or_lower();
        let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
        let n_taps = shape.kernel.iter().product::<usize>();
        let mut phases = Vec::new();
        let [nd, nh, nw] = std::array::from_fn(|i| shape.stride[i].min(shape.output[i]));
        for phase in 0..nd * nh * nw {
            let first = [phase / (nh * nw), phase / nw % nh, phase % nw];
            // Taps by dimension: which, and the pixel of the input they meet.
            let met: [(Vec<usize>, Vec<isize>); 3] = std::array::from_fn(|i| {
                (0..shape.kernel[i])
                    .filter_map(|k| {
                        let at =
                            (first[i] + shape.pads[i]) as isize - (k * shape.dilation[i]) as isize;
                        let stride = shape.stride[i] as isize;
                        (at.rem_euclid(stride) == 0).then_some((k, at.div_euclid(stride)))
                    })
                    .unzip()
            });
            let output =
                std::array::from_fn(|i| (shape.output[i] - first[i]).div_ceil(shape.stride[i]));
            let window = Window::new(
                [&met[0].1, &met[1].1, &met[2].1],
                [1; 3],
                shape.input,
                output,
            );
            let mut taps = Vec::new();
            for &d in &met[0].0 {
                for &h in &met[1].0 {
                    taps.extend(
                        met[2]
                            .0
                            .iter()
                            .map(|&w| (d * shape.kernel[1] + h) * shape.kernel[2] + w),
                    );
                }
            }
            let groups = (0..shape.groups)
                .map(|g| {
                    // The weights of these taps as [tap][c_in][c_out].
                    let mut chosen = vec![0.0; taps.len() * c_in * c_out];
                    for (t, tap) in taps.iter().enumerate() {
                        for c in 0..c_in {
                            for o in 0..c_out {
                                let from = ((g * c_in + c) * c_out + o) * n_taps + tap;
                                // SAFETY: the caller's promise.
                                chosen[(t * c_in + c) * c_out + o] = unsafe { *weights.add(from) };
                            }
                        }
                    }
                    let strides = Strides {
                        segment: (c_in * c_out) as isize,
                        row: c_out as isize,
                        column: 1,
                    };
                    // SAFETY: `chosen` holds all elements.
                    unsafe {
                        PackedB::new(level, taps.len(), c_in, c_out, chosen.as_ptr(), strides)
                    }
                })
                .collect();
            phases.push(Phase {
                first,
                window,
                groups,
            });
        }
        ConvTranspose {
            copies_input: input.channel != 1 && shape.c_in > 1,
            shape,
            input,
            phases,
            zeros: Floats::zeros(c_in),
        }
    }

    /// Bytes of packed weights.
    pub fn n_weight_bytes(&self) -> usize {
        self.phases
            .iter()
            .flat_map(|p| &p.groups)
            .map(PackedB::n_bytes)
            .sum()
    }

    fn copy_bytes(&self) -> usize {
        if !self.copies_input {
            return 0;
        }
        (self.shape.n_input_floats() * size_of::<f32>()).next_multiple_of(64)
    }

    fn worker_bytes(&self) -> usize {
        self.phases
            .iter()
            .map(|p| drive::worker_bytes(p.window.taps.len(), &p.groups[0].panels))
            .max()
            .unwrap_or(0)
    }

    /// Bytes of scratch, aligned to 64, that a run on `n_threads` threads needs.
    pub fn scratch_bytes(&self, n_threads: usize) -> usize {
        self.copy_bytes() + n_threads * self.worker_bytes()
    }

    /// Convolves; the result has channels last, pixel `((n * D + d) * H + h) * W + w` at that
    /// multiple of `row_stride`. `finish` sees one pixel at a time.
    ///
    /// # Errors
    /// [`PoolError::TaskPanicked`] if `epilogue.finish` panicked.
    ///
    /// # Safety
    /// As for [`Conv::run`](super::Conv::run).
    pub unsafe fn run(
        &self,
        pool: &Pool,
        x: *const f32,
        y: *mut f32,
        row_stride: usize,
        epilogue: Epilogue<'_>,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let shape = &self.shape;
        let c_in = shape.c_in / shape.groups;
        let mut strides = self.input;
        let mut x = x;
        if self.copies_input {
            // SAFETY: the scratch starts with the copy.
            unsafe { prepare::channels_last(pool, shape, &strides, x, scratch.cast())? };
            x = scratch.cast();
            strides = InputStrides::channels_last(shape);
        }
        let per_worker = self.worker_bytes();
        let scratch = Address(scratch.wrapping_add(self.copy_bytes()));
        let [depth, height, width] = shape.output;
        let grid_of = |phase: &Phase| {
            let n_rows = shape.batch * phase.window.output.iter().product::<usize>();
            // Phases already are tasks: with enough of them each stays whole.
            let n_chunks = self.phases.len() * shape.groups;
            let n_threads = if n_chunks >= 8 * pool.n_threads() {
                1
            } else {
                pool.n_threads()
            };
            (
                n_rows,
                Grid::new(n_rows, &phase.groups[0].panels, n_threads),
            )
        };
        let n_tasks = self
            .phases
            .iter()
            .map(|p| grid_of(p).1.n_tasks() * shape.groups)
            .sum();
        let ends = Ends { x, y, epilogue };
        pool.run(n_tasks, &|mut task, worker| {
            let ends = &ends;
            for phase in &self.phases {
                let (n_rows, grid) = grid_of(phase);
                let n_tasks = grid.n_tasks() * shape.groups;
                if task >= n_tasks {
                    task -= n_tasks;
                    continue;
                }
                let (g, task) = (task / grid.n_tasks(), task % grid.n_tasks());
                let b = &phase.groups[g];
                let x = ends.x.wrapping_add(g * c_in);
                let rows = WindowRows::new(x, &strides, &phase.window, self.zeros.as_ptr());
                let [d, h, w] = phase.first;
                let product = Product {
                    rows: &rows,
                    n_rows,
                    n_segments: phase.window.taps.len(),
                    segment: c_in,
                    offsets: std::ptr::null(),
                    panels: b.panels,
                    b: b.as_ptr(),
                    output: Output::Grid {
                        data: ends.y,
                        first: (d * height + h) * width + w,
                        sizes: phase.window.output,
                        strides: [
                            depth * height * width,
                            shape.stride[0] * height * width,
                            shape.stride[1] * width,
                            shape.stride[2],
                        ],
                        node_stride: row_stride,
                    },
                    epilogue: ends.epilogue,
                    batch: 0,
                    first_column: g * b.panels.n,
                };
                // SAFETY: the caller's promises; this worker's scratch is this task's alone, and
                // tasks write disjoint parts of the result.
                unsafe { product.task(&grid, task, worker, scratch.at(worker * per_worker)) };
                return;
            }
        })
    }
}

struct Ends<'a> {
    x: *const f32,
    y: *mut f32,
    epilogue: Epilogue<'a>,
}

// SAFETY: addresses that the caller of `run` promises to be valid on any thread.
unsafe impl Sync for Ends<'_> {}
