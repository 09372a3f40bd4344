//! Interpolation along each dimension: a thread for each element of the output, with positions and
//! factors in tables unless they follow a rule.

use super::item;
use crate::cuda::dims;
use crate::cuda::source::{self, START, Width};
use crate::cuda::tape::{self, compute_type, float_literal};
use crate::cuda::{Generated, Refused};
use plans::DType;
use plans::spec::{ArgSpec, Interpolation, ResizeSpec};
use std::fmt::Write;

/// Where the input positions of a dimension with one tap come from.
enum Rule {
    /// The output position times or divided by a number.
    Times(u64),
    Over(u64),
    /// The table.
    Table,
}

impl Rule {
    fn of(axis: &Interpolation) -> Self {
        let follows = |rule: &dyn Fn(u64) -> u64| {
            let pairs = (0..).zip(&axis.positions);
            axis.taps == 1
                && pairs
                    .into_iter()
                    .all(|(o, &p)| i64::from(p) == rule(o) as i64)
        };
        let second = axis.positions.get(1).copied().unwrap_or(0).max(0) as u64;
        let run = axis.positions.iter().take_while(|&&p| p == 0).count() as u64;
        if follows(&|o| o * second) {
            Self::Times(second)
        } else if run > 0 && follows(&|o| o / run) {
            Self::Over(run)
        } else {
            Self::Table
        }
    }
}

fn has_factors(axis: &Interpolation) -> bool {
    axis.taps > 1 || axis.factors.iter().any(|&f| f != 1.0)
}

fn has_outside(axis: &Interpolation) -> bool {
    axis.positions.iter().any(|&p| p < 0)
}

pub(super) fn generate(spec: &ResizeSpec, args: &[ArgSpec]) -> Result<Generated, Refused> {
    let output = spec.output();
    let n: u64 = output.iter().product();
    let width = Width::of(args, n);
    let signed = width.signed();
    let mut tables = String::new();
    let mut body = START.to_owned();
    body.push_str(&item(n, width));
    let mut all = dims::dims(&output, &[&spec.out.strides], &|_| true);
    dims::sort(&mut all, 0);
    let names = source::split("item", &dims::extents(&all), "o", width, &mut body);
    let order: Vec<usize> = all.iter().filter_map(|dim| dim.index).collect();
    for (name, &d) in names.iter().zip(&order) {
        let axis = &spec.axes[d];
        let taps = axis.taps;
        if let Rule::Table = Rule::of(axis) {
            let positions: Vec<String> = axis.positions.iter().map(i32::to_string).collect();
            let _ = writeln!(
                tables,
                "static __device__ const int positions{d}[] = {{{}}};",
                positions.join(", ")
            );
        }
        if has_factors(axis) {
            let factors: Vec<String> = axis.factors.iter().map(|&f| float_literal(f)).collect();
            let _ = writeln!(
                tables,
                "static __device__ const float factors{d}[] = {{{}}};",
                factors.join(", ")
            );
        }
        let place = match Rule::of(axis) {
            Rule::Times(f) => format!("{name} * {f}"),
            Rule::Over(f) => format!("{name} / {f}"),
            Rule::Table if taps == 1 => format!("positions{d}[{name}]"),
            Rule::Table => continue,
        };
        let _ = writeln!(body, "const {signed} i{d} = {place};");
        if has_factors(axis) {
            let _ = writeln!(body, "const float f{d} = factors{d}[{name}];");
        }
    }
    let terms = names
        .iter()
        .zip(&order)
        .map(|(name, &d)| (name.as_str(), spec.out.strides[d]));
    let to = source::offset(terms, width);
    let is_pick = spec.axes.iter().all(|a| !has_factors(a) && !has_outside(a));
    if is_pick {
        let _ = writeln!(body, "a1[{to}] = a0[{}];", from(spec, width));
    } else {
        mix(spec, &names, &order, width, &mut body);
        let value = stored(spec.x.dtype);
        let _ = writeln!(body, "a1[{to}] = {value};");
    }
    super::of_items(&tables, "resize", args, &body, n)
}

/// The offset of the element at positions `i0` and so on.
fn from(spec: &ResizeSpec, width: Width) -> String {
    let places: Vec<String> = (0..spec.axes.len()).map(|d| format!("i{d}")).collect();
    let strides = spec.x.strides.iter().copied();
    source::offset(places.iter().map(String::as_str).zip(strides), width)
}

/// Statements that sum elements times factors in `sum`. Taps whose factor is 0 along all dimensions
/// but the innermost do not count, whatever the element.
fn mix(spec: &ResizeSpec, names: &[String], order: &[usize], width: Width, body: &mut String) {
    let number = mixed_type(spec.x.dtype);
    let signed = width.signed();
    let _ = writeln!(body, "{number} sum = 0;");
    let Some((&inner, outer)) = order.split_last() else {
        let value = tape::from_memory(spec.x.dtype, "a0[0]");
        let _ = writeln!(body, "sum = ({number}){value};");
        return;
    };
    let open = |d: usize, name: &str, body: &mut String| {
        let axis = &spec.axes[d];
        if axis.taps == 1 {
            return false;
        }
        let taps = axis.taps;
        let _ = writeln!(
            body,
            "#pragma unroll\nfor (int t{d} = 0; t{d} < {taps}; t{d}++) {{\n\
             const {signed} i{d} = positions{d}[{name} * {taps} + t{d}];\n\
             const float f{d} = factors{d}[{name} * {taps} + t{d}];"
        );
        true
    };
    let mut n_open = 0;
    for (name, &d) in names.iter().zip(outer) {
        n_open += usize::from(open(d, name, body));
    }
    let factors: Vec<String> = outer
        .iter()
        .filter(|&&d| has_factors(&spec.axes[d]))
        .map(|d| format!("({number})f{d}"))
        .collect();
    if !factors.is_empty() {
        let _ = writeln!(
            body,
            "const {number} factor = {};\nif (factor != 0) {{",
            factors.join(" * ")
        );
        n_open += 1;
    }
    n_open += usize::from(open(inner, names.last().map_or("0", String::as_str), body));
    let inside: Vec<String> = (0..spec.axes.len())
        .filter(|&d| has_outside(&spec.axes[d]))
        .map(|d| format!("i{d} >= 0"))
        .collect();
    let element = tape::load(spec.x.dtype, "a0", &from(spec, width));
    let element = format!("({number})({element})");
    let value = if inside.is_empty() {
        element
    } else {
        let outside = float_literal(spec.outside);
        format!(
            "({} ? {element} : ({number}){outside})",
            inside.join(" && ")
        )
    };
    let mut product = vec![value];
    if !factors.is_empty() {
        product.insert(0, "factor".to_owned());
    }
    if has_factors(&spec.axes[inner]) {
        product.insert(0, format!("({number})f{inner}"));
    }
    let _ = writeln!(body, "sum += {};", product.join(" * "));
    body.push_str(&"}\n".repeat(n_open));
}

/// The type that elements are mixed in.
fn mixed_type(dtype: DType) -> &'static str {
    match compute_type(dtype) {
        "float" => "float",
        _ => "double",
    }
}

/// The sum as an element: integers are rounded, halves to the even one, and saturate.
fn stored(dtype: DType) -> String {
    if dtype == DType::U64 {
        return "nearest_u64(sum)".to_owned();
    }
    if dtype.is_integer() {
        let ctype = tape::c_type(dtype);
        return format!(
            "({ctype})nearest_i64(sum, (long long){}, (long long){})",
            tape::least(dtype),
            tape::greatest(dtype)
        );
    }
    tape::to_memory(dtype, "sum")
}
