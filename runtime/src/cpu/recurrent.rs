//! LSTM, GRU and RNN over whole sequences, as ONNX defines them (operator set 14).
//!
//! The products of all inputs with the input weights are one matrix product; then each step is one
//! product with the state (two for a GRU whose reset comes before its product) and arithmetic on
//! rows of gates. Directions run side by side.

mod cell;

use super::gemm::drive::Address;
use super::gemm::{Epilogue, Gemm, Output};
use super::level::Level;
use super::pool::{Pool, PoolError};
pub use cell::GateFn;

/// Which cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CellKind {
    /// One gate.
    Rnn,
    /// Gates in the order update, reset, hidden.
    Gru {
        /// Whether the reset gate scales the product with the state instead of the state.
        linear_before_reset: bool,
    },
    /// Gates in the order input, output, forget, cell.
    Lstm {
        /// Whether the forget gate is one minus the input gate.
        input_forget: bool,
    },
}

impl CellKind {
    /// Gates of a cell.
    pub fn n_gates(self) -> usize {
        match self {
            CellKind::Rnn => 1,
            CellKind::Gru { .. } => 3,
            CellKind::Lstm { .. } => 4,
        }
    }
}

/// In which order the steps of a sequence are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// First to last.
    Forward,
    /// Last to first.
    Reverse,
    /// Both, as directions 0 and 1.
    Bidirectional,
}

impl Direction {
    /// Directions, one or two.
    pub fn count(self) -> usize {
        if self == Direction::Bidirectional {
            2
        } else {
            1
        }
    }
}

/// Sizes and variant of a recurrent layer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RecurrentShape {
    /// Which cell.
    pub kind: CellKind,
    /// Order of steps.
    pub direction: Direction,
    /// Steps of the longest sequence.
    pub n_steps: usize,
    /// Sequences.
    pub batch: usize,
    /// Elements of an input.
    pub input: usize,
    /// Elements of the state.
    pub hidden: usize,
    /// Functions f, g and h of each direction; RNN uses f, GRU f and g.
    pub functions: [[GateFn; 3]; 2],
    /// Bound of what goes into the functions; infinite for none.
    pub clip: f32,
    /// Whether sequences come before steps in input and results (layout 1).
    pub batch_first: bool,
}

/// Weights with D directions, G gates, H hidden, I input elements, all contiguous.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentWeights {
    /// `[D, G * H, I]`.
    pub input: *const f32,
    /// `[D, G * H, H]`.
    pub state: *const f32,
    /// Null or `[D, 2 * G * H]`: of the input products, then of the state products.
    pub bias: *const f32,
    /// Null or `[D, 3 * H]`: peepholes of input, output and forget gate of an LSTM.
    pub peepholes: *const f32,
}

/// Operands of a run with T steps and B sequences; shapes in brackets are those of layout 0, with
/// `batch_first` B comes first in each.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentArgs {
    /// `[T, B, I]`.
    pub x: *const f32,
    /// Null or `[B]`: steps of each sequence.
    pub lengths: *const i32,
    /// Null (zeros) or `[D, B, H]`.
    pub initial_state: *const f32,
    /// Null (zeros) or `[D, B, H]`.
    pub initial_cell: *const f32,
    /// Null or `[T, D, B, H]` (`[B, T, D, H]` with `batch_first`): states after each step; zeros
    /// past the end of a sequence.
    pub y: *mut f32,
    /// Null or `[D, B, H]`: last states.
    pub last_state: *mut f32,
    /// Null or `[D, B, H]`: last cells of an LSTM.
    pub last_cell: *mut f32,
}

// SAFETY: addresses that the caller of `run` promises to be valid on any thread.
unsafe impl Sync for RecurrentArgs {}

/// A recurrent layer bound to its shapes, with packed weights.
#[derive(Debug)]
pub struct Recurrent {
    level: Level,
    shape: RecurrentShape,
    directions: Vec<Cell>,
}

