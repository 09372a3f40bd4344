//! Updates of picked positions, with the result of updating one after the other.
//!
//! An update is what one set of picked positions moves: an element, or a slice that lies along
//! dimensions of which the positions are the same. Where the order of updates does not matter,
//! atomic operations apply them. Elsewhere updates that meet at a target are told apart: where there
//! are few, each looks at the others; where there are many, they are sorted by target, or, if only
//! the last one of a target counts, counters of the targets hold which one that is.

mod sorted;

use super::{THREADS, blocks, item};
use crate::cuda::dims::{self, Dim};
use crate::cuda::source::{self, Extras, START, Width};
use crate::cuda::tape;
use crate::cuda::{Generated, Refused};
use plans::DType;
use plans::spec::{ArgSpec, Reduction, ScatterSpec};
use plans::tape::BinaryFn;
use std::fmt::Write;

/// As many updates look at each other.
const FEW: u64 = 512;

struct Shape<'a> {
    spec: &'a ScatterSpec,
    /// Dimensions that updates are counted along, row-major.
    outer: Vec<Dim>,
    /// Dimensions of a slice.
    inner: Vec<Dim>,
    n_outer: u64,
    n_inner: u64,
    width: Width,
    /// The least target, in elements from the output's start, and the distance of targets.
    low: i64,
    unit: i64,
    n_targets: u64,
}

impl<'a> Shape<'a> {
    fn of(spec: &'a ScatterSpec, args: &[ArgSpec]) -> Result<Self, Refused> {
        let mut strides: Vec<&[i64]> = vec![&spec.updates.strides, &spec.out.strides];
        strides.extend(spec.indices.iter().map(|i| i.strides.as_slice()));
        let all = dims::dims(&spec.domain, &strides, &|_| false);
        let is_inner = |dim: &Dim| dim.strides[1] != 0 && dim.strides[2..].iter().all(|&s| s == 0);
        let (mut inner, mut outer): (Vec<Dim>, Vec<Dim>) = all.iter().cloned().partition(is_inner);
        if !are_apart(spec, &outer, &inner) {
            inner = vec![];
            outer = all;
        }
        dims::sort(&mut inner, 1);
        let reach = |dims: &[Dim]| {
            let steps = dims.iter().map(|d| (d.extent, d.strides[1]));
            let picked = spec.axes.iter().map(|a| (a.len, a.stride));
            let (mut low, mut high) = (0i64, 0i64);
            for (n, stride) in steps.chain(picked) {
                let last = (n.max(1) - 1) as i64 * stride;
                low += last.min(0);
                high += last.max(0);
            }
            (low, high)
        };
        let (low, high) = reach(&outer);
        let unit = unit(spec, &outer);
        let n_outer = outer.iter().map(|d| d.extent).product();
        let n_inner = inner.iter().map(|d| d.extent).product();
        let n: u64 = spec.domain.iter().product();
        if n >= 1 << 31 {
            return Err(Refused(format!("{n} updates of picked positions")));
        }
        Ok(Self {
            spec,
            outer: dims::merged(&outer),
            inner: dims::merged(&inner),
            n_outer,
            n_inner,
            width: Width::of(args, n),
            low,
            unit,
            n_targets: ((high - low) / unit) as u64 + 1,
        })
    }

    fn out(&self) -> usize {
        1 + self.spec.indices.len()
    }
}

/// The greatest number that all distances between targets are multiples of.
fn unit(spec: &ScatterSpec, outer: &[Dim]) -> i64 {
    let strides = outer.iter().map(|d| d.strides[1]);
    let picked = spec.axes.iter().map(|a| a.stride);
    strides.chain(picked).fold(0, gcd).max(1)
}

fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Whether slices of different targets share no element.
fn are_apart(spec: &ScatterSpec, outer: &[Dim], inner: &[Dim]) -> bool {
    let span: i64 = inner
        .iter()
        .map(|d| (d.extent.max(1) - 1) as i64 * d.strides[1].abs())
        .sum();
    unit(spec, outer) > span
}

