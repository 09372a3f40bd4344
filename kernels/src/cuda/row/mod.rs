//! Reductions and normalisations along rows.
//!
//! A few threads share a row, or a few blocks do where there are fewer long rows than
//! multiprocessors. Where a row fits into their registers it is read once, however often it is
//! folded. Neighbouring threads take neighbouring elements: columns of a row, or rows where these lie
//! side by side. Sums are always taken in the same order.

mod emit;

use super::dims::{self, Dim};
use super::source::{self, Width};
use super::{Generated, Refused, Target};
use plans::DType;
use plans::Tape;
use plans::spec::{KernelSpec, Phase, RowSpec};
use plans::tape::TapeOp;
use serde::{Deserialize, Serialize};

/// A point of the config space of row kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RowSchedule {
    /// Threads that share a row.
    pub lanes: u32,
    /// Rows of a block.
    pub rows: u32,
    /// Whether neighbouring threads have neighbouring rows rather than neighbouring columns.
    pub across: bool,
    /// Columns that a thread takes at once.
    pub vector: u32,
    /// Whether threads keep their columns in registers from fold to fold.
    pub held: bool,
    /// Blocks that share a row.
    pub splits: u32,
}

/// The most registers of a thread that hold columns, by the threads of its block.
fn most_held(threads: u32) -> u64 {
    match threads {
        ..=256 => 96,
        257..=512 => 64,
        _ => 28,
    }
}

/// Bytes of a row from which blocks share it, if there are too few rows.
const LONG_ROW: u64 = 64 << 10;

/// The spec with its dimensions in the order of memory.
struct Shape<'a> {
    spec: &'a RowSpec,
    rows: Vec<Dim>,
    columns: Vec<Dim>,
    n_rows: u64,
    n_columns: u64,
    width: Width,
    /// Which inputs the tapes of the folds need.
    folded: Vec<bool>,
    /// Which inputs the element tape needs.
    finished: Vec<bool>,
}

impl<'a> Shape<'a> {
    fn of(spec: &'a RowSpec) -> Self {
        let n = spec.rows.len();
        let whole: Vec<&[i64]> = spec
            .inputs
            .iter()
            .chain(&spec.element_outputs)
            .map(|o| o.strides.as_slice())
            .collect();
        let none = vec![0; spec.columns.len()];
        let by_row: Vec<&[i64]> = whole
            .iter()
            .map(|s| &s[..n])
            .chain(spec.row_outputs.iter().map(|(_, o)| o.strides.as_slice()))
            .collect();
        let by_column: Vec<&[i64]> = whole
            .iter()
            .map(|s| &s[n..])
            .chain(spec.row_outputs.iter().map(|_| none.as_slice()))
            .collect();
        let folds = || {
            spec.phases.iter().filter_map(|phase| match phase {
                Phase::Fold { tape, fold } => Some((tape, fold)),
                Phase::Row { .. } => None,
            })
        };
        let tapes = || folds().map(|(t, _)| t).chain([&spec.element_tape]);
        let is_asked = |d: usize| {
            let mut steps = tapes().flat_map(|t: &Tape| &t.steps);
            steps.any(|s| matches!(s.op, TapeOp::Index(i) if usize::from(i) == d))
        };
        let mut rows = dims::dims(&spec.rows, &by_row, &is_asked);
        let mut columns = dims::dims(&spec.columns, &by_column, &|d| is_asked(n + d));
        for dim in &mut columns {
            dim.index = dim.index.map(|d| n + d);
        }
        let main = main_operand(spec, &whole);
        dims::sort(&mut rows, main);
        // Positions count columns in their own order.
        if folds().all(|(_, fold)| !fold.is_position()) {
            dims::sort(&mut columns, main);
        }
        let n_inputs = spec.inputs.len();
        let mut folded = vec![false; n_inputs];
        for (tape, _) in folds() {
            for (all, one) in folded
                .iter_mut()
                .zip(super::tape::used_inputs(tape, n_inputs))
            {
                *all |= one;
            }
        }
        let n_elements: u64 = spec.domain().iter().product();
        Self {
            spec,
            rows: dims::merged(&rows),
            columns: dims::merged(&columns),
            n_rows: spec.rows.iter().product(),
            n_columns: spec.columns.iter().product(),
            width: Width::of(&spec.args(), n_elements),
            folded,
            finished: super::tape::used_inputs(&spec.element_tape, n_inputs),
        }
    }

    fn n_inputs(&self) -> usize {
        self.spec.inputs.len()
    }

    /// The element outputs among the arguments.
    fn outputs(&self) -> std::ops::Range<usize> {
        self.n_inputs()..self.n_inputs() + self.spec.element_outputs.len()
    }

    fn dtype(&self, operand: usize) -> DType {
        match operand.checked_sub(self.n_inputs()) {
            None => self.spec.inputs[operand].dtype,
            Some(n) => match n.checked_sub(self.spec.element_outputs.len()) {
                None => self.spec.element_outputs[n].dtype,
                Some(n) => self.spec.row_outputs[n].1.dtype,
            },
        }
    }

