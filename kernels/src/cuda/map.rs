//! Elementwise kernels.
//!
//! A thread computes a few elements that are neighbours in the outputs. Operands that have them side
//! by side are accessed with up to 16 bytes at once, where the address at hand allows it. Inputs
//! whose neighbours lie along another dimension are transposed in shared memory, tile by tile.

use super::dims::{self, Dim};
use super::source::{self, Extras, START, Width};
use super::tape::{self, Scope, c_type, compute_type};
use super::{Generated, Refused, Target};
use plans::DType;
use plans::spec::{KernelSpec, MapSpec};
use plans::tape::TapeOp;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// A point of the config space of elementwise kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MapSchedule {
    /// Threads compute `vector` neighbours, `items` times, `threads` times `vector` elements apart.
    Flat {
        /// Threads of a block.
        threads: u32,
        /// Neighbours.
        vector: u32,
        /// How often.
        items: u32,
    },
    /// Blocks of 256 threads compute tiles of `across` elements along the outputs' fastest dimension
    /// and `along` elements along the fastest dimension of transposed inputs.
    Tiles {
        /// Elements along the outputs' fastest dimension.
        across: u32,
        /// Elements along the inputs'.
        along: u32,
    },
}

const TILE_THREADS: u32 = 256;

/// Both sides of a transposition are at least this long where it goes through shared memory.
const LEAST_SIDE: u64 = 8;

/// The spec with its dimensions in the order of the outputs' memory.
struct Shape<'a> {
    spec: &'a MapSpec,
    dims: Vec<Dim>,
    /// Which inputs are read: those that the tape needs, and those that pick their positions.
    used: Vec<bool>,
    width: Width,
    n: u64,
}

impl<'a> Shape<'a> {
    fn of(spec: &'a MapSpec) -> Self {
        let operands: Vec<&[i64]> = spec
            .inputs
            .iter()
            .map(|i| i.operand.strides.as_slice())
            .chain(spec.outputs.iter().map(|o| o.strides.as_slice()))
            .collect();
        let asked: Vec<u16> = spec
            .tape
            .steps
            .iter()
            .filter_map(|s| match s.op {
                TapeOp::Index(d) => Some(d),
                _ => None,
            })
            .collect();
        let is_asked = |d: usize| asked.iter().any(|&a| usize::from(a) == d);
        let mut all = dims::dims(&spec.domain, &operands, &is_asked);
        if !spec.outputs.is_empty() {
            dims::sort(&mut all, spec.inputs.len());
        }
        let n: u64 = spec.domain.iter().product();
        Self {
            spec,
            dims: dims::merged(&all),
            used: tape::used_inputs(&spec.tape, spec.inputs.len()),
            width: Width::of(&spec.args(), n),
            n,
        }
    }

    fn dtype(&self, operand: usize) -> DType {
        match operand.checked_sub(self.spec.inputs.len()) {
            None => self.spec.inputs[operand].operand.dtype,
            Some(n) => self.spec.outputs[n].dtype,
        }
    }

    fn outputs(&self) -> std::ops::Range<usize> {
        let n = self.spec.inputs.len();
        n..n + self.spec.outputs.len()
    }

    /// The stride along the last dimension.
    fn inner(&self, operand: usize) -> i64 {
        self.dims.last().map_or(0, |dim| dim.strides[operand])
    }

    /// Whether each group of `vector` neighbours along the last dimension lies side by side in the
    /// operand, at a multiple of their size after its start.
    fn is_aligned(&self, operand: usize, vector: u32) -> bool {
        let multiple = |stride: &i64| stride % i64::from(vector) == 0;
        let gathers = self.spec.inputs.get(operand);
        let outer = self.dims.split_last().map_or(&[][..], |(_, outer)| outer);
        self.inner(operand) == 1
            && outer.iter().all(|dim| multiple(&dim.strides[operand]))
            && gathers.is_none_or(|i| i.gather.iter().all(|g| multiple(&g.stride)))
    }