#[derive(Debug)]
struct Cell {
    is_reverse: bool,
    functions: [GateFn; 3],
    /// By which inputs become gates.
    input: Gemm,
    /// By which the state becomes gates; of a GRU with the reset first, without the hidden gate.
    state: Gemm,
    /// The hidden gate of a GRU with the reset first.
    hidden: Option<Gemm>,
    /// Added to the products of inputs.
    bias: Vec<f32>,
    /// Added to the product for the hidden gate of a GRU with the reset last.
    hidden_bias: Vec<f32>,
    /// Three rows, or none.
    peepholes: Vec<f32>,
}

fn aligned_bytes(n_floats: usize) -> usize {
    (n_floats * size_of::<f32>()).next_multiple_of(64)
}

impl Recurrent {
    /// Binds a layer.
    ///
    /// # Safety
    /// The weights must be valid for their shapes.
    pub unsafe fn new(level: Level, shape: RecurrentShape, weights: RecurrentWeights) -> Self {
        let level = level.or_lower();
        let (n, i, h) = (
            shape.kind.n_gates() * shape.hidden,
            shape.input,
            shape.hidden,
        );
        let reset_first = shape.kind
            == CellKind::Gru {
                linear_before_reset: false,
            };
        let directions = (0..shape.direction.count())
            .map(|d| {
                // SAFETY: direction `d` of the weights that the caller promises; null is not read.
                unsafe {
                    let w = weights.input.add(d * n * i);
                    let r = weights.state.add(d * n * h);
                    let n_state = if reset_first { 2 * h } else { n };
                    let mut bias = vec![0.0; n];
                    let mut hidden_bias = vec![0.0; h];
                    if !weights.bias.is_null() {
                        let b = weights.bias.add(d * 2 * n);
                        for (j, to) in bias.iter_mut().enumerate() {
                            *to = *b.add(j);
                            let is_inner = shape.kind
                                == CellKind::Gru {
                                    linear_before_reset: true,
                                }
                                && j >= 2 * h;
                            if is_inner {
                                hidden_bias[j - 2 * h] = *b.add(n + j);
                            } else {
                                *to += *b.add(n + j);
                            }
                        }
                    }
                    let peepholes = if weights.peepholes.is_null() {
                        Vec::new()
                    } else {
                        std::slice::from_raw_parts(weights.peepholes.add(d * 3 * h), 3 * h).to_vec()
                    };
                    Cell {
                        is_reverse: shape.direction == Direction::Reverse || d == 1,
                        functions: shape.functions[d],
                        input: Gemm::new(level, i, n, w, 1, i as isize),
                        state: Gemm::new(level, h, n_state, r, 1, h as isize),
                        hidden: reset_first
                            .then(|| Gemm::new(level, h, h, r.add(2 * h * h), 1, h as isize)),
                        bias,
                        hidden_bias,
                        peepholes,
                    }
                }
            })
            .collect();
        Recurrent {
            level,
            shape,
            directions,
        }
    }

    /// Bytes of packed weights.
    pub fn n_weight_bytes(&self) -> usize {
        self.directions
            .iter()
            .map(|d| {
                d.input.n_weight_bytes()
                    + d.state.n_weight_bytes()
                    + d.hidden.as_ref().map_or(0, Gemm::n_weight_bytes)
            })
            .sum()
    }

    /// Bytes, of one direction, of: gates of all inputs, gates of a step, state, cell, a row for
    /// each sequence, and products.
    fn parts(&self, n_threads: usize) -> [usize; 6] {
        let s = &self.shape;
        let n = s.kind.n_gates() * s.hidden;
        let m = s.n_steps * s.batch;
        let products = self
            .directions
            .iter()
            .map(|d| {
                let hidden = d
                    .hidden
                    .as_ref()
                    .map_or(0, |g| g.scratch_bytes(s.batch, n_threads, false));
                d.input
                    .scratch_bytes(m, n_threads, false)
                    .max(d.state.scratch_bytes(s.batch, n_threads, false))
                    .max(hidden)
            })
            .max()
            .unwrap_or(0);
        let state = aligned_bytes(s.batch * s.hidden);
        [
            aligned_bytes(m * n),
            aligned_bytes(s.batch * n),
            state,
            state,
            state,
            products,
        ]
    }

