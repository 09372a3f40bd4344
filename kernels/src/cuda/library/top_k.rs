//! The greatest or least elements of rows: a block sorts a row, or first selects from it.

use super::{along, grid, row_offsets};
use crate::cuda::source::{self, Extras, START, Width};
use crate::cuda::tape::{self, compute_type};
use crate::cuda::{Generated, Refused};
use plans::spec::{ArgSpec, TopKSpec};
use std::fmt::Write;

const PROGRAM: &str = include_str!("top_k.cuh");

pub(super) fn generate(spec: &TopKSpec, args: &[ArgSpec]) -> Result<Generated, Refused> {
    let n = spec.domain.last().copied().unwrap_or(1);
    let n_rows: u64 = spec.domain.iter().rev().skip(1).product();
    let mut extras = Extras::default();
    if spec.k == 0 || n_rows == 0 {
        return Ok(source::generated("", vec![], extras, "{}".to_owned()));
    }
    if n >= 1 << 31 {
        return Err(Refused(format!("the greatest of {n} elements")));
    }
    let width = Width::of(args, n_rows.saturating_mul(n));
    let (signed, unsigned) = (width.signed(), width.unsigned());
    let dtype = spec.x.dtype;
    let (key, key_bytes, room) = match compute_type(dtype) {
        "double" | "long long" | "unsigned long long" => ("unsigned long long", 8, 2048),
        _ => ("unsigned", 4, 4096),
    };
    // A row that does not fit into shared memory is selected from before it is sorted.
    let is_selected = n > room;
    let sorted = if is_selected { spec.k } else { n }.next_power_of_two();
    let in_shared = sorted <= room;
    let threads = ((sorted / 2).clamp(32, 512) as u32).max(if is_selected { 1024 } else { 32 });
    let mut body = String::new();
    if in_shared {
        let _ = writeln!(
            body,
            "SHARED {key} keys[{sorted}];\nSHARED unsigned places[{sorted}];"
        );
    } else {
        extras.workspace = n_rows * sorted * (key_bytes + 4);
    }
    body.push_str(START);
    let _ = writeln!(body, "const {unsigned} row = ({unsigned})blockIdx.x;");
    if !in_shared {
        let _ = writeln!(
            body,
            "{key}* const keys = ({key}*)workspace + (size_t)row * {sorted};\n\
             unsigned* const places = (unsigned*)(workspace + {}ull) + (size_t)row * {sorted};",
            n_rows * sorted * key_bytes
        );
    }
    let operands = [
        spec.x.strides.as_slice(),
        spec.values.strides.as_slice(),
        spec.indices.strides.as_slice(),
    ];
    let rows = row_offsets(&spec.domain, &operands, width, &mut body);
    let place = |i: usize, at: &str| {
        format!(
            "{} + ({signed}){at} * {}",
            rows[i],
            width.literal(along(operands[i]))
        )
    };
    let x = tape::load(dtype, "a0", &place(0, "i"));
    let inverse = if spec.largest { "~" } else { "" };
    let _ = writeln!(
        body,
        "auto key_of = [&](unsigned i) -> {key} {{ return {inverse}ordered({x}); }};"
    );
    let _ = if is_selected {
        writeln!(
            body,
            "select_keys<{key}>(keys, places, {sorted}u, {n}u, {}u, key_of);",
            spec.k
        )
    } else {
        writeln!(
            body,
            "for (unsigned i = threadIdx.x; i < {sorted}u; i += {threads}u) {{\n\
             keys[i] = i < {n}u ? key_of(i) : ~({key})0;\n\
             places[i] = i < {n}u ? i : 0xffffffffu;\n}}"
        )
    };
    let _ = writeln!(
        body,
        "sort_keys<{key}>(keys, places, {sorted}u);\n\
         for (unsigned i = threadIdx.x; i < {}u; i += {threads}u) {{\n\
         const unsigned from = places[i];\n\
         a1[{}] = a0[{}];\na2[{}] = from;\n}}",
        spec.k,
        place(1, "i"),
        place(0, "from"),
        place(2, "i")
    );
    let schedule = format!(
        "{{\"threads\":{threads},\"selected\":{is_selected},\"sorted\":{sorted},\"shared\":{in_shared}}}"
    );
    let mut code = PROGRAM.to_owned();
    code.push_str(&source::function("top_k", args, extras, threads, 0, &body));
    let launches = vec![source::launch("top_k", grid(n_rows)?, threads)];
    Ok(source::generated(&code, launches, extras, schedule))
}
