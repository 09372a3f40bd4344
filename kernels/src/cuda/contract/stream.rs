//! A few rows by many columns: the factor with the many columns is read once, as fast as memory
//! gives it, straight to registers.
//!
//! Where its sum lies together, a warp takes some columns and its lanes the sum; where its columns
//! lie together, lanes take columns and warps parts of the sum. Blocks may share a sum.

use super::super::source::{Extras, START_AFTER, Width, function, generated, launch_after, offset};
use super::super::{Generated, Refused};
use super::finish::{Finish, VECTOR, load_term};
use super::form::{Factor, Form, only};
use super::loader::base;
use super::schedule::{Schedule, Stream};
use super::tiled::{grid_x, sum_size, sums, write_batch};
use plans::DType;
use plans::spec::ContractSpec;
use std::fmt::Write;

/// The most rows that are summed at once.
pub(super) const MAX_ROWS: u64 = 4;
/// Columns of a block whose lanes lie along them.
pub(super) const LANE_COLS: u64 = 128;

/// How the factor with the many columns lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Along {
    /// Steps of the sum lie next to each other.
    Sum,
    /// Columns lie next to each other.
    Cols,
}

/// A contraction that can be streamed.
pub(super) struct Streamed {
    pub(super) along: Along,
    /// Strides of the sum and of the own dimension: of the left factor, then of the right one.
    left: [i64; 2],
    right: [i64; 2],
}

impl Streamed {
    /// `None` if a factor is not a matrix, or there are too many rows.
    pub(super) fn of(form: &Form) -> Option<Self> {
        let checked = !form.left.checks.is_empty() || !form.right.checks.is_empty();
        if checked
            || !form.phases.is_empty()
            || form.n_rows() > MAX_ROWS
            || form.depth() == 0
            || !form.is_narrow()
        {
            return None;
        }
        let strides = |factor: &Factor, own: &[u64]| {
            Some([only(&form.k, &factor.k)?, only(own, &factor.own)?])
        };
        let left = strides(&form.left, &form.rows)?;
        let right = strides(&form.right, &form.cols)?;
        let along = if right[0].abs() <= 1 {
            Along::Sum
        } else if right[1].abs() <= 1 {
            Along::Cols
        } else {
            return None;
        };
        Some(Self { along, left, right })
    }

    /// Columns of a block.
    pub(super) fn block_cols(&self, s: &Stream) -> u64 {
        match self.along {
            Along::Sum => s.warps * s.cols,
            Along::Cols => LANE_COLS,
        }
    }
}

pub(super) fn generate(form: &Form, spec: &ContractSpec, s: &Stream) -> Result<Generated, Refused> {
    let refused = || Refused(format!("{s:?} is no schedule of the contraction"));
    let streamed = Streamed::of(form).ok_or_else(refused)?;
    let is_sound = (1..=16).contains(&s.warps) && matches!(s.cols, 1 | 2 | 4) && s.split > 0;
    if !is_sound {
        return Err(refused());
    }
    let args = spec.args();
    let positions = [form.n_rows(), form.n_cols(), form.n_batch(), form.depth()];
    let width = Width::of(&args, positions.into_iter().max().unwrap_or(0));
    let finish = Finish::new(form, spec, width, 1);
    let (rows, block_cols) = (form.n_rows(), streamed.block_cols(s));
    let per_product = form.n_cols().div_ceil(block_cols);
    let blocks = per_product * form.n_batch();
    let results = rows * block_cols;

    let mut body = START_AFTER.to_owned();
    body.push_str(&finish.alignments());
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        "const unsigned tid = threadIdx.x, lane = tid % 32u, warp = tid / 32u;\n\
         const unsigned z = blockIdx.x / {per_product}u;\n\
         const unsigned first_col = (blockIdx.x - z * {per_product}u) * {block_cols}u;"
    );
    let batch = write_batch(form, width, &mut body);
    for (name, factor) in [("left", &form.left), ("right", &form.right)] {
        body.push_str(&base(form, factor, name, &batch, width));
    }
    let parts = match streamed.along {
        Along::Sum => {
            write_along_sum(form, &streamed, s, width, &mut body);
            1
        }
        Along::Cols => {
            write_along_cols(form, &streamed, s, width, &mut body);
            s.warps
        }
    };
    let threads = 32 * s.warps;
    let sum = format!(
        "Sum sum = staged[e];\n\
         #pragma unroll\nfor (int w = 1; w < {parts}; w++) sum += staged[w * {results} + e];\n"
    );
    if s.split > 1 {
        let _ = writeln!(
            body,
            "{{\n\
             Sum* const parts = (Sum*)workspace + ((size_t)blockIdx.x * {0}u + blockIdx.y) * {results}u;\n\
             for (unsigned e = tid; e < {results}u; e += {threads}u) {{\n{sum}parts[e] = sum;\n}}\n\
             }}\n\
             if (!arrive_last(counters + blockIdx.x, {0}u)) return;\n\
             const Sum* const parts = (const Sum*)workspace + (size_t)blockIdx.x * {1}u;",
            s.split,
            s.split * results
        );
    }
    let _ = writeln!(
        body,
        "for (unsigned e = tid; e < {results}u; e += {threads}u) {{\n\
         const unsigned row = e / {block_cols}u, col = first_col + e % {block_cols}u;\n\
         if (col >= {}u) continue;",
        form.n_cols()
    );
    if s.split > 1 {
        let _ = writeln!(
            body,
            "Sum sum = 0;\n#pragma unroll {}\n\
             for (int p = 0; p < {}; p++) sum += __ldcg(parts + p * {results} + e);",
            s.split.min(8),
            s.split
        );
    } else {
        body.push_str(&sum);
    }
    let _ = writeln!(
        body,
        "const Sum values[1] = {{sum}};\n{}}}",
        finish.statements()
    );

    let extras = Extras {
        workspace: if s.split > 1 {
            blocks * s.split * results * sum_size(form.sum)
        } else {
            0
        },
        counters: if s.split > 1 { blocks * 4 } else { 0 },
        may_fault: false,
    };
    let code = format!(
        "{}{}{}",
        sums(form.sum, false),
        finish.definitions(),
        function("contract", &args, extras, threads as u32, 0, &body)
    );
    let grid = [grid_x(blocks)?, s.split as u32, 1];
    let launch = launch_after("contract", grid, threads as u32);
    let schedule = super::json(&Schedule::Stream(*s));
    Ok(generated(&code, vec![launch], extras, schedule))
}

