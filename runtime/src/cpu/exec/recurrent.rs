//! Recurrences, by the packed cells of the mathematics.

use super::bind::{BoundWeight, DenseWeight};
use super::error::Unsupported;
use super::geometry::bump_size;
use super::staged::Staged;
use super::{Cx, Execute, Fault, Needs};
use crate::cpu::level::Level;
use crate::cpu::recurrent as math;
use crate::cpu::recurrent::GateFn;
use plans::DType;
use plans::spec::{Activation, Cell, Direction, Operand, RecurrentSpec};
use std::ptr::{null, null_mut};

/// A bound recurrence.
pub(crate) struct Recurrent {
    layer: math::Recurrent,
    /// Bytes of the layer's own scratch, at the start of the shared region.
    scratch: usize,
    shared: usize,
    steps: i32,
    batch: usize,
    x: Staged,
    lengths: Option<(Staged, usize)>,
    initial_h: Option<Staged>,
    initial_c: Option<Staged>,
    y: Option<Staged>,
    y_h: Option<Staged>,
    y_c: Option<Staged>,
}

/// The positions of a recurrence's arguments.
struct Places {
    bias: Option<usize>,
    lengths: Option<usize>,
    initial_h: Option<usize>,
    initial_c: Option<usize>,
    peepholes: Option<usize>,
    y: Option<usize>,
    y_h: Option<usize>,
    y_c: Option<usize>,
}

impl Places {
    fn of(spec: &RecurrentSpec) -> Self {
        let mut next = 3;
        let mut take = |there: bool| {
            there.then(|| {
                next += 1;
                next - 1
            })
        };
        Self {
            bias: take(spec.bias.is_some()),
            lengths: take(spec.lengths.is_some()),
            initial_h: take(spec.initial_h.is_some()),
            initial_c: take(spec.initial_c.is_some()),
            peepholes: take(spec.peepholes.is_some()),
            y: take(spec.y.is_some()),
            y_h: take(spec.y_h.is_some()),
            y_c: take(spec.y_c.is_some()),
        }
    }
}

/// The arguments that are packed: w, r, bias and peepholes.
pub(super) fn packed_args(spec: &RecurrentSpec) -> &'static [usize] {
    let places = Places::of(spec);
    match (places.bias, places.peepholes) {
        (None, None) => &[1, 2],
        (Some(_), None) => &[1, 2, 3],
        (None, Some(p)) => [&[1, 2, 3][..], &[1, 2, 4], &[1, 2, 5], &[1, 2, 6]][p - 3],
        (Some(_), Some(p)) => [
            &[1, 2, 3, 4][..],
            &[1, 2, 3, 5],
            &[1, 2, 3, 6],
            &[1, 2, 3, 7],
        ][p - 4],
    }
}