    /// Whether the operand's element depends on the column.
    fn has_columns(&self, operand: usize) -> bool {
        self.columns.iter().any(|dim| dim.strides[operand] != 0)
    }

    /// The operands that are walked over columns.
    fn walked(&self) -> impl Iterator<Item = usize> {
        let is_read = |o: usize| o >= self.n_inputs() || self.folded[o] || self.finished[o];
        (0..self.outputs().end).filter(move |&o| is_read(o) && self.has_columns(o))
    }

    /// Whether each group of `vector` columns lies side by side in the operand, at a multiple of
    /// their size after its start.
    fn is_aligned(&self, operand: usize, vector: u32) -> bool {
        let multiple = |dim: &Dim| dim.strides[operand] % i64::from(vector) == 0;
        self.columns.split_last().is_some_and(|(last, outer)| {
            last.strides[operand] == 1 && outer.iter().chain(&self.rows).all(multiple)
        })
    }

    /// How many columns a thread can take at once.
    fn vector(&self) -> u32 {
        let last = self.columns.last().map_or(1, |dim| dim.extent);
        let sizes = self.walked().filter(|&o| self.is_aligned(o, 1));
        let most = sizes.map(|o| self.dtype(o).size() as u32).max();
        let mut vector = (16 / most.unwrap_or(16)).min(8);
        let fits = |vector: u32| {
            last.is_multiple_of(vector.into()) && self.walked().any(|o| self.is_aligned(o, vector))
        };
        while vector > 1 && !fits(vector) {
            vector /= 2;
        }
        vector
    }

    /// Whether more bytes lie side by side along rows than along columns.
    fn is_across(&self) -> bool {
        let side = |dims: &[Dim]| -> usize {
            let Some(last) = dims.last() else { return 0 };
            self.walked()
                .filter(|&o| last.strides[o].unsigned_abs() == 1)
                .map(|o| self.dtype(o).size())
                .sum()
        };
        side(&self.rows) > side(&self.columns)
    }

    /// Which inputs a thread keeps: those that are folded and walked over columns.
    fn held_inputs(&self) -> Vec<usize> {
        self.walked()
            .filter(|&o| o < self.n_inputs() && self.folded[o])
            .collect()
    }

    /// Bytes of all columns of a row that are read.
    fn row_bytes(&self) -> u64 {
        let inputs = self.walked().filter(|&o| o < self.n_inputs());
        let element: usize = inputs.map(|o| self.dtype(o).size()).sum();
        self.n_columns * element as u64
    }

    /// Groups of columns that threads take.
    fn n_items(&self, vector: u32) -> u64 {
        self.n_columns / u64::from(vector)
    }

    /// Items of one of the blocks that share a row, a multiple of the lanes.
    fn chunk(&self, s: &RowSchedule) -> u64 {
        let lanes = u64::from(s.lanes);
        self.n_items(s.vector)
            .div_ceil(u64::from(s.splits) * lanes)
            .max(1)
            * lanes
    }

    /// Registers that hold a thread's columns.
    fn held_registers(&self, s: &RowSchedule) -> u64 {
        let items = self.chunk(s) / u64::from(s.lanes);
        let inputs = self.held_inputs();
        let bytes: usize = inputs.into_iter().map(|o| self.dtype(o).size()).sum();
        items * u64::from(s.vector) * (bytes as u64).div_ceil(4)
    }

    /// A schedule with the given threads, its columns held if they fit.
    fn schedule(&self, lanes: u32, rows: u32, across: bool, splits: u32) -> RowSchedule {
        let vector = if across { 1 } else { self.vector() };
        let mut s = RowSchedule {
            lanes,
            rows,
            across,
            vector,
            held: false,
            splits,
        };
        let n_folds = self
            .spec
            .phases
            .iter()
            .filter(|p| matches!(p, Phase::Fold { .. }))
            .count();
        let again = n_folds > 1 || self.outputs().end > self.n_inputs();
        // Blocks that share rows fold in a launch each, between which nothing is kept.
        s.held = splits == 1 && self.held_registers(&s) <= most_held(lanes * rows);
        s.held &= again || self.held_registers(&s) <= 32;
        s
    }
}

/// The operand whose order of dimensions counts most: the largest input that is not repeated.
fn main_operand(spec: &RowSpec, strides: &[&[i64]]) -> usize {
    let domain = spec.domain();
    let walked = |o: &usize| -> u64 {
        let dims = domain.iter().zip(strides[*o]);
        let moved = dims.filter(|&(_, s)| *s != 0).map(|(&n, _)| n.max(1));
        moved.product()
    };
    // The first of the largest.
    (0..strides.len())
        .rev()
        .max_by_key(walked)
        .unwrap_or_default()
}

