//! Cuts a product into tasks, blocks and tiles.

use super::epilogue::{Activation, Epilogue, FinishedTile};
use super::kernel::{self, MAX_MR, Tile, TileFn};
use super::pack::{Panel, Panels};
use crate::cpu::level::Level;
use crate::cpu::pool::{Pool, PoolError};

/// Rows of A that a task works on at a time: their pointers and their part of C fit into the
/// first two caches.
const BLOCK_ROWS: usize = 96;

/// Floats of a block of a panel of B: with a block of A it fits into a second-level cache.
const BLOCK_FLOATS: usize = 192 << 10;

/// Multiply-adds that are worth a task: about ten microseconds.
const TASK_MACS: usize = 500_000;

/// Tasks a thread, so that a late thread costs little.
const TASKS_PER_THREAD: usize = 6;

/// Where rows of A are.
pub(crate) trait Rows: Sync {
    /// Writes the pointers of rows `row..row + n`: `n` pointers for every segment in turn.
    ///
    /// # Safety
    /// The rows must exist and `to` have room.
    unsafe fn locate(&self, row: usize, n: usize, to: *mut *const f32);
}

/// Rows at equal distances, one segment each.
#[derive(Clone, Copy)]
pub(crate) struct EvenRows {
    pub(crate) first: *const f32,
    pub(crate) stride: isize,
}

// SAFETY: holds an address only; whoever reads through it promises that it is valid.
unsafe impl Sync for EvenRows {}

impl Rows for EvenRows {
    #[inline]
    unsafe fn locate(&self, row: usize, n: usize, to: *mut *const f32) {
        for i in 0..n {
            // SAFETY: `to` has room for `n` pointers.
            unsafe { *to.add(i) = self.first.wrapping_offset((row + i) as isize * self.stride) };
        }
    }
}

/// Where a result goes.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// Rows of consecutive floats.
    Rows {
        /// The first element.
        data: *mut f32,
        /// Floats from one row to the next, at least the number of columns.
        row_stride: usize,
    },
    /// Columns of consecutive floats (channels first): row `r = i * plane + p` of column `c` is
    /// element `i * image_stride + c * column_stride + p`.
    Columns {
        /// The first element.
        data: *mut f32,
        /// Rows of an image.
        plane: usize,
        /// Floats from one image to the next.
        image_stride: usize,
        /// Floats from one column to the next.
        column_stride: usize,
    },
    /// Rows of consecutive floats at the nodes of a grid: row `((n * D + d) * H + h) * W + w`
    /// is node `first + n * strides[0] + d * strides[1] + h * strides[2] + w * strides[3]` of the
    /// whole. A residual has rows for all nodes; `finish` is told the node as its row.
    Grid {
        /// Node 0 of the whole.
        data: *mut f32,
        /// The node of row 0.
        first: usize,
        /// D, H and W.
        sizes: [usize; 3],
        /// Nodes from one row to the next in each dimension.
        strides: [usize; 4],
        /// Floats from one node to the next.
        node_stride: usize,
    },
}

// SAFETY: holds addresses only; whoever writes through them promises that they are valid.
unsafe impl Sync for Output {}

impl Output {
    /// Copies rows to where they belong.
    ///
    /// # Safety
    /// `from` must hold the rows; the output must have room for them.
    pub(crate) unsafe fn place_rows(
        &self,
        row: usize,
        n_rows: usize,
        column: usize,
        n_columns: usize,
        from: *const f32,
        stride: usize,
    ) {
        for i in 0..n_rows {
            // SAFETY: as the caller promises.
            unsafe {
                let from = from.add(i * stride);
                match *self {
                    Output::Rows { data, row_stride } => {
                        let to = data.add((row + i) * row_stride + column);
                        std::ptr::copy_nonoverlapping(from, to, n_columns);
                    }
                    Output::Columns {
                        data,
                        plane,
                        image_stride,
                        column_stride,
                    } => {
                        let at = (row + i) / plane * image_stride + (row + i) % plane;
                        let to = data.add(at + column * column_stride);
                        for n in 0..n_columns {
                            *to.add(n * column_stride) = *from.add(n);
                        }
                    }
                    Output::Grid {
                        data, node_stride, ..
                    } => {
                        let to = data.add(self.node(row + i) * node_stride + column);
                        std::ptr::copy_nonoverlapping(from, to, n_columns);
                    }
                }
            }
        }
    }

    /// The node of a row of a grid; elsewhere the row itself.
    pub(crate) fn node(&self, row: usize) -> usize {
        let Output::Grid {
            first,
            sizes: [depth, height, width],
            strides,
            ..
        } = *self
        else {
            return row;
        };
        first
            + row / (width * height * depth) * strides[0]
            + row / (width * height) % depth * strides[1]
            + row / width % height * strides[2]
            + row % width * strides[3]
    }
}