    /// Whether the operand lies as the outputs do when these are taken as flat.
    fn is_flat(&self, operand: usize) -> bool {
        let gathers = self.spec.inputs.get(operand);
        gathers.is_none_or(|i| i.gather.is_empty()) && dims::is_dense(&self.dims, operand)
    }

    /// Whether positions are whole groups of `vector` along the last dimension.
    fn has_groups(&self, vector: u32) -> bool {
        let last = self.dims.last().map_or(1, |dim| dim.extent);
        last.is_multiple_of(vector.into())
    }

    /// How many neighbours a thread computes.
    fn vector(&self) -> u32 {
        if self.spec.outputs.is_empty() || self.outputs().any(|o| self.inner(o) != 1) {
            return 1;
        }
        let sides = (0..self.outputs().end)
            .filter(|&o| o >= self.outputs().start || self.used[o])
            .filter(|&o| self.inner(o) == 1)
            .map(|o| self.dtype(o).size() as u32);
        let most = (16 / sides.max().unwrap_or(16)).min(8);
        let mut vector = most;
        while vector > 1 {
            let grouped =
                self.has_groups(vector) && self.outputs().all(|o| self.is_aligned(o, vector));
            let flat = vector == most && self.outputs().all(|o| self.is_flat(o));
            if grouped || flat {
                return vector;
            }
            vector /= 2;
        }
        1
    }

    /// The dimension along which most bytes of inputs lie side by side, if it is not the outputs'.
    fn transposed(&self) -> Option<usize> {
        let last = self.dims.len().checked_sub(1)?;
        if self.outputs().any(|o| self.inner(o) != 1) || self.dims[last].extent < LEAST_SIDE {
            return None;
        }
        let side = |d: usize| -> usize {
            (0..self.spec.inputs.len())
                .filter(|&o| self.is_staged(o, d))
                .map(|o| self.dtype(o).size())
                .sum()
        };
        let best = (0..last).max_by_key(|&d| side(d))?;
        let pays = side(best) > 0 && self.dims[best].extent >= LEAST_SIDE;
        pays.then_some(best)
    }

    /// Whether the input has its neighbours along dimension `d`.
    fn is_staged(&self, input: usize, d: usize) -> bool {
        let affine = self.spec.inputs[input].gather.is_empty();
        let apart = self.inner(input).unsigned_abs() >= LEAST_SIDE;
        affine && apart && self.used[input] && self.dims[d].strides[input] == 1
    }
}

/// The points of the config space, the one that is thought best first.
pub fn config_space(spec: &MapSpec, target: &Target) -> Vec<MapSchedule> {
    let shape = Shape::of(spec);
    let mut space = vec![];
    if let Some(d) = shape.transposed() {
        let last = shape.dims.len() - 1;
        let side = |n: u64| (n.next_power_of_two() as u32).clamp(8, 32);
        space.push(MapSchedule::Tiles {
            across: side(shape.dims[last].extent),
            along: side(shape.dims[d].extent),
        });
        space.push(MapSchedule::Tiles {
            across: 64,
            along: 32,
        });
    }
    let vector = shape.vector();
    let per_sm = shape
        .n
        .div_ceil(u64::from(vector) * u64::from(target.n_sms));
    let threads = (per_sm.next_power_of_two() as u32).clamp(32, 256);
    let items = if per_sm >= 2 * 2048 { 2 } else { 1 };
    space.push(MapSchedule::Flat {
        threads,
        vector,
        items,
    });
    for items in [1, 2, 4] {
        for threads in [64, 128, 256, 512] {
            space.push(MapSchedule::Flat {
                threads,
                vector,
                items,
            });
        }
    }
    let mut seen = vec![];
    space.retain(|s| {
        let new = !seen.contains(s);
        seen.push(*s);
        new
    });
    space
}

/// Device code by the schedule that is thought best.
pub(super) fn generate(spec: &MapSpec, target: &Target) -> Result<Generated, Refused> {
    let space = config_space(spec, target);
    let schedule = space
        .first()
        .ok_or_else(|| Refused("an elementwise kernel without a schedule".to_owned()))?;
    generate_with(spec, schedule)
}