fn is_word(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}

/// Whether quads of a factor whose `stride` along them is 1 start at multiples of a quad.
fn has_quads(form: &Form, factor: &Factor, n: u64, stride: i64, other: i64) -> bool {
    let batch = form.batch.iter().zip(&factor.batch);
    let mut steps = batch.filter(|(n, _)| **n > 1).map(|(_, s)| *s);
    let quad = VECTOR as i64;
    is_word(factor.dtype)
        && stride == 1
        && n.is_multiple_of(VECTOR)
        && other % quad == 0
        && factor.start % quad == 0
        && steps.all(|s| s % quad == 0)
}

/// Statements that fill `Sum {to}[4]` with elements next to each other at `from`.
fn quad(factor: &Factor, sum: DType, name: &str, to: &str, from: &str) -> String {
    let element = load_term(factor.dtype, sum, name, &format!("{from} + q"));
    format!(
        "Sum {to}[4];\n\
         if (is_aligned_{name}) {{\n\
         const Quad four = *(const Quad*)({name} + {from});\n\
         #pragma unroll\nfor (int q = 0; q < 4; q++) {to}[q] = four.x[q];\n\
         }} else {{\n\
         #pragma unroll\nfor (int q = 0; q < 4; q++) {to}[q] = {element};\n\
         }}\n"
    )
}

fn write_alignment(name: &str, out: &mut String) {
    let _ = writeln!(
        out,
        "const bool is_aligned_{name} = ((unsigned long long){name} & 15) == 0;"
    );
}

/// The range of the sum, in units of `unit` steps, that the block adds.
fn write_range(n: u64, split: u64, out: &mut String) {
    let _ = writeln!(
        out,
        "const unsigned first = (unsigned)({n}ull * blockIdx.y / {split}u);\n\
         const unsigned end = (unsigned)({n}ull * (blockIdx.y + 1u) / {split}u);"
    );
}

