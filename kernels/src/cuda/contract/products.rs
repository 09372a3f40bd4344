//! The products of one stage: what a thread reads of both tiles in shared memory, and when.

use super::loader::{Lie, Loader};
use super::schedule::{LANES, Tiled};
use super::tiled::sum_size;
use plans::DType;
use std::fmt::Write;

/// Where a thread reads quads: the base in a stage, and the offset of row (or column) `4 * c + i`
/// at step `k` of the sum.
struct Reads {
    name: &'static str,
    lie: Lie,
    pitch: u64,
    /// Rows of the tile, lanes along them.
    n_rows: u64,
    lanes: u64,
    /// Whether quads are read where the program says so.
    is_ahead: bool,
}

impl Reads {
    fn new(
        loader: &Loader<'_>,
        name: &'static str,
        n_rows: u64,
        lanes: u64,
        is_ahead: bool,
    ) -> Self {
        Self {
            name,
            lie: loader.lie,
            pitch: loader.pitch(),
            n_rows,
            lanes,
            is_ahead,
        }
    }

    /// A statement that defines the base pointer.
    fn base(&self, loader: &Loader<'_>, s: &Tiled, thread_rows: u64, along: &str) -> String {
        let (name, pitch) = (self.name, self.pitch);
        let tile = loader.tile_elements();
        let slice = s.slice_depth();
        let quads = thread_rows / 4 * self.lanes;
        let place = match self.lie {
            Lie::Inner => {
                format!("(warp_{along} * {quads}u + lane_{along}) * {pitch}u + slice * {slice}u")
            }
            Lie::Outer => format!(
                "slice * {}u + (warp_{along} * {quads}u + lane_{along}) * 4u",
                slice * pitch
            ),
        };
        format!("const Sum* const {name}_at = {name}_tiles + stage * {tile}u + {place};\n")
    }

    /// The address of the quad at chunk `c`: for [`Lie::Inner`] of row `i` of the chunk at steps
    /// from `k` on, for [`Lie::Outer`] of its four rows at step `k`.
    fn quad(&self, c: &str, i: &str, k: &str) -> String {
        self.some("Quad", c, i, k)
    }

    /// As [`Reads::quad`], with another type of several elements.
    fn some(&self, read: &str, c: &str, i: &str, k: &str) -> String {
        let (name, pitch, lanes) = (self.name, self.pitch, self.lanes);
        let at = match self.lie {
            Lie::Inner => {
                let quarter = self.n_rows / 4 * pitch;
                format!(
                    "{name}_at + ({i}) * {quarter} + ({c}) * {} + ({k})",
                    lanes * pitch
                )
            }
            Lie::Outer => format!("{name}_at + ({k}) * {pitch} + ({c}) * {}", lanes * 4),
        };
        match self.is_ahead {
            true => format!("read_shared<{read}>({at})"),
            false => format!("*(const {read}*)({at})"),
        }
    }
}

/// Words of a thread for its copies that fit beside 64 sums and what is read ahead of products.
const MOST_KEPT: u64 = 3;

/// Adds the products of one stage.
pub(super) fn write_products(
    s: &Tiled,
    sum: DType,
    left: &Loader<'_>,
    right: &Loader<'_>,
    out: &mut String,
) {
    let (rows, cols) = (s.thread_rows, s.thread_cols);
    // Where sums leave few registers free, the compiler reads what products wait for right before
    // them; elsewhere it reads ahead by itself.
    let has_room = left.kept_words() + right.kept_words() <= MOST_KEPT;
    let is_ahead = rows * cols == 64 && sum_size(sum) == 4 && has_room;
    let l = Reads::new(left, "left", s.rows, LANES.0, is_ahead);
    let r = Reads::new(right, "right", s.cols, LANES.1, is_ahead);
    out.push_str(&l.base(left, s, rows, "row"));
    out.push_str(&r.base(right, s, cols, "col"));
    match (is_ahead, l.lie, r.lie) {
        (true, Lie::Inner, Lie::Inner) => write_columns_ahead(s, &l, &r, out),
        (true, ..) => write_steps_ahead(s, &l, &r, out),
        (false, ..) => write_plainly(s, &l, &r, out),
    }
}

/// Adds `left * right` to each sum of a thread.
fn each_sum(s: &Tiled, left: &str, right: &str) -> String {
    format!(
        "#pragma unroll\nfor (int i = 0; i < {}; i++) {{\n\
         #pragma unroll\n\
         for (int j = 0; j < {}; j++) sums[i][j] += {left} * {right};\n}}\n",
        s.thread_rows, s.thread_cols
    )
}

/// Adds products, each column read while those of the column before it are added. Steps of the sum
/// lie next to each other on both sides.
fn write_columns_ahead(s: &Tiled, l: &Reads, r: &Reads, out: &mut String) {
    let (rows, cols, depth) = (s.thread_rows, s.thread_cols, s.slice_depth());
    // What is read last is the next slice, or the padding. Writing to a string does not fail.
    let _ = writeln!(
        out,
        "Quad next_right = {};\n\
         #pragma unroll 1\n\
         for (int k = 0; k < {depth}; k += 4) {{\n\
         Quad left_k[{rows}];\n\
         #pragma unroll\n\
         for (int i = 0; i < {rows}; i++) left_k[i] = {};\n\
         #pragma unroll\n\
         for (int j = 0; j < {cols}; j++) {{\n\
         const Quad right_k = next_right;\n\
         next_right = j < {} ? {} : {};\n\
         #pragma unroll\n\
         for (int q = 0; q < 4; q++) {{\n\
         #pragma unroll\n\
         for (int i = 0; i < {rows}; i++) sums[i][j] += left_k[i].x[q] * right_k.x[q];\n\
         }}\n}}\n}}",
        r.quad("0", "0", "0"),
        l.quad("i / 4", "i % 4", "k"),
        cols - 1,
        r.quad("(j + 1) / 4", "(j + 1) % 4", "k"),
        r.quad("0", "0", "k + 4"),
    );
}

