//! Recurrences: all inputs multiplied at once, then one launch for all time steps.

use super::source::{Extras, Width, generated, launch, offset, parameters};
use super::tape::{compute_type, float_literal, load, store};
use super::{Generated, Refused, Target};
use plans::DType;
use plans::spec::{Activation, Cell, Direction, Operand, RecurrentSpec};
use std::fmt::Write;

/// Threads of a block.
const THREADS: u32 = 256;

/// Columns and rows of a block of the products with the inputs.
const TILE: u64 = 32;

/// Weights of a thread that are kept in registers.
const MOST_HELD: u64 = 72;

/// Weights of a direction up to which one block takes all of it: then no block waits for another.
const ONE_BLOCK: u64 = 1 << 15;

/// How the state is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Units of the state that a block owns.
    pub units: u64,
    /// Whether a block keeps its weights in registers.
    pub hold: bool,
}

impl Schedule {
    /// With `units` units a block.
    fn of(spec: &RecurrentSpec, units: u64) -> Self {
        let of_warp = (spec.cell.n_gates() * units).div_ceil(u64::from(THREADS / 32));
        let numbers = if spec.x.dtype == DType::F64 { 2 } else { 1 };
        Self {
            units,
            hold: of_warp * spec.hidden_size.div_ceil(32) * numbers <= MOST_HELD,
        }
    }

    fn n_blocks(self, spec: &RecurrentSpec) -> u64 {
        spec.direction.count() * spec.hidden_size.div_ceil(self.units)
    }

    fn shared_bytes(self, spec: &RecurrentSpec) -> u64 {
        spec.batch * spec.cell.n_gates() * self.units * number_size(spec)
    }
}

fn number_size(spec: &RecurrentSpec) -> u64 {
    if spec.x.dtype == DType::F64 { 8 } else { 4 }
}

/// Every schedule that the kernel can have on the target: all blocks run at once.
pub fn config_space(spec: &RecurrentSpec, target: &Target) -> Vec<Schedule> {
    let sms = u64::from(target.n_sms);
    let least = (spec.direction.count() * spec.hidden_size).div_ceil(sms);
    let mut units: Vec<u64> = (0..8).map(|i| least << i).collect();
    units.push(spec.hidden_size);
    units.retain(|&u| u > 0 && u <= spec.hidden_size);
    units.sort_unstable();
    units.dedup();
    let all = units.into_iter().map(|u| Schedule::of(spec, u));
    all.filter(|s| {
        s.n_blocks(spec) <= sms && s.shared_bytes(spec) <= u64::from(target.max_shared) / 2
    })
    .collect()
}

/// One block for a small state, else as many as there are multiprocessors.
pub fn choose(spec: &RecurrentSpec, target: &Target) -> Option<Schedule> {
    let space = config_space(spec, target);
    let weights = spec.cell.n_gates() * spec.hidden_size * spec.hidden_size;
    let chosen = if weights <= ONE_BLOCK {
        space.last()
    } else {
        space.first()
    };
    chosen.copied()
}

pub(super) fn generate(spec: &RecurrentSpec, target: &Target) -> Result<Generated, Refused> {
    let is_empty = spec.hidden_size == 0 || spec.batch == 0;
    let schedule = if is_empty {
        Some(Schedule::of(spec, 1))
    } else {
        choose(spec, target)
    };
    let schedule = schedule.ok_or_else(|| {
        Refused(format!(
            "a recurrence of {} units and {} sequences does not fit the multiprocessors",
            spec.hidden_size, spec.batch
        ))
    })?;
    generate_with(spec, schedule)
}