    /// Bytes of scratch, aligned to 64, that a run on `n_threads` threads needs.
    pub fn scratch_bytes(&self, n_threads: usize) -> usize {
        self.directions.len() * self.parts(n_threads).iter().sum::<usize>()
    }

    /// Runs the layer over the sequences.
    ///
    /// # Errors
    /// None of its own; the type is that of the pool.
    ///
    /// # Safety
    /// The operands must be valid for their shapes, results apart from operands; lengths must be
    /// from 0 to `n_steps`; `scratch` must be aligned to 64 bytes and hold
    /// [`scratch_bytes`](Self::scratch_bytes) that nobody else uses meanwhile.
    pub unsafe fn run(
        &self,
        pool: &Pool,
        args: &RecurrentArgs,
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let parts = self.parts(pool.n_threads());
        let per_direction = parts.iter().sum::<usize>();
        let s = &self.shape;
        // SAFETY: the caller's promises; directions have scratch and results of their own.
        unsafe {
            for (d, cell) in self.directions.iter().enumerate() {
                let scratch = scratch.add(d * per_direction);
                let products = scratch.add(per_direction - parts[5]);
                let n = s.kind.n_gates() * s.hidden;
                let output = Output::Rows {
                    data: scratch.cast(),
                    row_stride: n,
                };
                let epilogue = Epilogue {
                    bias: cell.bias.as_ptr(),
                    ..Epilogue::default()
                };
                let (m, stride) = (s.n_steps * s.batch, s.input as isize);
                cell.input
                    .run(pool, m, args.x, stride, 1, output, epilogue, products)?;
            }
            let scratch = Address(scratch);
            if self.directions.len() == 1 {
                return self.steps(pool, 0, args, &parts, scratch.at(0));
            }
            let failed = std::sync::atomic::AtomicBool::new(false);
            pool.run(self.directions.len(), &|d, _| {
                // Within a task the pool is busy: each direction stays on one thread.
                if self
                    .steps(pool, d, args, &parts, scratch.at(d * per_direction))
                    .is_err()
                {
                    failed.store(true, std::sync::atomic::Ordering::Relaxed);
                }
            })?;
            if failed.into_inner() {
                Err(PoolError::TaskPanicked)
            } else {
                Ok(())
            }
        }
    }

