//! Products by tiles in shared memory, on the ordinary cores.
//!
//! A block copies tiles of both factors to shared memory, several stages ahead; each thread keeps a
//! square of sums in registers and adds the outer products of what it reads. Lanes of a warp lie
//! 4 by 8 in an order (Morton's) in which those that read the same 16 bytes are neighbours, so that
//! a read of 16 bytes a lane takes two turns of the memory rather than four. The sums pass through
//! shared memory to be finished row by row.

use super::super::source::{Extras, START_AFTER, Width, function, generated, launch_after, split};
use super::super::{Generated, Refused, Target};
use super::direct::write_sum;
use super::finish::{Finish, VECTOR, sum_type};
use super::form::Form;
use super::loader::{Loader, flat, n_taps};
use super::products::write_products;
use super::schedule::{Cores, LANES, Schedule, Tiled};
use super::tensor;
use plans::DType;
use plans::spec::ContractSpec;
use std::fmt::Write;

/// Elements between rows of sums in shared memory.
const PITCH_PAD: u64 = 4;

/// Bytes of a table's entry.
const STEP_BYTES: u64 = 8;

/// How many blocks of a schedule there are, and what they need.
pub(super) struct Extent {
    pub(super) row_tiles: u64,
    pub(super) col_tiles: u64,
    /// Tiles of all products.
    pub(super) tiles: u64,
    pub(super) shared_bytes: u64,
    pub(super) workspace: u64,
}

pub(super) fn extent(form: &Form, s: &Tiled, width: Width) -> Extent {
    let (left, right) = (
        Loader::new(form, true, s, width),
        Loader::new(form, false, s, width),
    );
    let size = sum_size(form.sum);
    let row_tiles = form.n_rows().div_ceil(s.rows);
    let col_tiles = form.n_cols().div_ceil(s.cols);
    let tiles = row_tiles * col_tiles * form.n_batch();
    let stages = s.stages * (left.tile_elements() + right.tile_elements());
    let tables = left.table() + right.table();
    let sums = s.slices * s.rows * (s.cols + PITCH_PAD);
    let workspace = if s.split > 1 {
        tiles * s.split * s.rows * s.cols * size
    } else {
        0
    };
    Extent {
        row_tiles,
        col_tiles,
        tiles,
        shared_bytes: (stages * size + tables * STEP_BYTES).max(sums * size),
        workspace,
    }
}

/// Statements that define the positions of the batch, `batch0`, …, of the product `z`, and what
/// belongs to its phases. Gives the positions.
pub(super) fn write_batch(form: &Form, width: Width, out: &mut String) -> Vec<String> {
    let names = split("z", &form.batch, "batch", width, out);
    for (p, phased) in form.phases.iter().enumerate() {
        let residue = &names[phased.batch];
        let mut table = |name: &str, of: &dyn Fn(usize) -> i64| {
            let n = phased.of.len();
            let same = (1..n).all(|i| of(i) == of(0));
            let mut value = of(n - 1).to_string();
            if !same {
                for i in (0..n - 1).rev() {
                    value = format!("{residue} == {i} ? {} : {value}", of(i));
                }
            }
            // Writing to a string does not fail.
            let _ = writeln!(out, "const int {name}{p} = {value};");
        };
        table("position", &|i| phased.of[i].position);
        table("first_tap", &|i| phased.of[i].first_tap as i64);
        table("taps_of", &|i| phased.of[i].taps as i64);
        let _ = writeln!(out, "const unsigned n_taps{p} = (unsigned)taps_of{p};");
    }
    names
}

