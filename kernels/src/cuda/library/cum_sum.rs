//! Running sums: a block scans a row piece by piece, or a thread walks a row where rows are
//! neighbours in memory.

use super::{along, grid, row_offsets};
use crate::cuda::source::{self, Extras, START, Width};
use crate::cuda::tape::{self, compute_type};
use crate::cuda::{Generated, Refused};
use plans::spec::{ArgSpec, CumSumSpec};
use plans::tape::BinaryFn;
use std::fmt::Write;

const THREADS: u32 = 256;

/// Rows of at most so many elements are walked.
const SHORT: u64 = 32;

pub(super) fn generate(spec: &CumSumSpec, args: &[ArgSpec]) -> Result<Generated, Refused> {
    let n = spec.domain.last().copied().unwrap_or(1);
    let n_rows: u64 = spec.domain.iter().rev().skip(1).product();
    let extras = Extras::default();
    if n == 0 || n_rows == 0 {
        return Ok(source::generated("", vec![], extras, "{}".to_owned()));
    }
    let width = Width::of(args, n_rows.saturating_mul(n));
    let rank = spec.domain.len();
    let beside = rank > 1 && spec.x.strides[rank - 2].abs() < along(&spec.x.strides).abs();
    let is_walked = n <= SHORT || beside && n_rows >= u64::from(THREADS);
    let (body, blocks, schedule) = if is_walked {
        let body = walked(spec, n, n_rows, width);
        (
            body,
            n_rows.div_ceil(THREADS.into()),
            "{\"rows\":\"walked\"}",
        )
    } else {
        (scanned(spec, n, width), n_rows, "{\"rows\":\"scanned\"}")
    };
    let code = source::function("cum_sum", args, extras, THREADS, 0, &body);
    let launches = vec![source::launch("cum_sum", grid(blocks)?, THREADS)];
    Ok(source::generated(
        &code,
        launches,
        extras,
        schedule.to_owned(),
    ))
}

/// The offsets of column `at` of the row in x and out.
fn offsets(spec: &CumSumSpec, n: u64, width: Width, body: &mut String) -> [String; 2] {
    let operands = [spec.x.strides.as_slice(), spec.out.strides.as_slice()];
    let rows = row_offsets(&spec.domain, &operands, width, body);
    let column = if spec.reverse {
        format!("({} - at)", width.literal(n as i64 - 1))
    } else {
        "at".to_owned()
    };
    let place = |i: usize| {
        let stride = width.literal(along(operands[i]));
        format!("{} + {column} * {stride}", rows[i])
    };
    [place(0), place(1)]
}

fn walked(spec: &CumSumSpec, n: u64, n_rows: u64, width: Width) -> String {
    let (signed, unsigned) = (width.signed(), width.unsigned());
    let dtype = spec.x.dtype;
    let mut body = START.to_owned();
    let long = if width == Width::Bits64 { "ll" } else { "" };
    let _ = writeln!(
        body,
        "const {unsigned} row = ({unsigned})blockIdx.x * {THREADS}u + threadIdx.x;\n\
         if (row >= {n_rows}u{long}) return;"
    );
    let [from, to] = offsets(spec, n, width, &mut body);
    let ctype = compute_type(dtype);
    let x = tape::load(dtype, "a0", &from);
    let sum = tape::binary(BinaryFn::Add, "sum", "x", dtype);
    let result = if spec.exclusive { "sum" } else { "next" };
    let store = tape::store(dtype, "a1", &to, result);
    let _ = writeln!(
        body,
        "{ctype} sum = 0;\n#pragma unroll 4\nfor ({signed} at = 0; at < {n}; at++) {{\n\
         const {ctype} x = {x};\nconst {ctype} next = {sum};\n{store}\nsum = next;\n}}"
    );
    body
}

fn scanned(spec: &CumSumSpec, n: u64, width: Width) -> String {
    let (signed, unsigned) = (width.signed(), width.unsigned());
    let dtype = spec.x.dtype;
    let ctype = compute_type(dtype);
    let n_warps = THREADS / 32;
    let mut body = format!("SHARED {ctype} totals[{n_warps}];\n{START}");
    let _ = writeln!(body, "const {unsigned} row = ({unsigned})blockIdx.x;");
    let [from, to] = offsets(spec, n, width, &mut body);
    let x = tape::load(dtype, "a0", &from);
    let add = |x: &str, y: &str| tape::binary(BinaryFn::Add, x, y, dtype);
    let result = add("before", if spec.exclusive { "earlier" } else { "sum" });
    let store = tape::store(dtype, "a1", &to, "result");
    let _ = writeln!(
        body,
        "const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n\
         {ctype} carried = 0;\n\
         for ({signed} base = 0; base < {n}; base += {THREADS}) {{\n\
         const {signed} at = base + (int)threadIdx.x;\n\
         {ctype} sum = 0;\nif (at < {n}) sum = {x};\n\
         #pragma unroll\nfor (int d = 1; d < 32; d *= 2) {{\n\
         const {ctype} other = shuffle_up(sum, d);\nif (lane >= d) sum = {};\n}}\n\
         {ctype} earlier = shuffle_up(sum, 1);\nif (lane == 0) earlier = 0;\n\
         if (lane == 31) totals[warp] = sum;\n__syncthreads();\n\
         {ctype} before = carried;\n\
         for (int w = 0; w < {n_warps}; w++) {{\nconst {ctype} total = totals[w];\n\
         if (w < warp) before = {};\ncarried = {};\n}}\n\
         if (at < {n}) {{\nconst {ctype} result = {result};\n{store}\n}}\n\
         __syncthreads();\n}}",
        add("other", "sum"),
        add("before", "total"),
        add("carried", "total"),
    );
    body
}
