//! 3×3 convolutions by Winograd's minimal filtering F(4×4, 3×3): 36 products where the direct way
//! takes 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", section 4).
//!
//! A tile of 6×6 pixels becomes 36 rows of channels, each multiplied by its own transformed
//! filters; the products become 4×4 pixels of the result. Blocks of tiles go through all three
//! steps before the next block, so that only inputs, filters and results pass through memory.

use super::geometry::{ConvShape, InputStrides};
use crate::cpu::gemm::drive::Address;
use crate::cpu::gemm::kernel::{self, MAX_MR, Tile};
use crate::cpu::gemm::pack::{Floats, Panel, Panels};
use crate::cpu::gemm::{Epilogue, FinishedTile, Output};
use crate::cpu::level::Level;
use crate::cpu::pool::{Pool, PoolError};
use crate::cpu::simd::{Simd, for_each_level};

/// Points of a transformed tile.
const POINTS: usize = 36;

/// Pixels of the result in a tile's row and column.
const TILE: usize = 4;

/// Floats between rows of points besides the channels, so that the 36 rows of a tile do not meet
/// in the same sets of the first-level cache.
const GAP: usize = 16;

/// Floats of a cache line.
const LINE: usize = 16;

/// Floats of transformed input in a block: with a panel of filters they fit into a second-level
/// cache.
const BLOCK_FLOATS: usize = 320 << 10;

/// Tiles of a block, at least, so that filters are used often enough once they are near.
const LEAST_TILES: usize = 24;

/// Tiles from which the transformed filters pay off: they are four times the plain ones, and come
/// from memory once a run.
const WORTHWHILE_TILES: usize = 40;

/// Filters in the transformed domain, as `[panel][point][channel][panel width]`.
#[derive(Debug)]
pub(super) struct Winograd {
    panels: Panels,
    filters: Floats,
    /// Tiles of a block, at most.
    block: usize,
}

/// Tiles over the result of one image.
fn n_tiles(shape: &ConvShape) -> (usize, usize) {
    (
        shape.output[1].div_ceil(TILE),
        shape.output[2].div_ceil(TILE),
    )
}

/// Whether the method applies and is faster than the direct one.
pub(super) fn is_worthwhile(shape: &ConvShape) -> bool {
    let (rows, columns) = n_tiles(shape);
    shape.kernel == [1, 3, 3]
        && shape.stride == [1; 3]
        && shape.dilation == [1; 3]
        && shape.pads[0] == 0
        && shape.input[0] == 1
        && shape.output[0] == 1
        && shape.groups == 1
        && shape.c_in >= 32
        && shape.c_out >= 32
        && shape.batch * rows * columns >= WORTHWHILE_TILES
}

/// `G g Gᵀ` of a filter in double precision; the transforms' points are 0, ±1, ±2 and infinity.
fn transform_filter(g: [f64; 9]) -> [f64; POINTS] {
    let along = |a: f64, b: f64, c: f64| {
        let (even, odd) = (a + c, b);
        let (even2, odd2) = (a / 24.0 + c / 6.0, b / 12.0);
        [
            a / 4.0,
            -(even + odd) / 6.0,
            (odd - even) / 6.0,
            even2 + odd2,
            even2 - odd2,
            c,
        ]
    };
    let mut rows = [[0.0; 3]; 6];
    for j in 0..3 {
        for (i, v) in along(g[j], g[3 + j], g[6 + j]).into_iter().enumerate() {
            rows[i][j] = v;
        }
    }
    let mut out = [0.0; POINTS];
    for (i, row) in rows.iter().enumerate() {
        out[i * 6..][..6].copy_from_slice(&along(row[0], row[1], row[2]));
    }
    out
}