pub(super) fn generate(
    form: &Form,
    spec: &ContractSpec,
    s: &Tiled,
    target: &Target,
) -> Result<Generated, Refused> {
    let flat = if s.by_taps { None } else { flat(form) };
    let form = flat.as_ref().unwrap_or(form);
    let args = spec.args();
    let positions = [form.n_rows(), form.n_cols(), form.n_batch(), form.depth()];
    let width = Width::of(&args, positions.into_iter().max().unwrap_or(0));
    let extent = extent(form, s, width);
    let fits = (s.by_taps || form.phases.is_empty()) && form.is_narrow();
    let multiplies = s.cores == Cores::Ordinary || form.is_f32();
    if !s.is_sound() || !fits || !multiplies || extent.shared_bytes > u64::from(target.max_shared) {
        return Err(Refused(format!("{s:?} is no schedule of the contraction")));
    }
    let finish = Finish::new(form, spec, width, VECTOR);
    let left = Loader::new(form, true, s, width);
    let right = Loader::new(form, false, s, width);
    let threads = s.threads();

    let mut body = START_AFTER.to_owned();
    write_tile(s, &extent, &mut body);
    body.push_str(&finish.alignments());
    let batch = write_batch(form, width, &mut body);
    left.write_base(&batch, &mut body);
    right.write_base(&batch, &mut body);
    let right_tiles = s.stages * left.tile_elements();
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        "DYNAMIC_SHARED(shared);\n\
         Sum* const left_tiles = (Sum*)shared;\n\
         Sum* const right_tiles = (Sum*)shared + {right_tiles};"
    );
    let _ = writeln!(body, "Sum* const staged = (Sum*)shared;");
    let tiles = s.stages * (left.tile_elements() + right.tile_elements());
    let mut table = tiles * sum_size(form.sum);
    for (name, loader) in [("left", &left), ("right", &right)] {
        if loader.table() > 0 {
            let _ = writeln!(
                body,
                "Step* const {name}_table = (Step*)(shared + {table});"
            );
            table += loader.table() * STEP_BYTES;
        }
    }
    let has_tables = left.table() + right.table() > 0;
    let alignments: Vec<String> = [&left, &right]
        .iter()
        .filter_map(|l| l.alignment())
        .collect();
    if !alignments.is_empty() {
        let _ = writeln!(body, "if ({}) {{", alignments.join(" && "));
    }
    left.write_start("first_row", &mut body);
    right.write_start("first_col", &mut body);
    left.write_load(&mut body);
    right.write_load(&mut body);
    if has_tables {
        body.push_str("__syncthreads();\n");
    }
    write_sums(form, s, &left, &right, &mut body);
    match s.cores {
        Cores::Ordinary => write_staging(s, &mut body),
        Cores::Tensor { .. } => tensor::write_staging(s, s.cols + PITCH_PAD, &mut body),
    }
    if !alignments.is_empty() {
        body.push_str("} else {\n");
        write_slowly(form, s, width, &mut body);
        body.push_str("}\n");
    }
    write_finish(s, &finish, &mut body);

    let extras = Extras {
        workspace: extent.workspace,
        counters: if s.split > 1 { extent.tiles * 4 } else { 0 },
        may_fault: false,
    };
    let code = format!(
        "{}{}{}{}",
        sums(form.sum, s.split > 1),
        if has_tables {
            "struct alignas(8) Step { int along; unsigned taps; };\n"
        } else {
            ""
        },
        finish.definitions(),
        function(
            "contract",
            &args,
            extras,
            threads as u32,
            s.resident() as u32,
            &body
        )
    );
    let grid = [grid_x(extent.tiles)?, s.split as u32, 1];
    let mut launch = launch_after("contract", grid, threads as u32);
    launch.shared_bytes = extent.shared_bytes as u32;
    let schedule = super::json(&Schedule::Tiled(*s));
    Ok(generated(&code, vec![launch], extras, schedule))
}

/// Blocks along x.
pub(super) fn grid_x(n: u64) -> Result<u32, Refused> {
    match u32::try_from(n) {
        Ok(n) if n <= i32::MAX as u32 => Ok(n),
        _ => Err(Refused(format!(
            "a contraction of {n} blocks; a launch has 2^31 - 1 at most"
        ))),
    }
}

/// The types of sums, and a read of four of them that other blocks have written.
pub(super) fn sums(sum: DType, reads_parts: bool) -> String {
    let mut out = format!(
        "typedef {} Sum;\nstruct alignas(8) Pair {{ Sum x[2]; }};\nstruct alignas(16) Quad {{ Sum x[4]; }};\n",
        sum_type(sum)
    );
    let (vector, halves) = match sum_type(sum) {
        "float" => ("float4", 1),
        "unsigned" => ("uint4", 1),
        "double" => ("double2", 2),
        _ => ("ulonglong2", 2),
    };
    if reads_parts {
        out.push_str("DEVICE Quad load_quad(const Sum* from) {\nQuad quad;\n");
        for i in 0..halves {
            let fields = if halves == 1 { "xyzw" } else { "xy" };
            let _ = writeln!(
                out,
                "const {vector} part{i} = __ldcg((const {vector}*)from + {i});"
            );
            for (j, field) in fields.chars().enumerate() {
                let _ = writeln!(out, "quad.x[{}] = part{i}.{field};", i * 2 + j);
            }
        }
        out.push_str("return quad;\n}\n");
    }
    out
}