fn write_along_sum(form: &Form, at: &Streamed, s: &Stream, width: Width, out: &mut String) {
    let (rows, cols, depth) = (form.n_rows(), s.cols, form.depth());
    let (left, right) = (&form.left, &form.right);
    let by_quads = has_quads(form, right, depth, at.right[0], at.right[1]);
    let left_quads = by_quads && has_quads(form, left, depth, at.left[0], at.left[1]);
    let unit = if by_quads { VECTOR } else { 1 };
    let signed = width.signed();
    if by_quads {
        write_alignment("right", out);
    }
    if left_quads {
        write_alignment("left", out);
    }
    write_range(depth / unit, s.split, out);
    let last = form.n_cols() - 1;
    let unroll = (16 / (cols * unit)).clamp(1, 8) * if rows > 2 { 1 } else { 2 };
    let _ = writeln!(
        out,
        "const unsigned warp_col = first_col + warp * {cols}u;\n\
         {signed} right_from[{cols}];\n\
         #pragma unroll\n\
         for (int c = 0; c < {cols}; c++) {{\n\
         const unsigned col = warp_col + c < {last}u ? warp_col + c : {last}u;\n\
         right_from[c] = {};\n\
         }}\n\
         Sum sums[{rows}][{cols}] = {{}};\n\
         #pragma unroll {unroll}\n\
         for (unsigned u = first + lane; u < end; u += 32u) {{\n\
         const {signed} k = ({signed})(u * {unit}u);",
        offset([(format!("({signed})col").as_str(), at.right[1])], width)
    );
    let along = |stride: i64| offset([("k", stride)], width);
    let left_at = format!(
        "{} + {}",
        offset([("i", at.left[1])], width),
        along(at.left[0])
    );
    let right_at = format!("right_from[c] + {}", along(at.right[0]));
    let (each_left, each_right) = if by_quads {
        let steps = format!("{left_at} + q * {}", width.literal(at.left[0]));
        let left_quad = if left_quads {
            quad(left, form.sum, "left", "four_left", &left_at)
        } else {
            format!(
                "Sum four_left[4];\n#pragma unroll\nfor (int q = 0; q < 4; q++) four_left[q] = {};\n",
                load_term(left.dtype, form.sum, "left", &steps)
            )
        };
        (
            format!(
                "{left_quad}#pragma unroll\nfor (int q = 0; q < 4; q++) x[i][q] = four_left[q];\n"
            ),
            format!(
                "{}#pragma unroll\nfor (int q = 0; q < 4; q++) w[c][q] = four_right[q];\n",
                quad(right, form.sum, "right", "four_right", &right_at)
            ),
        )
    } else {
        (
            format!(
                "x[i][0] = {};\n",
                load_term(left.dtype, form.sum, "left", &left_at)
            ),
            format!(
                "w[c][0] = {};\n",
                load_term(right.dtype, form.sum, "right", &right_at)
            ),
        )
    };
    let _ = writeln!(
        out,
        "Sum x[{rows}][{unit}], w[{cols}][{unit}];\n\
         #pragma unroll\nfor (int i = 0; i < {rows}; i++) {{\n{each_left}}}\n\
         #pragma unroll\nfor (int c = 0; c < {cols}; c++) {{\n{each_right}}}\n\
         #pragma unroll\nfor (int i = 0; i < {rows}; i++) {{\n\
         #pragma unroll\nfor (int c = 0; c < {cols}; c++) {{\n\
         #pragma unroll\nfor (int q = 0; q < {unit}; q++) sums[i][c] += x[i][q] * w[c][q];\n\
         }}\n}}\n}}\n\
         SHARED Sum staged[{}];\n\
         #pragma unroll\nfor (int i = 0; i < {rows}; i++) {{\n\
         #pragma unroll\nfor (int c = 0; c < {cols}; c++) {{\n\
         Sum sum = sums[i][c];\n\
         #pragma unroll\nfor (int mask = 16; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);\n\
         if (lane == 0) staged[i * {} + warp * {cols}u + c] = sum;\n\
         }}\n}}\n\
         __syncthreads();",
        rows * s.warps * cols,
        s.warps * cols
    );
}

fn write_along_cols(form: &Form, at: &Streamed, s: &Stream, width: Width, out: &mut String) {
    let (rows, depth) = (form.n_rows(), form.depth());
    let (left, right) = (&form.left, &form.right);
    let by_quads = has_quads(form, right, form.n_cols(), at.right[1], at.right[0]);
    let signed = width.signed();
    if by_quads {
        write_alignment("right", out);
    }
    write_range(depth, s.split, out);
    let (step, col) = if by_quads {
        (1, "lane * 4u")
    } else {
        (32, "lane")
    };
    let _ = writeln!(
        out,
        "const unsigned lane_col = {col};\n\
         Sum sums[{rows}][4] = {{}};\n\
         if (first_col + lane_col < {}u) {{\n\
         #pragma unroll 8\n\
         for (unsigned u = first + warp; u < end; u += {}u) {{\n\
         const {signed} k = ({signed})u;",
        form.n_cols(),
        s.warps
    );
    let right_k = offset([("k", at.right[0])], width);
    if by_quads {
        let from = format!("({signed})(first_col + lane_col) + {right_k}");
        out.push_str(&quad(right, form.sum, "right", "w", &from));
    } else {
        let col_at = offset([("col", at.right[1])], width);
        let _ = writeln!(
            out,
            "Sum w[4];\n\
             #pragma unroll\nfor (int q = 0; q < 4; q++) {{\n\
             const unsigned position = first_col + lane_col + q * 32u;\n\
             const {signed} col = ({signed})(position < {0}u ? position : {0}u);\n\
             w[q] = {1};\n}}",
            form.n_cols() - 1,
            load_term(
                right.dtype,
                form.sum,
                "right",
                &format!("{col_at} + {right_k}")
            )
        );
    }
    let left_at = format!(
        "{} + {}",
        offset([("i", at.left[1])], width),
        offset([("k", at.left[0])], width)
    );
    let _ = writeln!(
        out,
        "#pragma unroll\nfor (int i = 0; i < {rows}; i++) {{\n\
         const Sum x = {};\n\
         #pragma unroll\nfor (int q = 0; q < 4; q++) sums[i][q] += x * w[q];\n\
         }}\n}}\n}}\n\
         SHARED Sum staged[{}];\n\
         #pragma unroll\nfor (int i = 0; i < {rows}; i++) {{\n\
         #pragma unroll\nfor (int q = 0; q < 4; q++) \
         staged[(warp * {rows}u + i) * {LANE_COLS}u + lane_col + q * {step}u] = sums[i][q];\n\
         }}\n\
         __syncthreads();",
        load_term(left.dtype, form.sum, "left", &left_at),
        s.warps * rows * LANE_COLS
    );
}