/// Device code with the given schedule.
///
/// # Errors
///
/// If there are too many time steps, sequences or features.
pub fn generate_with(spec: &RecurrentSpec, schedule: Schedule) -> Result<Generated, Refused> {
    let directions = spec.direction.count();
    let rows = spec.cell.n_gates().saturating_mul(spec.hidden_size);
    let columns = spec.time.saturating_mul(spec.batch);
    let state = directions * spec.batch * spec.hidden_size;
    let counts = [rows, columns, spec.input_size, state.saturating_mul(4)];
    if counts.iter().any(|&n| n >= 1 << 28) || columns.div_ceil(TILE) > 65_535 {
        return Err(Refused(format!(
            "a recurrence of {} steps, {} sequences and {} units",
            spec.time, spec.batch, spec.hidden_size
        )));
    }
    let args = spec.args();
    let extras = Extras {
        workspace: (directions * columns * rows + 4 * state) * number_size(spec),
        counters: 4 * 2 * directions,
        may_fault: false,
    };
    let Schedule { units, hold } = schedule;
    let text = format!(r#"{{"units":{units},"hold":{hold}}}"#);
    if state == 0 {
        return Ok(generated("", vec![], Extras::default(), text));
    }
    let code = format!(
        "{}{}",
        names(spec, schedule),
        include_str!("recurrent.cuh").replace("PARAMETERS", &parameters(&args, extras))
    );
    let tiles = [rows.div_ceil(TILE), columns.div_ceil(TILE), directions];
    let inputs = launch("recurrent_inputs", tiles.map(|n| n as u32), THREADS);
    let mut steps = launch(
        "recurrent_steps",
        [schedule.n_blocks(spec) as u32, 1, 1],
        THREADS,
    );
    steps.cooperative = schedule.n_blocks(spec) > directions;
    steps.shared_bytes = schedule.shared_bytes(spec) as u32;
    let launches = if columns == 0 {
        vec![steps]
    } else {
        vec![inputs, steps]
    };
    Ok(generated(&code, launches, extras, text))
}

/// The constants, types and accesses that the source names.
fn names(spec: &RecurrentSpec, schedule: Schedule) -> String {
    let number = compute_type(spec.x.dtype);
    let (clip, clip_at) = match spec.clip.filter(|c| !c.is_nan()) {
        Some(at) => (1, float_literal(at.abs())),
        None => (0, "0".to_owned()),
    };
    let (cell, input_forget, reset_after) = match spec.cell {
        Cell::Rnn => ("RNN", false, false),
        Cell::Lstm { input_forget } => ("LSTM", input_forget, false),
        Cell::Gru {
            linear_before_reset,
        } => ("GRU", false, linear_before_reset),
    };
    let is_gru = matches!(spec.cell, Cell::Gru { .. });
    let mut text = format!(
        "typedef {number} T;\nenum {{ RNN, LSTM, GRU }};\nconstexpr int CELL = {cell};\n\
         constexpr T CLIP_AT = (T){clip_at};\n"
    );
    let constants = [
        ("DIRECTIONS", spec.direction.count()),
        ("TIME", spec.time),
        ("BATCH", spec.batch),
        ("INPUT", spec.input_size),
        ("HIDDEN", spec.hidden_size),
        ("GATES", spec.cell.n_gates()),
        ("UNITS", schedule.units),
        ("HOLD", schedule.hold.into()),
        ("CLIP", clip),
        ("INPUT_FORGET", input_forget.into()),
        ("RESET_AFTER", reset_after.into()),
        ("RESET_BEFORE", (is_gru && !reset_after).into()),
        ("BACKWARD", (spec.direction == Direction::Reverse).into()),
    ];
    // Writing to a string does not fail.
    for (name, value) in constants {
        let _ = writeln!(text, "constexpr int {name} = {value};");
    }
    activations(spec, &mut text);
    accesses(spec, &mut text);
    text
}

/// A function for each activation of a direction.
fn activations(spec: &RecurrentSpec, text: &mut String) {
    let n = spec.cell.n_activations();
    for i in 0..3 {
        let of = |direction: usize| {
            let activation = spec.activations.get(direction * n + i);
            activation.map_or_else(|| "x".to_owned(), |&a| apply(a, spec.x.dtype))
        };
        let value = if i < n && spec.direction.count() == 2 {
            format!("direction == 0 ? {} : {}", of(0), of(1))
        } else if i < n {
            of(0)
        } else {
            "x".to_owned()
        };
        let _ = writeln!(
            text,
            "DEVICE T activate_{i}(int direction, T x) {{ return {value}; }}"
        );
    }
}

/// An activation of `x`.
fn apply(activation: Activation, dtype: DType) -> String {
    let suffix = if dtype == DType::F64 { "" } else { "f" };
    let n = |x: f32| format!("(T){}", float_literal(x));
    match activation {
        Activation::Relu => format!("fmax{suffix}(x, (T)0)"),
        Activation::Tanh => format!("tanh{suffix}(x)"),
        Activation::Sigmoid => "sigmoid(x)".to_owned(),
        Activation::Affine(a, b) => format!("({} * x + {})", n(a), n(b)),
        Activation::LeakyRelu(a) => format!("(x < 0 ? {} * x : x)", n(a)),
        Activation::ThresholdedRelu(a) => format!("(x < {} ? (T)0 : x)", n(a)),
        Activation::ScaledTanh(a, b) => format!("{} * tanh{suffix}({} * x)", n(a), n(b)),
        Activation::HardSigmoid(a, b) => {
            let (a, b) = (n(a), n(b));
            format!("fmin{suffix}(fmax{suffix}({a} * x + {b}, (T)0), (T)1)")
        }
        Activation::Elu(a) => format!("(x < 0 ? {} * expm1{suffix}(x) : x)", n(a)),
        Activation::Softsign => format!("x / (1 + fabs{suffix}(x))"),
        Activation::Softplus => "softplus(x)".to_owned(),
    }
}

/// A macro for the elements of each operand: what is absent reads as 0 and is not stored.
fn accesses(spec: &RecurrentSpec, text: &mut String) {
    let args = spec.args();
    let width = Width::of(&args, 0);
    let position = |name: &str| args.iter().position(|arg| arg.name == name);
    let place = |o: &Operand, indices: &[&str]| {
        let terms: Vec<String> = indices
            .iter()
            .map(|i| format!("({})({i})", width.signed()))
            .collect();
        offset(
            terms
                .iter()
                .map(String::as_str)
                .zip(o.strides.iter().copied()),
            width,
        )
    };
    let reads: [(&str, &str, Option<&Operand>, &[&str]); 7] = [
        ("X", "x", Some(&spec.x), &["t", "b", "i"]),
        ("W", "w", Some(&spec.w), &["d", "j", "i"]),
        ("R", "r", Some(&spec.r), &["d", "j", "i"]),
        ("BIAS", "bias", spec.bias.as_ref(), &["d", "j"]),
        (
            "INITIAL_H",
            "initial_h",
            spec.initial_h.as_ref(),
            &["d", "b", "i"],
        ),
        (
            "INITIAL_C",
            "initial_c",
            spec.initial_c.as_ref(),
            &["d", "b", "i"],
        ),
        (
            "PEEPHOLE",
            "peepholes",
            spec.peepholes.as_ref(),
            &["d", "j"],
        ),
    ];
    for (name, arg, operand, indices) in reads {
        let value = match (operand, position(arg)) {
            (Some(o), Some(n)) => load(o.dtype, &format!("a{n}"), &place(o, indices)),
            _ => "(T)0".to_owned(),
        };
        let _ = writeln!(text, "#define {name}({}) {value}", indices.join(", "));
    }
    let length = match (&spec.lengths, position("lengths")) {
        (Some(o), Some(n)) => format!("max(0, min(TIME, (int)a{n}[{}]))", place(o, &["b"])),
        _ => "TIME".to_owned(),
    };
    let _ = writeln!(text, "#define LENGTH(b) {length}");
    let writes: [(&str, &str, Option<&Operand>, &[&str]); 3] = [
        ("STORE_Y", "y", spec.y.as_ref(), &["t", "d", "b", "i"]),
        ("STORE_Y_H", "y_h", spec.y_h.as_ref(), &["d", "b", "i"]),
        ("STORE_Y_C", "y_c", spec.y_c.as_ref(), &["d", "b", "i"]),
    ];
    for (name, arg, operand, indices) in writes {
        let statement = match (operand, position(arg)) {
            (Some(o), Some(n)) => store(o.dtype, &format!("a{n}"), &place(o, indices), "v"),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "#define {name}({}, v) do {{ {statement} }} while (0)",
            indices.join(", ")
        );
    }
}