/// Bytes of a sum.
pub(super) fn sum_size(sum: DType) -> u64 {
    if sum.size() == 8 { 8 } else { 4 }
}

/// Which tile of which product the block sums, and where its threads stand.
fn write_tile(s: &Tiled, extent: &Extent, out: &mut String) {
    let (_, warp_cols) = s.warps();
    let per_slice = s.threads() / s.slices;
    let Extent {
        row_tiles,
        col_tiles,
        ..
    } = extent;
    let per_product = row_tiles * col_tiles;
    let _ = writeln!(
        out,
        "const unsigned tid = threadIdx.x;\n\
         const unsigned slice = tid / {per_slice}u;\n\
         const unsigned warp = tid % {per_slice}u / 32u;\n\
         const unsigned warp_row = warp / {warp_cols}u, warp_col = warp % {warp_cols}u;\n\
         const unsigned z = blockIdx.x / {per_product}u;\n\
         const unsigned tile_of_product = blockIdx.x - z * {per_product}u;"
    );
    match s.cores {
        Cores::Ordinary => out.push_str(
            "const unsigned lane_row = (tid >> 1 & 1) | (tid >> 2 & 2);\n\
             const unsigned lane_col = (tid & 1) | (tid >> 1 & 2) | (tid >> 2 & 4);\n",
        ),
        Cores::Tensor { .. } => tensor::write_lanes(out),
    }
    let group = s.group.min(*row_tiles);
    let in_group = group * col_tiles;
    let _ = writeln!(
        out,
        "const unsigned tile_group = tile_of_product / {in_group}u;\n\
         const unsigned in_group = tile_of_product - tile_group * {in_group}u;"
    );
    let _ = if row_tiles % group == 0 {
        writeln!(out, "const unsigned group_rows = {group}u;")
    } else {
        writeln!(
            out,
            "const unsigned rows_left = {row_tiles}u - tile_group * {group}u;\n\
             const unsigned group_rows = rows_left < {group}u ? rows_left : {group}u;"
        )
    };
    let _ = writeln!(
        out,
        "const unsigned first_row = (tile_group * {group}u + in_group % group_rows) * {}u;\n\
         const unsigned first_col = in_group / group_rows * {}u;",
        s.rows, s.cols
    );
}

/// The loop over the sum.
fn write_sums(form: &Form, s: &Tiled, left: &Loader<'_>, right: &Loader<'_>, out: &mut String) {
    let n_tiles = if s.by_taps {
        let channels = form.k.last().copied().unwrap_or(1);
        let taps: String = (0..form.n_taps)
            .map(|d| {
                let p = form.phases.iter().position(|p| p.k == d);
                match p {
                    Some(p) => format!("n_taps{p} * "),
                    None => format!("{} * ", n_taps(form, d)),
                }
            })
            .collect();
        format!("{taps}{}u", channels.div_ceil(s.depth))
    } else {
        format!("{}u", form.depth().div_ceil(s.depth))
    };
    let split = s.split;
    // Writing to a string does not fail.
    let _ = writeln!(out, "const unsigned all_tiles = {n_tiles};");
    let _ = if split > 1 {
        writeln!(
            out,
            "const unsigned first_tile = (unsigned)((unsigned long long)all_tiles * blockIdx.y / {split}u);\n\
             const unsigned end_tile = (unsigned)((unsigned long long)all_tiles * (blockIdx.y + 1u) / {split}u);"
        )
    } else {
        writeln!(out, "const unsigned first_tile = 0, end_tile = all_tiles;")
    };
    let ahead = s.stages - 1;
    let is_asynchronous = left.is_asynchronous() || right.is_asynchronous();
    let (commit, wait) = if is_asynchronous {
        (
            "copy_async_commit();\n",
            format!("copy_async_wait<{}>();\n", s.stages - 2),
        )
    } else {
        ("", String::new())
    };
    match s.cores {
        Cores::Ordinary => {
            let _ = writeln!(
                out,
                "Sum sums[{}][{}] = {{}};",
                s.thread_rows, s.thread_cols
            );
        }
        Cores::Tensor { .. } => tensor::write_sums(s, out),
    }
    let _ = writeln!(
        out,
        "#pragma unroll 1\n\
         for (unsigned stage = 0; stage < {ahead}u; stage++) {{\n\
         if (first_tile + stage < end_tile) {{\n\
         load_left(first_tile + stage, stage);\n\
         load_right(first_tile + stage, stage);\n\
         }}\n\
         {commit}}}\n\
         unsigned stage = 0;\n\
         #pragma unroll 1\n\
         for (unsigned tile = first_tile; tile < end_tile; tile++) {{\n\
         {wait}__syncthreads();"
    );
    let copies = format!(
        "if (tile + {ahead}u < end_tile) {{\n\
         const unsigned free_stage = stage == 0 ? {ahead}u : stage - 1;\n\
         load_left(tile + {ahead}u, free_stage);\n\
         load_right(tile + {ahead}u, free_stage);\n\
         }}\n\
         {commit}"
    );
    match s.cores {
        Cores::Ordinary => {
            out.push_str(&copies);
            out.push('\n');
            write_products(s, form.sum, left, right, out);
        }
        Cores::Tensor { products } => {
            tensor::write_products(s, products, left, right, &copies, out);
        }
    }
    let _ = writeln!(out, "stage = stage == {ahead}u ? 0 : stage + 1;\n}}");
    if is_asynchronous {
        out.push_str("copy_async_wait<0>();\n");
    }
    out.push_str("__syncthreads();\n");
}

