//! Reductions and normalisations along rows.
//!
//! A block holds columns of some rows. Its neighbouring lanes are columns of a row or, where that
//! is how memory lies, rows of a column; the folds know both.

use super::block::{self, Area, Positions, Strided};
use super::error::Unsupported;
use super::fold::{Fold, Lanes, State};
use super::geometry::{Bump, Dim, Walk, bump_size, coalesce, dims};
use super::program::{CHUNK, Frame, Lane, Load, MAX_BLOCK, Program, Source};
use super::{Cx, Execute, Needs, access, ops};
use plans::spec::{Phase, RowSpec};
use plans::tape::TapeOp;
use plans::{DType, Tape};
use std::ops::Range;

/// Rows shorter than this share blocks.
const SHORT: usize = 512;

/// Elements times steps that a thread should have at least.
const GRAIN: usize = 1 << 15;

/// What is computed from the elements of a block.
struct ElementTape {
    program: Program,
    /// What becomes of its results; `None`: they are stored.
    fold: Option<Fold>,
    /// The first row scalar that it gives.
    scalar: usize,
}

/// What happens along a row.
enum Stage {
    Elements(ElementTape),
    Scalars {
        program: Program,
        /// The first row scalar that it gives.
        scalar: usize,
    },
}

/// A prepared reduction.
pub(crate) struct Row {
    /// Rows, the last dimension in blocks; strides of inputs, element outputs, row outputs.
    row_nest: Vec<Dim>,
    /// Columns, the last dimension in blocks; the same strides and then that of the column's number.
    column_nest: Vec<Dim>,
    n_row_blocks: usize,
    n_column_blocks: usize,
    /// The dimensions inside of blocks.
    row: Dim,
    column: Dim,
    block_rows: usize,
    block_columns: usize,
    /// Whether neighbouring lanes are rows.
    lanes_are_rows: bool,
    n_inputs: usize,
    inputs: Vec<Strided>,
    element_outputs: Vec<Strided>,
    /// Which row scalar, its type, the stride along the block's rows.
    row_outputs: Vec<(usize, DType, isize)>,
    n_scalars: usize,
    stages: Vec<Stage>,
    frame_bytes: usize,
    cost: usize,
    /// Domain dimensions that are rows.
    n_row_dims: usize,
}

