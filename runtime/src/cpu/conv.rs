//! Convolutions and transposed convolutions of one to three dimensions, in `f32`.
//!
//! Results have channels last (or go to [`Output::Columns`]). Inputs of any strides are taken:
//! with consecutive channels they are read in place; of few channels they are read by a table of
//! offsets; others are copied to scratch with channels last first.

mod depthwise;
mod geometry;
mod prepare;
mod transpose;
mod winograd;

pub use geometry::{ConvShape, InputStrides};
pub use transpose::ConvTranspose;

use super::gemm::drive::{self, Address, EvenRows, Grid, Product, Rows};
use super::gemm::pack::{Floats, Strides};
use super::gemm::{Epilogue, Output, PackedB};
use super::level::Level;
use super::pool::{Pool, PoolError};
use depthwise::Depthwise;
use geometry::{Window, WindowRows};
use winograd::Winograd;

/// Channels of an input up to which a table of offsets beats a copy with channels last.
const FEW_CHANNELS: usize = 8;

/// A convolution bound to its shapes, with packed weights.
#[derive(Debug)]
pub struct Conv {
    shape: ConvShape,
    level: Level,
    input: Input,
    method: Method,
}

/// How the input is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Input {
    /// In place; channels are consecutive.
    InPlace(InputStrides),
    /// After a copy to scratch with channels last.
    ChannelsLast(InputStrides),
    /// After a copy to scratch as padded planes.
    PaddedPlanes(InputStrides),
    /// In place by offsets: there is no padding.
    Planes(InputStrides),
}

#[derive(Debug)]
enum Method {
    /// Products over the taps of the window.
    Window {
        groups: Vec<PackedB>,
        window: Window,
        zeros: Floats,
        is_matrix: bool,
    },
    /// A product whose rows are read by offsets.
    Offsets {
        b: PackedB,
        offsets: Vec<i32>,
    },
    Depthwise(Depthwise),
    Winograd {
        w: Winograd,
        zeros: Floats,
    },
}

