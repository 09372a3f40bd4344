//! Recurrences over time: LSTM, GRU and plain RNN, as ONNX defines them.

use super::{ArgSpec, Operand, Role, SpecError, rules};
use crate::DType;
use serde::{Deserialize, Serialize};

/// A recurrence over all time steps, in one or both directions.
///
/// Arguments, those that are `None` left out: x, w, r, bias, sequence lengths, initial h, initial
/// c, peepholes, then y, y_h, y_c.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RecurrentSpec {
    /// What one step does.
    pub cell: Cell,
    /// In which order steps are taken.
    pub direction: Direction,
    /// Time steps.
    pub time: u64,
    /// Sequences.
    pub batch: u64,
    /// Features of an element of x.
    pub input_size: u64,
    /// Features of the state.
    pub hidden_size: u64,
    /// The activations, all of the first direction, then those of the second.
    pub activations: Vec<Activation>,
    /// Gate inputs are clipped to plus and minus this.
    pub clip: Option<f32>,
    /// Strides over time, batch, feature.
    pub x: Operand,
    /// Strides over direction, gate * hidden, feature; gates in ONNX's order.
    pub w: Operand,
    /// Strides over direction, gate * hidden, hidden.
    pub r: Operand,
    /// Strides over direction, 2 * gate * hidden.
    pub bias: Option<Operand>,
    /// Strides over batch; of type i32. A length below 0 counts as 0, one above `time` as `time`.
    pub lengths: Option<Operand>,
    /// Strides over direction, batch, hidden.
    pub initial_h: Option<Operand>,
    /// Strides over direction, batch, hidden.
    pub initial_c: Option<Operand>,
    /// Strides over direction, 3 * hidden.
    pub peepholes: Option<Operand>,
    /// Strides over time, direction, batch, hidden.
    pub y: Option<Operand>,
    /// Strides over direction, batch, hidden.
    pub y_h: Option<Operand>,
    /// Strides over direction, batch, hidden.
    pub y_c: Option<Operand>,
}

/// What one step of a recurrence does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Cell {
    /// Gates i, o, f, c.
    Lstm {
        /// Whether the forget gate is 1 minus the input gate.
        input_forget: bool,
    },
    /// Gates z, r, h.
    Gru {
        /// Whether the recurrent product is taken before the reset gate is applied.
        linear_before_reset: bool,
    },
    /// One gate.
    Rnn,
}

impl Cell {
    /// The number of gates.
    pub fn n_gates(self) -> u64 {
        match self {
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn => 1,
        }
    }

    /// The number of activations a direction.
    pub fn n_activations(self) -> usize {
        match self {
            Cell::Lstm { .. } => 3,
            Cell::Gru { .. } => 2,
            Cell::Rnn => 1,
        }
    }
}

/// In which order the steps of a recurrence are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Direction {
    Forward,
    Reverse,
    Bidirectional,
}

impl Direction {
    /// The number of directions.
    pub fn count(self) -> u64 {
        if self == Direction::Bidirectional {
            2
        } else {
            1
        }
    }
}

/// An activation of a recurrence, with its parameters.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[allow(
    missing_docs,
    reason = "the variants name themselves; parameters are ONNX's alpha, beta"
)]
pub enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    Affine(f32, f32),
    LeakyRelu(f32),
    ThresholdedRelu(f32),
    ScaledTanh(f32, f32),
    HardSigmoid(f32, f32),
    Elu(f32),
    Softsign,
    Softplus,
}

impl RecurrentSpec {
    /// The operands that are there, in the order of the arguments, with the extents that their
    /// strides run over.
    fn operands(&self) -> Vec<(&'static str, Role, &Operand, Vec<u64>)> {
        let (d, h) = (self.direction.count(), self.hidden_size);
        let gates = self.cell.n_gates().saturating_mul(h);
        let state = || vec![d, self.batch, h];
        let x = vec![self.time, self.batch, self.input_size];
        let bias = vec![d, gates.saturating_mul(2)];
        let peepholes = vec![d, h.saturating_mul(3)];
        let y = vec![self.time, d, self.batch, h];
        [
            ("x", Role::Read, Some(&self.x), x),
            (
                "w",
                Role::Read,
                Some(&self.w),
                vec![d, gates, self.input_size],
            ),
            ("r", Role::Read, Some(&self.r), vec![d, gates, h]),
            ("bias", Role::Read, self.bias.as_ref(), bias),
            (
                "lengths",
                Role::Read,
                self.lengths.as_ref(),
                vec![self.batch],
            ),
            ("initial_h", Role::Read, self.initial_h.as_ref(), state()),
            ("initial_c", Role::Read, self.initial_c.as_ref(), state()),
            ("peepholes", Role::Read, self.peepholes.as_ref(), peepholes),
            ("y", Role::Write, self.y.as_ref(), y),
            ("y_h", Role::Write, self.y_h.as_ref(), state()),
            ("y_c", Role::Write, self.y_c.as_ref(), state()),
        ]
        .into_iter()
        .filter_map(|(name, role, o, domain)| Some((name, role, o?, domain)))
        .collect()
    }

    /// The arguments.
    pub fn args(&self) -> Vec<ArgSpec> {
        self.operands()
            .into_iter()
            .map(|(name, role, o, domain)| ArgSpec::new(name, role, o, &domain))
            .collect()
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        let dtype = self.x.dtype;
        rules::float("x", dtype)?;
        for (name, role, o, domain) in self.operands() {
            match role {
                Role::Read => rules::operand(name, o, &domain)?,
                Role::Write | Role::Update => rules::output(name, o, &domain)?,
            }
            let expected = if name == "lengths" { DType::I32 } else { dtype };
            rules::typed(name, o, expected)?;
        }
        let directions = self.direction.count();
        let gates = self.cell.n_gates().saturating_mul(self.hidden_size);
        rules::extents("the state", &[self.time, directions, self.batch, gates])?;
        let features = self.input_size.max(self.hidden_size);
        rules::operations([self.time, directions, self.batch, gates, features])?;
        let n_activations = self.cell.n_activations() * directions as usize;
        rules::require(self.activations.len() == n_activations, || {
            format!(
                "{} activations where {n_activations} belong",
                self.activations.len()
            )
        })?;
        let has_cell_state =
            self.initial_c.is_some() || self.y_c.is_some() || self.peepholes.is_some();
        rules::require(
            !has_cell_state || matches!(self.cell, Cell::Lstm { .. }),
            || "only an LSTM has a cell state and peepholes".to_owned(),
        )
    }
}