impl Row {
    pub(crate) fn new(spec: &RowSpec) -> Result<Self, Unsupported> {
        let n_inputs = spec.inputs.len();
        let (n_row_dims, n_column_dims) = (spec.rows.len(), spec.columns.len());
        let n_operands = n_inputs + spec.element_outputs.len() + spec.row_outputs.len();
        let elementwise = spec.inputs.iter().chain(&spec.element_outputs);
        let indexed = indexed_dims(spec);

        let row_strides: Vec<&[i64]> = elementwise
            .clone()
            .map(|o| &o.strides[..n_row_dims])
            .chain(spec.row_outputs.iter().map(|(_, o)| o.strides.as_slice()))
            .collect();
        let mut number_strides = vec![0i64; n_column_dims];
        let mut distance = 1u64;
        for (d, &extent) in spec.columns.iter().enumerate().rev() {
            number_strides[d] = distance as i64;
            distance = distance.saturating_mul(extent.max(1));
        }
        let zeros = vec![0i64; n_column_dims];
        let column_strides: Vec<&[i64]> = elementwise
            .map(|o| &o.strides[n_row_dims..])
            .chain(spec.row_outputs.iter().map(|_| zeros.as_slice()))
            .chain([number_strides.as_slice()])
            .collect();

        let no_rows = spec.rows.contains(&0);
        let no_columns = spec.columns.contains(&0);
        let mut row_nest = if no_rows {
            vec![]
        } else {
            dims(&spec.rows, &row_strides, |d| indexed.contains(&d))
        };
        let mut column_nest = if no_columns {
            vec![]
        } else {
            let shift = n_row_dims as u16;
            let mut nest = dims(&spec.columns, &column_strides, |d| {
                indexed.contains(&(d + shift))
            });
            for dim in &mut nest {
                dim.index = dim.index.map(|d| d + shift);
            }
            nest
        };
        let first_stride = |d: &Dim| d.strides.first().map_or(0, |s| s.unsigned_abs());
        row_nest.sort_by_key(|d| std::cmp::Reverse(first_stride(d)));
        if !has_positions(spec) {
            column_nest.sort_by_key(|d| std::cmp::Reverse(first_stride(d)));
        }
        let mut row_nest = coalesce(row_nest);
        let mut column_nest = coalesce(column_nest);

        let unit = |n: usize| Dim {
            extent: 1,
            strides: vec![0; n],
            index: None,
        };
        let column = column_nest.pop().unwrap_or_else(|| unit(n_operands + 1));
        let lanes_are_rows = !spec.inputs.is_empty()
            && column.extent > 1
            && column.strides[0].unsigned_abs() != 1
            && row_nest
                .last()
                .is_some_and(|d| d.strides[0] == 1 && d.extent > 1);
        let shares_blocks = lanes_are_rows || (column_nest.is_empty() && column.extent < SHORT);
        let row = if shares_blocks {
            row_nest.pop().unwrap_or_else(|| unit(n_operands))
        } else {
            unit(n_operands)
        };
        let several_rows = row.extent > 1;

        let is_uniform = |source: Source| match source {
            Source::Input(n) => {
                let n = usize::from(n);
                row.strides[n] == 0 && column.strides[n] == 0
            }
            Source::RowScalar(_) => !several_rows,
            Source::Index(d) => row.index != Some(d) && column.index != Some(d),
        };
        let area = row.extent.saturating_mul(column.extent).min(MAX_BLOCK);
        let scalar_types = spec
            .row_scalars()
            .map_err(|error| Unsupported(error.to_string()))?;
        let mut n_scalars = 0;
        let mut stages = vec![];
        for phase in &spec.phases {
            match phase {
                Phase::Fold { tape, fold } => {
                    let program = Program::compile(tape, &is_uniform, area)?;
                    let dtype = tape.steps[usize::from(tape.results[0].0)].dtype;
                    stages.push(Stage::Elements(ElementTape {
                        program,
                        fold: Some(Fold { kind: *fold, dtype }),
                        scalar: n_scalars,
                    }));
                    n_scalars += 1;
                }
                Phase::Row { tape } => {
                    let program = Program::compile(tape, &|_| false, MAX_BLOCK)?;
                    stages.push(Stage::Scalars {
                        program,
                        scalar: n_scalars,
                    });
                    n_scalars += tape.results.len();
                }
            }
        }
        if !spec.element_outputs.is_empty() {
            let program = Program::compile(&spec.element_tape, &is_uniform, area)?;
            stages.push(Stage::Elements(ElementTape {
                program,
                fold: None,
                scalar: n_scalars,
            }));
        }

        let programs = || {
            stages.iter().map(|s| match s {
                Stage::Elements(e) => &e.program,
                Stage::Scalars { program, .. } => program,
            })
        };
        let block = programs().map(|p| p.block).min().unwrap_or(CHUNK);
        let (block_rows, block_columns) = if lanes_are_rows {
            let rows = row.extent.min((block / 4).max(CHUNK));
            (rows, column.extent.min((block / rows).max(1)))
        } else {
            let columns = column.extent.min(block);
            (row.extent.min((block / columns).max(1)), columns)
        };
        let frame_bytes = programs()
            .map(|p| bump_size(p.frame_bytes()))
            .sum::<usize>();
        let cost = programs()
            .map(|p| p.ops.len() + p.loads.len() + 1)
            .sum::<usize>();

        let product = |nest: &[Dim]| nest.iter().map(|d| d.extent).product::<usize>();
        let n_row_blocks = if no_rows {
            0
        } else {
            product(&row_nest) * row.extent.div_ceil(block_rows)
        };
        let n_column_blocks = if no_columns {
            0
        } else {
            product(&column_nest) * column.extent.div_ceil(block_columns)
        };
        row_nest.push(row.blocks(block_rows));
        column_nest.push(column.blocks(block_columns));

        let strided = |n: usize, dtype: DType| {
            let (row_stride, col_stride) = if lanes_are_rows {
                (column.strides[n], row.strides[n])
            } else {
                (row.strides[n], column.strides[n])
            };
            Strided {
                dtype,
                row_stride,
                col_stride,
            }
        };
        let inputs = (0..n_inputs)
            .map(|n| strided(n, spec.inputs[n].dtype))
            .collect();
        let element_outputs = (0..spec.element_outputs.len())
            .map(|n| strided(n_inputs + n, spec.element_outputs[n].dtype))
            .collect();
        let first_row_output = n_inputs + spec.element_outputs.len();
        let row_outputs = spec
            .row_outputs
            .iter()
            .enumerate()
            .map(|(n, (scalar, _))| {
                let scalar = usize::from(*scalar);
                let stride = row.strides[first_row_output + n];
                (scalar, scalar_types[scalar], stride)
            })
            .collect();
        Ok(Self {
            row_nest,
            column_nest,
            n_row_blocks,
            n_column_blocks,
            row,
            column,
            block_rows,
            block_columns,
            lanes_are_rows,
            n_inputs,
            inputs,
            element_outputs,
            row_outputs,
            n_scalars,
            stages,
            frame_bytes,
            cost,
            n_row_dims,
        })
    }