impl Recurrent {
    /// Packs the weights.
    pub(crate) fn new(
        spec: &RecurrentSpec,
        level: Level,
        n_threads: usize,
        weights: &[BoundWeight<'_>],
    ) -> Result<Self, Unsupported> {
        if spec.x.dtype != DType::F32 {
            return Err(Unsupported(format!(
                "a recurrence of type {}",
                spec.x.dtype
            )));
        }
        let places = Places::of(spec);
        let (directions, gates) = (
            spec.direction.count(),
            spec.cell.n_gates() * spec.hidden_size,
        );
        let dense = |arg: usize, operand: &Operand, extents: &[u64]| {
            let weight = weights.iter().find(|w| w.arg == arg).copied();
            weight
                .and_then(|w| DenseWeight::new(operand, extents, w))
                .ok_or_else(|| {
                    Unsupported("a recurrence whose weights are computed at run time".into())
                })
        };
        let w = dense(1, &spec.w, &[directions, gates, spec.input_size])?;
        let r = dense(2, &spec.r, &[directions, gates, spec.hidden_size])?;
        let optional = |place: Option<usize>, operand: &Option<Operand>, extents: &[u64]| match (
            place, operand,
        ) {
            (Some(arg), Some(operand)) => dense(arg, operand, extents).map(Some),
            _ => Ok(None),
        };
        let bias = optional(places.bias, &spec.bias, &[directions, 2 * gates])?;
        let peepholes = optional(
            places.peepholes,
            &spec.peepholes,
            &[directions, 3 * spec.hidden_size],
        )?;
        let floats = |w: &Option<DenseWeight<'_>>| w.as_ref().map_or(null(), DenseWeight::floats);
        let shape = shape(spec);
        let packed = math::RecurrentWeights {
            input: w.floats(),
            state: r.floats(),
            bias: floats(&bias),
            peepholes: floats(&peepholes),
        };
        // SAFETY: each weight is dense over the extents that the shape gives it.
        let layer = unsafe { math::Recurrent::new(level, shape, packed) };
        let scratch = layer.scratch_bytes(n_threads).next_multiple_of(64);
        let mut end = scratch;
        let mut stage = |place: Option<usize>, operand: &Option<Operand>, extents: &[u64]| {
            Some(Staged::new(place?, operand.as_ref()?, extents, &mut end))
        };
        let state = [directions, spec.batch, spec.hidden_size];
        let x_extents = [spec.time, spec.batch, spec.input_size];
        let x = stage(Some(0), &Some(spec.x.clone()), &x_extents);
        let x = x.ok_or_else(|| Unsupported("a recurrence without operand".into()))?;
        let lengths = stage(places.lengths, &spec.lengths, &[spec.batch]);
        let initial_h = stage(places.initial_h, &spec.initial_h, &state);
        let initial_c = stage(places.initial_c, &spec.initial_c, &state);
        let y_extents = [spec.time, directions, spec.batch, spec.hidden_size];
        let y = stage(places.y, &spec.y, &y_extents);
        let y_h = stage(places.y_h, &spec.y_h, &state);
        let y_c = stage(places.y_c, &spec.y_c, &state);
        // Lengths are bounded before the layer may trust them.
        let bounded = end;
        let lengths = lengths.map(|l| (l, bounded));
        if lengths.is_some() {
            end += bump_size(spec.batch as usize * size_of::<i32>());
        }
        let (steps, batch) = (spec.time as i32, spec.batch as usize);
        Ok(Self {
            layer,
            scratch,
            shared: end,
            steps,
            batch,
            x,
            lengths,
            initial_h,
            initial_c,
            y,
            y_h,
            y_c,
        })
    }
}

fn shape(spec: &RecurrentSpec) -> math::RecurrentShape {
    let n = spec.cell.n_activations();
    let mut functions = [[GateFn::Tanh; 3]; 2];
    for (i, &activation) in spec.activations.iter().enumerate() {
        functions[i / n][i % n] = gate(activation);
    }
    math::RecurrentShape {
        kind: match spec.cell {
            Cell::Lstm { input_forget } => math::CellKind::Lstm { input_forget },
            Cell::Gru {
                linear_before_reset,
            } => math::CellKind::Gru {
                linear_before_reset,
            },
            Cell::Rnn => math::CellKind::Rnn,
        },
        direction: match spec.direction {
            Direction::Forward => math::Direction::Forward,
            Direction::Reverse => math::Direction::Reverse,
            Direction::Bidirectional => math::Direction::Bidirectional,
        },
        n_steps: spec.time as usize,
        batch: spec.batch as usize,
        input: spec.input_size as usize,
        hidden: spec.hidden_size as usize,
        functions,
        clip: spec.clip.unwrap_or(f32::INFINITY),
        batch_first: false,
    }
}

fn gate(activation: Activation) -> GateFn {
    match activation {
        Activation::Relu => GateFn::Relu,
        Activation::Tanh => GateFn::Tanh,
        Activation::Sigmoid => GateFn::Sigmoid,
        Activation::Affine(a, b) => GateFn::Affine(a, b),
        Activation::LeakyRelu(a) => GateFn::LeakyRelu(a),
        Activation::ThresholdedRelu(a) => GateFn::ThresholdedRelu(a),
        Activation::ScaledTanh(a, b) => GateFn::ScaledTanh(a, b),
        Activation::HardSigmoid(a, b) => GateFn::HardSigmoid(a, b),
        Activation::Elu(a) => GateFn::Elu(a),
        Activation::Softsign => GateFn::Softsign,
        Activation::Softplus => GateFn::Softplus,
    }
}

impl Execute for Recurrent {
    fn needs(&self) -> Needs {
        Needs {
            shared: self.shared,
            worker: 0,
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        debug_assert!(
            self.scratch <= self.shared,
            "the layer's scratch comes first"
        );
        // SAFETY: staged operands are dense over the extents of the layer's shape; lengths are
        // bounded by the number of steps; the layer's scratch is the start of the shared region,
        // before all copies.
        let done = unsafe {
            let read = |s: &Option<Staged>| s.as_ref().map_or(null(), |s| s.read(cx).cast::<f32>());
            let write =
                |s: &Option<Staged>| s.as_ref().map_or(null_mut(), |s| s.write(cx).cast::<f32>());
            let lengths = match &self.lengths {
                None => null(),
                Some((staged, at)) => {
                    let from = staged.read(cx).cast::<i32>();
                    let to = cx.shared.add(*at).cast::<i32>();
                    for i in 0..self.batch {
                        to.add(i)
                            .write(from.add(i).read_unaligned().clamp(0, self.steps));
                    }
                    to.cast_const()
                }
            };
            let args = math::RecurrentArgs {
                x: self.x.read(cx).cast(),
                lengths,
                initial_state: read(&self.initial_h),
                initial_cell: read(&self.initial_c),
                y: write(&self.y),
                last_state: write(&self.y_h),
                last_cell: write(&self.y_c),
            };
            self.layer.run(cx.pool, &args, cx.shared)
        };
        if done.is_err() {
            cx.fault.raise(Fault::TaskPanicked);
        }
        for result in [&self.y, &self.y_h, &self.y_c].into_iter().flatten() {
            // SAFETY: the layer has written the whole result.
            unsafe { result.finish(cx) };
        }
    }
}