/// Adds products, each step of the sum read while those of the step before it are added. Where steps lie
/// next to each other, two are read at once.
fn write_steps_ahead(s: &Tiled, l: &Reads, r: &Reads, out: &mut String) {
    let depth = s.slice_depth();
    let sides = [(l, s.thread_rows), (r, s.thread_cols)];
    let fill = |reads: &Reads, n: u64, to: &str, k: &str| {
        let (count, from) = match reads.lie {
            Lie::Inner => (n, reads.some("Pair", "i / 4", "i % 4", k)),
            Lie::Outer => (n / 4, reads.quad("i", "0", k)),
        };
        format!(
            "#pragma unroll\nfor (int i = 0; i < {count}; i++) {}_k[{to}][i] = {from};\n",
            reads.name
        )
    };
    for (reads, n) in sides {
        let (what, count) = match reads.lie {
            Lie::Inner => ("Pair", n),
            Lie::Outer => ("Quad", n / 4),
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{what} {}_k[2][{count}];", reads.name);
        out.push_str(&fill(reads, n, "0", "0"));
    }
    // Which of two pairs is read and which is used takes turns.
    let unroll = match (l.lie, r.lie) {
        (Lie::Outer, Lie::Outer) => 1,
        _ => 2,
    };
    let _ = writeln!(
        out,
        "#pragma unroll {unroll}\n\
         for (int k = 0; k < {depth}; k += 2) {{\n\
         const int now = k / 2 % 2;\n\
         const int next = k + 2 < {depth} ? k + 2 : k;"
    );
    let term = |reads: &Reads, i: &str, q: &str| match reads.lie {
        Lie::Inner => format!("{}_k[now][{i}].x[{q}]", reads.name),
        Lie::Outer => format!("{}_k[{q}][{i} / 4].x[{i} % 4]", reads.name),
    };
    for (q, other, k) in [("0", "1", "k + 1"), ("1", "0", "next")] {
        for (reads, n) in sides {
            match (reads.lie, q) {
                (Lie::Inner, "0") => {}
                (Lie::Inner, _) => out.push_str(&fill(reads, n, "1 - now", k)),
                (Lie::Outer, _) => out.push_str(&fill(reads, n, other, k)),
            }
        }
        out.push_str(&each_sum(s, &term(l, "i", q), &term(r, "j", q)));
    }
    out.push_str("}\n");
}

/// Adds products of what is read right before them.
fn write_plainly(s: &Tiled, l: &Reads, r: &Reads, out: &mut String) {
    let (rows, cols) = (s.thread_rows, s.thread_cols);
    let depth = s.slice_depth();
    let unroll = (64 / (rows * cols)).min(depth / 4);
    // Wider reads of one factor beside another would hold more than the registers do.
    let (read, step) = if (l.lie, r.lie) != (Lie::Inner, Lie::Inner) && rows * cols == 64 {
        ("Pair", 2)
    } else {
        ("Quad", 4)
    };
    let _ = writeln!(
        out,
        "#pragma unroll {unroll}\nfor (int k = 0; k < {depth}; k += {step}) {{"
    );
    let all = |reads: &Reads, n: u64, extent: &str| {
        format!(
            "{read} {}_k[{n}];\n#pragma unroll\n\
             for (int i = 0; i < {n}; i++) {}_k[i] = {};\n",
            reads.name,
            reads.name,
            reads.some(read, "i / 4", "i % 4", extent)
        )
    };
    let one = |reads: &Reads, n: u64| {
        let name = reads.name;
        let chunks = n / 4;
        format!(
            "Quad {name}_one[{chunks}];\n#pragma unroll\n\
             for (int c = 0; c < {chunks}; c++) {name}_one[c] = {};\n",
            reads.quad("c", "0", "k + q")
        )
    };
    let steps = &format!("#pragma unroll\nfor (int q = 0; q < {step}; q++) {{\n");
    match (l.lie, r.lie) {
        (Lie::Outer, Lie::Outer) => {
            out.push_str(steps);
            out.push_str(&one(l, rows));
            out.push_str(&one(r, cols));
            out.push_str(&each_sum(
                s,
                "left_one[i / 4].x[i % 4]",
                "right_one[j / 4].x[j % 4]",
            ));
            out.push('}');
        }
        (Lie::Inner, Lie::Outer) => {
            out.push_str(&all(l, rows, "k"));
            out.push_str(steps);
            out.push_str(&one(r, cols));
            out.push_str(&each_sum(s, "left_k[i].x[q]", "right_one[j / 4].x[j % 4]"));
            out.push('}');
        }
        (Lie::Outer, Lie::Inner) => {
            out.push_str(&all(r, cols, "k"));
            out.push_str(steps);
            out.push_str(&one(l, rows));
            out.push_str(&each_sum(s, "left_one[i / 4].x[i % 4]", "right_k[j].x[q]"));
            out.push('}');
        }
        (Lie::Inner, Lie::Inner) => {
            out.push_str(&all(l, rows, "k"));
            let _ = writeln!(
                out,
                "#pragma unroll\nfor (int j = 0; j < {cols}; j++) {{\n\
                 const Quad right_k = {};\n\
                 {steps}#pragma unroll\n\
                 for (int i = 0; i < {rows}; i++) sums[i][j] += left_k[i].x[q] * right_k.x[q];\n\
                 }}\n}}",
                r.quad("j / 4", "j % 4", "k")
            );
        }
    }
    out.push_str("}\n");
}