/// Device code by a schedule of the config space.
///
/// # Errors
///
/// If the schedule is not one for this kernel.
pub fn generate_with(spec: &MapSpec, schedule: &MapSchedule) -> Result<Generated, Refused> {
    let shape = Shape::of(spec);
    let extras = Extras {
        may_fault: spec.inputs.iter().any(|i| !i.gather.is_empty()),
        ..Extras::default()
    };
    let json = serde_json::to_string(schedule).map_err(|e| Refused(e.to_string()))?;
    if shape.n == 0 || spec.outputs.is_empty() {
        return Ok(source::generated("", vec![], extras, json));
    }
    let (body, blocks, threads) = match *schedule {
        MapSchedule::Flat {
            threads,
            vector,
            items,
        } => {
            let (body, blocks) = flat(&shape, threads, vector, items)?;
            (body, blocks, threads)
        }
        MapSchedule::Tiles { across, along } => {
            let (body, blocks) = tiles(&shape, across, along)?;
            (body, blocks, TILE_THREADS)
        }
    };
    let blocks = u32::try_from(blocks)
        .ok()
        .filter(|&b| b < 1 << 31)
        .ok_or_else(|| Refused(format!("an elementwise kernel of {blocks} blocks")))?;
    let args = KernelSpec::Map(spec.clone()).args();
    let code = source::function("map", &args, extras, threads, 0, &body);
    let launches = vec![source::launch("map", [blocks, 1, 1], threads)];
    Ok(source::generated(&code, launches, extras, json))
}

/// How the elements of one position are addressed.
struct At<'a> {
    shape: &'a Shape<'a>,
    /// The position along each dimension.
    positions: &'a [String],
    /// What the names of this element's constants end with.
    suffix: &'a str,
}

impl At<'_> {
    fn offset(&self, operand: usize) -> String {
        let positions = self.positions.iter().map(String::as_str);
        let strides = self.shape.dims.iter().map(|dim| dim.strides[operand]);
        source::offset(positions.zip(strides), self.shape.width)
    }

    /// Statements that find where the input's element is, gathers included; gives the offset.
    fn input_offset(&self, input: usize, out: &mut String) -> String {
        let affine = self.offset(input);
        let gather = &self.shape.spec.inputs[input].gather;
        if gather.is_empty() {
            return affine;
        }
        let (signed, suffix) = (self.shape.width.signed(), self.suffix);
        let mut sum = affine;
        for (n, axis) in gather.iter().enumerate() {
            let by = usize::from(axis.index);
            let name = format!("g{input}_{n}{suffix}");
            let stride = self.shape.width.literal(axis.stride);
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "const {signed} {name} = picked(a{by}[{}], {}ll, fault);",
                self.offset(by),
                axis.len
            );
            let _ = write!(sum, " + {name} * {stride}");
        }
        sum
    }

    /// Whether no element can be picked from the input.
    fn is_empty(&self, input: usize) -> bool {
        let gather = &self.shape.spec.inputs[input].gather;
        gather.iter().any(|axis| axis.len == 0)
    }

    /// The element of an input, loaded by itself.
    fn load(&self, input: usize, out: &mut String) -> String {
        let dtype = self.shape.dtype(input);
        if self.is_empty(input) {
            // Writing to a string does not fail.
            let _ = writeln!(out, "*fault = FAULT_POSITION;");
            return tape::zero(dtype);
        }
        let offset = self.input_offset(input, out);
        tape::load(dtype, &format!("a{input}"), &offset)
    }
}

