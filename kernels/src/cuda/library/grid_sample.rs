//! Tensors read at computed positions between their elements: a thread for a position and a few
//! channels.

use super::grid;
use crate::cuda::source::{self, Extras, START, Width};
use crate::cuda::tape::{self, compute_type};
use crate::cuda::{Generated, Refused};
use plans::spec::{ArgSpec, GridSampleSpec, SampleMode, SamplePadding};
use std::fmt::Write;

const PROGRAM: &str = include_str!("grid_sample.cuh");

const THREADS: u32 = 128;

/// Channels of a thread.
const CHANNELS: u64 = 4;

pub(super) fn generate(spec: &GridSampleSpec, args: &[ArgSpec]) -> Result<Generated, Refused> {
    let rank = spec.output.len();
    let groups = spec.channels.div_ceil(CHANNELS);
    let domain: Vec<u64> = [spec.batch, groups]
        .into_iter()
        .chain(spec.output.iter().copied())
        .collect();
    let n: u64 = domain.iter().product();
    let extras = Extras::default();
    let schedule = format!("{{\"threads\":{THREADS},\"channels\":{CHANNELS}}}");
    if n == 0 {
        return Ok(source::generated("", vec![], extras, schedule));
    }
    let width = Width::of(args, n);
    let (signed, unsigned) = (width.signed(), width.unsigned());
    let long = if width == Width::Bits64 { "ll" } else { "" };
    let mut body = START.to_owned();
    let _ = writeln!(
        body,
        "const {unsigned} item = ({unsigned})blockIdx.x * {THREADS}u + threadIdx.x;\n\
         if (item >= {n}u{long}) return;"
    );
    let names = source::split("item", &domain, "q", width, &mut body);
    let mode = match spec.mode {
        SampleMode::Nearest => 0,
        SampleMode::Linear => 1,
        SampleMode::Cubic => 2,
    };
    let n_taps = [1, 2, 4][mode];
    let padding = match spec.padding {
        SamplePadding::Zeros => 0,
        SamplePadding::Border => 1,
        SamplePadding::Reflection => 2,
    };
    let rule = format!("<{mode}, {padding}, {}>", spec.align_corners);
    let outputs = || names[2..].iter().map(String::as_str);
    let grid_terms = [names[0].as_str()]
        .into_iter()
        .chain(outputs())
        .zip(spec.grid.strides.iter().copied());
    let grid_offset = source::offset(grid_terms, width);
    for d in 0..rank {
        // The grid gives the innermost dimension first.
        let coordinate = (rank - 1 - d) as i64 * spec.grid.strides[1 + rank];
        let at = tape::load(
            spec.grid.dtype,
            "a1",
            &format!("{grid_offset} + {}", width.literal(coordinate)),
        );
        let _ = writeln!(
            body,
            "long long p{d}[{n_taps}];\ndouble w{d}[{n_taps}];\n{{\n\
             const double x = coordinate{rule}((double)({at}), {n}.0);\n\
             #pragma unroll\nfor (int t = 0; t < {n_taps}; t++) find_tap{rule}(x, t, {n}.0, p{d}[t], w{d}[t]);\n}}",
            n = spec.input[d]
        );
    }
    let number = match compute_type(spec.x.dtype) {
        "float" => "float",
        _ => "double",
    };
    let first = match names[1].as_str() {
        "0" => "0".to_owned(),
        group => format!("{group} * {CHANNELS}"),
    };
    let _ = writeln!(
        body,
        "const {signed} first = {first};\n{number} sums[{CHANNELS}] = {{}};"
    );
    for d in 0..rank {
        let _ = writeln!(
            body,
            "#pragma unroll\nfor (int t{d} = 0; t{d} < {n_taps}; t{d}++) {{"
        );
    }
    let inside: Vec<String> = (0..rank).map(|d| format!("p{d}[t{d}] >= 0")).collect();
    let weights: Vec<String> = (0..rank).rev().map(|d| format!("w{d}[t{d}]")).collect();
    let places: Vec<String> = (0..rank).map(|d| format!("({signed})p{d}[t{d}]")).collect();
    let x_terms = [names[0].as_str()]
        .into_iter()
        .chain(places.iter().map(String::as_str))
        .zip(
            [spec.x.strides[0]]
                .into_iter()
                .chain(spec.x.strides[2..].iter().copied()),
        );
    let x = tape::load(
        spec.x.dtype,
        "a0",
        &format!("from + (first + c) * {}", width.literal(spec.x.strides[1])),
    );
    let _ = writeln!(
        body,
        "if ({}) {{\nconst {number} weight = ({number})({});\nconst {signed} from = {};\n\
         #pragma unroll\nfor (int c = 0; c < {CHANNELS}; c++) {{\n\
         if (first + c < {}) sums[c] += weight * {x};\n}}\n}}",
        inside.join(" && "),
        weights.join(" * "),
        source::offset(x_terms, width),
        spec.channels
    );
    body.push_str(&"}\n".repeat(rank));
    let out_terms = [names[0].as_str()].into_iter().chain(outputs()).zip(
        [spec.out.strides[0]]
            .into_iter()
            .chain(spec.out.strides[2..].iter().copied()),
    );
    let store = tape::store(
        spec.out.dtype,
        "a2",
        &format!("to + (first + c) * {}", width.literal(spec.out.strides[1])),
        "sums[c]",
    );
    let _ = writeln!(
        body,
        "const {signed} to = {};\n#pragma unroll\nfor (int c = 0; c < {CHANNELS}; c++) {{\n\
         if (first + c < {}) {{ {store} }}\n}}",
        source::offset(out_terms, width),
        spec.channels
    );
    let mut code = PROGRAM.to_owned();
    code.push_str(&source::function(
        "grid_sample",
        args,
        extras,
        THREADS,
        0,
        &body,
    ));
    let launches = vec![source::launch(
        "grid_sample",
        grid(n.div_ceil(THREADS.into()))?,
        THREADS,
    )];
    Ok(source::generated(&code, launches, extras, schedule))
}