/// Puts the threads' sums where they are finished from: `[slice][row][column]`.
fn write_staging(s: &Tiled, out: &mut String) {
    let (rows, cols) = (s.thread_rows, s.thread_cols);
    let pitch = s.cols + PITCH_PAD;
    let slice = s.rows * pitch;
    let (lanes_row, lanes_col) = LANES;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "#pragma unroll\n\
         for (int i = 0; i < {rows}; i++) {{\n\
         #pragma unroll\n\
         for (int c = 0; c < {}; c++) {{\n\
         Quad quad;\n\
         #pragma unroll\n\
         for (int j = 0; j < 4; j++) quad.x[j] = sums[i][c * 4 + j];\n\
         *(Quad*)(staged + slice * {slice}u + (warp_row * {}u + i / 4 * {}u + lane_row * 4 + i % 4) * {pitch}u \
         + warp_col * {}u + c * {}u + lane_col * 4) = quad;\n\
         }}\n\
         }}",
        cols / 4,
        lanes_row * rows,
        lanes_row * 4,
        lanes_col * cols,
        lanes_col * 4,
    );
}

/// The same sums of operands that are not aligned as copies ask for.
fn write_slowly(form: &Form, s: &Tiled, width: Width, out: &mut String) {
    let pitch = s.cols + PITCH_PAD;
    let threads = s.threads();
    let first = if s.split > 1 {
        " && blockIdx.y == 0"
    } else {
        ""
    };
    write_sum(form, width, out);
    let _ = writeln!(
        out,
        "for (unsigned e = tid; e < {}u; e += {threads}u) {{\n\
         const unsigned in_slice = e % {pitch}u, staged_row = e / {pitch}u;\n\
         const unsigned row = first_row + staged_row, col = first_col + in_slice;\n\
         const bool is_here = staged_row < {}u && in_slice < {}u && row < {}u && col < {}u{first};\n\
         staged[e] = is_here ? sum_of(row, col) : (Sum)0;\n\
         }}",
        s.slices * s.rows * pitch,
        s.rows,
        s.cols,
        form.n_rows(),
        form.n_cols()
    );
}

