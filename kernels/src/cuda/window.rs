//! Folds over sliding windows.
//!
//! A thread computes a strip of outputs along one dimension: windows that overlap there share what
//! they read. Neighbouring threads have outputs that are neighbours in memory. Small windows are
//! written out tap by tap.

use super::dims::{self, Dim};
use super::source::{self, Extras, START, Width};
use super::tape::{self, Scope, compute_type};
use super::{Generated, Refused, Target};
use plans::DType;
use plans::spec::{KernelSpec, WindowFold, WindowSpec};
use plans::tape::BinaryFn;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// A point of the config space of window kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WindowSchedule {
    /// Threads of a block.
    pub threads: u32,
    /// Outputs of a thread.
    pub strip: u32,
    /// Whether taps are written out rather than walked by loops; strips are.
    pub unrolled: bool,
}

/// The most elements that a thread reads if its taps are written out.
const MAX_UNROLLED: u64 = 100;

/// The spec with the places of its arguments.
struct Shape<'a> {
    spec: &'a WindowSpec,
    folded: DType,
    width: Width,
    /// Spatial dimension along which a thread's outputs lie.
    strip: Option<usize>,
    /// Outputs in the order of memory: `index` is the dimension of the domain.
    dims: Vec<Dim>,
    n: u64,
}

impl<'a> Shape<'a> {
    fn of(spec: &'a WindowSpec) -> Self {
        let domain = spec.domain();
        let n: u64 = domain.iter().product();
        let result = spec.prologue.results.first();
        let step = result.and_then(|r| spec.prologue.steps.get(usize::from(r.0)));
        let out = spec.epilogue.outputs.first();
        let strides = out.map_or_else(|| vec![0; domain.len()], |o| o.strides.clone());
        let mut dims = dims::dims(&domain, &[&strides], &|_| true);
        dims::sort(&mut dims, 0);
        let last = dims.last().and_then(|dim| dim.index);
        let w = &spec.window;
        // Where neighbouring windows share most of what they read.
        let strip = (0..w.kernel.len())
            .filter(|&d| last != Some(d + 2) && w.output[d] > 1)
            .filter(|&d| w.kernel[d] > 1)
            .max_by_key(|&d| w.kernel[d] / w.strides[d]);
        Self {
            spec,
            folded: step.map_or(DType::F32, |s| s.dtype),
            width: Width::of(&spec.args(), n.max(spec.x_extents().iter().product())),
            strip,
            dims,
            n,
        }
    }

    fn n_taps(&self) -> u64 {
        self.spec.window.kernel.iter().product()
    }

    /// Taps that the outputs of a strip have between them along its dimension.
    fn span(&self, d: usize, strip: u64) -> u64 {
        let w = &self.spec.window;
        (strip - 1) * w.strides[d] + (w.kernel[d] - 1) * w.dilations[d] + 1
    }

    /// Elements that a thread reads.
    fn n_reads(&self, strip: u64) -> u64 {
        match self.strip {
            Some(d) if strip > 1 => {
                self.n_taps() / self.spec.window.kernel[d] * self.span(d, strip)
            }
            _ => self.n_taps(),
        }
    }

    /// The argument of the first input of the epilogue.
    fn first_epilogue(&self) -> usize {
        1 + usize::from(self.spec.weight.is_some())
    }

    fn first_output(&self) -> usize {
        self.first_epilogue() + self.spec.epilogue.inputs.len()
    }
}

/// The points of the config space, the one that is thought best first.
pub fn config_space(spec: &WindowSpec, target: &Target) -> Vec<WindowSchedule> {
    let shape = Shape::of(spec);
    let is_small = |strip: u32| shape.n_reads(strip.into()) <= MAX_UNROLLED;
    let fits = |strip: u32| strip == 1 || shape.strip.is_some() && is_small(strip);
    let enough = u64::from(target.n_sms) * 256;
    let mut best = 1;
    while best < 8 && fits(2 * best) && shape.n / u64::from(2 * best) >= enough {
        best *= 2;
    }
    let mut space = vec![];
    for strip in [best, 1, 2, 4, 8] {
        for threads in [128, 64, 256] {
            let s = WindowSchedule {
                threads,
                strip,
                unrolled: is_small(strip),
            };
            if fits(strip) && !space.contains(&s) {
                space.push(s);
            }
        }
    }
    space
}