/// The element type of the flat position, and the position of the thread's item.
fn flat(
    shape: &Shape<'_>,
    threads: u32,
    vector: u32,
    items: u32,
) -> Result<(String, u64), Refused> {
    let grouped = shape.has_groups(vector) && shape.outputs().all(|o| shape.is_aligned(o, vector));
    let is_flat = vector > 1 && !grouped && shape.outputs().all(|o| shape.is_flat(o));
    if vector > 1 && !grouped && !is_flat {
        return Err(Refused(format!(
            "the outputs do not hold {vector} neighbours side by side"
        )));
    }
    let (width, unsigned) = (shape.width, shape.width.unsigned());
    let n_items = shape.n.div_ceil(vector.into());
    let blocks = n_items.div_ceil(u64::from(threads) * u64::from(items));
    let mut body = START.to_owned();
    let is_vector = |operand: usize| {
        vector > 1
            && if grouped {
                shape.is_aligned(operand, vector)
            } else {
                shape.is_flat(operand)
            }
    };
    // Writing to a string does not fail.
    for o in (0..shape.outputs().end).filter(|&o| is_vector(o)) {
        if o >= shape.outputs().start || shape.used[o] {
            let bytes = vector as usize * shape.dtype(o).size();
            let _ = writeln!(body, "const bool aligned{o} = is_aligned<{bytes}>(a{o});");
        }
    }
    let _ = writeln!(
        body,
        "#pragma unroll\nfor (int i = 0; i < {items}; i++) {{\n\
         const {unsigned} item = ({unsigned})blockIdx.x * {}u + i * {threads}u + threadIdx.x;\n\
         if (item < {n_items}u{}) {{",
        threads * items,
        if width == Width::Bits64 { "ll" } else { "" }
    );
    if vector == 1 {
        scalar_item(shape, &mut body);
    } else if grouped {
        grouped_item(shape, vector, &is_vector, &mut body);
    } else {
        flat_item(shape, vector, &is_vector, &mut body);
    }
    body.push_str("}\n}\n");
    Ok((body, blocks))
}

/// One element a thread.
fn scalar_item(shape: &Shape<'_>, body: &mut String) {
    let positions = source::split("item", &dims::extents(&shape.dims), "p", shape.width, body);
    element(shape, &positions, body);
}

/// Statements that compute the element at a position by itself.
fn element(shape: &Shape<'_>, positions: &[String], body: &mut String) {
    let at = At {
        shape,
        positions,
        suffix: "",
    };
    let values = load_all(shape, &at, &|_| None, body);
    let results = compute(shape, positions, &values, body);
    for (o, result) in shape.outputs().zip(results) {
        let store = tape::store(shape.dtype(o), &format!("a{o}"), &at.offset(o), &result);
        let _ = writeln!(body, "{store}");
    }
}

/// The elements of all inputs that the tape needs: those that `known` gives, or loaded here.
fn load_all(
    shape: &Shape<'_>,
    at: &At<'_>,
    known: &dyn Fn(usize) -> Option<String>,
    body: &mut String,
) -> Vec<String> {
    let load = |input: usize| {
        if !shape.used[input] {
            return String::new();
        }
        if let Some(value) = known(input) {
            return value;
        }
        let value = at.load(input, body);
        let name = format!("x{input}{}", at.suffix);
        let _ = writeln!(
            body,
            "const {} {name} = {value};",
            compute_type(shape.dtype(input))
        );
        name
    };
    (0..shape.spec.inputs.len()).map(load).collect()
}

/// Statements that run the tape; gives its results.
fn compute(
    shape: &Shape<'_>,
    positions: &[String],
    values: &[String],
    body: &mut String,
) -> Vec<String> {
    let index = |d: u16| {
        let dim = shape
            .dims
            .iter()
            .position(|dim| dim.index == Some(usize::from(d)));
        dim.map_or_else(|| "0".to_owned(), |dim| positions[dim].clone())
    };
    let scope = Scope {
        input: &|n| values[usize::from(n)].clone(),
        row_scalar: &|_| String::new(),
        index: &index,
    };
    tape::emit(&shape.spec.tape, &scope, "t", body)
}

