//! The epilogue of a contraction: what happens to finished sums.

use super::super::source::{Width, offset, split};
use super::super::tape::{
    Scope, c_type, compute_type, emit, from_memory, load, to_memory, used_inputs,
};
use super::form::{Axis, Form};
use plans::DType;
use plans::spec::{ContractSpec, Operand};
use plans::tape::TapeOp;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Elements of four bytes that are read and written at once.
pub(super) const VECTOR: u64 = 4;

/// The type that sums are kept in: integers wrap, so they are unsigned.
pub(super) fn sum_type(sum: DType) -> &'static str {
    match sum {
        DType::F64 => "double",
        DType::I64 | DType::U64 => "unsigned long long",
        _ if sum.is_integer() => "unsigned",
        _ => "float",
    }
}

/// An element in memory as a term of a sum.
pub(super) fn as_term(dtype: DType, sum: DType, value: &str) -> String {
    let value = from_memory(dtype, value);
    if sum.is_integer() {
        format!("({}){value}", sum_type(sum))
    } else {
        value
    }
}

/// A sum as the tape's first input.
fn as_input(sum: DType, value: &str) -> String {
    match sum {
        DType::I16 => format!("(int)(short){value}"),
        DType::U16 => format!("(unsigned)(unsigned short){value}"),
        DType::I32 => format!("(int){value}"),
        DType::I64 => format!("(long long){value}"),
        _ => value.to_owned(),
    }
}

/// Statements that define what the flat row-major position `flat` is along each of `extents`, and
/// the offset that belongs to it: dimensions that are walked as if they were one are not split.
pub(super) fn offset_at(
    flat: &str,
    extents: &[u64],
    strides: &[i64],
    prefix: &str,
    width: Width,
    out: &mut String,
) -> String {
    let mut dims: Vec<(u64, i64)> = vec![];
    for (&n, &stride) in extents.iter().zip(strides).filter(|(n, _)| **n != 1) {
        match dims.last_mut() {
            Some((extent, outer)) if *outer == stride * n as i64 => {
                *extent *= n;
                *outer = stride;
            }
            _ => dims.push((n, stride)),
        }
    }
    if dims.iter().all(|(_, stride)| *stride == 0) {
        return "0".to_owned();
    }
    let merged: Vec<u64> = dims.iter().map(|(n, _)| *n).collect();
    let names = split(flat, &merged, prefix, width, out);
    let terms = names.iter().map(String::as_str);
    offset(terms.zip(dims.iter().map(|(_, stride)| *stride)), width)
}

/// How an operand over the domain is read or written for some columns next to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Columns {
    /// All at once, if its pointer is aligned.
    Vector,
    /// One for all.
    Shared,
    /// One by one, so far apart.
    Strided(i64),
}

/// The writer of an epilogue.
pub(super) struct Finish<'a> {
    pub(super) form: &'a Form,
    spec: &'a ContractSpec,
    width: Width,
    /// Columns that are finished at once.
    pub(super) n_columns: u64,
}

impl<'a> Finish<'a> {
    /// For as many columns at once as the outputs allow, but at most `most`.
    pub(super) fn new(form: &'a Form, spec: &'a ContractSpec, width: Width, most: u64) -> Self {
        let vectors = most >= VECTOR && form.cols.last().is_some_and(|n| n % VECTOR == 0);
        let mut finish = Self {
            form,
            spec,
            width,
            n_columns: VECTOR,
        };
        let out = spec.epilogue.outputs.first();
        if !vectors || !out.is_some_and(|o| finish.columns(o) == Columns::Vector) {
            finish.n_columns = 1;
        }
        finish
    }

    fn operands(&self) -> impl Iterator<Item = (usize, &'a Operand)> {
        let epilogue = &self.spec.epilogue;
        let operands = epilogue.inputs.iter().chain(&epilogue.outputs);
        operands.enumerate().map(|(n, o)| (n + 2, o))
    }

    fn columns(&self, o: &Operand) -> Columns {
        let along_cols = self.form.strides_along_cols(o);
        if along_cols.iter().all(|&s| s == 0) {
            return Columns::Shared;
        }
        let last = along_cols.last().copied().unwrap_or(0);
        let outer = along_cols[..along_cols.len() - 1].iter().copied();
        let rows = self.form.strides_along_rows(o);
        let batch = (0..self.form.batch.len()).map(Axis::Batch);
        let batch = batch.map(|a| self.form.stride_along(a, o));
        let is_aligned = outer
            .chain(rows)
            .chain(batch)
            .all(|s| s % VECTOR as i64 == 0);
        let is_word = matches!(o.dtype, DType::F32 | DType::I32 | DType::U32);
        if last == 1 && is_aligned && is_word && self.n_columns == VECTOR {
            Columns::Vector
        } else {
            Columns::Strided(last)
        }
    }

