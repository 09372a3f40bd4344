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

/// Adds the products of one stage.
pub(super) fn write_products(
    s: &Tiled,
    products: u64,
    left: &Loader<'_>,
    right: &Loader<'_>,
    out: &mut String,
) {
    let (m, n) = tiles(s);
    let (left_base, left_one) = reads(left, s, "left", "row", m * MMA[0]);
    let (right_base, right_one) = reads(right, s, "right", "col", n * MMA[1]);
    let at = |one: &str, across: &str, k: &str| one.replace("across", across).replace("(k)", k);
    let (parts, terms): (_, &[[&str; 2]]) = match products {
        // The smallest first.
        3 => ("[2]", &[["[1]", "[0]"], ["[0]", "[1]"], ["[0]", "[0]"]]),
        _ => ("", &[["", ""]]),
    };
    let fill = |to: &str, from: String| match products {
        3 => format!("split_tf32({from}, {to}[0].x[q], {to}[1].x[q]);\n"),
        _ => format!("{to}.x[q] = round_tf32({from});\n"),
    };
    // Tiles whose products do not wait for each other.
    let columns = 4 / m;
    let each = format!(
        "#pragma unroll\n\
         for (int i = 0; i < {m}; i++)\n\
         #pragma unroll\n\
         for (int c = 0; c < {columns}; c++) "
    );
    let multiply = |sums: &str| -> String {
        let term = |[l, r]: &[&str; 2]| {
            format!("{each}multiply_add_tf32({sums}, left_k[i]{l}, right_k[c]{r});\n")
        };
        terms.iter().map(term).collect()
    };
    let all = match products {
        // Tensor cores round sums down: few terms are added there.
        3 => format!(
            "float part[{m}][{columns}][4] = {{}};\n\
             {}{each}for (int q = 0; q < 4; q++) sums[i][j + c][q] += part[i][c][q];\n",
            multiply("part[i][c]")
        ),
        _ => multiply("sums[i][j + c]"),
    };
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{left_base}{right_base}\
         #pragma unroll 1\n\
         for (int k = 0; k < {}; k += 8) {{\n\
         Fragment<4> left_k[{m}]{parts};\n\
         #pragma unroll\n\
         for (int i = 0; i < {m}; i++) {{\n\
         #pragma unroll\n\
         for (int q = 0; q < 4; q++) {}}}\n\
         #pragma unroll\n\
         for (int j = 0; j < {n}; j += {columns}) {{\n\
         Fragment<2> right_k[{columns}]{parts};\n\
         #pragma unroll\n\
         for (int c = 0; c < {columns}; c++) {{\n\
         #pragma unroll\n\
         for (int q = 0; q < 2; q++) {}}}\n\
         {all}}}\n}}",
        s.slice_depth(),
        fill(
            "left_k[i]",
            at(&left_one, "i * 16 + q % 2 * 8", "(k + q / 2 * 4)")
        ),
        fill("right_k[c]", at(&right_one, "(j + c) * 8", "(k + q * 4)")),
    );
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