/// Device code by the schedule that is thought best.
pub(super) fn generate(spec: &WindowSpec, target: &Target) -> Result<Generated, Refused> {
    let space = config_space(spec, target);
    let schedule = space
        .first()
        .ok_or_else(|| Refused("a window without a schedule".to_owned()))?;
    generate_with(spec, schedule)
}

/// Device code by a schedule of the config space.
///
/// # Errors
///
/// If the schedule is not one for this kernel.
pub fn generate_with(spec: &WindowSpec, schedule: &WindowSchedule) -> Result<Generated, Refused> {
    let shape = Shape::of(spec);
    let s = schedule;
    let is_strip = s.strip == 1 || s.unrolled && s.strip > 1 && shape.strip.is_some();
    if !is_strip || !(1..=1024).contains(&s.threads) {
        return Err(Refused(format!(
            "{} outputs for each of {} threads are no schedule",
            s.strip, s.threads
        )));
    }
    let json = serde_json::to_string(s).map_err(|e| Refused(e.to_string()))?;
    let extras = Extras::default();
    if shape.n == 0 {
        return Ok(source::generated("", vec![], extras, json));
    }
    let (body, n_threads) = body(&shape, s);
    let blocks = u32::try_from(n_threads.div_ceil(s.threads.into()))
        .ok()
        .filter(|&b| b < 1 << 31)
        .ok_or_else(|| Refused("a window kernel of too many blocks".to_owned()))?;
    let args = KernelSpec::Window(spec.clone()).args();
    let code = source::function("window", &args, extras, s.threads, 0, &body);
    let launches = vec![source::launch("window", [blocks, 1, 1], s.threads)];
    Ok(source::generated(&code, launches, extras, json))
}

/// One thread's work, for the outputs of a strip.
struct Strip<'a> {
    shape: &'a Shape<'a>,
    s: &'a WindowSchedule,
    /// The position of the first output along each dimension of the domain.
    positions: Vec<String>,
}

fn body(shape: &Shape<'_>, s: &WindowSchedule) -> (String, u64) {
    let unsigned = shape.width.unsigned();
    let mut extents = dims::extents(&shape.dims);
    if s.strip > 1
        && let Some(d) = shape.strip
    {
        for (extent, dim) in extents.iter_mut().zip(&shape.dims) {
            if dim.index == Some(d + 2) {
                *extent = extent.div_ceil(s.strip.into());
            }
        }
    }
    let n: u64 = extents.iter().product();
    let long = match shape.width {
        Width::Bits32 => "",
        Width::Bits64 => "ll",
    };
    let mut body = START.to_owned();
    let _ = writeln!(
        body,
        "const {unsigned} item = ({unsigned})blockIdx.x * {}u + threadIdx.x;\n\
         if (item >= {n}u{long}) return;",
        s.threads
    );
    let names = source::split("item", &extents, "q", shape.width, &mut body);
    let mut positions = vec!["0".to_owned(); shape.dims.len()];
    for (name, dim) in names.into_iter().zip(&shape.dims) {
        let Some(d) = dim.index else { continue };
        positions[d] = name;
        if s.strip > 1 && shape.strip == d.checked_sub(2) && positions[d] != "0" {
            let signed = shape.width.signed();
            let _ = writeln!(
                body,
                "const {signed} o{d} = {} * {};",
                positions[d], s.strip
            );
            positions[d] = format!("o{d}");
        }
    }
    let strip = Strip {
        shape,
        s,
        positions,
    };
    strip.bases(&mut body);
    let start = match shape.spec.fold {
        WindowFold::Max => tape::least(shape.folded),
        _ => format!("({})0", compute_type(shape.folded)),
    };
    for r in 0..s.strip {
        let _ = writeln!(body, "{} f{r} = {start};", compute_type(shape.folded));
        if shape.spec.indices.is_some() {
            let _ = writeln!(body, "long long at{r} = -1;");
        }
    }
    if s.unrolled {
        strip.unrolled(&mut body);
    } else {
        strip.looped(&mut body);
    }
    for r in 0..s.strip {
        strip.finish(r, &mut body);
    }
    (body, n)
}