    /// Statements for the start of a function: which pointers are aligned.
    pub(super) fn alignments(&self) -> String {
        let mut out = String::new();
        for (n, o) in self.operands() {
            if self.columns(o) == Columns::Vector {
                // Writing to a string does not fail.
                let _ = writeln!(
                    out,
                    "const bool is_aligned{n} = ((unsigned long long)a{n} & 15) == 0;"
                );
            }
        }
        out
    }

    /// Definitions that the statements need.
    pub(super) fn definitions(&self) -> String {
        let words = ["float", "int", "unsigned"];
        let used: BTreeSet<&str> = self
            .operands()
            .filter(|(_, o)| self.columns(o) == Columns::Vector)
            .map(|(_, o)| c_type(o.dtype))
            .collect();
        let used = words.iter().filter(|w| used.contains(**w));
        used.map(|w| format!("struct alignas(16) Four_{w} {{ {w} x[4]; }};\n"))
            .collect()
    }

    /// Statements that finish the sums `values[0]`, … of the row `row` and the columns from `col`
    /// on, all of which exist. The positions of the batch are `batch0`, ….
    pub(super) fn statements(&self) -> String {
        let mut out = String::new();
        let (form, epilogue) = (self.form, &self.spec.epilogue);
        self.write_limits(&mut out);
        for (n, o) in self.operands() {
            let along_rows = form.strides_along_rows(o);
            let along_cols = form.strides_along_cols(o);
            let prefix = format!("p{n}");
            let row = offset_at(
                "row",
                &form.rows,
                &along_rows,
                &format!("{prefix}row"),
                self.width,
                &mut out,
            );
            let col = offset_at(
                "col",
                &form.cols,
                &along_cols,
                &format!("{prefix}col"),
                self.width,
                &mut out,
            );
            let batch = self.batch_offset(o);
            // Writing to a string does not fail.
            let _ = writeln!(
                out,
                "const {} at{n} = {row} + {col} + {batch};",
                self.width.signed()
            );
        }
        let used = used_inputs(&epilogue.tape, epilogue.inputs.len() + 1);
        for (n, o) in self.operands().take(epilogue.inputs.len()) {
            if used[n - 1] {
                self.write_load(n, o, &mut out);
            }
        }
        for (n, o) in self.operands().skip(epilogue.inputs.len()) {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{} out{n}[{}];", c_type(o.dtype), self.n_columns);
        }
        self.write_tape(&mut out);
        for (n, o) in self.operands().skip(epilogue.inputs.len()) {
            self.write_store(n, o, &mut out);
        }
        out
    }

    fn batch_offset(&self, o: &Operand) -> String {
        let names = self.batch_names();
        let strides = (0..names.len()).map(|i| self.form.stride_along(Axis::Batch(i), o));
        offset(names.iter().map(String::as_str).zip(strides), self.width)
    }

    /// The positions of the batch.
    fn batch_names(&self) -> Vec<String> {
        let extents = self.form.batch.iter().enumerate();
        extents
            .map(|(i, &n)| {
                if n == 1 {
                    "0".to_owned()
                } else {
                    format!("batch{i}")
                }
            })
            .collect()
    }

    /// What the position along a dimension of the domain is.
    fn position(&self, d: usize) -> String {
        let mut names = vec![];
        for &(axis, step) in &self.form.domain[d].terms {
            let name = match axis {
                Axis::Batch(i) => self.batch_names()[i].clone(),
                Axis::Row(i) if self.form.rows[i] == 1 => "0".to_owned(),
                Axis::Row(i) => format!("row_at{i}"),
                Axis::Col(i) if self.form.cols[i] == 1 => "0".to_owned(),
                Axis::Col(i) if i + 1 == self.form.cols.len() && self.n_columns > 1 => {
                    format!("(col_at{i} + q)")
                }
                Axis::Col(i) => format!("col_at{i}"),
            };
            names.push((name, step));
        }
        offset(names.iter().map(|(n, s)| (n.as_str(), *s)), self.width)
    }

    /// Skips positions that lie beyond the domain, and names positions where the tape asks for them.
    fn write_limits(&self, out: &mut String) {
        let steps = &self.spec.epilogue.tape.steps;
        let asks = steps.iter().any(|s| matches!(s.op, TapeOp::Index(_)));
        let is_limited = |d: &usize| self.form.domain[*d].limit.is_some();
        let limited: Vec<usize> = (0..self.form.domain.len()).filter(is_limited).collect();
        if asks || !limited.is_empty() {
            split("row", &self.form.rows, "row_at", self.width, out);
            split("col", &self.form.cols, "col_at", self.width, out);
        }
        for d in limited {
            // Positions with a limit are no columns that are finished together.
            let (position, limit) = (self.position(d), self.form.domain[d].limit.unwrap_or(0));
            let _ = writeln!(out, "if ({position} >= {limit}) continue;");
        }
    }