/// `Bᵀ d` of six vectors.
#[inline(always)]
unsafe fn input_points<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: the caller has the level of `S`.
    unsafe {
        let (four, two, five) = (S::splat(4.0), S::splat(2.0), S::splat(-5.0));
        let neg_four = S::splat(-4.0);
        // Points ±1 share d4 - 4 d2 and d3 - 4 d1, points ±2 share d4 - d2 and 2 (d3 - d1).
        let even1 = S::fma(d[2], neg_four, d[4]);
        let odd1 = S::fma(d[1], neg_four, d[3]);
        let even2 = S::sub(d[4], d[2]);
        let odd2 = S::mul(S::sub(d[3], d[1]), two);
        [
            S::fma(d[0], four, S::fma(d[2], five, d[4])),
            S::add(even1, odd1),
            S::sub(even1, odd1),
            S::add(even2, odd2),
            S::sub(even2, odd2),
            S::fma(d[1], four, S::fma(d[3], five, d[5])),
        ]
    }
}

/// `Aᵀ m` of six vectors.
#[inline(always)]
unsafe fn output_points<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: the caller has the level of `S`.
    unsafe {
        let (sum1, diff1) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (sum2, diff2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(sum1, sum2)),
            S::fma(diff2, S::splat(2.0), diff1),
            S::fma(sum2, S::splat(4.0), sum1),
            S::add(S::fma(diff2, S::splat(8.0), diff1), m[5]),
        ]
    }
}

for_each_level! {
    #[allow(clippy::needless_range_loop, reason = "columns of an array of rows")]
    /// Transforms a tile whose 36 pixels are at `pixels`.
    ///
    /// # Safety
    /// Every pixel must be valid for `n` floats, `to` for 36 rows of them at `to_stride`; the
    /// processor must have `level`.
    unsafe fn transform_input<S>(
        pixels: *const *const f32,
        n: usize,
        to: *mut f32,
        to_stride: usize,
    ) {
        let mut c = 0;
        while c < n {
            let width = S::LANES.min(n - c);
            let mut rows = [[S::zero(); 6]; 6];
            for j in 0..6 {
                let mut d = [S::zero(); 6];
                for (i, v) in d.iter_mut().enumerate() {
                    let p = (*pixels.add(i * 6 + j)).add(c);
                    *v = if width == S::LANES { S::load(p) } else { S::load_n(p, width) };
                }
                let points = input_points::<S>(d);
                for i in 0..6 {
                    rows[i][j] = points[i];
                }
            }
            for (i, row) in rows.into_iter().enumerate() {
                let points = input_points::<S>(row);
                for (j, v) in points.into_iter().enumerate() {
                    let p = to.add((i * 6 + j) * to_stride + c);
                    if width == S::LANES { S::store(p, v) } else { S::store_n(p, v, width) };
                }
            }
            c += S::LANES;
        }
    }
}

/// Where the pixels of a result tile go, and what happens to them on the way.
#[derive(Clone, Copy)]
struct Target {
    /// First pixel and column.
    y: *mut f32,
    line: usize,
    pixel: usize,
    /// Pixels that exist.
    height: usize,
    width: usize,
    n_columns: usize,
    /// Null or at the first column.
    bias: *const f32,
    /// Null or at the first pixel and column.
    residual: *const f32,
    residual_line: usize,
    residual_pixel: usize,
    low: f32,
    high: f32,
}

