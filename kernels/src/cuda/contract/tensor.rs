//! Products on tensor cores: warps add tiles of 16 by 8 results over 8 steps of the sum, of f32 rounded to
//! tf32.
//!
//! With three products a term, each factor is a big part and the rest that rounding leaves; small times small
//! is left out. That keeps 21 bits or more of each factor where f32 has 24.

use super::loader::{Lie, Loader};
use super::schedule::{LANES, Tiled};
use std::fmt::Write;

/// Rows and columns of results, and steps of the sum, of one instruction.
pub(super) const MMA: [u64; 3] = [16, 8, 8];

/// Elements from one row or step to the next in shared memory, beyond those that there are: reads of a
/// warp, 8 rows by 4 steps, lie in different banks.
pub(super) const PAD_INNER: u64 = 4;
pub(super) const PAD_OUTER: u64 = 8;

/// Tiles of 16 rows and of 8 columns of a warp.
fn tiles(s: &Tiled) -> (u64, u64) {
    (
        LANES.0 * s.thread_rows / MMA[0],
        LANES.1 * s.thread_cols / MMA[1],
    )
}

/// Where a lane stands in the instruction's tiles.
pub(super) fn write_lanes(out: &mut String) {
    out.push_str("const unsigned lane_row = tid % 32u / 4u, lane_col = tid % 4u;\n");
}

/// The sums of a thread, of each tile four.
pub(super) fn write_sums(s: &Tiled, out: &mut String) {
    let (m, n) = tiles(s);
    // Writing to a string does not fail.
    let _ = writeln!(out, "float sums[{m}][{n}][4] = {{}};");
}

/// A statement that defines where a lane's first element of a side is, and the expression of the one
/// `across` rows or columns and `k` steps later.
fn reads(loader: &Loader<'_>, s: &Tiled, name: &str, along: &str, extent: u64) -> (String, String) {
    let (pitch, tile, slice) = (loader.pitch(), loader.tile_elements(), s.slice_depth());
    let first = format!("(warp_{along} * {extent}u + lane_row)");
    let k = format!("(slice * {slice}u + lane_col)");
    let (place, later) = match loader.lie {
        Lie::Inner => (
            format!("{first} * {pitch}u + {k}"),
            format!("{name}_at[(across) * {pitch} + (k)]"),
        ),
        Lie::Outer => (
            format!("{k} * {pitch}u + {first}"),
            format!("{name}_at[(k) * {pitch} + (across)]"),
        ),
    };
    let base =
        format!("const float* const {name}_at = {name}_tiles + stage * {tile}u + {place};\n");
    (base, later)
}

/// Adds the products of one stage. `copies` start those of a later one.
pub(super) fn write_products(
    s: &Tiled,
    products: u64,
    left: &Loader<'_>,
    right: &Loader<'_>,
    copies: &str,
    out: &mut String,
) {
    let (m, n) = tiles(s);
    let (left_base, left_one) = reads(left, s, "left", "row", m * MMA[0]);
    let (right_base, right_one) = reads(right, s, "right", "col", n * MMA[1]);
    out.push_str(&left_base);
    out.push_str(&right_base);
    if products == 1 {
        write_rounded(s, &left_one, &right_one, copies, out);
    } else {
        out.push_str(copies);
        write_split(s, &left_one, &right_one, out);
    }
}