/// A group of neighbours along the last dimension.
fn grouped_item(
    shape: &Shape<'_>,
    vector: u32,
    is_vector: &dyn Fn(usize) -> bool,
    body: &mut String,
) {
    let last = shape.dims.len() - 1;
    let mut extents = dims::extents(&shape.dims);
    extents[last] /= u64::from(vector);
    let mut positions = source::split("item", &extents, "p", shape.width, body);
    if extents[last] != 1 {
        let start = format!("{} * {vector}", positions[last]);
        let _ = writeln!(body, "const {} start = {start};", shape.width.signed());
        positions[last] = "start".to_owned();
    }
    let at = At {
        shape,
        positions: &positions,
        suffix: "",
    };
    // Inputs that all neighbours share, or that lie side by side, are loaded before.
    let mut known: Vec<Option<String>> = vec![None; shape.spec.inputs.len()];
    for input in (0..shape.spec.inputs.len()).filter(|&i| shape.used[i]) {
        let dtype = shape.dtype(input);
        let moves_with = |operand: usize| shape.inner(operand) != 0;
        let gather = &shape.spec.inputs[input].gather;
        let picks_each = gather.iter().any(|g| moves_with(g.index.into()));
        if at.is_empty(input) || picks_each {
            continue;
        }
        if is_vector(input) {
            let offset = at.input_offset(input, body);
            let _ = writeln!(
                body,
                "const auto v{input} = load_vector<{vector}>(a{input} + ({offset}), aligned{input});"
            );
            known[input] = Some(tape::from_memory(dtype, &format!("v{input}.at[j]")));
        } else if !moves_with(input) {
            let value = at.load(input, body);
            let ctype = compute_type(dtype);
            let _ = writeln!(body, "const {ctype} x{input} = {value};");
            known[input] = Some(format!("x{input}"));
        }
    }
    for o in shape.outputs() {
        let ctype = c_type(shape.dtype(o));
        let _ = writeln!(body, "Vector<{ctype}, {vector}> v{o};");
    }
    let _ = writeln!(
        body,
        "#pragma unroll\nfor (int j = 0; j < {vector}; j++) {{"
    );
    let mut each = positions.clone();
    each[last] = if each[last] == "0" {
        "j".to_owned()
    } else {
        format!("({} + j)", each[last])
    };
    let at_each = At {
        shape,
        positions: &each,
        suffix: "_",
    };
    let values = load_all(shape, &at_each, &|i| known[i].clone(), body);
    let results = compute(shape, &each, &values, body);
    for (o, result) in shape.outputs().zip(results) {
        let value = tape::to_memory(shape.dtype(o), &result);
        let _ = writeln!(body, "v{o}.at[j] = {value};");
    }
    body.push_str("}\n");
    for o in shape.outputs() {
        let offset = at.offset(o);
        let _ = writeln!(body, "store_vector(a{o} + ({offset}), v{o}, aligned{o});");
    }
}

/// Neighbours in the flat outputs, which may end in the middle of the last group.
fn flat_item(shape: &Shape<'_>, vector: u32, is_vector: &dyn Fn(usize) -> bool, body: &mut String) {
    let unsigned = shape.width.unsigned();
    let long = if shape.width == Width::Bits64 {
        "ll"
    } else {
        ""
    };
    let n = shape.n;
    let _ = writeln!(body, "const {unsigned} start = item * {vector}u;");
    let inputs = |vectors: bool| {
        (0..shape.spec.inputs.len()).filter(move |&i| shape.used[i] && is_vector(i) == vectors)
    };
    for input in inputs(true) {
        let _ = writeln!(
            body,
            "const auto v{input} = load_head<{vector}>(a{input} + start, {n}u{long} - start, aligned{input});"
        );
    }
    for o in shape.outputs() {
        let ctype = c_type(shape.dtype(o));
        let _ = writeln!(body, "Vector<{ctype}, {vector}> v{o};");
    }
    let is_whole = n.is_multiple_of(vector.into());
    let _ = writeln!(
        body,
        "#pragma unroll\nfor (int j = 0; j < {vector}; j++) {{\n\
         const {unsigned} flat = {};",
        if is_whole {
            "start + j".to_owned()
        } else {
            format!("minimum(start + j, {}u{long})", n - 1)
        }
    );
    let positions = source::split("flat", &dims::extents(&shape.dims), "p", shape.width, body);
    let at = At {
        shape,
        positions: &positions,
        suffix: "",
    };
    let known = |input: usize| {
        let value = format!("v{input}.at[j]");
        is_vector(input).then(|| tape::from_memory(shape.dtype(input), &value))
    };
    let values = load_all(shape, &at, &known, body);
    let results = compute(shape, &positions, &values, body);
    for (o, result) in shape.outputs().zip(results) {
        let value = tape::to_memory(shape.dtype(o), &result);
        let _ = writeln!(body, "v{o}.at[j] = {value};");
    }
    body.push_str("}\n");
    for o in shape.outputs() {
        let _ = writeln!(
            body,
            "store_head(a{o} + start, v{o}, {n}u{long} - start, aligned{o});"
        );
    }
}