    fn n_operands(&self) -> usize {
        self.n_inputs + self.element_outputs.len() + self.row_outputs.len()
    }

    /// Lanes that a row scalar has room for: those of a block, up to the end of a chunk.
    fn scalar_lanes(&self) -> usize {
        self.block_rows.next_multiple_of(CHUNK)
    }

    /// # Safety
    /// As [`Execute::run`]; `memory` is a worker's.
    unsafe fn run_blocks(&self, cx: &Cx<'_>, range: Range<usize>, memory: *mut u8) {
        // SAFETY: the worker's memory is what `needs` asks for.
        let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
        let row_positions = bump.zeroed::<usize>(self.row_nest.len());
        let row_offsets = bump.zeroed::<isize>(self.n_operands());
        let column_positions = bump.zeroed::<usize>(self.column_nest.len());
        let column_offsets = bump.zeroed::<isize>(self.n_operands() + 1);
        let scalars = bump.zeroed::<i64>(self.n_scalars * self.scalar_lanes());
        let values = bump.zeroed::<i64>(self.scalar_lanes());
        let positions = bump.zeroed::<i64>(self.scalar_lanes());
        let mut rows = Rows {
            row: self,
            cx,
            walk: Walk::new(&self.row_nest, range.start, row_positions, row_offsets),
            column_positions,
            column_offsets,
            scalars: scalars.as_mut_ptr(),
            state: State {
                values: values.as_mut_ptr().cast(),
                positions: positions.as_mut_ptr(),
            },
            frames: bump.bytes(self.frame_bytes),
        };
        for _ in range {
            // SAFETY: the walk is at a block of rows.
            unsafe { rows.run_block() };
            rows.walk.advance();
        }
    }
}

/// The rows that one thread works on.
struct Rows<'a> {
    row: &'a Row,
    cx: &'a Cx<'a>,
    walk: Walk<'a>,
    column_positions: &'a mut [usize],
    column_offsets: &'a mut [isize],
    /// The row scalars of the block, each `scalar_lanes` times 8 bytes.
    scalars: *mut i64,
    state: State,
    frames: *mut u8,
}

