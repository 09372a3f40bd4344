//! The functions of a row kernel.

use super::{RowSchedule, Shape};
use crate::cuda::Refused;
use crate::cuda::dims;
use crate::cuda::source::{self, Extras, START_AFTER, Width};
use crate::cuda::tape::{self, Scope, c_type, compute_type};
use plans::spec::{Phase, RowFold};
use plans::tape::BinaryFn;
use plans::{DType, Tape};
use std::fmt::Write;

/// Writes the functions of one schedule.
pub(super) struct Emitter<'a> {
    shape: &'a Shape<'a>,
    s: &'a RowSchedule,
    /// The types of the row scalars.
    scalars: Vec<DType>,
    groups: u64,
}

/// Where a function is in the phases: what it has of the row scalars.
struct Known {
    /// Expressions of the row scalars so far.
    scalars: Vec<String>,
}

/// What is done with each column of a thread.
struct PerColumn<'t> {
    /// Computes the results.
    tape: &'t Tape,
    /// What names in its code start with.
    prefix: String,
    /// Statements before an item's columns.
    before: String,
    /// Statements with the results and the column's position.
    then: &'t dyn Fn(&[String], &[String]) -> String,
    /// Statements after an item's columns, with the position of the first.
    after: &'t dyn Fn(&[String]) -> String,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(shape: &'a Shape<'a>, s: &'a RowSchedule) -> Result<Self, Refused> {
        let scalars = shape.spec.row_scalars().map_err(|e| Refused(e.0))?;
        let groups = shape.n_rows.div_ceil(s.rows.into());
        Ok(Self {
            shape,
            s,
            scalars,
            groups,
        })
    }

    /// Blocks that share a row leave their folds, a value and a position each, and then the row's
    /// scalars in the workspace, 8 bytes each.
    pub(super) fn extras(&self) -> Extras {
        if self.s.splits == 1 {
            return Extras::default();
        }
        let partials = self.shape.n_rows * u64::from(self.s.splits) * 16;
        Extras {
            workspace: partials + self.shape.n_rows * 8 * self.scalars.len() as u64,
            counters: 4 * self.groups,
            may_fault: false,
        }
    }

    /// The bodies of the functions, in the order of their launches.
    pub(super) fn bodies(&self) -> Vec<String> {
        if self.s.splits == 1 {
            return vec![self.whole()];
        }
        let phases = &self.shape.spec.phases;
        let folds: Vec<usize> = (0..phases.len())
            .filter(|&n| matches!(phases[n], Phase::Fold { .. }))
            .collect();
        let mut bodies: Vec<String> = (0..folds.len())
            .map(|n| self.part(folds[n], folds.get(n + 1).copied().unwrap_or(phases.len())))
            .collect();
        if !self.shape.outputs().is_empty() || bodies.is_empty() {
            bodies.push(self.elements_alone());
        }
        bodies
    }

    /// All phases and the elements, by the threads of a row.
    fn whole(&self) -> String {
        let mut body = self.start();
        if self.s.held {
            self.hold(&mut body);
        }
        let mut known = Known { scalars: vec![] };
        for (n, phase) in self.shape.spec.phases.iter().enumerate() {
            match phase {
                Phase::Fold { tape, fold } => {
                    self.fold(n, tape, *fold, &known, &mut body);
                    self.exchange(n, tape, *fold, &mut body);
                    known.scalars.push(self.folded_name(n, *fold));
                }
                Phase::Row { tape } => self.row_phase(n, tape, &mut known, &mut body),
            }
        }
        self.elements(&known, &mut body);
        body.push_str("if (lane == 0 && in_range) {\n");
        self.row_outputs(&known, 0..self.scalars.len(), &mut body);
        body.push_str("}\n");
        body
    }

    /// One fold by all blocks that share a row; the last one does what follows until phase `end`.
    fn part(&self, fold_phase: usize, end: usize) -> String {
        let phases = &self.shape.spec.phases;
        let Phase::Fold { tape, fold } = &phases[fold_phase] else {
            return String::new();
        };
        let mut body = self.start();
        let mut known = self.stored(fold_phase, &mut body);
        self.fold(fold_phase, tape, *fold, &known, &mut body);
        self.exchange(fold_phase, tape, *fold, &mut body);
        let ctype = self.folded_type(tape);
        let signed = self.shape.width.signed();
        let splits = self.s.splits;
        let is_position = fold.is_position();
        let n = fold_phase;
        let _ = writeln!(
            body,
            "unsigned long long* const partial = (unsigned long long*)workspace + row * {}u;\n\
             if (lane == 0 && in_range) {{\n*({ctype}*)(partial + 2 * split) = f{n};",
            2 * splits
        );
        if is_position {
            let _ = writeln!(body, "*({signed}*)(partial + 2 * split + 1) = c{n};");
        }
        let _ = writeln!(
            body,
            "}}\nif (arrive_last(counters + group, {splits}u) && lane == 0 && in_range) {{\n\
             f{n} = {};",
            self.neutral(tape, *fold)
        );
        if is_position {
            let _ = writeln!(body, "c{n} = 0;");
        }
        let _ = writeln!(
            body,
            "for (int i = 0; i < {splits}; i++) {{\nconst {ctype} other = *(const {ctype}*)(partial + 2 * i);"
        );
        if is_position {
            let _ = writeln!(
                body,
                "const {signed} other_c = *(const {signed}*)(partial + 2 * i + 1);"
            );
        }
        let _ = writeln!(body, "{}\n}}", self.meet(n, tape, *fold));
        // Scalars before the first fold are the same in every function.
        let is_first = !phases[..n].iter().any(|p| matches!(p, Phase::Fold { .. }));
        let first = if is_first { 0 } else { known.scalars.len() };
        known.scalars.push(self.folded_name(n, *fold));
        for (m, phase) in phases.iter().enumerate().take(end).skip(n + 1) {
            if let Phase::Row { tape } = phase {
                self.row_phase(m, tape, &mut known, &mut body);
            }
        }
        let place = self.scalar_place();
        for (i, name) in known.scalars.iter().enumerate().skip(first) {
            let ctype = compute_type(self.scalars[i]);
            let _ = writeln!(body, "*({ctype}*)({place} + {i}) = {name};");
        }
        self.row_outputs(&known, first..known.scalars.len(), &mut body);
        body.push_str("}\n");
        body
    }

    /// The elements, after launches that have left the row scalars.
    fn elements_alone(&self) -> String {
        let mut body = self.start();
        let known = self.stored(self.shape.spec.phases.len(), &mut body);
        self.elements(&known, &mut body);
        // Scalars that no fold comes before are the same in all blocks.
        let first_fold = self
            .shape
            .spec
            .phases
            .iter()
            .position(|p| matches!(p, Phase::Fold { .. }));
        if first_fold.is_none() {
            body.push_str("if (lane == 0 && in_range && split == 0) {\n");
            self.row_outputs(&known, 0..self.scalars.len(), &mut body);
            body.push_str("}\n");
        }
        body
    }

    /// Where the scalars of the thread's row lie.
    fn scalar_place(&self) -> String {
        let partials = self.shape.n_rows * u64::from(self.s.splits) * 2;
        format!(
            "((unsigned long long*)workspace + {partials}ull + (size_t)row * {}u)",
            self.scalars.len()
        )
    }

    /// The scalars that phases before `end` give: those after the first fold from the workspace.
    fn stored(&self, end: usize, body: &mut String) -> Known {
        let mut known = Known { scalars: vec![] };
        let place = self.scalar_place();
        let mut after_fold = false;
        for (n, phase) in self.shape.spec.phases.iter().enumerate().take(end) {
            let more = match phase {
                Phase::Fold { .. } => 1,
                Phase::Row { tape } => tape.results.len(),
            };
            after_fold |= matches!(phase, Phase::Fold { .. });
            match phase {
                Phase::Row { tape } if !after_fold => self.row_phase(n, tape, &mut known, body),
                _ => {
                    for _ in 0..more {
                        let i = known.scalars.len();
                        let ctype = compute_type(self.scalars[i]);
                        let _ = writeln!(
                            body,
                            "const {ctype} q{i} = *(const {ctype}*)({place} + {i});"
                        );
                        known.scalars.push(format!("q{i}"));
                    }
                }
            }
        }
        known
    }

    /// Finds the thread's row and lane, and loads what the row's columns
    /// share.
    fn start(&self) -> String {
        let (shape, s) = (self.shape, self.s);
        let (signed, unsigned) = (shape.width.signed(), shape.width.unsigned());
        let long = self.long();
        let mut body = START_AFTER.to_owned();
        let (lane, local) = if s.across {
            (
                format!("threadIdx.x / {}u", s.rows),
                format!("threadIdx.x % {}u", s.rows),
            )
        } else {
            (
                format!("threadIdx.x % {}u", s.lanes),
                format!("threadIdx.x / {}u", s.lanes),
            )
        };
        let _ = writeln!(
            body,
            "const int lane = (int)({lane});\nconst unsigned local = {local};"
        );
        if s.splits > 1 {
            let _ = writeln!(
                body,
                "const unsigned group = blockIdx.x / {0}u, split = blockIdx.x % {0}u;",
                s.splits
            );
        } else {
            body.push_str("const unsigned group = blockIdx.x;\n");
        }
        let n = shape.n_rows;
        let row = format!("({unsigned})group * {}u + local", s.rows);
        let _ = if n.is_multiple_of(s.rows.into()) {
            writeln!(
                body,
                "const {unsigned} row = {row};\nconst bool in_range = true;"
            )
        } else {
            writeln!(
                body,
                "const bool in_range = {row} < {n}u{long};\n\
                 const {unsigned} row = in_range ? {row} : {}u{long};",
                n - 1
            )
        };
        source::split(
            "row",
            &dims::extents(&shape.rows),
            "r",
            shape.width,
            &mut body,
        );
        let chunk = shape.chunk(s);
        let items = shape.n_items(s.vector);
        let _ = if s.splits > 1 {
            writeln!(
                body,
                "const {signed} first = ({signed})split * {chunk};\n\
                 const {signed} last = minimum(first + ({signed}){chunk}, ({signed}){items});"
            )
        } else {
            writeln!(body, "const {signed} first = 0, last = {items};")
        };
        for o in shape.walked().filter(|&o| self.is_vector(o)) {
            let bytes = s.vector as usize * shape.dtype(o).size();
            let _ = writeln!(body, "const bool aligned{o} = is_aligned<{bytes}>(a{o});");
        }
        for o in (0..shape.n_inputs()).filter(|&o| !shape.has_columns(o)) {
            if shape.folded[o] || shape.finished[o] {
                let dtype = shape.dtype(o);
                let value = tape::load(dtype, &format!("a{o}"), &self.row_offset(o));
                let _ = writeln!(body, "const {} y{o} = {value};", compute_type(dtype));
            }
        }
        body
    }

    fn long(&self) -> &'static str {
        match self.shape.width {
            Width::Bits32 => "",
            Width::Bits64 => "ll",
        }
    }

    /// Whether a thread's columns lie side by side in the operand.
    fn is_vector(&self, operand: usize) -> bool {
        self.s.vector > 1 && self.shape.is_aligned(operand, self.s.vector)
    }

    fn row_positions(&self) -> Vec<String> {
        let name = |(d, dim): (usize, &dims::Dim)| match dim.extent {
            1 => "0".to_owned(),
            _ => format!("r{d}"),
        };
        self.shape.rows.iter().enumerate().map(name).collect()
    }

    fn row_offset(&self, operand: usize) -> String {
        let positions = self.row_positions();
        let strides = self.shape.rows.iter().map(|dim| dim.strides[operand]);
        source::offset(
            positions.iter().map(String::as_str).zip(strides),
            self.shape.width,
        )
    }

    /// The offset of the element at a column's position.
    fn offset(&self, operand: usize, columns: &[String]) -> String {
        let strides = self.shape.columns.iter().map(|dim| dim.strides[operand]);
        let column = source::offset(
            columns.iter().map(String::as_str).zip(strides),
            self.shape.width,
        );
        match (self.row_offset(operand).as_str(), column.as_str()) {
            ("0", column) => column.to_owned(),
            (row, "0") => row.to_owned(),
            (row, column) => format!("{row} + {column}"),
        }
    }

    /// The number of items of a thread, if its columns are held.
    fn n_held(&self) -> u64 {
        self.shape.chunk(self.s) / u64::from(self.s.lanes)
    }

    /// Opens a loop over the thread's items, in which `item` is one in range; gives the positions of
    /// the item's first column.
    fn open_items(&self, body: &mut String) -> Vec<String> {
        let (shape, s) = (self.shape, self.s);
        let (signed, unsigned) = (shape.width.signed(), shape.width.unsigned());
        if s.held {
            let whole = self.n_held() * u64::from(s.lanes) == shape.n_items(s.vector);
            let _ = writeln!(
                body,
                "#pragma unroll\nfor (int k = 0; k < {}; k++) {{\n\
                 const {signed} item = k * {} + lane;\nif ({}) {{",
                self.n_held(),
                s.lanes,
                if whole { "true" } else { "item < last" }
            );
        } else {
            let _ = writeln!(
                body,
                "#pragma unroll 4\nfor ({signed} item = first + lane; item < last; item += {}) {{\n{{",
                s.lanes
            );
        }
        let mut extents = dims::extents(&shape.columns);
        if let Some(last) = extents.last_mut() {
            *last /= u64::from(s.vector);
        }
        let _ = writeln!(body, "const {unsigned} flat = ({unsigned})item;");
        let mut positions = source::split("flat", &extents, "p", shape.width, body);
        if let Some(last) = positions.last_mut()
            && s.vector > 1
            && last != "0"
        {
            let _ = writeln!(body, "const {signed} start = {last} * {};", s.vector);
            *last = "start".to_owned();
        }
        positions
    }

    /// Loads the inputs' columns of an item to `{name}{input}`, unless they are held.
    fn load_item(&self, inputs: &[usize], positions: &[String], held: bool, body: &mut String) {
        let vector = self.s.vector;
        for &input in inputs {
            let ctype = c_type(self.shape.dtype(input));
            let name = if held {
                format!("h{input}[k]")
            } else {
                let _ = writeln!(body, "Vector<{ctype}, {vector}> v{input};");
                format!("v{input}")
            };
            let _ = if self.is_vector(input) {
                let offset = self.offset(input, positions);
                writeln!(
                    body,
                    "{name} = load_vector<{vector}>(a{input} + ({offset}), aligned{input});"
                )
            } else {
                let offset = self.offset(input, &each(positions, vector));
                writeln!(
                    body,
                    "#pragma unroll\nfor (int j = 0; j < {vector}; j++) {name}.at[j] = a{input}[{offset}];"
                )
            };
        }
    }

    /// Reads the columns of the row into registers.
    fn hold(&self, body: &mut String) {
        let inputs = self.shape.held_inputs();
        if inputs.is_empty() || self.shape.n_columns == 0 {
            return;
        }
        for &input in &inputs {
            let ctype = c_type(self.shape.dtype(input));
            let _ = writeln!(
                body,
                "Vector<{ctype}, {}> h{input}[{}];",
                self.s.vector,
                self.n_held()
            );
        }
        let positions = self.open_items(body);
        self.load_item(&inputs, &positions, true, body);
        body.push_str("}\n}\n");
    }

    /// Runs a tape for each column of the thread.
    fn each_column(&self, work: &PerColumn<'_>, known: &Known, body: &mut String) {
        let tape = work.tape;
        if self.shape.n_columns == 0 {
            return;
        }
        let shape = self.shape;
        let used = tape::used_inputs(tape, shape.n_inputs());
        let held = if self.s.held {
            shape.held_inputs()
        } else {
            vec![]
        };
        let loaded: Vec<usize> = (0..shape.n_inputs())
            .filter(|&i| used[i] && shape.has_columns(i) && !held.contains(&i))
            .collect();
        let positions = self.open_items(body);
        self.load_item(&loaded, &positions, false, body);
        body.push_str(&work.before);
        let vector = self.s.vector;
        let _ = writeln!(
            body,
            "#pragma unroll\nfor (int j = 0; j < {vector}; j++) {{"
        );
        let here = each(&positions, vector);
        let rows = self.row_positions();
        let input = |n: u16| {
            let n = usize::from(n);
            if !shape.has_columns(n) {
                return format!("y{n}");
            }
            let element = if held.contains(&n) {
                format!("h{n}[k].at[j]")
            } else {
                format!("v{n}.at[j]")
            };
            tape::from_memory(shape.dtype(n), &element)
        };
        let index = |d: u16| {
            let d = Some(usize::from(d));
            let row = shape.rows.iter().position(|dim| dim.index == d);
            let column = shape.columns.iter().position(|dim| dim.index == d);
            match (row, column) {
                (Some(row), _) => rows[row].clone(),
                (None, Some(column)) => here[column].clone(),
                (None, None) => "0".to_owned(),
            }
        };
        let scope = Scope {
            input: &input,
            row_scalar: &|n| known.scalars[usize::from(n)].clone(),
            index: &index,
        };
        let results = tape::emit(tape, &scope, &work.prefix, body);
        body.push_str(&(work.then)(&results, &here));
        body.push_str("}\n");
        body.push_str(&(work.after)(&positions));
        body.push_str("}\n}\n");
    }

    fn folded_dtype(&self, tape: &Tape) -> DType {
        let step = tape.results.first().map(|r| usize::from(r.0));
        step.and_then(|n| tape.steps.get(n))
            .map_or(DType::F32, |step| step.dtype)
    }

    fn folded_type(&self, tape: &Tape) -> &'static str {
        compute_type(self.folded_dtype(tape))
    }

    /// What the fold of no columns is.
    fn neutral(&self, tape: &Tape, fold: RowFold) -> String {
        let dtype = self.folded_dtype(tape);
        match fold {
            RowFold::Sum => format!("({})0", compute_type(dtype)),
            RowFold::Prod => format!("({})1", compute_type(dtype)),
            RowFold::Max | RowFold::ArgMax | RowFold::ArgMaxLast => tape::least(dtype),
            RowFold::Min | RowFold::ArgMin | RowFold::ArgMinLast => tape::greatest(dtype),
        }
    }

    /// The scalar that phase `n` gives.
    fn folded_name(&self, n: usize, fold: RowFold) -> String {
        if fold.is_position() {
            format!("(long long)c{n}")
        } else {
            format!("f{n}")
        }
    }

    /// Folds the thread's columns to `f{n}`, and their position to `c{n}` if it is asked for.
    fn fold(&self, n: usize, tape: &Tape, fold: RowFold, known: &Known, body: &mut String) {
        let ctype = self.folded_type(tape);
        let dtype = self.folded_dtype(tape);
        let signed = self.shape.width.signed();
        let _ = writeln!(body, "{ctype} f{n} = {};", self.neutral(tape, fold));
        if fold.is_position() {
            let _ = writeln!(body, "{signed} c{n} = 0;");
        }
        let vector = self.s.vector;
        let then = |results: &[String], _: &[String]| {
            let Some(x) = results.first() else {
                return String::new();
            };
            let best = |operator: &str| {
                format!("if ({x} {operator} f{n}) {{ f{n} = {x}; c{n} = item * {vector} + j; }}\n")
            };
            match fold {
                RowFold::Sum | RowFold::Prod | RowFold::Min | RowFold::Max => {
                    let value = tape::binary(operation(fold), &format!("f{n}"), x, dtype);
                    format!("f{n} = {value};\n")
                }
                RowFold::ArgMax => best(">"),
                RowFold::ArgMaxLast => best(">="),
                RowFold::ArgMin => best("<"),
                RowFold::ArgMinLast => best("<="),
            }
        };
        let work = PerColumn {
            tape,
            prefix: format!("p{n}_"),
            before: String::new(),
            then: &then,
            after: &|_| String::new(),
        };
        self.each_column(&work, known, body);
    }

    /// A statement that folds `other`, and its position `other_c`, into `f{n}` and `c{n}`.
    fn meet(&self, n: usize, tape: &Tape, fold: RowFold) -> String {
        let dtype = self.folded_dtype(tape);
        let best = |better: &str, earlier: &str| {
            format!(
                "if (other {better} f{n} || (other == f{n} && other_c {earlier} c{n})) \
                 {{ f{n} = other; c{n} = other_c; }}"
            )
        };
        match fold {
            RowFold::Sum | RowFold::Prod | RowFold::Min | RowFold::Max => {
                let value = tape::binary(operation(fold), &format!("f{n}"), "other", dtype);
                format!("f{n} = {value};")
            }
            RowFold::ArgMax => best(">", "<"),
            RowFold::ArgMaxLast => best(">", ">"),
            RowFold::ArgMin => best("<", "<"),
            RowFold::ArgMinLast => best("<", ">"),
        }
    }

    /// Folds what the lanes of a row have, so that all of them have the result.
    fn exchange(&self, n: usize, tape: &Tape, fold: RowFold, body: &mut String) {
        let s = self.s;
        let ctype = self.folded_type(tape);
        let signed = self.shape.width.signed();
        let is_position = fold.is_position();
        let meet = self.meet(n, tape, fold);
        if s.lanes == 1 {
            return;
        }
        if s.across {
            let _ = writeln!(body, "SHARED {ctype} s{n}[{}][{}];", s.lanes, s.rows);
            let _ = writeln!(body, "s{n}[lane][local] = f{n};");
            if is_position {
                let _ = writeln!(body, "SHARED {signed} sc{n}[{}][{}];", s.lanes, s.rows);
                let _ = writeln!(body, "sc{n}[lane][local] = c{n};");
            }
            let _ = writeln!(body, "__syncthreads();\nf{n} = s{n}[0][local];");
            if is_position {
                let _ = writeln!(body, "c{n} = sc{n}[0][local];");
            }
            let _ = writeln!(
                body,
                "for (int i = 1; i < {}; i++) {{\nconst {ctype} other = s{n}[i][local];",
                s.lanes
            );
            if is_position {
                let _ = writeln!(body, "const {signed} other_c = sc{n}[i][local];");
            }
            let _ = writeln!(body, "{meet}\n}}");
            return;
        }
        let tree = |lanes: u32, body: &mut String| {
            let _ = writeln!(
                body,
                "#pragma unroll\nfor (int m = {}; m > 0; m /= 2) {{\nconst {ctype} other = shuffle_xor(f{n}, m);",
                lanes / 2
            );
            if is_position {
                let _ = writeln!(body, "const {signed} other_c = shuffle_xor(c{n}, m);");
            }
            let _ = writeln!(body, "{meet}\n}}");
        };
        tree(s.lanes.min(32), body);
        if s.lanes > 32 {
            let n_warps = s.lanes / 32;
            let _ = writeln!(
                body,
                "SHARED {ctype} s{n}[{n_warps}];\nif (lane % 32 == 0) s{n}[lane / 32] = f{n};"
            );
            if is_position {
                let _ = writeln!(
                    body,
                    "SHARED {signed} sc{n}[{n_warps}];\nif (lane % 32 == 0) sc{n}[lane / 32] = c{n};"
                );
            }
            let _ = writeln!(body, "__syncthreads();\nf{n} = s{n}[lane % {n_warps}];");
            if is_position {
                let _ = writeln!(body, "c{n} = sc{n}[lane % {n_warps}];");
            }
            tree(n_warps, body);
        }
    }

    /// Arithmetic on row scalars.
    fn row_phase(&self, n: usize, tape: &Tape, known: &mut Known, body: &mut String) {
        let scalars = known.scalars.clone();
        let scope = Scope {
            input: &|_| String::new(),
            row_scalar: &|i| scalars[usize::from(i)].clone(),
            index: &|_| "0".to_owned(),
        };
        let results = tape::emit(tape, &scope, &format!("p{n}_"), body);
        known.scalars.extend(results);
    }

    /// Computes and stores the elements of the row.
    fn elements(&self, known: &Known, body: &mut String) {
        let shape = self.shape;
        if shape.outputs().is_empty() {
            return;
        }
        let vector = self.s.vector;
        let mut before = String::new();
        for o in shape.outputs() {
            let ctype = c_type(shape.dtype(o));
            let _ = writeln!(before, "Vector<{ctype}, {vector}> v{o};");
        }
        let then = |results: &[String], here: &[String]| {
            let mut text = String::new();
            for (o, result) in shape.outputs().zip(results) {
                let value = tape::to_memory(shape.dtype(o), result);
                let _ = if self.is_vector(o) {
                    writeln!(text, "v{o}.at[j] = {value};")
                } else {
                    writeln!(
                        text,
                        "if (in_range) a{o}[{}] = {value};",
                        self.offset(o, here)
                    )
                };
            }
            text
        };
        let after = |positions: &[String]| {
            let mut text = String::new();
            for o in shape.outputs().filter(|&o| self.is_vector(o)) {
                let _ = writeln!(
                    text,
                    "if (in_range) store_vector(a{o} + ({}), v{o}, aligned{o});",
                    self.offset(o, positions)
                );
            }
            text
        };
        let work = PerColumn {
            tape: &shape.spec.element_tape,
            prefix: "e".to_owned(),
            before,
            then: &then,
            after: &after,
        };
        self.each_column(&work, known, body);
    }

    /// Stores those of the row's scalars in `range` that are asked for.
    fn row_outputs(&self, known: &Known, range: std::ops::Range<usize>, body: &mut String) {
        let first = self.shape.outputs().end;
        for (n, (scalar, operand)) in self.shape.spec.row_outputs.iter().enumerate() {
            let scalar = usize::from(*scalar);
            if !range.contains(&scalar) {
                continue;
            }
            let o = first + n;
            let offset = self.row_offset(o);
            let store = tape::store(
                operand.dtype,
                &format!("a{o}"),
                &offset,
                &known.scalars[scalar],
            );
            let _ = writeln!(body, "{store}");
        }
    }
}

/// The position of column `j` of an item.
fn each(positions: &[String], vector: u32) -> Vec<String> {
    let mut each = positions.to_vec();
    if let Some(last) = each.last_mut()
        && vector > 1
    {
        *last = if last == "0" {
            "j".to_owned()
        } else {
            format!("({last} + j)")
        };
    }
    each
}

/// The function that a fold applies again and again.
fn operation(fold: RowFold) -> BinaryFn {
    match fold {
        RowFold::Sum => BinaryFn::Add,
        RowFold::Prod => BinaryFn::Mul,
        RowFold::Min | RowFold::ArgMin | RowFold::ArgMinLast => BinaryFn::Min,
        RowFold::Max | RowFold::ArgMax | RowFold::ArgMaxLast => BinaryFn::Max,
    }
}