    /// Takes all steps of direction `d`, whose inputs are multiplied already.
    ///
    /// # Safety
    /// As for [`run`](Self::run), with the scratch of the direction.
    unsafe fn steps(
        &self,
        pool: &Pool,
        d: usize,
        args: &RecurrentArgs,
        parts: &[usize; 6],
        scratch: *mut u8,
    ) -> Result<(), PoolError> {
        let (s, cell, level) = (&self.shape, &self.directions[d], self.level);
        let (h, n_directions) = (s.hidden, self.directions.len());
        let n = s.kind.n_gates() * h;
        // Where row (d, b) of a state and row (t, d, b) of the result lie.
        let state_row = |b: usize| {
            if s.batch_first {
                (b * n_directions + d) * h
            } else {
                (d * s.batch + b) * h
            }
        };
        let y_row = |t: usize, b: usize| {
            if s.batch_first {
                ((b * s.n_steps + t) * n_directions + d) * h
            } else {
                ((t * n_directions + d) * s.batch + b) * h
            }
        };
        // SAFETY: the parts of the scratch are those of `parts`; operands as the caller promises.
        unsafe {
            let starts: [*mut f32; 6] = {
                let mut at = scratch;
                parts.map(|bytes| {
                    let start = at.cast();
                    at = at.add(bytes);
                    start
                })
            };
            let [inputs, gates, state, memory, row, products] = starts;
            let products = products.cast::<u8>();
            for b in 0..s.batch {
                for (from, to) in [(args.initial_state, state), (args.initial_cell, memory)] {
                    if from.is_null() {
                        std::ptr::write_bytes(to.add(b * h), 0, h);
                    } else {
                        std::ptr::copy_nonoverlapping(from.add(state_row(b)), to.add(b * h), h);
                    }
                }
            }
            let length = |b: usize| {
                if args.lengths.is_null() {
                    s.n_steps
                } else {
                    (*args.lengths.add(b)).clamp(0, s.n_steps as i32) as usize
                }
            };
            for step in 0..s.n_steps {
                let into = |data, row_stride| Output::Rows { data, row_stride };
                let plain = Epilogue::default();
                let stride = h as isize;
                let output = into(gates, n);
                cell.state
                    .run(pool, s.batch, state, stride, 1, output, plain, products)?;
                let at = |b: usize| {
                    let t = if cell.is_reverse {
                        length(b) - 1 - step
                    } else {
                        step
                    };
                    let input = if s.batch_first {
                        b * s.n_steps + t
                    } else {
                        t * s.batch + b
                    };
                    (t, inputs.add(input * n))
                };
                if let Some(hidden) = &cell.hidden {
                    // The reset state of every sequence, then its product.
                    for b in (0..s.batch).filter(|b| step < length(*b)) {
                        let (_, input) = at(b);
                        let gate = gates.add(b * n);
                        let reset = row.add(b * h);
                        cell::open_gates(level, gate, input, 2 * h, s.clip, cell.functions[0]);
                        cell::multiply(level, reset, gate.add(h), state.add(b * h), h);
                    }
                    let output = into(gates.add(2 * h), n);
                    hidden.run(pool, s.batch, row, stride, 1, output, plain, products)?;
                }
                for b in 0..s.batch {
                    if step >= length(b) {
                        if !args.y.is_null() {
                            // Past the end in either direction.
                            std::ptr::write_bytes(args.y.add(y_row(step, b)), 0, h);
                        }
                        continue;
                    }
                    let (t, input) = at(b);
                    let gate = gates.add(b * n);
                    let own_state = state.add(b * h);
                    match s.kind {
                        CellKind::Rnn => {
                            cell::open_gates(level, gate, input, h, s.clip, cell.functions[0]);
                            std::ptr::copy_nonoverlapping(gate, own_state, h);
                        }
                        CellKind::Gru {
                            linear_before_reset,
                        } => {
                            let f = cell.functions;
                            if linear_before_reset {
                                cell::open_gates(level, gate, input, 2 * h, s.clip, f[0]);
                                let bias = cell.hidden_bias.as_ptr();
                                cell::add_and_multiply(
                                    level,
                                    gate.add(2 * h),
                                    bias,
                                    gate.add(h),
                                    h,
                                );
                            }
                            let hidden = gate.add(2 * h);
                            cell::open_gates(level, hidden, input.add(2 * h), h, s.clip, f[1]);
                            cell::mix(level, own_state, gate, hidden, h);
                        }
                        CellKind::Lstm { input_forget } => {
                            let peepholes = if cell.peepholes.is_empty() {
                                std::ptr::null()
                            } else {
                                cell.peepholes.as_ptr()
                            };
                            let lstm = cell::Lstm {
                                gates: gate,
                                input,
                                memory: memory.add(b * h),
                                state: own_state,
                                row,
                                n: h,
                                peepholes,
                                clip: s.clip,
                                functions: cell.functions,
                                input_forget,
                            };
                            lstm.step(level);
                        }
                    }
                    if !args.y.is_null() {
                        std::ptr::copy_nonoverlapping(own_state, args.y.add(y_row(t, b)), h);
                    }
                }
            }
            for b in 0..s.batch {
                for (from, to) in [(state, args.last_state), (memory, args.last_cell)] {
                    if !to.is_null() {
                        std::ptr::copy_nonoverlapping(from.add(b * h), to.add(state_row(b)), h);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
