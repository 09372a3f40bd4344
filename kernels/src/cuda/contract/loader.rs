//! How a block copies tiles of a factor to shared memory.
//!
//! A tile is some rows (of the right factor: columns) by some steps of the sum. It lies in shared
//! memory as it does in global memory, so that copies are as wide as can be: steps of the sum next
//! to each other ([`Lie::Inner`]) or rows next to each other ([`Lie::Outer`]).

use super::super::source::{Width, offset, split};
use super::finish::{load_term, offset_at};
use super::form::{Check, Factor, Form, only};
use super::schedule::{Cores, Tiled};
use super::tensor::{PAD_INNER, PAD_OUTER};
use plans::DType;
use std::fmt::Write;

/// How a tile lies in shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lie {
    /// `[slot of the row][k]`, each row padded by four elements. Rows whose numbers are equal modulo
    /// 4 are in slots next to each other: a thread's four neighbouring rows are a quarter of the
    /// tile apart, and rows that neighbouring threads read at once lie in different banks. For tensor cores
    /// slots are rows.
    Inner,
    /// `[k][row]`.
    Outer,
}

/// Which elements of a tile neighbouring threads copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lanes {
    AlongK,
    AlongRows,
}

/// The copies of one factor's tiles.
pub(super) struct Loader<'a> {
    form: &'a Form,
    factor: &'a Factor,
    /// `left` or `right`.
    name: &'static str,
    /// The extents of rows, or columns.
    own: &'a [u64],
    /// Rows of a tile.
    n_rows: u64,
    schedule: &'a Tiled,
    width: Width,
    pub(super) lie: Lie,
    lanes: Lanes,
    /// Elements that are copied at once.
    vector: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        form: &'a Form,
        is_left: bool,
        schedule: &'a Tiled,
        width: Width,
    ) -> Loader<'a> {
        let (factor, name, own, n_rows) = if is_left {
            (&form.left, "left", form.rows.as_slice(), schedule.rows)
        } else {
            (&form.right, "right", form.cols.as_slice(), schedule.cols)
        };
        let along_k = widest(form, factor, own, true);
        let along_rows = widest(form, factor, own, false);
        let step = |strides: &[i64], extents: &[u64]| {
            let dims = strides.iter().zip(extents).rev().find(|(_, n)| **n > 1);
            dims.map_or(u64::MAX, |(s, _)| s.unsigned_abs())
        };
        let (lie, lanes, vector) = if along_k > along_rows {
            (Lie::Inner, Lanes::AlongK, along_k)
        } else if along_rows > 1 {
            (Lie::Outer, Lanes::AlongRows, along_rows)
        } else if factor.checks.is_empty() && step(&factor.k, &form.k) < step(&factor.own, own) {
            (Lie::Outer, Lanes::AlongK, 1)
        } else {
            (Lie::Outer, Lanes::AlongRows, 1)
        };
        Loader {
            form,
            factor,
            name,
            own,
            n_rows,
            schedule,
            width,
            lie,
            lanes,
            vector,
        }
    }

    /// Whether copies need not pass through registers.
    pub(super) fn is_asynchronous(&self) -> bool {
        is_word(self.factor.dtype)
    }

    /// Elements from one slot, or one step of the sum, to the next in shared memory.
    pub(super) fn pitch(&self) -> u64 {
        match (self.schedule.cores, self.lie, self.lanes) {
            (Cores::Tensor { .. }, Lie::Inner, _) => self.schedule.depth + PAD_INNER,
            (Cores::Tensor { .. }, Lie::Outer, _) => self.n_rows + PAD_OUTER,
            (Cores::Ordinary, Lie::Inner, _) => self.schedule.depth + 4,
            (Cores::Ordinary, Lie::Outer, Lanes::AlongK) => self.n_rows + 4,
            (Cores::Ordinary, Lie::Outer, Lanes::AlongRows) => self.n_rows,
        }
    }

    /// Elements of a tile in shared memory.
    pub(super) fn tile_elements(&self) -> u64 {
        match self.lie {
            Lie::Inner => self.n_rows * self.pitch(),
            Lie::Outer => self.schedule.depth * self.pitch(),
        }
    }

    /// Bytes of a global memory transaction that are of use, of 32.
    pub(super) fn sector_use(&self) -> f64 {
        let strides = match self.lanes {
            Lanes::AlongK => (&self.factor.k, &self.form.k[..]),
            Lanes::AlongRows => (&self.factor.own, self.own),
        };
        let dims = strides.0.iter().zip(strides.1).rev().find(|(_, n)| **n > 1);
        dims.map_or(1.0, |(s, _)| 1.0 / s.unsigned_abs().clamp(1, 8) as f64)
    }

    /// What threads copy: rows and steps of the sum from one of a thread's copies to its next, and
    /// how many there are.
    fn strides(&self) -> Copies {
        let (threads, depth) = (self.schedule.threads(), self.schedule.depth);
        match self.lanes {
            Lanes::AlongK => {
                let row_step = threads / (depth / self.vector);
                Copies {
                    row_step,
                    n_rows: (self.n_rows / row_step).max(1),
                    k_step: depth,
                    n_k: 1,
                    idle: row_step > self.n_rows,
                }
            }
            Lanes::AlongRows => {
                let across = self.n_rows / self.vector;
                let k_step = (threads / across).max(1);
                Copies {
                    row_step: threads * self.vector,
                    n_rows: (across / threads).max(1),
                    k_step,
                    n_k: (depth / k_step).max(1),
                    idle: k_step > depth,
                }
            }
        }
    }

    /// Words that a thread keeps from stage to stage to know where its rows lie.
    pub(super) fn kept_words(&self) -> u64 {
        let Copies { n_rows, .. } = self.strides();
        let offsets = if self.row_stride().is_some() {
            1
        } else {
            n_rows
        };
        let checks = match (self.has_masks(), self.factor.checks.len() as u64) {
            (true, _) => n_rows.div_ceil(self.rows_of_mask()),
            (false, n) => n * n_rows,
        };
        offsets + checks
    }

    /// Entries of a table in shared memory that says for each step of the sum where it lies and which
    /// taps it needs; 0 if there is none.
    pub(super) fn table(&self) -> u64 {
        const MOST: u64 = 2048;
        let steps = self.form.depth().next_multiple_of(self.schedule.depth);
        let is_flat = !self.schedule.by_taps && self.has_masks();
        let is_small = steps <= MOST && self.width == Width::Bits32;
        if is_flat && is_small { steps } else { 0 }
    }

    /// Fills the table `left_table` or `right_table`.
    fn write_table(&self, out: &mut String) {
        let (name, steps, depth) = (self.name, self.table(), self.form.depth());
        let threads = self.schedule.threads();
        // No row meets all taps, so that none has elements beyond the sum.
        let _ = writeln!(
            out,
            "for (unsigned k = tid; k < {steps}u; k += {threads}u) {{"
        );
        self.write_flat(out);
        let _ = writeln!(
            out,
            "{name}_table[k].along = k < {depth}u ? along : 0;\n\
             {name}_table[k].taps = k < {depth}u ? tap_bits : ~0u;\n\
             }}"
        );
    }

    /// Statements for the start of the function: where the thread's copies come from and go to.
    /// `first` is the block's first row.
    pub(super) fn write_start(&self, first: &str, out: &mut String) {
        let Copies { n_rows, .. } = self.strides();
        let (name, factor, vector) = (self.name, self.factor, self.vector);
        let signed = self.width.signed();
        let (lanes_k, lanes_rows) = (self.schedule.depth / vector, self.n_rows / vector);
        // Writing to a string does not fail.
        let _ = match self.lanes {
            Lanes::AlongK => writeln!(
                out,
                "const unsigned {name}_k = tid % {lanes_k}u * {vector}u, {name}_slot = tid / {lanes_k}u;"
            ),
            Lanes::AlongRows if lanes_rows <= self.schedule.threads() => writeln!(
                out,
                "const unsigned {name}_k = tid / {lanes_rows}u, {name}_slot = tid % {lanes_rows}u * {vector}u;"
            ),
            Lanes::AlongRows => writeln!(
                out,
                "const unsigned {name}_k = 0, {name}_slot = tid * {vector}u;"
            ),
        };
        if self.table() > 0 {
            self.write_table(out);
        }
        let (start, later) = self.row_of_slot();
        let total: u64 = self.own.iter().product();
        let _ = writeln!(
            out,
            "const unsigned {name}_row = {first} + {start};\n\
             unsigned {name}_inside = 0;"
        );
        let stride = self.row_stride();
        let _ = match stride {
            Some(stride) => {
                let row = format!("({signed}){name}_row");
                let from = offset([(row.as_str(), stride)], self.width);
                writeln!(out, "const {signed} {name}_from = {from};")
            }
            None => writeln!(out, "{signed} {name}_from[{n_rows}];"),
        };
        if self.has_masks() {
            let words = n_rows.div_ceil(self.rows_of_mask());
            let _ = writeln!(out, "unsigned {name}_met[{words}] = {{}};");
        } else {
            for c in 0..factor.checks.len() {
                let _ = writeln!(out, "int {name}_check{c}[{n_rows}];");
            }
        }
        let _ = writeln!(
            out,
            "#pragma unroll\nfor (int i = 0; i < {n_rows}; i++) {{\n\
             const unsigned row = {name}_row + {later};\n\
             if (row < {total}u) {name}_inside |= 1u << i;"
        );
        if !factor.checks.is_empty() {
            let names = split("row", self.own, "at", self.width, out);
            self.write_checks(&names, out);
            if stride.is_none() {
                let terms = names.iter().map(String::as_str);
                let from = offset(terms.zip(factor.own.iter().copied()), self.width);
                let _ = writeln!(out, "{name}_from[i] = {from};");
            }
        } else if stride.is_none() {
            let from = offset_at("row", self.own, &factor.own, "at", self.width, out);
            let _ = writeln!(out, "{name}_from[i] = {from};");
        }
        out.push_str("}\n");
    }

    /// The row of a thread's first slot, and how many rows after it that of its slot number `i` is.
    fn row_of_slot(&self) -> (String, String) {
        let Copies { row_step, .. } = self.strides();
        let slot = format!("{}_slot", self.name);
        match (self.lie, self.schedule.cores) {
            (Lie::Outer, _) | (_, Cores::Tensor { .. }) => (slot, format!("i * {row_step}u")),
            (Lie::Inner, Cores::Ordinary) => {
                // Slots are a power of two apart, so that only quotient or remainder change.
                let quarter = self.n_rows / 4;
                (
                    format!("{slot} % {quarter}u * 4u + {slot} / {quarter}u"),
                    format!("(i * {row_step}u % {quarter}u * 4u + i * {row_step}u / {quarter}u)"),
                )
            }
        }
    }

    /// The stride of rows, if there is one.
    fn row_stride(&self) -> Option<i64> {
        only(self.own, &self.factor.own)
    }

    /// Whether a word has a bit for each tap along each checked dimension.
    fn has_masks(&self) -> bool {
        self.is_checked() && self.mask_bits() < 32
    }

    /// Bits of a row that say which taps along each checked dimension it meets.
    fn mask_bits(&self) -> u64 {
        let taps = self.factor.checks.iter().map(|c| self.form.k[c.k]);
        taps.sum()
    }

    /// Rows whose bits share a word, in which one bit is free: no row meets everything.
    fn rows_of_mask(&self) -> u64 {
        (31 / self.mask_bits().max(1)).max(1)
    }

    /// Where each check's bits start.
    fn mask_starts(&self) -> Vec<u64> {
        let taps = self.factor.checks.iter().map(|c| self.form.k[c.k]);
        taps.scan(0, |start, taps| {
            let own = *start;
            *start += taps;
            Some(own)
        })
        .collect()
    }

    /// What a row's checks need: which taps lie inside, or where the first one lies.
    fn write_checks(&self, names: &[String], out: &mut String) {
        let name = self.name;
        for ((c, check), start) in self
            .factor
            .checks
            .iter()
            .enumerate()
            .zip(self.mask_starts())
        {
            let shift = match check.phase {
                Some(phase) => format!("({} + position{phase})", check.start),
                None => format!("({})", check.start),
            };
            let first = format!("(int){} * {} + {shift}", names[check.own], check.own_step);
            let _ = if self.has_masks() {
                let (rows, taps) = (self.rows_of_mask(), self.mask_bits());
                let total: u64 = self.own.iter().product();
                writeln!(
                    out,
                    "#pragma unroll\n\
                     for (int t = 0; t < {}; t++) {{\n\
                     const bool is_met = row < {total}u && (unsigned)({first} + t * {}) < {}u;\n\
                     {name}_met[i / {rows}] |= (unsigned)is_met << (i % {rows} * {taps} + {start} + t);\n\
                     }}",
                    self.form.k[check.k], check.k_step, check.extent
                )
            } else {
                writeln!(out, "{name}_check{c}[i] = {first};")
            };
        }
    }

    /// A function `load_left` or `load_right` that starts the copies of one tile.
    pub(super) fn write_load(&self, out: &mut String) {
        let (name, form, vector) = (self.name, self.form, self.vector);
        let tile = self.tile_elements();
        let _ = writeln!(
            out,
            "const auto load_{name} = [&](unsigned tile, unsigned stage) {{\n\
             Sum* const to = {name}_tiles + stage * {tile}u;"
        );
        if self.schedule.by_taps {
            self.write_tap(out);
        }
        let copies = self.strides();
        if copies.idle {
            let n = self.schedule.depth * self.n_rows / vector;
            let _ = writeln!(out, "if (tid < {n}u) {{");
        }
        if !self.is_asynchronous() {
            let element = load_term(self.factor.dtype, form.sum, "from", "0");
            self.write_copies(
                &copies,
                &format!("*to_here = valid ? {element} : (Sum)0;\n"),
                out,
            );
        } else if vector == 1 {
            self.write_copies(&copies, "copy_async_4(to_here, from, valid);\n", out);
        } else {
            self.write_copies(
                &copies,
                &format!("copy_async_{}(to_here, from, valid);\n", vector * 4),
                out,
            );
        }
        if copies.idle {
            out.push_str("}\n");
        }
        out.push_str("};\n");
    }

    /// The thread's copies of a tile, each done by the statement `copy`.
    fn write_copies(&self, copies: &Copies, copy: &str, out: &mut String) {
        let &Copies {
            row_step,
            n_rows,
            k_step,
            n_k,
            ..
        } = copies;
        let (name, form, depth) = (self.name, self.form, self.schedule.depth);
        let signed = self.width.signed();
        let _ = writeln!(
            out,
            "#pragma unroll\nfor (int j = 0; j < {n_k}; j++) {{\n\
             const unsigned k_in_tile = {name}_k + j * {k_step}u;"
        );
        let limit = if self.schedule.by_taps {
            let channels = form.k.last().copied().unwrap_or(1);
            let stride = self.factor.k.last().copied().unwrap_or(0);
            let k = format!("({signed})k");
            let _ = writeln!(
                out,
                "const unsigned k = channel + k_in_tile;\n\
                 const {signed} along = along_taps + {};",
                offset([(k.as_str(), stride)], self.width)
            );
            channels
        } else {
            let _ = writeln!(out, "const unsigned k = tile * {depth}u + k_in_tile;");
            if self.table() > 0 {
                let _ = writeln!(
                    out,
                    "const Step step = {name}_table[k];\n\
                     const int along = step.along;\n\
                     const unsigned tap_bits = step.taps;"
                );
                0
            } else {
                self.write_flat(out);
                form.depth()
            }
        };
        let mut valid = vec![];
        if limit % depth != 0 {
            valid.push(format!("k < {limit}u"));
        }
        let total: u64 = self.own.iter().product();
        if !total.is_multiple_of(self.n_rows) && !self.has_masks() {
            valid.push(format!("({name}_inside >> i & 1)"));
        }
        if self.has_masks() {
            let (rows, taps) = (self.rows_of_mask(), self.mask_bits());
            valid.push(format!(
                "({name}_met[i / {rows}] >> i % {rows} * {taps} & tap_bits) == tap_bits"
            ));
        } else {
            for (c, check) in self.factor.checks.iter().enumerate() {
                valid.push(format!(
                    "(unsigned)({name}_check{c}[i] + tap_met{c} * {}) < {}u",
                    check.k_step, check.extent
                ));
            }
        }
        let valid = if valid.is_empty() {
            "true".to_owned()
        } else {
            valid.join(" && ")
        };
        let pitch = self.pitch();
        let (place, later) = match self.lie {
            Lie::Inner => (
                format!("{name}_slot * {pitch}u + k_in_tile"),
                row_step * pitch,
            ),
            Lie::Outer => (format!("k_in_tile * {pitch}u + {name}_slot"), row_step),
        };
        let (start, from) = match self.row_stride() {
            Some(stride) => {
                let row = format!("({signed}){}", self.row_of_slot().1);
                (
                    format!("along + {name}_from"),
                    offset([(row.as_str(), stride)], self.width),
                )
            }
            None => ("along".to_owned(), format!("{name}_from[i]")),
        };
        let ctype = super::super::tape::c_type(self.factor.dtype);
        let _ = writeln!(
            out,
            "Sum* const to_first = to + {place};\n\
             const {ctype}* const from_first = {name} + ({start});\n\
             #pragma unroll\nfor (int i = 0; i < {n_rows}; i++) {{\n\
             const bool valid = {valid};\n\
             Sum* const to_here = to_first + i * {later};\n\
             const {ctype}* const from = from_first + {from};\n\
             {copy}}}\n}}"
        );
    }

    /// Where tile `tile` lies: its tap is the same for all its elements.
    fn write_tap(&self, out: &mut String) {
        let (form, factor) = (self.form, self.factor);
        let n_taps = form.n_taps;
        let channels = form.k.last().copied().unwrap_or(1);
        let tiles = channels.div_ceil(self.schedule.depth);
        let _ = writeln!(
            out,
            "const unsigned tap = tile / {tiles}u;\n\
             const unsigned channel = (tile - tap * {tiles}u) * {}u;",
            self.schedule.depth
        );
        let names = if form.phases.is_empty() {
            split("tap", &form.k[..n_taps], "tap_at", self.width, out)
        } else {
            split_phased(form, self.width, out)
        };
        self.write_met(&names, out);
        let terms = names.iter().map(String::as_str);
        let _ = writeln!(
            out,
            "const {} along_taps = {};",
            self.width.signed(),
            offset(terms.zip(factor.k[..n_taps].iter().copied()), self.width)
        );
    }

    /// Where step `k` of the sum lies.
    fn write_flat(&self, out: &mut String) {
        let (form, factor) = (self.form, self.factor);
        let along = if factor.checks.is_empty() {
            offset_at("k", &form.k, &factor.k, "k_at", self.width, out)
        } else {
            let names = split("k", &form.k, "k_at", self.width, out);
            self.write_met(&names, out);
            let terms = names.iter().map(String::as_str);
            offset(terms.zip(factor.k.iter().copied()), self.width)
        };
        let _ = writeln!(out, "const {} along = {along};", self.width.signed());
    }

    fn write_met(&self, names: &[String], out: &mut String) {
        for (c, check) in self.factor.checks.iter().enumerate() {
            let _ = writeln!(out, "const int tap_met{c} = (int){};", names[check.k]);
        }
        if self.has_masks() {
            let starts = self.mask_starts();
            let bits: Vec<String> = (0..starts.len())
                .map(|c| format!("1u << ({} + tap_met{c})", starts[c]))
                .collect();
            let _ = writeln!(out, "const unsigned tap_bits = {};", bits.join(" | "));
        }
    }

    /// Statements that define where the factor starts for the block's product.
    pub(super) fn write_base(&self, batch: &[String], out: &mut String) {
        let (name, factor) = (self.name, self.factor);
        out.push_str(&base(self.form, factor, name, batch, self.width));
    }

    /// What must hold of the block's pointer for copies of several elements.
    pub(super) fn alignment(&self) -> Option<String> {
        let bytes = self.vector * 4 - 1;
        let name = self.name;
        (self.vector > 1).then(|| format!("((unsigned long long){name} & {bytes}) == 0"))
    }

    /// Whether elements may lie outside.
    pub(super) fn is_checked(&self) -> bool {
        !self.factor.checks.is_empty()
    }

    /// Elements that are copied at once.
    pub(super) fn vector(&self) -> u64 {
        self.vector
    }
}