impl Strip<'_> {
    /// The input position of the first tap of the first output, along each spatial dimension.
    fn bases(&self, body: &mut String) {
        let w = &self.shape.spec.window;
        let signed = self.shape.width.signed();
        for d in 0..w.kernel.len() {
            let _ = writeln!(
                body,
                "const {signed} b{d} = {} * {} - {};",
                self.positions[d + 2],
                w.strides[d],
                w.pads_begin[d]
            );
        }
    }

    /// Whether taps `at` positions after the base are inside whatever the output.
    fn is_inside(&self, d: usize, at: u64) -> bool {
        let w = &self.shape.spec.window;
        let mut last = w.output[d] - 1;
        if self.shape.strip == Some(d) {
            last = last / u64::from(self.s.strip) * u64::from(self.s.strip);
        }
        at >= w.pads_begin[d] && last * w.strides[d] + at - w.pads_begin[d] < w.input[d]
    }

    /// The offset of x at the base, and of the weight at its channel.
    fn offsets(&self, body: &mut String) {
        let spec = self.shape.spec;
        let signed = self.shape.width.signed();
        let bases: Vec<String> = (0..spec.window.kernel.len())
            .map(|d| format!("b{d}"))
            .collect();
        let outer = self.positions[..2].iter().chain(&bases);
        let terms = outer
            .map(String::as_str)
            .zip(spec.x.strides.iter().copied());
        let x = source::offset(terms, self.shape.width);
        let _ = writeln!(body, "const {signed} x_offset = {x};");
        if let Some(w) = &spec.weight {
            let terms = [(self.positions[1].as_str(), w.strides[0])];
            let offset = source::offset(terms, self.shape.width);
            let _ = writeln!(body, "const {signed} w_offset = {offset};");
        }
    }

    /// Every tap written out: first all loads, then all folds.
    fn unrolled(&self, body: &mut String) {
        let (shape, spec) = (self.shape, self.shape.spec);
        let w = &spec.window;
        let rank = w.kernel.len();
        self.offsets(body);
        // Along each dimension: where elements are read, after the base.
        let at: Vec<Vec<u64>> = (0..rank)
            .map(|d| {
                let taps =
                    |r: u64| (0..w.kernel[d]).map(move |t| r * w.strides[d] + t * w.dilations[d]);
                let strip = if shape.strip == Some(d) {
                    self.s.strip
                } else {
                    1
                };
                let mut at: Vec<u64> = (0..u64::from(strip)).flat_map(taps).collect();
                at.sort_unstable();
                at.dedup();
                at
            })
            .collect();
        for (d, at) in at.iter().enumerate() {
            for &a in at.iter().filter(|&&a| !self.is_inside(d, a)) {
                let unsigned = shape.width.unsigned();
                let _ = writeln!(
                    body,
                    "const bool in{d}_{a} = ({unsigned})(b{d} + {a}) < ({unsigned}){};",
                    w.input[d]
                );
            }
        }
        if let Some(weight) = &spec.weight {
            for tap in product(&w.kernel) {
                let offset: i64 = tap
                    .iter()
                    .zip(&weight.strides[1..])
                    .map(|(&t, &s)| t as i64 * s)
                    .sum();
                let value = tape::load(weight.dtype, "a1", &format!("w_offset + {offset}"));
                let _ = writeln!(
                    body,
                    "const {} w{} = {value};",
                    compute_type(weight.dtype),
                    joined(&tap)
                );
            }
        }
        let n_at: Vec<u64> = at.iter().map(|a| a.len() as u64).collect();
        let reads: Vec<Vec<u64>> = product(&n_at)
            .map(|read| (0..rank).map(|d| at[d][read[d] as usize]).collect())
            .collect();
        let inside = |read: &[u64]| {
            let names: Vec<String> = (0..rank)
                .filter(|&d| !self.is_inside(d, read[d]))
                .map(|d| format!("in{d}_{}", read[d]))
                .collect();
            names.join(" && ")
        };
        for read in &reads {
            let offset: i64 = (0..rank)
                .map(|d| read[d] as i64 * spec.x.strides[d + 2])
                .sum();
            let ctype = tape::c_type(spec.x.dtype);
            let element = format!("a0[x_offset + {offset}]");
            let value = match inside(read).as_str() {
                "" => element,
                inside => format!("({inside}) ? {element} : ({ctype})0"),
            };
            let _ = writeln!(body, "const {ctype} x{} = {value};", joined(read));
        }
        for read in &reads {
            let name = joined(read);
            let open = match inside(read).as_str() {
                "" => "{\n".to_owned(),
                inside => format!("if ({inside}) {{\n"),
            };
            body.push_str(&open);
            let value = self.prologue(&format!("x{name}"), body);
            for r in 0..self.s.strip {
                let tap: Option<Vec<u64>> = (0..rank)
                    .map(|d| {
                        let first = if shape.strip == Some(d) {
                            u64::from(r) * w.strides[d]
                        } else {
                            0
                        };
                        let after = read[d].checked_sub(first)?;
                        let is_tap = after.is_multiple_of(w.dilations[d]);
                        (is_tap && after / w.dilations[d] < w.kernel[d])
                            .then(|| after / w.dilations[d])
                    })
                    .collect();
                if let Some(tap) = tap {
                    let positions: Vec<String> =
                        (0..rank).map(|d| format!("(b{d} + {})", read[d])).collect();
                    self.fold(r, &value, &format!("w{}", joined(&tap)), &positions, body);
                }
            }
            body.push_str("}\n");
        }
    }

    /// Loops over the taps that are inside.
    fn looped(&self, body: &mut String) {
        let (shape, spec) = (self.shape, self.shape.spec);
        let w = &spec.window;
        let rank = w.kernel.len();
        let signed = shape.width.signed();
        self.offsets(body);
        for d in 0..rank {
            let _ = writeln!(
                body,
                "for ({signed} t{d} = 0; t{d} < {}; t{d}++) {{\n\
                 const {signed} i{d} = t{d} * {};\n\
                 if (({2})(b{d} + i{d}) >= ({2}){3}) continue;",
                w.kernel[d],
                w.dilations[d],
                shape.width.unsigned(),
                w.input[d]
            );
        }
        let names =
            |letter: char| -> Vec<String> { (0..rank).map(|d| format!("{letter}{d}")).collect() };
        let offset = |letter: char, strides: &[i64]| {
            let names = names(letter);
            let terms = names
                .iter()
                .map(String::as_str)
                .zip(strides.iter().copied());
            source::offset(terms, shape.width)
        };
        let x = tape::c_type(spec.x.dtype);
        let _ = writeln!(
            body,
            "const {x} x = a0[x_offset + {}];",
            offset('i', &spec.x.strides[2..])
        );
        if let Some(weight) = &spec.weight {
            let at = format!("w_offset + {}", offset('t', &weight.strides[1..]));
            let value = tape::load(weight.dtype, "a1", &at);
            let _ = writeln!(body, "const {} w = {value};", compute_type(weight.dtype));
        }
        let value = self.prologue("x", body);
        let positions: Vec<String> = (0..rank).map(|d| format!("(b{d} + i{d})")).collect();
        self.fold(0, &value, "w", &positions, body);
        body.push_str(&"}\n".repeat(rank));
    }

    /// What happens to an element first.
    fn prologue(&self, x: &str, body: &mut String) -> String {
        let spec = self.shape.spec;
        let scope = Scope {
            input: &|_| tape::from_memory(spec.x.dtype, x),
            row_scalar: &|_| String::new(),
            index: &|_| "0".to_owned(),
        };
        let results = tape::emit(&spec.prologue, &scope, "u", body);
        results.into_iter().next().unwrap_or_default()
    }

    /// Folds an element, inside and at the given positions, into output `r`.
    fn fold(&self, r: u32, value: &str, weight: &str, positions: &[String], body: &mut String) {
        let spec = self.shape.spec;
        let dtype = self.shape.folded;
        if spec.indices.is_some() {
            let nan = if dtype.is_float() {
                format!(" || ({value} != {value} && f{r} == f{r})")
            } else {
                String::new()
            };
            let _ = writeln!(
                body,
                "if ({value} > f{r}{nan} || at{r} < 0) {{ f{r} = {value}; at{r} = {}; }}",
                self.place(positions)
            );
            return;
        }
        let folded = match spec.fold {
            WindowFold::Max => tape::binary(BinaryFn::Max, &format!("f{r}"), value, dtype),
            _ if spec.weight.is_some() && dtype.is_float() => {
                format!("f{r} + {value} * {weight}")
            }
            _ if spec.weight.is_some() => format!("add(f{r}, multiply({value}, {weight}))"),
            _ if dtype.is_float() => format!("f{r} + {value}"),
            _ => format!("add(f{r}, {value})"),
        };
        let _ = writeln!(body, "f{r} = {folded};");
    }

    /// The place of an element in the whole of x.
    fn place(&self, positions: &[String]) -> String {
        let spec = self.shape.spec;
        let input = &spec.window.input;
        let column_major = spec.indices.as_ref().is_some_and(|i| i.column_major);
        let mut order: Vec<usize> = (0..input.len()).collect();
        if column_major {
            order.reverse();
        }
        let mut place = format!(
            "((long long){} * {} + {})",
            self.positions[0], spec.channels, self.positions[1]
        );
        for d in order {
            place = format!("({place} * {} + {})", input[d], positions[d]);
        }
        place
    }

    /// Divides, runs the epilogue and stores output `r`.
    fn finish(&self, r: u32, body: &mut String) {
        let (shape, spec) = (self.shape, self.shape.spec);
        let w = &spec.window;
        let mut here = self.positions.clone();
        let mut open = "{\n".to_owned();
        if let Some(d) = shape.strip.filter(|_| r > 0) {
            here[d + 2] = format!("({} + {r})", here[d + 2]);
            if !w.output[d].is_multiple_of(self.s.strip.into()) {
                open = format!("if ({} < {}) {{\n", here[d + 2], w.output[d]);
            }
        }
        body.push_str(&open);
        let rank = w.kernel.len();
        let count = |d: usize| {
            let at = format!("{} * {}", here[d + 2], w.strides[d]);
            let (base, extent) = match &spec.fold {
                WindowFold::AveragePadded { pads_end } => {
                    (at, w.pads_begin[d] + w.input[d] + pads_end[d])
                }
                _ => (format!("{at} - {}", w.pads_begin[d]), w.input[d]),
            };
            format!(
                "n_inside({base}, {extent}ll, {}ll, {}ll)",
                w.kernel[d], w.dilations[d]
            )
        };
        if matches!(
            spec.fold,
            WindowFold::Average | WindowFold::AveragePadded { .. }
        ) {
            let counts: Vec<String> = (0..rank).map(count).collect();
            let ctype = compute_type(shape.folded);
            let _ = writeln!(body, "f{r} = f{r} / ({ctype})({});", counts.join(" * "));
        }
        let _ = writeln!(
            body,
            "const {} f = {};",
            compute_type(shape.folded),
            tape::wrapped(format!("f{r}"), shape.folded)
        );
        let offset = |strides: &[i64]| {
            let terms = here.iter().map(String::as_str).zip(strides.iter().copied());
            source::offset(terms, shape.width)
        };
        let input = |n: u16| match usize::from(n).checked_sub(1) {
            None => "f".to_owned(),
            Some(i) => {
                let o = &spec.epilogue.inputs[i];
                let pointer = format!("a{}", shape.first_epilogue() + i);
                tape::load(o.dtype, &pointer, &offset(&o.strides))
            }
        };
        let scope = Scope {
            input: &input,
            row_scalar: &|_| String::new(),
            index: &|d| here[usize::from(d)].clone(),
        };
        let results = tape::emit(&spec.epilogue.tape, &scope, "e", body);
        let first = shape.first_output();
        for (n, (o, result)) in spec.epilogue.outputs.iter().zip(results).enumerate() {
            let pointer = format!("a{}", first + n);
            let store = tape::store(o.dtype, &pointer, &offset(&o.strides), &result);
            let _ = writeln!(body, "{store}");
        }
        if let Some(indices) = &spec.indices {
            let pointer = first + spec.epilogue.outputs.len();
            let _ = writeln!(
                body,
                "a{pointer}[{}] = at{r};",
                offset(&indices.out.strides)
            );
        }
        body.push_str("}\n");
    }
}

/// All positions of a domain, row-major.
fn product(extents: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    let n: u64 = extents.iter().product();
    let extents = extents.to_vec();
    (0..n).map(move |mut flat| {
        let mut position = vec![0; extents.len()];
        for d in (0..extents.len()).rev() {
            position[d] = flat % extents[d];
            flat /= extents[d];
        }
        position
    })
}

/// A position as part of a name.
fn joined(position: &[u64]) -> String {
    let parts: Vec<String> = position.iter().map(|p| format!("_{p}")).collect();
    parts.concat()
}