for_each_level! {
    #[allow(clippy::needless_range_loop, reason = "columns of an array of rows")]
    /// Transforms 36 rows of products to pixels.
    ///
    /// # Safety
    /// `from` must be valid for 36 rows at `stride`, the target for its pixels; the processor must
    /// have `level`.
    unsafe fn transform_output<S>(from: *const f32, stride: usize, t: &Target) {
        let (low, high) = (S::splat(t.low), S::splat(t.high));
        let mut c = 0;
        while c < t.n_columns {
            let width = S::LANES.min(t.n_columns - c);
            let mut rows = [[S::zero(); 6]; 4];
            for j in 0..6 {
                let mut m = [S::zero(); 6];
                for (i, v) in m.iter_mut().enumerate() {
                    *v = S::load(from.add((i * 6 + j) * stride + c));
                }
                let points = output_points::<S>(m);
                for i in 0..4 {
                    rows[i][j] = points[i];
                }
            }
            let bias = if t.bias.is_null() { S::zero() } else { S::load_n(t.bias.add(c), width) };
            for (i, row) in rows.into_iter().enumerate().take(t.height) {
                let pixels = output_points::<S>(row);
                for (j, v) in pixels.into_iter().enumerate().take(t.width) {
                    let mut v = S::add(v, bias);
                    if !t.residual.is_null() {
                        let r = t.residual.add(i * t.residual_line + j * t.residual_pixel + c);
                        v = S::add(v, S::load_n(r, width));
                    }
                    let v = S::min(high, S::max(low, v));
                    let p = t.y.add(i * t.line + j * t.pixel + c);
                    if width == S::LANES { S::store(p, v) } else { S::store_n(p, v, width) };
                }
            }
            c += S::LANES;
        }
    }
}

impl Winograd {
    /// # Safety
    /// `weights` must be valid for `[c_out, c_in, 3, 3]`.
    pub(super) unsafe fn new(level: Level, shape: &ConvShape, weights: *const f32) -> Self {
        let panels = Panels::new(level, shape.c_in, shape.c_out);
        let mut filters = Floats::zeros(POINTS * panels.n_floats());
        for p in 0..panels.count {
            let panel = panels.get(p);
            // Whole cache lines at a time: the 36 targets lie at equal, large distances.
            for first in (0..panel.n_columns).step_by(LINE) {
                let n = LINE.min(panel.n_columns - first);
                for c in 0..shape.c_in {
                    let mut lines = [[0.0_f32; LINE]; POINTS];
                    for i in 0..n {
                        let filter = (panel.column + first + i) * shape.c_in + c;
                        // SAFETY: filter and channel exist.
                        let g = unsafe {
                            std::array::from_fn(|t| f64::from(*weights.add(filter * 9 + t)))
                        };
                        for (line, v) in lines.iter_mut().zip(transform_filter(g)) {
                            line[i] = v as f32;
                        }
                    }
                    for (point, line) in lines.iter().enumerate() {
                        let at = (point * shape.c_in + c) * panel.width + first;
                        // SAFETY: `filters` holds 36 points of every panel, channel and filter.
                        unsafe {
                            let to = filters.as_mut_ptr().add(POINTS * panel.offset + at);
                            std::ptr::copy_nonoverlapping(line.as_ptr(), to, n);
                        }
                    }
                }
            }
        }
        let block = (BLOCK_FLOATS / (POINTS * (shape.c_in + GAP))).max(LEAST_TILES);
        Winograd {
            panels,
            filters,
            block,
        }
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.filters.len() * size_of::<f32>()
    }

    /// Floats of a tile's products.
    fn product_floats(&self) -> usize {
        POINTS * self.product_stride()
    }

    fn product_stride(&self) -> usize {
        self.panels.widest() * self.panels.level.lanes() + GAP
    }

    fn input_floats(&self) -> usize {
        POINTS * (self.panels.k + GAP)
    }

    /// Transformed input and products of a block, and the pixels of a tile.
    pub(super) fn worker_bytes(&self) -> usize {
        let pixels = TILE * TILE * self.product_stride();
        let floats = self.block * (self.input_floats() + self.product_floats()) + pixels;
        (floats * size_of::<f32>()).next_multiple_of(64)
    }