impl Conv {
    /// Binds a convolution; `weights` are `[c_out, c_in / groups, D, H, W]`, contiguous.
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
        let [kd, kh, kw] = shape.kernel;
        let n_taps = kd * kh * kw;
        let (c_in, c_out) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
        let is_depthwise = c_in == 1 && c_out == 1 && shape.groups > 1;
        let has_consecutive_channels = input.channel == 1 || shape.c_in == 1;
        if shape.groups == 1 && shape.c_in <= FEW_CHANNELS && n_taps > 1 {
            let k = c_in * n_taps;
            let strides = Strides {
                segment: 0,
                row: 1,
                column: k as isize,
            };
            // SAFETY: the caller's promise.
            let b = unsafe { PackedB::new(level, 1, k, c_out, weights, strides) };
            let (read, strides) = if shape.is_padded() {
                (Input::PaddedPlanes(input), prepare::padded_strides(&shape))
            } else {
                (Input::Planes(input), input)
            };
            if let Some(offsets) = geometry::tap_offsets(&shape, &strides) {
                return Conv {
                    shape,
                    level,
                    input: read,
                    method: Method::Offsets { b, offsets },
                };
            }
        }
        let input = if has_consecutive_channels {
            Input::InPlace(InputStrides {
                channel: 1,
                ..input
            })
        } else {
            Input::ChannelsLast(input)
        };
        let method = if is_depthwise {
            // SAFETY: the caller's promise.
            Method::Depthwise(unsafe { Depthwise::new(&shape, weights) })
        } else if winograd::is_worthwhile(&shape) {
            // SAFETY: the caller's promise.
            let w = unsafe { Winograd::new(level, &shape, weights) };
            Method::Winograd {
                w,
                zeros: Floats::zeros(c_in),
            }
        } else {
            let strides = Strides {
                segment: 1,
                row: n_taps as isize,
                column: (c_in * n_taps) as isize,
            };
            let groups = (0..shape.groups)
                .map(|g| {
                    // SAFETY: the caller's promise; group `g` has `c_out` filters.
                    unsafe {
                        let from = weights.add(g * c_out * c_in * n_taps);
                        PackedB::new(level, n_taps, c_in, c_out, from, strides)
                    }
                })
                .collect();
            Method::Window {
                groups,
                window: Window::of(&shape),
                zeros: Floats::zeros(c_in),
                is_matrix: n_taps == 1 && shape.is_pointwise(),
            }
        };
        Conv {
            shape,
            level,
            input,
            method,
        }
    }

    /// The shape it was bound to.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Bytes of packed weights.
    pub fn n_weight_bytes(&self) -> usize {
        match &self.method {
            Method::Window { groups, .. } => groups.iter().map(PackedB::n_bytes).sum(),
            Method::Offsets { b, .. } => b.n_bytes(),
            Method::Depthwise(d) => d.n_bytes(),
            Method::Winograd { w, .. } => w.n_bytes(),
        }
    }

    /// Floats of the copy of the input.
    fn copy_floats(&self) -> usize {
        match self.input {
            Input::InPlace(_) | Input::Planes(_) => 0,
            Input::ChannelsLast(_) => self.shape.n_input_floats(),
            Input::PaddedPlanes(_) => prepare::n_padded_floats(&self.shape),
        }
    }

    fn copy_bytes(&self) -> usize {
        (self.copy_floats() * size_of::<f32>()).next_multiple_of(64)
    }

    /// Bytes of scratch, aligned to 64, that a run on `n_threads` threads needs.
    pub fn scratch_bytes(&self, n_threads: usize) -> usize {
        let per_worker = match &self.method {
            Method::Window { groups, window, .. } => {
                drive::worker_bytes(window.taps.len(), &groups[0].panels)
            }
            Method::Offsets { b, .. } => drive::worker_bytes(1, &b.panels),
            Method::Depthwise(d) => d.worker_bytes(&self.shape),
            Method::Winograd { w, .. } => w.worker_bytes(),
        };
        self.copy_bytes() + n_threads * per_worker
    }

    /// Convolves. Rows of the result are pixels `((n * D + d) * H + h) * W + w`, columns channels.
    ///
    /// # Errors
    /// [`PoolError::TaskPanicked`] if `epilogue.finish` panicked.
    ///
    /// # Safety
    /// `x` must be valid for the input with the strides given to `new`, output and the epilogue's
    /// operands for the result, the output apart from the input; `scratch` must be aligned to 64
    /// bytes and hold [`scratch_bytes`](Self::scratch_bytes) that nobody else uses meanwhile.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        x: *const f32,
        output: Output,
        epilogue: Epilogue<'_>,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        // SAFETY: the caller's promises; the scratch starts with the copy.
        unsafe {
            let copy = scratch.cast::<f32>();
            let rest = scratch.add(self.copy_bytes());
            let (x, strides) = match self.input {
                Input::InPlace(strides) | Input::Planes(strides) => (x, strides),
                Input::ChannelsLast(strides) => {
                    prepare::channels_last(pool, &self.shape, &strides, x, copy)?;
                    (copy.cast_const(), InputStrides::channels_last(&self.shape))
                }
                Input::PaddedPlanes(strides) => {
                    prepare::padded_planes(pool, &self.shape, &strides, x, copy)?;
                    (copy.cast_const(), prepare::padded_strides(&self.shape))
                }
            };
            match &self.method {
                Method::Depthwise(d) => d.run(
                    pool,
                    self.level,
                    &self.shape,
                    x,
                    &strides,
                    output,
                    epilogue,
                    rest,
                ),
                Method::Winograd { w, zeros } => {
                    let zeros = zeros.as_ptr();
                    w.run(
                        pool,
                        &self.shape,
                        x,
                        &strides,
                        zeros,
                        output,
                        epilogue,
                        rest,
                    )
                }
                Method::Offsets { b, offsets } => {
                    let window = Window::corners(&self.shape);
                    let rows = WindowRows::new(x, &strides, &window, x);
                    let product = Product {
                        rows: &rows,
                        n_rows: self.shape.n_output_pixels(),
                        n_segments: 1,
                        segment: offsets.len(),
                        offsets: offsets.as_ptr(),
                        panels: b.panels,
                        b: b.as_ptr(),
                        output,
                        epilogue,
                        batch: 0,
                        first_column: 0,
                    };
                    product.run(pool, rest)
                }
                Method::Window {
                    groups,
                    window,
                    zeros,
                    is_matrix,
                } => {
                    let even = if *is_matrix {
                        strides.even_pixels(&self.shape)
                    } else {
                        None
                    };
                    let c_in = self.shape.c_in / self.shape.groups;
                    let n_rows = self.shape.n_output_pixels();
                    match even {
                        Some(stride) => {
                            run_groups(pool, groups, c_in, n_rows, output, epilogue, rest, 1, |g| {
                                EvenRows {
                                    first: x.wrapping_add(g * c_in),
                                    stride,
                                }
                            })
                        }
                        None => run_groups(
                            pool,
                            groups,
                            c_in,
                            n_rows,
                            output,
                            epilogue,
                            rest,
                            window.taps.len(),
                            |g| {
                                let x = x.wrapping_add(g * c_in);
                                WindowRows::new(x, &strides, window, zeros.as_ptr())
                            },
                        ),
                    }
                }
            }
        }
    }
}