pub(super) fn generate(spec: &ScatterSpec, args: &[ArgSpec]) -> Result<Generated, Refused> {
    let mut extras = Extras {
        may_fault: !spec.axes.is_empty(),
        ..Extras::default()
    };
    let n: u64 = spec.domain.iter().product();
    let schedule = |how: &str| format!("{{\"threads\":{THREADS},\"meetings\":\"{how}\"}}");
    if n == 0 {
        return Ok(source::generated("", vec![], extras, schedule("none")));
    }
    let shape = Shape::of(spec, args)?;
    let items = shape.n_outer * shape.n_inner;
    let single = |body: &str, how: &str| {
        let code = source::function("scatter", args, extras, THREADS, 0, body);
        let launches = vec![source::launch("scatter", blocks(items)?, THREADS)];
        Ok(source::generated(&code, launches, extras, schedule(how)))
    };
    if let Some((function, ctype)) = atomic(spec) {
        return single(&by_atomics(&shape, items, function, ctype), "atomic");
    }
    if shape.n_outer <= FEW {
        return single(&looking(&shape, items), "looked for");
    }
    // One more than the greatest target's number is a word, too.
    if shape.n_targets >= (1 << 32) - 1 {
        return Err(Refused(format!("{} targets of updates", shape.n_targets)));
    }
    if spec.reduction != Reduction::Replace {
        return sorted::generate(&shape, args, extras, schedule("sorted"));
    }
    extras.counters = 4 * shape.n_targets;
    let functions = [
        ("scatter", counting(&shape), shape.n_outer),
        ("scatter1", applying(&shape, items), items),
        ("scatter2", clearing(&shape), shape.n_outer),
    ];
    let mut code = String::new();
    let mut launches = vec![];
    for (name, body, n) in functions {
        code.push_str(&source::function(name, args, extras, THREADS, 0, &body));
        launches.push(source::launch(name, blocks(n)?, THREADS));
    }
    Ok(source::generated(
        &code,
        launches,
        extras,
        schedule("counted"),
    ))
}

/// The atomic operation that combines updates, and the type that it takes, where it gives the same
/// in any order.
fn atomic(spec: &ScatterSpec) -> Option<(&'static str, &'static str)> {
    let dtype = spec.out.dtype;
    let ctype = match dtype {
        DType::I32 | DType::U32 | DType::I64 | DType::U64 => tape::c_type(dtype),
        _ => return None,
    };
    let wrapping = match dtype.size() {
        4 => "unsigned",
        _ => "unsigned long long",
    };
    match spec.reduction {
        Reduction::Add => Some(("atomicAdd", wrapping)),
        Reduction::Min => Some(("atomicMin", ctype)),
        Reduction::Max => Some(("atomicMax", ctype)),
        Reduction::Mul | Reduction::Replace => None,
    }
}

/// Waits for earlier launches; defines `target`, the place of an update's slice in the output, or
/// NOWHERE.
fn start(shape: &Shape<'_>) -> String {
    let width = shape.width;
    let (signed, unsigned) = (width.signed(), width.unsigned());
    let mut body = START.to_owned();
    let _ = writeln!(
        body,
        "constexpr long long NOWHERE = (long long)0x8000000000000000ull;\n\
         auto target = [&](const {unsigned} update) -> long long {{"
    );
    let names = source::split(
        "update",
        &dims::extents(&shape.outer),
        "u",
        width,
        &mut body,
    );
    let offset = |operand: usize| {
        let strides = shape.outer.iter().map(|dim| dim.strides[operand]);
        source::offset(names.iter().map(String::as_str).zip(strides), width)
    };
    let _ = writeln!(body, "long long place = {};", offset(1));
    for axis in &shape.spec.axes {
        let n = usize::from(axis.index);
        let _ = writeln!(
            body,
            "{{\nlong long i = a{}[{}];\nif (i < 0) i += {len}ll;\n\
             if (i < 0 || i >= {len}ll) {{ *fault = FAULT_POSITION; return NOWHERE; }}\n\
             place += i * {}ll;\n}}",
            1 + n,
            offset(2 + n),
            axis.stride,
            len = axis.len
        );
    }
    let _ = writeln!(
        body,
        "return place;\n}};\n\
         auto source = [&](const {unsigned} update) -> {signed} {{"
    );
    source::split(
        "update",
        &dims::extents(&shape.outer),
        "u",
        width,
        &mut body,
    );
    let _ = writeln!(body, "return {};\n}};", offset(0));
    body
}

/// The thread's `update` and its element of the slice: offsets `from` and `to`.
fn parts(shape: &Shape<'_>) -> String {
    let width = shape.width;
    let (signed, unsigned) = (width.signed(), width.unsigned());
    let n = shape.n_inner;
    let mut body = format!("const {unsigned} update = item / {n}u, part = item - update * {n}u;\n");
    let names = source::split("part", &dims::extents(&shape.inner), "p", width, &mut body);
    let offset = |operand: usize| {
        let strides = shape.inner.iter().map(|dim| dim.strides[operand]);
        source::offset(names.iter().map(String::as_str).zip(strides), width)
    };
    let _ = writeln!(
        body,
        "const {signed} from = {}, to = {};",
        offset(0),
        offset(1)
    );
    body
}

/// The thread's `update`, its element of the slice and its target, `own`; ends threads without one.
fn elements(shape: &Shape<'_>, items: u64) -> String {
    let mut body = item(items, shape.width);
    body.push_str(&parts(shape));
    body.push_str("const long long own = target(update);\nif (own == NOWHERE) return;\n");
    body
}