/// A product whose right operand is packed.
pub(crate) struct Product<'a, R> {
    pub(crate) rows: &'a R,
    pub(crate) n_rows: usize,
    pub(crate) n_segments: usize,
    pub(crate) segment: usize,
    /// Null, or the offset of every k from a row's pointer; `n_segments` is 1 then.
    pub(crate) offsets: *const i32,
    pub(crate) panels: Panels,
    pub(crate) b: *const f32,
    pub(crate) output: Output,
    pub(crate) epilogue: Epilogue<'a>,
    pub(crate) batch: usize,
    /// Column of output, bias and residual that the first column of B stands for.
    pub(crate) first_column: usize,
}

// SAFETY: addresses that the caller of `run` promises to be valid on any thread.
unsafe impl<R: Sync> Sync for Product<'_, R> {}

/// How a product is cut into tasks; shows in the time only, not in the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Tiles of rows a task.
    pub(crate) rows: usize,
    pub(crate) n_row_chunks: usize,
    pub(crate) panels: usize,
    pub(crate) n_panel_chunks: usize,
}

impl Grid {
    pub(crate) fn new(m: usize, panels: &Panels, n_threads: usize) -> Self {
        let mr = panels.tile_rows();
        // A few rows cost as much as one: B must be read all the same.
        let macs = m.max(4).saturating_mul(panels.k).saturating_mul(panels.n);
        let wanted = if n_threads == 1 {
            1
        } else {
            (macs / TASK_MACS).clamp(1, n_threads * TASKS_PER_THREAD)
        };
        // A large B should pass through the cache few times: few, tall chunks.
        let least_rows = if panels.n_floats() > BLOCK_FLOATS {
            2 * BLOCK_ROWS
        } else {
            2 * mr
        };
        let n_row_chunks = wanted.min(m.div_ceil(least_rows)).max(1);
        let rows = m.div_ceil(n_row_chunks).next_multiple_of(mr);
        let n_row_chunks = m.div_ceil(rows);
        let n_panel_chunks = wanted.div_ceil(n_row_chunks).min(panels.count).max(1);
        let per_chunk = panels.count.div_ceil(n_panel_chunks);
        let n_panel_chunks = panels.count.div_ceil(per_chunk);
        Grid {
            rows,
            n_row_chunks,
            panels: per_chunk,
            n_panel_chunks,
        }
    }

    pub(crate) fn n_tasks(&self) -> usize {
        self.n_row_chunks * self.n_panel_chunks
    }
}

/// Bytes of scratch of one worker for products of rows of `n_segments` segments.
pub(crate) fn worker_bytes(n_segments: usize, panels: &Panels) -> usize {
    let pointers = (BLOCK_ROWS + MAX_MR) * n_segments * size_of::<*const f32>();
    let block = BLOCK_ROWS * panels.widest() * panels.level.lanes() * size_of::<f32>();
    pointers.next_multiple_of(64) + block.next_multiple_of(64)
}