impl Rows<'_> {
    /// # Safety
    /// As [`Execute::run`]; the walk is at a block of rows.
    unsafe fn run_block(&mut self) {
        let row = self.row;
        let first_row = self.walk.position(row.row_nest.len() - 1) * row.block_rows;
        let n_rows = row.block_rows.min(row.row.extent - first_row);
        let mut frames = self.frames;
        for stage in &row.stages {
            let program = match stage {
                Stage::Elements(e) => &e.program,
                Stage::Scalars { program, .. } => program,
            };
            // SAFETY: `frames` has room for the frames of all stages.
            let frame = unsafe {
                let frame = Frame::new(program, frames);
                frames = frames.add(bump_size(program.frame_bytes()));
                frame
            };
            // SAFETY: the caller's promise.
            unsafe {
                match stage {
                    Stage::Scalars { scalar, .. } => self.run_scalars(&frame, *scalar, n_rows),
                    Stage::Elements(e) => self.run_columns(e, &frame, first_row, n_rows),
                }
            }
        }
        let first = row.n_inputs + row.element_outputs.len();
        for (n, &(scalar, dtype, stride)) in row.row_outputs.iter().enumerate() {
            let strided = Strided {
                dtype,
                row_stride: 0,
                col_stride: stride,
            };
            let area = Area {
                rows: 1,
                cols: n_rows,
            };
            let offset = self.walk.offsets[first + n] * dtype.size() as isize;
            // SAFETY: the rows' elements are in the output's reach.
            unsafe {
                let at = self.cx.args[first + n].offset(offset);
                let lanes = self.scalar(scalar).cast_const().cast();
                access::store(dtype, strided.pattern(area), lanes, at);
            }
        }
    }

    /// The lanes of a row scalar.
    fn scalar(&self, n: usize) -> *mut i64 {
        debug_assert!(n < self.row.n_scalars);
        // SAFETY: scalars are numbered by the prepared stages.
        unsafe { self.scalars.add(n * self.row.scalar_lanes()) }
    }

    /// Arithmetic on row scalars, a row a lane.
    ///
    /// # Safety
    /// The frame is that of a stage of this row, which gives scalars from `first` on.
    unsafe fn run_scalars(&self, frame: &Frame<'_>, first: usize, n_rows: usize) {
        let program = frame.program;
        // A program's registers may hold fewer rows than a block.
        for start in (0..n_rows).step_by(program.block) {
            let n = program.block.min(n_rows - start);
            for load in &program.loads {
                if let Source::RowScalar(scalar) = load.source {
                    let size = Lane::of(load.dtype).size();
                    let lanes = self.scalar(usize::from(scalar)).cast::<u8>();
                    // SAFETY: scalars have room for the chunks of all rows.
                    frame.point(load.reg, unsafe { lanes.add(start * size) });
                }
            }
            // SAFETY: every register has room for the chunks of `n` rows.
            unsafe { ops::run(self.cx.level, frame, n.div_ceil(CHUNK), self.cx.level) };
            for (k, result) in program.results.iter().enumerate() {
                let register = &program.registers[usize::from(result.reg)];
                let size = register.lane.size();
                // SAFETY: the scalar has room for all rows; the register has `n`, or a chunk.
                unsafe {
                    let dst = self.scalar(first + k).cast::<u8>().add(start * size);
                    let src = frame.pointer(result.reg);
                    if register.uniform {
                        access::splat(register.lane, src, n, dst);
                    } else {
                        std::ptr::copy(src, dst, n * size);
                    }
                }
            }
        }
    }

    /// A tape over all columns of the block's rows.
    ///
    /// # Safety
    /// As [`Execute::run`]; the frame is that of the tape.
    unsafe fn run_columns(
        &mut self,
        stage: &ElementTape,
        frame: &Frame<'_>,
        first_row: usize,
        n_rows: usize,
    ) {
        let row = self.row;
        if let Some(fold) = stage.fold {
            // SAFETY: the state has room for the rows of a block.
            unsafe { fold.start(n_rows, self.state) };
        }
        let mut columns = Walk::new(
            &row.column_nest,
            0,
            self.column_positions,
            self.column_offsets,
        );
        for _ in 0..row.n_column_blocks {
            let first_column = columns.position(row.column_nest.len() - 1) * row.block_columns;
            let n_columns = row.block_columns.min(row.column.extent - first_column);
            let area = if row.lanes_are_rows {
                Area {
                    rows: n_columns,
                    cols: n_rows,
                }
            } else {
                Area {
                    rows: n_rows,
                    cols: n_columns,
                }
            };
            let block = Block {
                row,
                cx: self.cx,
                rows: &self.walk,
                columns: &columns,
                scalars: self.scalars,
                first_row,
                first_column,
                area,
            };
            // SAFETY: both walks are at a block of the domain; registers that point out of the
            // frame have whole chunks there.
            unsafe {
                block.load(frame);
                block.aim(stage, frame);
                ops::run(self.cx.level, frame, area.n_chunks(), self.cx.level);
                match stage.fold {
                    Some(fold) => block.fold(fold, frame, self.state, [n_rows, n_columns]),
                    None => block.store(frame),
                }
            }
            columns.advance();
        }
        if let Some(fold) = stage.fold {
            let dst = self.scalar(stage.scalar).cast();
            // SAFETY: state and scalar have room for the rows of a block.
            unsafe { fold.finish(n_rows, self.state, dst) };
        }
    }
}

