//! A thread a result: for sums too small or too odd for tiles.

use super::super::source::{
    Extras, START_AFTER, Width, function, generated, launch_after, offset, split,
};
use super::super::{Generated, Refused};
use super::finish::{Finish, load_term};
use super::form::{Factor, Form};
use super::loader::base;
use super::schedule::Schedule;
use super::tiled::{grid_x, sums, write_batch};
use plans::spec::ContractSpec;
use std::fmt::Write;

const THREADS: u64 = 128;

pub(super) fn generate(form: &Form, spec: &ContractSpec) -> Result<Generated, Refused> {
    let args = spec.args();
    let total = form.n_batch() * form.n_rows() * form.n_cols();
    let width = Width::of(&args, total.max(form.depth()));
    let finish = Finish::new(form, spec, width, 1);
    let unsigned = width.unsigned();
    let mut body = START_AFTER.to_owned();
    body.push_str(&finish.alignments());
    let _ = writeln!(
        body,
        "const {unsigned} result = ({unsigned})blockIdx.x * {THREADS}u + threadIdx.x;\n\
         if (result >= {total}u) return;"
    );
    let extents = [form.n_batch(), form.n_rows(), form.n_cols()];
    let at = split("result", &extents, "at", width, &mut body);
    for (name, at) in ["z", "row", "col"].iter().zip(&at) {
        let _ = writeln!(body, "const {unsigned} {name} = ({unsigned}){at};");
    }
    let batch = write_batch(form, width, &mut body);
    for (name, factor) in [("left", &form.left), ("right", &form.right)] {
        body.push_str(&base(form, factor, name, &batch, width));
    }
    write_sum(form, width, &mut body);
    let _ = writeln!(
        body,
        "const Sum values[1] = {{sum_of(row, col)}};\ndo {{\n{}}} while (false);",
        finish.statements()
    );
    let extras = Extras::default();
    let code = format!(
        "{}{}{}",
        sums(form.sum, false),
        finish.definitions(),
        function("contract", &args, extras, THREADS as u32, 0, &body)
    );
    let grid = [grid_x(total.div_ceil(THREADS))?, 1, 1];
    let launch = launch_after("contract", grid, THREADS as u32);
    let schedule = super::json(&Schedule::Direct);
    Ok(generated(&code, vec![launch], extras, schedule))
}

/// A function `sum_of` that adds up a row and a column of the block's product.
pub(super) fn write_sum(form: &Form, width: Width, out: &mut String) {
    let (signed, unsigned) = (width.signed(), width.unsigned());
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "const auto sum_of = [&]({unsigned} row, {unsigned} col) {{"
    );
    let rows = split("row", &form.rows, "left_at", width, out);
    let cols = split("col", &form.cols, "right_at", width, out);
    let _ = writeln!(out, "Sum sum = 0;");
    for (d, &n) in form.k.iter().enumerate() {
        let phase = form.phases.iter().position(|p| p.k == d);
        let extent = match phase {
            Some(p) => format!("({signed})n_taps{p}"),
            None => width.literal(n as i64),
        };
        let _ = writeln!(
            out,
            "#pragma unroll 1\nfor ({signed} k{d} = 0; k{d} < {extent}; k{d}++) {{"
        );
        for (factor, own) in [(&form.left, &rows), (&form.right, &cols)] {
            for check in factor.checks.iter().filter(|c| c.k == d) {
                let shift = match check.phase {
                    Some(p) => format!(" + position{p}"),
                    None => String::new(),
                };
                let _ = writeln!(
                    out,
                    "const {signed} met{d} = {} * {} + k{d} * {} + {}{shift};\n\
                     if (met{d} < 0 || met{d} >= {}) continue;",
                    own[check.own], check.own_step, check.k_step, check.start, check.extent
                );
            }
        }
    }
    let steps: Vec<String> = (0..form.k.len()).map(|d| format!("k{d}")).collect();
    let term = |name: &str, factor: &Factor, own: &[String]| {
        let own = own
            .iter()
            .map(String::as_str)
            .zip(factor.own.iter().copied());
        let k = steps
            .iter()
            .map(String::as_str)
            .zip(factor.k.iter().copied());
        load_term(factor.dtype, form.sum, name, &offset(own.chain(k), width))
    };
    let _ = writeln!(
        out,
        "sum += {} * {};\n{}return sum;\n}};",
        term("left", &form.left, &rows),
        term("right", &form.right, &cols),
        "}\n".repeat(form.k.len())
    );
}