/// The points of the config space, the one that is thought best first.
pub fn config_space(spec: &RowSpec, target: &Target) -> Vec<RowSchedule> {
    let shape = Shape::of(spec);
    let mut space = vec![best(&shape, target)];
    let across = shape.is_across();
    for lanes in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
        for rows in [1, 2, 4, 8, 16, 32] {
            let shared = lanes > 32 && rows > 1 && !across;
            if shared
                || !(32..=1024).contains(&(lanes * rows))
                || u64::from(lanes) > 2 * shape.n_columns.max(1)
            {
                continue;
            }
            let s = shape.schedule(lanes, rows, across, 1);
            if !space.contains(&s) {
                space.push(s);
            }
        }
    }
    space
}

fn best(shape: &Shape<'_>, target: &Target) -> RowSchedule {
    let n_sms = u64::from(target.n_sms);
    let n_threads = n_sms * 1024;
    let power = |n: u64| n.max(1).next_power_of_two().min(1024) as u32;
    let mut lanes;
    let rows;
    let across = shape.is_across();
    if across {
        rows = power(shape.n_rows).min(32);
        lanes = power(shape.n_columns.div_ceil(8)).min(8);
        let groups = shape.n_rows.div_ceil(rows.into());
        while u64::from(lanes) * 2 <= shape.n_columns
            && lanes * rows < 1024
            && groups * u64::from(lanes * rows) < n_threads
        {
            lanes *= 2;
        }
        lanes = lanes.max(32 / rows);
    } else {
        let items = shape.n_items(shape.vector());
        lanes = power(items).min(32);
        while u64::from(lanes) < items
            && lanes < 1024
            && (items > 8 * u64::from(lanes) || shape.n_rows * u64::from(lanes) < n_threads / 2)
        {
            lanes *= 2;
        }
        // Halves of a block only wait for each other.
        let is_few = shape.n_rows * u64::from(lanes) < n_sms * 128;
        let threads = if is_few { 32 } else { 128 };
        rows = (threads / lanes).max(1);
    }
    let groups = shape.n_rows.div_ceil(rows.into());
    let steps = shape.n_items(if across { 1 } else { shape.vector() }) / u64::from(lanes);
    let is_long = shape.row_bytes() * u64::from(if across { rows } else { 1 }) > LONG_ROW;
    let mut splits = 1;
    if is_long && 2 * groups <= n_sms && steps >= 16 {
        splits = (2 * n_sms / groups).min(steps / 8).min(64) as u32;
    }
    shape.schedule(lanes, rows, across, splits)
}

/// Device code by the schedule that is thought best.
pub(super) fn generate(spec: &RowSpec, target: &Target) -> Result<Generated, Refused> {
    generate_with(spec, &best(&Shape::of(spec), target))
}

/// Device code by a schedule of the config space.
///
/// # Errors
///
/// If the schedule is not one for this kernel.
pub fn generate_with(spec: &RowSpec, schedule: &RowSchedule) -> Result<Generated, Refused> {
    let s = schedule;
    let threads = s.lanes.saturating_mul(s.rows);
    let is_grouped = s.lanes.is_power_of_two() && (s.across || s.lanes <= 32 || s.rows == 1);
    if !is_grouped || !threads.is_multiple_of(32) || threads == 0 || threads > 1024 || s.splits == 0
    {
        return Err(Refused(format!(
            "{} threads a row, {} rows a block and {} blocks a row are no schedule",
            s.lanes, s.rows, s.splits
        )));
    }
    let shape = Shape::of(spec);
    let is_vector = s.vector == 1 || !s.across && s.vector <= shape.vector();
    if !s.vector.is_power_of_two() || !is_vector || s.held && s.splits > 1 {
        return Err(Refused(format!(
            "rows are not read by {} columns",
            s.vector
        )));
    }
    let json = serde_json::to_string(s).map_err(|e| Refused(e.to_string()))?;
    if shape.n_rows == 0 {
        let extras = source::Extras::default();
        return Ok(source::generated("", vec![], extras, json));
    }
    let blocks = shape.n_rows.div_ceil(s.rows.into()) * u64::from(s.splits);
    let blocks = u32::try_from(blocks)
        .ok()
        .filter(|&b| b < 1 << 31)
        .ok_or_else(|| Refused(format!("a row kernel of {blocks} blocks")))?;
    let args = KernelSpec::Row(spec.clone()).args();
    let emitter = emit::Emitter::new(&shape, s)?;
    let extras = emitter.extras();
    let mut code = String::new();
    let mut launches = vec![];
    for (n, body) in emitter.bodies().into_iter().enumerate() {
        let name = if n == 0 {
            "row".to_owned()
        } else {
            format!("row{n}")
        };
        code.push_str(&source::function(&name, &args, extras, threads, 0, &body));
        launches.push(source::launch_after(&name, [blocks, 1, 1], threads));
    }
    Ok(source::generated(&code, launches, extras, json))
}