    /// # Safety
    /// As for [`Conv::run`](super::Conv::run), with channels of `x` consecutive; `zeros` must be
    /// valid for the channels.
    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
    pub(super) unsafe fn run(
        &self,
        pool: &Pool,
        shape: &ConvShape,
        x: *const f32,
        strides: &InputStrides,
        zeros: *const f32,
        output: Output,
        epilogue: Epilogue<'_>,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let (rows, columns) = n_tiles(shape);
        let n_tiles = shape.batch * rows * columns;
        // Even blocks, as many for each thread.
        let n_threads = pool.n_threads();
        let n_tasks = n_tiles.div_ceil(self.block).next_multiple_of(n_threads);
        let per_task = n_tiles
            .div_ceil(n_tasks)
            .max(LEAST_TILES.min(self.block) / 2);
        let job = Job {
            w: self,
            shape,
            x,
            strides,
            zeros,
            output,
            epilogue,
        };
        let scratch = Address(scratch);
        pool.run(n_tiles.div_ceil(per_task), &|task, worker| {
            let tiles = task * per_task..((task + 1) * per_task).min(n_tiles);
            let job = &job;
            // SAFETY: the caller's promises; this worker's scratch is this task's alone, and
            // tasks write different tiles.
            unsafe { job.block(tiles, worker, scratch.at(worker * self.worker_bytes())) }
        })
    }
}

struct Job<'a> {
    w: &'a Winograd,
    shape: &'a ConvShape,
    x: *const f32,
    strides: &'a InputStrides,
    zeros: *const f32,
    output: Output,
    epilogue: Epilogue<'a>,
}

// SAFETY: addresses that the caller of `run` promises to be valid on any thread.
unsafe impl Sync for Job<'_> {}