    fn write_load(&self, n: usize, o: &Operand, out: &mut String) {
        let ctype = compute_type(o.dtype);
        let (pointer, at) = (format!("a{n}"), format!("at{n}"));
        // Writing to a string does not fail.
        let _ = match self.columns(o) {
            Columns::Shared => writeln!(
                out,
                "const {ctype} in{n} = {};",
                load(o.dtype, &pointer, &at)
            ),
            Columns::Strided(_) if self.n_columns == 1 => writeln!(
                out,
                "const {ctype} in{n}[1] = {{{}}};",
                load(o.dtype, &pointer, &at)
            ),
            Columns::Strided(stride) => writeln!(
                out,
                "{ctype} in{n}[{VECTOR}];\n#pragma unroll\n\
                 for (int q = 0; q < {VECTOR}; q++) in{n}[q] = {};",
                load(
                    o.dtype,
                    &pointer,
                    &format!("{at} + q * {}", self.width.literal(stride))
                )
            ),
            Columns::Vector => {
                let word = c_type(o.dtype);
                writeln!(
                    out,
                    "{ctype} in{n}[{VECTOR}];\n\
                     if (is_aligned{n}) {{\n\
                     const Four_{word} four = *(const Four_{word}*)({pointer} + {at});\n\
                     #pragma unroll\n\
                     for (int q = 0; q < {VECTOR}; q++) in{n}[q] = four.x[q];\n\
                     }} else {{\n\
                     #pragma unroll\n\
                     for (int q = 0; q < {VECTOR}; q++) in{n}[q] = {pointer}[{at} + q];\n\
                     }}"
                )
            }
        };
    }

    fn write_tape(&self, out: &mut String) {
        let (form, epilogue) = (self.form, &self.spec.epilogue);
        let inputs: Vec<String> = [as_input(form.sum, "values[q]")]
            .into_iter()
            .chain(self.operands().take(epilogue.inputs.len()).map(
                |(n, o)| match self.columns(o) {
                    Columns::Shared => format!("in{n}"),
                    Columns::Vector | Columns::Strided(_) => format!("in{n}[q]"),
                },
            ))
            .collect();
        let _ = writeln!(
            out,
            "#pragma unroll\nfor (int q = 0; q < {}; q++) {{",
            self.n_columns
        );
        let results = emit(
            &epilogue.tape,
            &Scope {
                input: &|i| inputs[usize::from(i)].clone(),
                row_scalar: &|_| "0".to_owned(),
                index: &|d| self.position(usize::from(d)),
            },
            "t",
            out,
        );
        let outputs = self.operands().skip(epilogue.inputs.len());
        for ((n, o), result) in outputs.zip(results) {
            let _ = writeln!(out, "out{n}[q] = {};", to_memory(o.dtype, &result));
        }
        out.push_str("}\n");
    }

    fn write_store(&self, n: usize, o: &Operand, out: &mut String) {
        let columns = match self.columns(o) {
            // A second output may not lie like the first; one that has no columns has one.
            Columns::Shared => Columns::Strided(0),
            other => other,
        };
        let _ = match columns {
            Columns::Vector => {
                let word = c_type(o.dtype);
                writeln!(
                    out,
                    "if (is_aligned{n}) {{\n\
                     Four_{word} four;\n\
                     #pragma unroll\n\
                     for (int q = 0; q < {VECTOR}; q++) four.x[q] = out{n}[q];\n\
                     *(Four_{word}*)(a{n} + at{n}) = four;\n\
                     }} else {{\n\
                     #pragma unroll\n\
                     for (int q = 0; q < {VECTOR}; q++) a{n}[at{n} + q] = out{n}[q];\n\
                     }}"
                )
            }
            Columns::Strided(_) | Columns::Shared if self.n_columns == 1 => {
                writeln!(out, "a{n}[at{n}] = out{n}[0];")
            }
            Columns::Strided(stride) => writeln!(
                out,
                "#pragma unroll\n\
                 for (int q = 0; q < {VECTOR}; q++) a{n}[at{n} + q * {}] = out{n}[q];",
                self.width.literal(stride)
            ),
            Columns::Shared => Ok(()),
        };
    }
}

/// A statement that loads the element at `index` of a pointer as a term of a sum.
pub(super) fn load_term(dtype: DType, sum: DType, pointer: &str, index: &str) -> String {
    as_term(dtype, sum, &format!("{pointer}[{index}]"))
}