/// Staged sums to results.
fn write_finish(s: &Tiled, finish: &Finish<'_>, out: &mut String) {
    let pitch = s.cols + PITCH_PAD;
    let slice = s.rows * pitch;
    let n = finish.n_columns;
    out.push_str("__syncthreads();\n");
    let across = s.cols / n;
    let count = s.rows * across;
    let threads = s.threads();
    let gathered = format!(
        "Sum values[{n}];\n\
         #pragma unroll\n\
         for (int q = 0; q < {n}; q++) {{\n\
         values[q] = staged[in_row * {pitch}u + in_col + q];\n\
         #pragma unroll\n\
         for (int g = 1; g < {}; g++) values[q] += staged[g * {slice} + in_row * {pitch}u + in_col + q];\n\
         }}\n",
        s.slices
    );
    let elements = s.rows * s.cols;
    if s.split > 1 {
        let quad = if n == VECTOR {
            "Quad part;\n#pragma unroll\nfor (int q = 0; q < 4; q++) part.x[q] = values[q];\n\
             *(Quad*)(parts + at) = part;\n"
        } else {
            "parts[at] = values[0];\n"
        };
        let _ = writeln!(
            out,
            "{{\n\
             Sum* const parts = (Sum*)workspace + ((size_t)blockIdx.x * {}u + blockIdx.y) * {elements}u;\n\
             #pragma unroll 2\n\
             for (unsigned e = tid; e < {count}u; e += {threads}u) {{\n\
             const unsigned in_row = e / {across}u, in_col = e % {across}u * {n}u;\n\
             const unsigned at = e * {n}u;\n\
             {gathered}{quad}}}\n\
             }}\n\
             if (!arrive_last(counters + blockIdx.x, {}u)) return;\n\
             const Sum* const parts = (const Sum*)workspace + (size_t)blockIdx.x * {}u;",
            s.split,
            s.split,
            s.split * elements
        );
    }
    let (n_rows, n_cols) = (finish.form.n_rows(), finish.form.n_cols());
    let place = format!(
        "const unsigned in_row = e / {across}u, in_col = e % {across}u * {n}u;\n\
         const unsigned row = first_row + in_row, col = first_col + in_col;\n\
         if (row >= {n_rows}u || col >= {n_cols}u) continue;\n"
    );
    let at_once = parts_at_once(s, count);
    if at_once > 1 {
        let _ = writeln!(
            out,
            "for (unsigned first = tid; first < {count}u; first += {}u) {{\n\
             Sum sums_of[{at_once}][{n}] = {{}};\n\
             #pragma unroll {}\n\
             for (int p = 0; p < {}; p++) {{\n\
             #pragma unroll\n\
             for (int u = 0; u < {at_once}; u++) {{\n\
             const unsigned e = first + u * {threads}u;\n\
             if (e >= {count}u) continue;\n\
             {}}}\n}}\n\
             #pragma unroll\n\
             for (int u = 0; u < {at_once}; u++) {{\n\
             const unsigned e = first + u * {threads}u;\n\
             if (e >= {count}u) continue;\n\
             {place}\
             Sum (&values)[{n}] = sums_of[u];",
            at_once * threads,
            s.split.min(8),
            s.split,
            read_part(n, elements, "sums_of[u]")
        );
        out.push_str(&finish.statements());
        out.push_str("}\n}\n");
        return;
    }
    let _ = write!(
        out,
        "#pragma unroll {}\n\
         for (unsigned e = tid; e < {count}u; e += {threads}u) {{\n\
         {place}",
        if s.split > 1 { 1 } else { 2 },
    );
    if s.split > 1 {
        let _ = writeln!(
            out,
            "Sum values[{n}] = {{}};\n\
             #pragma unroll {}\n\
             for (int p = 0; p < {}; p++) {{\n{}}}",
            s.split.min(8),
            s.split,
            read_part(n, elements, "values")
        );
    } else {
        out.push_str(&gathered);
    }
    out.push_str(&finish.statements());
    out.push_str("}\n");
}

/// Statements that add part `p` of the results at `e` to `values`.
fn read_part(n: u64, elements: u64, values: &str) -> String {
    if n == VECTOR {
        format!(
            "const Quad part = load_quad(parts + p * {elements}u + e * {n}u);\n\
             #pragma unroll\n\
             for (int q = 0; q < 4; q++) {values}[q] += part.x[q];\n"
        )
    } else {
        format!("{values}[0] += __ldcg(parts + p * {elements}u + e);\n")
    }
}

/// Of how many results a thread reads the parts before it finishes the first, so that 16 reads are on
/// their way; one on ordinary cores, where more were not measured.
fn parts_at_once(s: &Tiled, count: u64) -> u64 {
    if s.split == 1 || s.cores == Cores::Ordinary {
        return 1;
    }
    (16 / s.split.min(8))
        .min(count.div_ceil(s.threads()))
        .max(1)
}
