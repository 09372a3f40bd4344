//! Elementwise kernels: the tape over blocks of a loop nest.

use super::access::{self, Pattern};
use super::block::{self, Area, Positions, Strided};
use super::error::{Fault, Unsupported};
use super::geometry::{Bump, Dim, Walk, bump_size, coalesce, dims};
use super::program::{CHUNK, Frame, Lane, MAX_BLOCK, Program, Source};
use super::{Cx, Execute, Needs, ops};
use plans::spec::{GatherAxis, MapSpec};
use plans::tape::TapeOp;
use plans::{DType, Tape};
use std::ops::Range;

/// Inner dimensions shorter than this share blocks with the dimension around them.
const SHORT: usize = 512;

/// Elements times steps that a thread should have at least.
const GRAIN: usize = 1 << 15;

/// Where an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Base {
    /// An argument of the step, by position.
    Arg(usize),
    /// So many bytes into the shared region.
    Shared(usize),
}

impl Base {
    /// Where that is in a run.
    pub(crate) fn pointer(self, cx: &Cx<'_>) -> *mut u8 {
        match self {
            Base::Arg(n) => cx.args[n],
            // SAFETY: only kernels that asked for the region name places in it.
            Base::Shared(offset) => unsafe { cx.shared.add(offset) },
        }
    }
}

/// An operand: its type in memory, and where it is.
#[derive(Clone, Debug)]
struct Operand {
    strided: Strided,
    base: Base,
}

struct Input {
    operand: Operand,
    gather: Vec<GatherAxis>,
}

/// A prepared map.
pub(crate) struct Map {
    /// What is walked block by block; strides of the inputs, then of the outputs.
    nest: Vec<Dim>,
    n_blocks: usize,
    /// Extents of the two dimensions inside blocks, and of blocks.
    rows: usize,
    cols: usize,
    block_rows: usize,
    block_cols: usize,
    /// The dimensions of the domain that those are, if positions along them are asked for.
    row_index: Option<u16>,
    col_index: Option<u16>,
    inputs: Vec<Input>,
    outputs: Vec<Operand>,
    program: Program,
    /// Loads and steps an element.
    cost: usize,
}

/// Where the operands of a [`MapSpec`] are, if not at the step's arguments in order.
pub(crate) struct Bases {
    pub(crate) inputs: Vec<Base>,
    pub(crate) outputs: Vec<Base>,
}

impl Map {
    /// A map whose operands are the arguments of the step.
    pub(crate) fn new(spec: &MapSpec) -> Result<Self, Unsupported> {
        let n = spec.inputs.len();
        let bases = Bases {
            inputs: (0..n).map(Base::Arg).collect(),
            outputs: (n..n + spec.outputs.len()).map(Base::Arg).collect(),
        };
        Self::with_bases(spec, bases)
    }

    /// A map whose operands are anywhere.
    pub(crate) fn with_bases(spec: &MapSpec, bases: Bases) -> Result<Self, Unsupported> {
        let operands: Vec<&[i64]> = spec
            .inputs
            .iter()
            .map(|i| i.operand.strides.as_slice())
            .chain(spec.outputs.iter().map(|o| o.strides.as_slice()))
            .collect();
        let n_inputs = spec.inputs.len();
        let indexed = indexed_dims(&spec.tape);
        let empty = spec.domain.contains(&0) || spec.outputs.is_empty();
        let mut nest = if empty {
            vec![]
        } else {
            dims(&spec.domain, &operands, |d| indexed.contains(&d))
        };
        // The first output is written in the order of its memory.
        nest.sort_by_key(|d| {
            std::cmp::Reverse(d.strides.get(n_inputs).map_or(0, |s| s.unsigned_abs()))
        });
        let mut nest = coalesce(nest);

        let unit = |operand: usize| Dim {
            extent: 1,
            strides: vec![0; operand],
            index: None,
        };
        let n_operands = operands.len();
        let col = nest.pop().unwrap_or_else(|| unit(n_operands));
        let transposing = transposed_dim(&nest, &col, n_inputs);
        let row = match transposing {
            Some(d) => nest.remove(d),
            None if col.extent < SHORT && !nest.is_empty() => {
                nest.pop().unwrap_or_else(|| unit(n_operands))
            }
            None => unit(n_operands),
        };

        let is_uniform = |source: Source| match source {
            Source::Input(n) => {
                let n = usize::from(n);
                let indices = spec.inputs[n].gather.iter().map(|g| usize::from(g.index));
                indices
                    .chain([n])
                    .all(|n| row.strides[n] == 0 && col.strides[n] == 0)
            }
            Source::RowScalar(_) => true,
            Source::Index(d) => row.index != Some(d) && col.index != Some(d),
        };
        let area = row.extent.saturating_mul(col.extent);
        let program = Program::compile(&spec.tape, &is_uniform, area.min(MAX_BLOCK))?;
        let block_cols = if transposing.is_some() {
            // About square, so that neither side of the transposition leaves the cache.
            col.extent.min(64.min(program.block / CHUNK).max(CHUNK))
        } else {
            col.extent.min(program.block)
        };
        let block_rows = row.extent.min((program.block / block_cols).max(1));
        let n_blocks = if empty {
            0
        } else {
            nest.iter().map(|d| d.extent).product::<usize>()
                * row.extent.div_ceil(block_rows)
                * col.extent.div_ceil(block_cols)
        };
        let operand = |o: &plans::spec::Operand, n: usize, base: Base| Operand {
            strided: Strided {
                dtype: o.dtype,
                row_stride: row.strides[n],
                col_stride: col.strides[n],
            },
            base,
        };
        let inputs = spec
            .inputs
            .iter()
            .enumerate()
            .map(|(n, i)| Input {
                operand: operand(&i.operand, n, bases.inputs[n]),
                gather: i.gather.clone(),
            })
            .collect();
        let outputs = spec
            .outputs
            .iter()
            .enumerate()
            .map(|(n, o)| operand(o, n_inputs + n, bases.outputs[n]))
            .collect();
        // Blocks are walked as two more dimensions of the nest.
        nest.push(row.blocks(block_rows));
        nest.push(col.blocks(block_cols));
        Ok(Self {
            cost: program.ops.len() + program.loads.len() + 1,
            nest,
            n_blocks,
            rows: row.extent,
            cols: col.extent,
            block_rows,
            block_cols,
            row_index: row.index,
            col_index: col.index,
            inputs,
            outputs,
            program,
        })
    }