/// Some columns of some rows.
struct Block<'a> {
    row: &'a Row,
    cx: &'a Cx<'a>,
    rows: &'a Walk<'a>,
    columns: &'a Walk<'a>,
    scalars: *mut i64,
    first_row: usize,
    first_column: usize,
    area: Area,
}

impl Block<'_> {
    /// The block's first element of operand `n`.
    ///
    /// # Safety
    /// The operand is an input or an element output; the walks are at a block of the domain.
    unsafe fn at(&self, n: usize, dtype: DType) -> *mut u8 {
        let offset = self.rows.offsets[n] + self.columns.offsets[n];
        // SAFETY: the element is in the argument's reach.
        unsafe { self.cx.args[n].offset(offset * dtype.size() as isize) }
    }

    /// # Safety
    /// As [`Execute::run`].
    unsafe fn load(&self, frame: &Frame<'_>) {
        for load in &frame.program.loads {
            match load.source {
                Source::Input(n) => {
                    let input = self.row.inputs[usize::from(n)];
                    // SAFETY: the block's elements are in the input's reach.
                    unsafe {
                        let at = self.at(usize::from(n), input.dtype);
                        input.load(frame, load, self.area, at);
                    }
                }
                Source::RowScalar(n) => self.load_scalar(frame, load, usize::from(n)),
                Source::Index(d) => {
                    // SAFETY: positions that are the same everywhere are uniform.
                    unsafe {
                        block::load_positions(frame, load, self.area, self.positions(d));
                    }
                }
            }
        }
    }

    /// Positions along dimension `d` of the domain.
    fn positions(&self, d: u16) -> Positions {
        let row = self.row;
        if row.row.index == Some(d) {
            return if row.lanes_are_rows {
                Positions::Cols(self.first_row)
            } else {
                Positions::Rows(self.first_row)
            };
        }
        if row.column.index == Some(d) {
            return if row.lanes_are_rows {
                Positions::Rows(self.first_column)
            } else {
                Positions::Cols(self.first_column)
            };
        }
        let (nest, walk) = if usize::from(d) < row.n_row_dims {
            (&row.row_nest, self.rows)
        } else {
            (&row.column_nest, self.columns)
        };
        // A dimension of extent 1 is in neither nest: its only position is 0.
        let at = nest.iter().position(|dim| dim.index == Some(d));
        Positions::Fixed(at.map_or(0, |at| walk.position(at)))
    }

    /// Spreads a row scalar over the block.
    fn load_scalar(&self, frame: &Frame<'_>, load: &Load, n: usize) {
        let lane = Lane::of(load.dtype);
        // SAFETY: scalars are numbered by the prepared stages; the registers hold a block, or a
        // chunk if they are uniform.
        unsafe {
            let scalar = self
                .scalars
                .add(n * self.row.scalar_lanes())
                .cast::<u8>()
                .cast_const();
            let register = frame.pointer(load.reg);
            if load.uniform {
                access::splat(lane, scalar, CHUNK, register);
                return;
            }
            let (rows, cols) = (self.area.rows, self.area.cols);
            for r in 0..rows {
                let dst = register.add(r * cols * lane.size());
                if self.row.lanes_are_rows {
                    std::ptr::copy_nonoverlapping(scalar, dst, cols * lane.size());
                } else {
                    access::splat(lane, scalar.add(r * lane.size()), cols, dst);
                }
            }
        }
    }

    /// Points the registers of stored results at their places, where they may lie there.
    ///
    /// # Safety
    /// As [`Execute::run`].
    unsafe fn aim(&self, stage: &ElementTape, frame: &Frame<'_>) {
        if stage.fold.is_some() {
            return;
        }
        let results = frame.program.results.iter().zip(&self.row.element_outputs);
        for (n, (result, output)) in results.enumerate() {
            // SAFETY: the block's elements are in the output's reach.
            let at = unsafe { self.at(self.row.n_inputs + n, output.dtype) };
            output.aim(frame, *result, self.area, at);
        }
    }

    /// # Safety
    /// As [`Execute::run`]; the registers of the results hold the block.
    unsafe fn store(&self, frame: &Frame<'_>) {
        let results = frame.program.results.iter().zip(&self.row.element_outputs);
        for (n, (result, output)) in results.enumerate() {
            // SAFETY: the block's elements are in the output's reach.
            unsafe {
                let at = self.at(self.row.n_inputs + n, output.dtype);
                output.store(frame, *result, self.area, at);
            }
        }
    }

    /// # Safety
    /// The register of the result holds the block; the state has its rows.
    unsafe fn fold(
        &self,
        fold: Fold,
        frame: &Frame<'_>,
        state: State,
        [n_rows, n_columns]: [usize; 2],
    ) {
        let reg = frame.program.results[0].reg;
        let register = &frame.program.registers[usize::from(reg)];
        let first = self.columns.offsets[self.row.n_operands()] as usize;
        let lanes = |at: *const u8, columns: usize| {
            let (row_step, column_step) = match (register.uniform, self.row.lanes_are_rows) {
                (true, _) => (0, 1),
                (false, true) => (1, n_rows),
                (false, false) => (n_columns, 1),
            };
            Lanes {
                at,
                rows: n_rows,
                columns,
                row_step,
                column_step,
            }
        };
        let at = frame.pointer(reg).cast_const();
        // SAFETY: the caller's promise; a uniform register holds a chunk of equal lanes.
        unsafe {
            if !register.uniform {
                fold.block(self.cx.level, lanes(at, n_columns), first, state);
                return;
            }
            for c in (0..n_columns).step_by(CHUNK) {
                fold.block(
                    self.cx.level,
                    lanes(at, CHUNK.min(n_columns - c)),
                    first + c,
                    state,
                );
            }
        }
    }
}