/// What threads copy.
struct Copies {
    row_step: u64,
    n_rows: u64,
    k_step: u64,
    n_k: u64,
    /// Whether some threads copy nothing.
    idle: bool,
}

/// Whether elements can be copied as they are.
fn is_word(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::I32 | DType::U32)
}

/// The pointer `name` to a factor of the block's product.
pub(super) fn base(
    form: &Form,
    factor: &Factor,
    name: &str,
    batch: &[String],
    width: Width,
) -> String {
    let ctype = super::super::tape::c_type(factor.dtype);
    let batch = batch.iter().map(String::as_str);
    let mut start = offset(batch.zip(factor.batch.iter().copied()), width);
    // Writing to a string does not fail.
    let _ = write!(start, " + {}", width.literal(factor.start));
    for (p, phased) in form.phases.iter().enumerate() {
        let _ = if factor.arg == 0 {
            write!(
                start,
                " + position{p} * {}",
                width.literal(phased.position_stride)
            )
        } else {
            write!(
                start,
                " + first_tap{p} * {}",
                width.literal(phased.tap_stride)
            )
        };
    }
    format!(
        "const {ctype}* const {name} = a{} + ({start});\n",
        factor.arg
    )
}

/// As [`split`], for the taps of a form whose phases have different numbers of them: `n_taps0`, ….
fn split_phased(form: &Form, width: Width, out: &mut String) -> Vec<String> {
    let signed = width.signed();
    let mut rest = "tap".to_owned();
    let mut names = vec![String::new(); form.n_taps];
    for d in (0..form.n_taps).rev() {
        let extent = n_taps(form, d);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "const unsigned tap_rest{d} = {rest} / {extent};\n\
             const {signed} tap_at{d} = ({signed})({rest} - tap_rest{d} * {extent});"
        );
        rest = format!("tap_rest{d}");
        names[d] = format!("tap_at{d}");
    }
    names
}