    /// Runs the blocks in `range`.
    ///
    /// # Safety
    /// As [`Execute::run`]; `memory` is a worker's.
    unsafe fn run_blocks(&self, cx: &Cx<'_>, range: Range<usize>, memory: *mut u8) {
        // SAFETY: the worker's memory is what `needs` asks for.
        let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
        let positions = bump.zeroed::<usize>(self.nest.len());
        let offsets = bump.zeroed::<isize>(self.inputs.len() + self.outputs.len());
        // SAFETY: the bytes were just taken for the frame.
        let frame = unsafe { Frame::new(&self.program, bump.bytes(self.program.frame_bytes())) };
        let mut walk = Walk::new(&self.nest, range.start, positions, offsets);
        for _ in range {
            // SAFETY: the walk is at a block of the domain.
            unsafe { self.run_block(cx, &frame, &walk) };
            walk.advance();
        }
    }

    /// # Safety
    /// As [`Execute::run`]; the walk is at a block of the domain.
    #[inline]
    unsafe fn run_block(&self, cx: &Cx<'_>, frame: &Frame<'_>, walk: &Walk<'_>) {
        let row = walk.position(self.nest.len() - 2) * self.block_rows;
        let col = walk.position(self.nest.len() - 1) * self.block_cols;
        let area = Area {
            rows: self.block_rows.min(self.rows - row),
            cols: self.block_cols.min(self.cols - col),
        };
        for load in &self.program.loads {
            match load.source {
                Source::Input(n) => {
                    let input = &self.inputs[usize::from(n)];
                    if input.gather.is_empty() {
                        // SAFETY: the block's elements are in the input's reach.
                        unsafe {
                            let at = self.at(cx, walk, usize::from(n), &input.operand);
                            input.operand.strided.load(frame, load, area, at);
                        }
                        continue;
                    }
                    let gather = Gather {
                        map: self,
                        cx,
                        walk,
                        area,
                    };
                    // SAFETY: elements are read at positions that are checked.
                    unsafe { gather.load(usize::from(n), load.uniform, frame.pointer(load.reg)) };
                }
                Source::Index(d) => {
                    let positions = if self.row_index == Some(d) {
                        Positions::Rows(row)
                    } else if self.col_index == Some(d) {
                        Positions::Cols(col)
                    } else {
                        // A dimension of extent 1 is not in the nest: its only position is 0.
                        let at = self.nest.iter().position(|dim| dim.index == Some(d));
                        Positions::Fixed(at.map_or(0, |at| walk.position(at)))
                    };
                    // SAFETY: positions that are the same everywhere are uniform.
                    unsafe { block::load_positions(frame, load, area, positions) };
                }
                // There are none in a map.
                Source::RowScalar(_) => {}
            }
        }
        let outputs = || self.program.results.iter().zip(&self.outputs).enumerate();
        let first = self.inputs.len();
        for (n, (result, output)) in outputs() {
            // SAFETY: the block's elements are in the output's reach.
            let at = unsafe { self.at(cx, walk, first + n, output) };
            output.strided.aim(frame, *result, area, at);
        }
        // SAFETY: registers that point out of the frame have whole chunks there.
        unsafe { ops::run(cx.level, frame, area.n_chunks(), cx.level) };
        for (n, (result, output)) in outputs() {
            // SAFETY: as above; the register holds the block.
            unsafe {
                let at = self.at(cx, walk, first + n, output);
                output.strided.store(frame, *result, area, at);
            }
        }
    }