fn has_positions(spec: &RowSpec) -> bool {
    spec.phases
        .iter()
        .any(|p| matches!(p, Phase::Fold { fold, .. } if fold.is_position()))
}

/// The dimensions whose positions any tape asks for.
fn indexed_dims(spec: &RowSpec) -> Vec<u16> {
    let folds = spec.phases.iter().map(|p| match p {
        Phase::Fold { tape, .. } | Phase::Row { tape } => tape,
    });
    folds
        .chain([&spec.element_tape])
        .flat_map(|tape: &Tape| &tape.steps)
        .filter_map(|s| match s.op {
            TapeOp::Index(d) => Some(d),
            _ => None,
        })
        .collect()
}

impl Execute for Row {
    fn implementation(&self) -> &'static str {
        "blocks of rows"
    }

    fn needs(&self) -> Needs {
        let numbers = |n: usize| bump_size(n * 8);
        Needs {
            shared: 0,
            worker: numbers(self.row_nest.len())
                + numbers(self.n_operands())
                + numbers(self.column_nest.len())
                + numbers(self.n_operands() + 1)
                + numbers(self.n_scalars * self.scalar_lanes())
                + 2 * numbers(self.scalar_lanes())
                + bump_size(self.frame_bytes),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let columns = self.n_column_blocks * self.block_columns;
        let block = (self.block_rows * columns * self.cost).max(1);
        cx.parallel(
            self.n_row_blocks,
            GRAIN.div_ceil(block),
            &|range, memory| {
                // SAFETY: the caller's promise; blocks of rows are disjoint.
                unsafe { self.run_blocks(cx, range, memory) };
            },
        );
    }
}