/// One product a term. The next step is read while the products of one are on their way, and the copies
/// are started behind the first of them: only warps that have work left hide what both take.
fn write_rounded(s: &Tiled, left: &str, right: &str, copies: &str, out: &mut String) {
    let (m, n) = tiles(s);
    let steps = s.slice_depth() / MMA[2];
    let read = |step: &str, to: &str| {
        let left = at(
            left,
            "i * 16 + q % 2 * 8",
            &format!("({step} * 8 + q / 2 * 4)"),
        );
        let right = at(right, "j * 8", &format!("({step} * 8 + q * 4)"));
        format!(
            "#pragma unroll\n\
             for (int i = 0; i < {m}; i++)\n\
             #pragma unroll\n\
             for (int q = 0; q < 4; q++) left_k[{to}][i].x[q] = round_tf32({left});\n\
             #pragma unroll\n\
             for (int j = 0; j < {n}; j++)\n\
             #pragma unroll\n\
             for (int q = 0; q < 2; q++) right_k[{to}][j].x[q] = round_tf32({right});\n"
        )
    };
    let next = match steps {
        1 => String::new(),
        _ => format!(
            "if (k + 1 < {steps}) {{\n{}}}\n",
            read("(k + 1)", "(k + 1) % 2")
        ),
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "Fragment<4> left_k[2][{m}];\n\
         Fragment<2> right_k[2][{n}];\n\
         {}\
         #pragma unroll\n\
         for (int k = 0; k < {steps}; k++) {{\n\
         {next}\
         #pragma unroll\n\
         for (int j = 0; j < {n}; j++)\n\
         #pragma unroll\n\
         for (int i = 0; i < {m}; i++) multiply_add_tf32(sums[i][j], left_k[k % 2][i], right_k[k % 2][j]);\n\
         if (k == 0) {{\n{copies}}}\n\
         }}",
        read("0", "0")
    );
}

/// Three products a term.
fn write_split(s: &Tiled, left: &str, right: &str, out: &mut String) {
    let (m, n) = tiles(s);
    // Tiles whose products do not wait for each other.
    let columns = 4 / m;
    let each = format!(
        "#pragma unroll\n\
         for (int i = 0; i < {m}; i++)\n\
         #pragma unroll\n\
         for (int c = 0; c < {columns}; c++) "
    );
    // The smallest first.
    let terms = [["[1]", "[0]"], ["[0]", "[1]"], ["[0]", "[0]"]];
    let multiply: String = terms
        .map(|[l, r]| {
            format!("{each}multiply_add_tf32(part[i][c], left_k[i]{l}, right_k[c]{r});\n")
        })
        .concat();
    let fill =
        |to: &str, from: String| format!("split_tf32({from}, {to}[0].x[q], {to}[1].x[q]);\n");
    // Tensor cores round sums down: few terms are added there.
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "#pragma unroll 1\n\
         for (int k = 0; k < {}; k += 8) {{\n\
         Fragment<4> left_k[{m}][2];\n\
         #pragma unroll\n\
         for (int i = 0; i < {m}; i++) {{\n\
         #pragma unroll\n\
         for (int q = 0; q < 4; q++) {}}}\n\
         #pragma unroll\n\
         for (int j = 0; j < {n}; j += {columns}) {{\n\
         Fragment<2> right_k[{columns}][2];\n\
         #pragma unroll\n\
         for (int c = 0; c < {columns}; c++) {{\n\
         #pragma unroll\n\
         for (int q = 0; q < 2; q++) {}}}\n\
         float part[{m}][{columns}][4] = {{}};\n\
         {multiply}{each}for (int q = 0; q < 4; q++) sums[i][j + c][q] += part[i][c][q];\n\
         }}\n}}",
        s.slice_depth(),
        fill(
            "left_k[i]",
            at(left, "i * 16 + q % 2 * 8", "(k + q / 2 * 4)")
        ),
        fill("right_k[c]", at(right, "(j + c) * 8", "(k + q * 4)")),
    );
}

/// The element that `read` gives, so far across and so many steps on.
fn at(read: &str, across: &str, k: &str) -> String {
    read.replace("across", across).replace("(k)", k)
}

/// Puts the threads' sums where they are finished from: `[slice][row][column]`, rows `pitch` apart.
pub(super) fn write_staging(s: &Tiled, pitch: u64, out: &mut String) {
    let (m, n) = tiles(s);
    let slice = s.rows * pitch;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "#pragma unroll\n\
         for (int i = 0; i < {m}; i++) {{\n\
         #pragma unroll\n\
         for (int j = 0; j < {n}; j++) {{\n\
         #pragma unroll\n\
         for (int q = 0; q < 4; q += 2) {{\n\
         Pair pair = {{{{sums[i][j][q], sums[i][j][q + 1]}}}};\n\
         *(Pair*)(staged + slice * {slice}u + (warp_row * {}u + i * 16 + q / 2 * 8 + lane_row) * {pitch}u \
         + warp_col * {}u + j * 8 + lane_col * 2u) = pair;\n\
         }}\n}}\n}}",
        m * MMA[0],
        n * MMA[1],
    );
}