/// Runs one product a group, all of one size, as tasks of one call.
///
/// # Safety
/// As for [`Product::run`], for every group.
#[allow(clippy::too_many_arguments, reason = "the operands of a product")]
unsafe fn run_groups<R: Rows>(
    pool: &Pool,
    groups: &[PackedB],
    segment: usize,
    n_rows: usize,
    output: Output,
    epilogue: Epilogue<'_>,
    scratch: *mut u8,
    n_segments: usize,
    rows_of: impl Fn(usize) -> R,
) -> Result<(), PoolError> {
    let panels = groups[0].panels;
    if n_rows == 0 || panels.n == 0 {
        return Ok(());
    }
    let n_threads = if groups.len() >= 4 * pool.n_threads() {
        1
    } else {
        pool.n_threads()
    };
    let grid = Grid::new(n_rows, &panels, n_threads);
    let per_worker = drive::worker_bytes(n_segments, &panels);
    let scratch = Address(scratch);
    let pieces = Pieces {
        output,
        epilogue,
        rows_of: Unchecked(rows_of),
    };
    pool.run(groups.len() * grid.n_tasks(), &|task, worker| {
        let (g, task) = (task / grid.n_tasks(), task % grid.n_tasks());
        let pieces = &pieces;
        let rows = (pieces.rows_of.0)(g);
        let product = Product {
            rows: &rows,
            n_rows,
            n_segments,
            segment,
            offsets: std::ptr::null(),
            panels,
            b: groups[g].as_ptr(),
            output: pieces.output,
            epilogue: pieces.epilogue,
            batch: 0,
            first_column: g * panels.n,
        };
        // SAFETY: the caller's promises; no two tasks of a worker overlap, so its part of the
        // scratch is this task's alone; tasks write disjoint parts of the result.
        unsafe { product.task(&grid, task, worker, scratch.at(worker * per_worker)) }
    })
}

struct Pieces<'a, F> {
    output: Output,
    epilogue: Epilogue<'a>,
    rows_of: Unchecked<F>,
}

/// A function that computes addresses.
struct Unchecked<F>(F);

// SAFETY: the functions wrapped here are closures of this file over addresses and shared
// references: calling them from several threads computes addresses only.
unsafe impl<F> Sync for Unchecked<F> {}

#[cfg(test)]
mod tests;