/// The element of an update.
fn element(shape: &Shape<'_>, update: &str) -> String {
    let index = format!("source({update}) + from");
    tape::load(shape.spec.out.dtype, "a0", &index)
}

/// A statement that combines `value`, an element of the output, with `x`, one of an update.
fn combine(shape: &Shape<'_>, x: &str) -> String {
    let dtype = shape.spec.out.dtype;
    let f = match shape.spec.reduction {
        Reduction::Replace => return format!("value = {x};"),
        Reduction::Add => BinaryFn::Add,
        Reduction::Mul => BinaryFn::Mul,
        Reduction::Min => BinaryFn::Min,
        Reduction::Max => BinaryFn::Max,
    };
    // What is there is an element of its type after each update.
    let combined = tape::binary(f, "value", x, dtype);
    let stored = tape::to_memory(dtype, &combined);
    let ctype = tape::c_type(dtype);
    format!(
        "{{ const {ctype} stored = {stored}; value = {}; }}",
        tape::from_memory(dtype, "stored")
    )
}

/// Statements that load the output's element to `value`, and store it.
fn load(shape: &Shape<'_>) -> String {
    let dtype = shape.spec.out.dtype;
    let value = tape::load(dtype, &format!("a{}", shape.out()), "own + to");
    format!("{} value = {value};\n", tape::compute_type(dtype))
}

fn store(shape: &Shape<'_>) -> String {
    let out = format!("a{}", shape.out());
    let store = tape::store(shape.spec.out.dtype, &out, "own + to", "value");
    format!("{store}\n")
}

/// One thread for each element of each update; those that meet others look for them.
fn looking(shape: &Shape<'_>, items: u64) -> String {
    let unsigned = shape.width.unsigned();
    let n = shape.n_outer;
    let mut body = start(shape);
    body.push_str(&elements(shape, items));
    if shape.spec.reduction == Reduction::Replace {
        if n > 1 {
            let _ = writeln!(
                body,
                "for ({unsigned} u = update + 1; u < {n}u; u++) if (target(u) == own) return;"
            );
        }
        let out = shape.out();
        let _ = writeln!(body, "a{out}[own + to] = a0[source(update) + from];");
        return body;
    }
    if n > 1 {
        let _ = writeln!(
            body,
            "for ({unsigned} u = 0; u < update; u++) if (target(u) == own) return;"
        );
    }
    body.push_str(&load(shape));
    let _ = writeln!(body, "{}", combine(shape, &element(shape, "update")));
    if n > 1 {
        let _ = writeln!(
            body,
            "for ({unsigned} u = update + 1; u < {n}u; u++) {{\nif (target(u) != own) continue;\n{}\n}}",
            combine(shape, &element(shape, "u"))
        );
    }
    body.push_str(&store(shape));
    body
}

/// One thread for each element of each update.
fn by_atomics(shape: &Shape<'_>, items: u64, function: &str, ctype: &str) -> String {
    let mut body = start(shape);
    body.push_str(&elements(shape, items));
    let out = shape.out();
    let _ = writeln!(
        body,
        "{function}(({ctype}*)&a{out}[own + to], ({ctype}){});",
        element(shape, "update")
    );
    body
}

/// The counter of the target `own`.
fn counter(shape: &Shape<'_>) -> String {
    format!(
        "unsigned* const counter = counters + (own - ({}ll)) / {}ll;\n",
        shape.low, shape.unit
    )
}

/// Marks the last update of each target.
fn counting(shape: &Shape<'_>) -> String {
    let mut body = start(shape);
    body.push_str(&item(shape.n_outer, shape.width));
    body.push_str("const long long own = target(item);\nif (own == NOWHERE) return;\n");
    body.push_str(&counter(shape));
    body.push_str("atomicMax(counter, (unsigned)item + 1u);\n");
    body
}

/// One thread for each element of each update; those that are marked write.
fn applying(shape: &Shape<'_>, items: u64) -> String {
    let mut body = start(shape);
    body.push_str(&elements(shape, items));
    body.push_str(&counter(shape));
    let out = shape.out();
    let _ = writeln!(
        body,
        "if (*counter == (unsigned)update + 1u) a{out}[own + to] = a0[source(update) + from];"
    );
    body
}

/// Leaves the counters zero.
fn clearing(shape: &Shape<'_>) -> String {
    let mut body = start(shape);
    body.push_str(&item(shape.n_outer, shape.width));
    body.push_str("const long long own = target(item);\nif (own == NOWHERE) return;\n");
    body.push_str(&counter(shape));
    body.push_str("*counter = 0;\n");
    body
}