impl<R: Rows> Product<'_, R> {
    /// Computes the product on the threads of `pool`.
    ///
    /// # Errors
    /// [`PoolError::TaskPanicked`] if `finish` panicked.
    ///
    /// # Safety
    /// Every pointer must be valid for what it stands for, the output apart from all operands
    /// (but for the residual, see [`Epilogue`]); `scratch` must be aligned to 64 bytes and hold
    /// [`worker_bytes`] for every thread of the pool; the processor must have the panels' level.
    pub(crate) unsafe fn run(&self, pool: &Pool, scratch: *mut u8) -> Result<(), PoolError> {
        if self.n_rows == 0 || self.panels.n == 0 {
            return Ok(());
        }
        let grid = Grid::new(self.n_rows, &self.panels, pool.n_threads());
        let per_worker = worker_bytes(self.n_segments, &self.panels);
        let scratch = Address(scratch);
        pool.run(grid.n_tasks(), &|task, worker| {
            // SAFETY: worker numbers are below the pool's threads and no two tasks of a worker
            // overlap, so the scratch is this task's alone; tasks write disjoint parts.
            unsafe { self.task(&grid, task, worker, scratch.at(worker * per_worker)) }
        })
    }

    /// Computes task `task` of `grid`.
    ///
    /// # Safety
    /// As for [`run`](Self::run), with the scratch of one worker.
    pub(crate) unsafe fn task(&self, grid: &Grid, task: usize, worker: usize, scratch: *mut u8) {
        // Neighbouring tasks share their rows of A or their panels of B, whichever is larger.
        let (row_chunk, panel_chunk) = (task / grid.n_panel_chunks, task % grid.n_panel_chunks);
        let first_row = row_chunk * grid.rows;
        let end_row = (first_row + grid.rows).min(self.n_rows);
        let first_panel = panel_chunk * grid.panels;
        let end_panel = (first_panel + grid.panels).min(self.panels.count);
        let mr = self.panels.tile_rows();
        let pointers = scratch.cast::<*const f32>();
        let block_rows = BLOCK_ROWS / mr * mr;
        // SAFETY: `worker_bytes` counts the pointers of a block and its part of C.
        unsafe {
            let pointer_bytes = (BLOCK_ROWS + MAX_MR) * self.n_segments * size_of::<*const f32>();
            let block_c = scratch
                .add(pointer_bytes.next_multiple_of(64))
                .cast::<f32>();
            let mut row = first_row;
            while row < end_row {
                let n_rows = block_rows.min(end_row - row);
                for i in (0..n_rows).step_by(mr) {
                    let to = pointers.add(i * self.n_segments);
                    self.rows.locate(row + i, mr.min(n_rows - i), to);
                }
                for p in first_panel..end_panel {
                    self.block(row, n_rows, self.panels.get(p), pointers, block_c, worker);
                }
                row += n_rows;
            }
        }
    }

    /// Computes `n_rows` rows of a panel.
    ///
    /// # Safety
    /// As for [`task`](Self::task); `pointers` must hold those of the rows.
    unsafe fn block(
        &self,
        row: usize,
        n_rows: usize,
        panel: Panel,
        pointers: *const *const f32,
        block_c: *mut f32,
        worker: usize,
    ) {
        let tiles = kernel::tiles(self.panels.level, panel.nv, !self.offsets.is_null());
        let mr = self.panels.tile_rows();
        let column = self.first_column + panel.column;
        let mut e = self.epilogue;
        let (c, c_stride) = match self.output {
            Output::Rows { data, row_stride } => {
                (data.wrapping_add(row * row_stride + column), row_stride)
            }
            Output::Columns { .. } => (block_c, panel.width),
            Output::Grid { .. } => {
                // Rows of the residual lie elsewhere: it comes in when rows are put in place.
                if !e.residual.is_null() {
                    e.activation = Activation::None;
                }
                e.residual = std::ptr::null();
                (block_c, panel.width)
            }
        };
        let (low, high, more) = e.in_registers();
        // SAFETY: `c` and `block_c` have room for the rows of the panel, B for its depth.
        unsafe {
            let base = Tile {
                rows: pointers,
                n_segments: self.n_segments,
                segment: self.segment,
                skip: 0,
                offsets: self.offsets,
                b: self.b.add(panel.offset),
                b_stride: panel.width,
                c,
                c_stride,
                n_columns: panel.n_columns,
                start: std::ptr::null(),
                start_stride: panel.width,
                bias: if e.bias.is_null() {
                    e.bias
                } else {
                    e.bias.add(column)
                },
                residual: std::ptr::null(),
                residual_stride: e.residual_stride,
                scale: e.scale,
                low,
                high,
            };
            let sweep = Sweep {
                level: self.panels.level,
                e: &e,
                row,
                n_rows,
                column,
                mr,
                more,
            };
            let depth_limit = BLOCK_FLOATS / panel.width;
            if self.panels.k <= depth_limit || n_rows <= 2 * mr || !self.offsets.is_null() {
                sweep.whole_depth(tiles, &base);
            } else {
                sweep.in_depth_blocks(tiles, &base, depth_limit, block_c);
            }
            match self.output {
                Output::Grid {
                    data, node_stride, ..
                } => {
                    let column = data.add(column);
                    self.place_rows(column, node_stride, row, n_rows, panel, c, worker);
                }
                Output::Rows { .. } => self.finish(row, n_rows, panel, c, c_stride, worker),
                Output::Columns { .. } => {
                    self.finish(row, n_rows, panel, c, c_stride, worker);
                    self.output
                        .place_rows(row, n_rows, column, panel.n_columns, c, c_stride);
                }
            }
        }
    }

    fn finish(
        &self,
        row: usize,
        n_rows: usize,
        panel: Panel,
        data: *mut f32,
        row_stride: usize,
        worker: usize,
    ) {
        if let Some(finish) = self.epilogue.finish {
            finish(FinishedTile {
                row,
                n_rows,
                column: self.first_column + panel.column,
                n_columns: panel.n_columns,
                data,
                row_stride,
                batch: self.batch,
                worker,
            });
        }
    }

    /// Copies rows of a panel to the nodes of a grid whose node 0 has the panel's first column at
    /// `to`.
    ///
    /// # Safety
    /// As for [`block`](Self::block); `c` must hold the rows.
    #[allow(clippy::too_many_arguments, reason = "a rectangle of a result")]
    unsafe fn place_rows(
        &self,
        to: *mut f32,
        node_stride: usize,
        row: usize,
        n_rows: usize,
        panel: Panel,
        c: *const f32,
        worker: usize,
    ) {
        let column = self.first_column + panel.column;
        for i in 0..n_rows {
            let node = self.output.node(row + i);
            // SAFETY: the row is one of the result's.
            unsafe {
                let to = to.add(node * node_stride);
                std::ptr::copy_nonoverlapping(c.add(i * panel.width), to, panel.n_columns);
                if !self.epilogue.residual.is_null() {
                    let rest = Epilogue {
                        scale: 1.0,
                        bias: std::ptr::null(),
                        ..self.epilogue
                    };
                    let level = self.panels.level;
                    rest.apply_rows(level, node, 1, column, panel.n_columns, to, 0);
                }
                self.finish(node, 1, panel, to, node_stride, worker);
            }
        }
    }
}