    /// The first element of an operand's block.
    ///
    /// # Safety
    /// The walk is at a block of the domain, and the operand is affine.
    #[inline]
    unsafe fn at(&self, cx: &Cx<'_>, walk: &Walk<'_>, n: usize, operand: &Operand) -> *mut u8 {
        let offset = walk.offsets[n] * operand.strided.dtype.size() as isize;
        // SAFETY: the element is in the operand's reach.
        unsafe { operand.base.pointer(cx).offset(offset) }
    }
}

/// Elements at positions that other inputs pick.
struct Gather<'a> {
    map: &'a Map,
    cx: &'a Cx<'a>,
    walk: &'a Walk<'a>,
    area: Area,
}

impl Gather<'_> {
    /// # Safety
    /// As [`Execute::run`]; `dst` holds a block, or a chunk if the load is uniform.
    unsafe fn load(&self, n: usize, uniform: bool, dst: *mut u8) {
        let input = &self.map.inputs[n];
        let operand = input.operand.strided;
        let lane = Lane::of(operand.dtype);
        let size = operand.dtype.size() as isize;
        let base = input.operand.base.pointer(self.cx);
        let along_cols = input.gather.iter().any(|g| {
            let index = &self.map.inputs[usize::from(g.index)];
            index.operand.strided.col_stride != 0
        });
        let (rows, cols) = if uniform {
            (1, 1)
        } else {
            (self.area.rows, self.area.cols)
        };
        for r in 0..rows {
            let row_offset = self.walk.offsets[n] + r as isize * operand.row_stride;
            if !along_cols {
                let Some(picked) = self.picked(input, r, 0) else {
                    self.cx.fault.raise(Fault::IndexOutOfRange);
                    return;
                };
                let pattern = Pattern {
                    rows: 1,
                    cols: if uniform { CHUNK } else { cols },
                    row_stride: 0,
                    col_stride: if uniform { 0 } else { operand.col_stride },
                };
                // SAFETY: picked positions lie in their dimensions, so that the elements are in reach.
                unsafe {
                    let at = base.offset((row_offset + picked) * size);
                    access::load(operand.dtype, pattern, at, dst.add(r * cols * lane.size()));
                }
                continue;
            }
            for c in 0..cols {
                let Some(picked) = self.picked(input, r, c) else {
                    self.cx.fault.raise(Fault::IndexOutOfRange);
                    return;
                };
                let offset = row_offset + c as isize * operand.col_stride + picked;
                // SAFETY: as above.
                unsafe {
                    let dst = dst.add((r * cols + c) * lane.size());
                    access::load_one(operand.dtype, base.offset(offset * size), dst);
                }
            }
        }
    }

    /// The offset that the picked positions add for an element of the block; `None` if one is out
    /// of range.
    fn picked(&self, input: &Input, row: usize, col: usize) -> Option<isize> {
        let mut offset = 0;
        for axis in &input.gather {
            let n = usize::from(axis.index);
            let base = self.map.inputs[n].operand.base.pointer(self.cx);
            let index = self.map.inputs[n].operand.strided;
            let element = self.walk.offsets[n]
                + row as isize * index.row_stride
                + col as isize * index.col_stride;
            // SAFETY: the index input is affine and the element one of the domain's, in reach;
            // positions are i32 or i64.
            let position = unsafe {
                if index.dtype == DType::I32 {
                    i64::from(base.cast::<i32>().offset(element).read_unaligned())
                } else {
                    base.cast::<i64>().offset(element).read_unaligned()
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
}

/// The dimensions whose positions a tape asks for.
fn indexed_dims(tape: &Tape) -> Vec<u16> {
    tape.steps
        .iter()
        .filter_map(|s| match s.op {
            TapeOp::Index(d) => Some(d),
            _ => None,
        })
        .collect()
}

/// The dimension of the nest along which an input that strides along `col` is contiguous.
fn transposed_dim(nest: &[Dim], col: &Dim, n_inputs: usize) -> Option<usize> {
    if col.extent < 4 {
        return None;
    }
    (0..n_inputs)
        .filter(|&n| !matches!(col.strides[n], 0 | 1))
        .find_map(|n| {
            nest.iter()
                .rposition(|d| d.strides[n] == 1 && d.extent >= 4)
        })
}

impl Execute for Map {
    fn implementation(&self) -> &'static str {
        "blocks"
    }

    fn needs(&self) -> Needs {
        Needs {
            shared: 0,
            worker: bump_size(self.nest.len() * size_of::<usize>())
                + bump_size((self.inputs.len() + self.outputs.len()) * size_of::<isize>())
                + bump_size(self.program.frame_bytes()),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let block = self.block_rows * self.block_cols * self.cost;
        let grain = GRAIN.div_ceil(block);
        cx.parallel(self.n_blocks, grain, &|range, memory| {
            // SAFETY: the caller's promise; blocks are disjoint.
            unsafe { self.run_blocks(cx, range, memory) };
        });
    }
}