/// The number of taps along a dimension, as an expression that is never 0.
pub(super) fn n_taps(form: &Form, d: usize) -> String {
    match form.phases.iter().position(|p| p.k == d) {
        Some(p)
            if form.phases[p]
                .of
                .iter()
                .any(|phase| phase.taps != form.k[d]) =>
        {
            format!("n_taps{p}")
        }
        _ => format!("{}u", form.k[d].max(1)),
    }
}

/// The form for a sum that is one range: with the channels outermost, where copies are then wider,
/// or as wide and more of them next to each other.
pub(super) fn flat(form: &Form) -> Option<Form> {
    let turned = form.channel_first()?;
    let width = |form: &Form| {
        let both = [(&form.left, &form.rows), (&form.right, &form.cols)];
        let of = |(factor, own): (&Factor, &Vec<u64>)| {
            let vector = [true, false].map(|k| widest(form, factor, own, k));
            let joined = only(&form.k, &factor.k) == Some(1);
            8 * vector.into_iter().max().unwrap_or(1) + u64::from(joined)
        };
        both.map(of).iter().sum::<u64>()
    };
    (width(&turned) > width(form)).then_some(turned)
}

/// How many elements next to each other along the sum (or the rows) can be copied at once, if the
/// operand's start is aligned.
fn widest(form: &Form, factor: &Factor, own: &[u64], along_k: bool) -> u64 {
    if !is_word(factor.dtype) {
        return 1;
    }
    let (extents, strides, others, other_strides) = if along_k {
        (&form.k[..], &factor.k, own, &factor.own)
    } else {
        (own, &factor.own, &form.k[..], &factor.k)
    };
    let Some(last) = extents.len().checked_sub(1) else {
        return 1;
    };
    let is_checked = |c: &Check| if along_k { c.k == last } else { c.own == last };
    if strides[last] != 1 || factor.checks.iter().any(is_checked) {
        return 1;
    }
    let outer = extents[..last].iter().zip(&strides[..last]);
    let others = others.iter().zip(other_strides);
    let batch = form.batch.iter().zip(&factor.batch);
    let walked = outer.chain(others).chain(batch).filter(|(n, _)| **n > 1);
    let mut steps: Vec<i64> = walked.map(|(_, s)| *s).collect();
    steps.push(factor.start);
    for phased in &form.phases {
        steps.push(if factor.arg == 0 {
            phased.position_stride
        } else {
            phased.tap_stride
        });
    }
    let fits = |vector: &u64| {
        let v = *vector as i64;
        extents[last] % vector == 0 && steps.iter().all(|s| s % v == 0)
    };
    [4, 2].into_iter().find(fits).unwrap_or(1)
}