/// Rows of a panel on their way through the tile kernels.
struct Sweep<'a> {
    level: Level,
    e: &'a Epilogue<'a>,
    /// First row and column of the result.
    row: usize,
    column: usize,
    n_rows: usize,
    mr: usize,
    /// Whether the epilogue is more than tiles do.
    more: bool,
}

impl Sweep<'_> {
    /// Runs one tile that completes its elements.
    ///
    /// # Safety
    /// The tile's pointers must be valid; row `i` must be its first.
    #[inline]
    unsafe fn last(&self, tiles: &[TileFn], mut tile: Tile, i: usize, n: usize) {
        tile.residual = self.e.tile_residual(self.row + i, self.column);
        // SAFETY: as the caller promises.
        unsafe {
            tiles[n - 1](&tile);
            if self.more {
                let (c, stride) = (tile.c, tile.c_stride);
                let row = self.row + i;
                self.e
                    .finish_rows(self.level, row, n, self.column, tile.n_columns, c, stride);
            }
        }
    }

    /// One tile after another down the rows; `base` describes the first.
    ///
    /// # Safety
    /// As for [`Product::block`].
    unsafe fn whole_depth(&self, tiles: &[TileFn], base: &Tile) {
        for i in (0..self.n_rows).step_by(self.mr) {
            let n = self.mr.min(self.n_rows - i);
            // SAFETY: rows i to i + n are among those that the caller promises.
            unsafe {
                let mut tile = *base;
                // The pointers of a tile follow those of the tiles before it.
                tile.rows = base.rows.add(i * base.n_segments);
                tile.c = base.c.add(i * base.c_stride);
                self.last(tiles, tile, i, n);
            }
        }
    }

    /// The same over one block of K of at most `limit` after another: partial sums wait in
    /// `block_c`.
    ///
    /// # Safety
    /// As for [`Product::block`].
    unsafe fn in_depth_blocks(
        &self,
        tiles: &[TileFn],
        base: &Tile,
        limit: usize,
        block_c: *mut f32,
    ) {
        // Either whole segments or even parts of one.
        let (segments, depth) = if base.segment > limit {
            (1, base.segment.div_ceil(base.segment.div_ceil(limit)))
        } else {
            let n_blocks = (base.n_segments * base.segment).div_ceil(limit);
            (base.n_segments.div_ceil(n_blocks), base.segment)
        };
        let width = base.b_stride;
        let mut segment = 0;
        let mut skip = 0;
        while segment < base.n_segments {
            let n_segments = segments.min(base.n_segments - segment);
            let depth = depth.min(base.segment - skip);
            let is_first = segment == 0 && skip == 0;
            let is_last = segment + n_segments == base.n_segments && skip + depth == base.segment;
            let at = segment * base.segment + skip;
            for i in (0..self.n_rows).step_by(self.mr) {
                let n = self.mr.min(self.n_rows - i);
                // SAFETY: rows, segments and depth are within those that the caller promises.
                unsafe {
                    let partial = block_c.add(i * width);
                    let tile = Tile {
                        rows: base.rows.add(i * base.n_segments + segment * n),
                        n_segments,
                        segment: depth,
                        skip,
                        b: base.b.add(at * width),
                        start: if is_first {
                            std::ptr::null()
                        } else {
                            partial.cast_const()
                        },
                        c: base.c.add(i * base.c_stride),
                        ..*base
                    };
                    if is_last {
                        self.last(tiles, tile, i, n);
                    } else {
                        tiles[n - 1](&Tile {
                            c: partial,
                            c_stride: width,
                            bias: std::ptr::null(),
                            scale: 1.0,
                            low: f32::NEG_INFINITY,
                            high: f32::INFINITY,
                            ..tile
                        });
                    }
                }
            }
            skip += depth;
            if skip == base.segment {
                skip = 0;
                segment += n_segments;
            }
        }
    }
}

/// An address that may go to other threads.
#[derive(Clone, Copy)]
pub(crate) struct Address(pub(crate) *mut u8);

// SAFETY: an address alone; whoever uses it promises that the memory is theirs.
unsafe impl Sync for Address {}
// SAFETY: as above.
unsafe impl Send for Address {}

impl Address {
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }
}