/// Tiles over the outputs' fastest dimension and that of transposed inputs.
fn tiles(shape: &Shape<'_>, across: u32, along: u32) -> Result<(String, u64), Refused> {
    let d = shape
        .transposed()
        .ok_or_else(|| Refused("no input is transposed".to_owned()))?;
    let last = shape.dims.len() - 1;
    let (width, signed) = (shape.width, shape.width.signed());
    let staged: Vec<usize> = (0..shape.spec.inputs.len())
        .filter(|&i| shape.is_staged(i, d))
        .collect();
    let mut grid = dims::extents(&shape.dims);
    let (n_across, n_along) = (grid[last], grid[d]);
    grid[last] = n_across.div_ceil(across.into());
    grid[d] = n_along.div_ceil(along.into());
    let blocks = grid.iter().product();

    let mut body = String::new();
    for &i in &staged {
        let ctype = c_type(shape.dtype(i));
        let _ = writeln!(body, "SHARED {ctype} s{i}[{across}][{}];", along + 1);
    }
    body.push_str(START);
    let _ = writeln!(body, "const {0} block = ({0})blockIdx.x;", width.unsigned());
    let mut positions = source::split("block", &grid, "p", width, &mut body);
    for (dim, size, name) in [(last, across, "across"), (d, along, "along")] {
        let first = match positions[dim].as_str() {
            "0" => "0".to_owned(),
            tile => format!("{tile} * {size}"),
        };
        let _ = writeln!(body, "const {signed} first_{name} = {first};");
        positions[dim] = format!("(first_{name} + {name})");
    }
    let elements = across * along;
    let loop_start = format!(
        "#pragma unroll\nfor (int i = 0; i < {}; i++) {{\n\
         const int e = i * {TILE_THREADS} + threadIdx.x;\n",
        elements.div_ceil(TILE_THREADS)
    );
    let mut inside =
        format!("first_across + across < {n_across} && first_along + along < {n_along}");
    if !elements.is_multiple_of(TILE_THREADS) {
        let _ = write!(inside, " && e < {elements}");
    }
    let at = At {
        shape,
        positions: &positions,
        suffix: "",
    };
    let _ = writeln!(
        body,
        "{loop_start}const int along = e % {along}, across = e / {along};\nif ({inside}) {{"
    );
    for &i in &staged {
        let _ = writeln!(body, "s{i}[across][along] = a{i}[{}];", at.offset(i));
    }
    let _ = writeln!(
        body,
        "}}\n}}\n__syncthreads();\n\
         {loop_start}const int across = e % {across}, along = e / {across};\nif ({inside}) {{"
    );
    let known = |input: usize| {
        let value = format!("s{input}[across][along]");
        staged
            .contains(&input)
            .then(|| tape::from_memory(shape.dtype(input), &value))
    };
    let values = load_all(shape, &at, &known, &mut body);
    let results = compute(shape, &positions, &values, &mut body);
    for (o, result) in shape.outputs().zip(results) {
        let store = tape::store(shape.dtype(o), &format!("a{o}"), &at.offset(o), &result);
        let _ = writeln!(body, "{store}");
    }
    body.push_str("}\n}\n");
    Ok((body, blocks))
}