impl Job<'_> {
    /// Image, first line and first pixel of a tile.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (rows, columns) = n_tiles(self.shape);
        (
            tile / (rows * columns),
            tile / columns % rows * TILE,
            tile % columns * TILE,
        )
    }

    /// # Safety
    /// As for [`Winograd::run`], with the scratch of one worker.
    unsafe fn block(&self, tiles: std::ops::Range<usize>, worker: usize, scratch: *mut u8) {
        let (w, level) = (self.w, self.w.panels.level);
        let n = tiles.len();
        // SAFETY: `worker_bytes` counts inputs, products and pixels of a block.
        unsafe {
            let inputs = scratch.cast::<f32>();
            let products = inputs.add(w.block * w.input_floats());
            let pixels = products.add(w.block * w.product_floats());
            let depth = w.panels.k;
            for (i, tile) in tiles.clone().enumerate() {
                let from = self.pixels(tile);
                let to = inputs.add(i * w.input_floats());
                transform_input(level, from.as_ptr(), depth, to, depth + GAP);
            }
            for p in 0..w.panels.count {
                let panel = w.panels.get(p);
                self.multiply(panel, n, inputs, products);
                for (i, tile) in tiles.clone().enumerate() {
                    self.put(
                        panel,
                        tile,
                        products.add(i * w.product_floats()),
                        pixels,
                        worker,
                    );
                }
            }
        }
    }

    /// Where the 36 pixels of a tile are.
    fn pixels(&self, tile: usize) -> [*const f32; POINTS] {
        let s = self.shape;
        let (image, line, pixel) = self.place(tile);
        let base = self.x.wrapping_offset(image as isize * self.strides.image);
        std::array::from_fn(|i| {
            let h = (line + i / 6).wrapping_sub(s.pads[1]);
            let w = (pixel + i % 6).wrapping_sub(s.pads[2]);
            if h < s.input[1] && w < s.input[2] {
                let [_, sh, sw] = self.strides.space;
                base.wrapping_offset(h as isize * sh + w as isize * sw)
            } else {
                self.zeros
            }
        })
    }

    /// Multiplies the points of `n` tiles by a panel of filters.
    ///
    /// # Safety
    /// `inputs` must hold the tiles, `products` have room.
    unsafe fn multiply(&self, panel: Panel, n: usize, inputs: *const f32, products: *mut f32) {
        let w = self.w;
        let functions = kernel::tiles(w.panels.level, panel.nv, false);
        let mr = functions.len();
        let depth = w.panels.k;
        for point in 0..POINTS {
            for i in (0..n).step_by(mr) {
                let n_rows = mr.min(n - i);
                let mut rows = [inputs; MAX_MR];
                for (r, row) in rows.iter_mut().enumerate().take(n_rows) {
                    let at = (i + r) * w.input_floats() + point * (depth + GAP);
                    *row = inputs.wrapping_add(at);
                }
                // SAFETY: rows, filters and products of these tiles and this point.
                unsafe {
                    let at = POINTS * panel.offset + point * depth * panel.width;
                    let c = i * w.product_floats() + point * w.product_stride();
                    functions[n_rows - 1](&Tile {
                        rows: rows.as_ptr(),
                        n_segments: 1,
                        segment: depth,
                        skip: 0,
                        offsets: std::ptr::null(),
                        b: w.filters.as_ptr().add(at),
                        b_stride: panel.width,
                        c: products.add(c),
                        c_stride: w.product_floats(),
                        n_columns: panel.width,
                        start: std::ptr::null(),
                        start_stride: 0,
                        bias: std::ptr::null(),
                        residual: std::ptr::null(),
                        residual_stride: 0,
                        scale: 1.0,
                        low: f32::NEG_INFINITY,
                        high: f32::INFINITY,
                    });
                }
            }
        }
    }

    /// Writes the pixels of a tile.
    ///
    /// # Safety
    /// `products` must hold those of the tile, `pixels` have room for one.
    unsafe fn put(
        &self,
        panel: Panel,
        tile: usize,
        products: *const f32,
        pixels: *mut f32,
        worker: usize,
    ) {
        let (w, s, e) = (self.w, self.shape, &self.epilogue);
        let (image, line, pixel) = self.place(tile);
        let [_, height, width] = s.output;
        let row = (image * height + line) * width + pixel;
        let bounds = e.activation.bounds();
        let is_simple = e.scale == 1.0 && (e.residual.is_null() || !e.residual_last);
        let bounds = bounds.filter(|_| is_simple);
        let (low, high) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let (y, y_pixel, y_line) = match self.output {
            Output::Rows { data, row_stride } => {
                let y = data.wrapping_add(row * row_stride + panel.column);
                (y, row_stride, width * row_stride)
            }
            Output::Columns { .. } | Output::Grid { .. } => {
                (pixels, panel.width, TILE * panel.width)
            }
        };
        let bias = if e.bias.is_null() {
            e.bias
        } else {
            e.bias.wrapping_add(panel.column)
        };
        let target = Target {
            y,
            line: y_line,
            pixel: y_pixel,
            height: TILE.min(height - line),
            width: TILE.min(width - pixel),
            n_columns: panel.n_columns,
            bias: if bounds.is_some() {
                bias
            } else {
                std::ptr::null()
            },
            residual: if bounds.is_some() {
                e.tile_residual(row, panel.column)
            } else {
                std::ptr::null()
            },
            residual_line: width * e.residual_stride,
            residual_pixel: e.residual_stride,
            low,
            high,
        };
        // SAFETY: pixels of the result that exist, columns of the panel.
        unsafe {
            transform_output(w.panels.level, products, w.product_stride(), &target);
            let is_in_place = matches!(self.output, Output::Rows { .. });
            if bounds.is_some() && e.finish.is_none() && is_in_place {
                return;
            }
            for i in 0..target.height {
                let (row, y) = (row + i * width, y.add(i * y_line));
                let (column, n) = (panel.column, panel.n_columns);
                if bounds.is_none() {
                    e.apply_rows(w.panels.level, row, target.width, column, n, y, y_pixel);
                }
                if let Some(finish) = e.finish {
                    finish(FinishedTile {
                        row,
                        n_rows: target.width,
                        column,
                        n_columns: n,
                        data: y,
                        row_stride: y_pixel,
                        batch: 0,
                        worker,
                    });
                }
                if !is_in_place {
                    self.output
                        .place_rows(row, target.width, column, n, y, y_pixel);
                }
            }
        }
    }
}
