//! Recurrences by the recurrence library.
//!
//! The library takes operands without gaps; others go through copies in the shared region.

use super::super::bind::{BoundWeight, DenseWeight};
use super::super::error::{Fault, Unsupported};
use super::super::geometry::bump_size;
use super::super::map::{Base, Bases, Map};
use super::super::{Cx, Execute, Needs};
use super::Places;
use crate::cpu::level::Level;
use crate::cpu::recurrent as library;
use plans::spec::{Activation, Cell, Direction, MapInput, MapSpec, Operand, RecurrentSpec};
use plans::{DType, Tape};

/// A prepared recurrence.
pub(crate) struct Fast {
    recurrent: library::Recurrent,
    x: Base,
    initial_h: Option<Base>,
    initial_c: Option<Base>,
    y: Option<Base>,
    y_h: Option<Base>,
    y_c: Option<Base>,
    /// Copies into the shared region, before; out of it, after.
    before: Vec<Map>,
    after: Vec<Map>,
    lengths: Option<Lengths>,
    time: i32,
    /// Where the library's scratch starts in the shared region, and its bytes.
    scratch: usize,
    scratch_bytes: usize,
}

/// Lengths are copied, so that none is out of range.
struct Lengths {
    arg: usize,
    stride: isize,
    n: usize,
    copy: usize,
}

/// Places in the shared region and copies to and from them.
#[derive(Default)]
struct Copies {
    before: Vec<Map>,
    after: Vec<Map>,
    bytes: usize,
}

impl Copies {
    fn take(&mut self, bytes: usize) -> usize {
        let at = self.bytes;
        self.bytes = self.bytes.saturating_add(bump_size(bytes));
        at
    }

    /// Where an operand lies without gaps, its dimensions in order.
    fn dense(
        &mut self,
        arg: Option<usize>,
        o: Option<&Operand>,
        extents: &[u64],
        is_result: bool,
    ) -> Result<Option<Base>, Unsupported> {
        let (Some(arg), Some(o)) = (arg, o) else {
            return Ok(None);
        };
        let mut strides = vec![0; extents.len()];
        let mut distance = 1i64;
        let mut is_dense = true;
        for d in (0..extents.len()).rev() {
            strides[d] = distance;
            is_dense &= extents[d] == 1 || o.strides[d] == distance;
            distance = distance.saturating_mul(extents[d] as i64);
        }
        if is_dense {
            return Ok(Some(Base::Arg(arg)));
        }
        let copy = Base::Shared(self.take((distance as usize).saturating_mul(4)));
        let dense = Operand {
            dtype: o.dtype,
            strides,
        };
        let (from, to) = if is_result { (&dense, o) } else { (o, &dense) };
        let map = MapSpec {
            domain: extents.to_vec(),
            inputs: vec![MapInput::affine(from.clone())],
            tape: Tape::identity(o.dtype),
            outputs: vec![to.clone()],
        };
        let (from, to) = if is_result {
            (copy, Base::Arg(arg))
        } else {
            (Base::Arg(arg), copy)
        };
        let bases = Bases {
            inputs: vec![from],
            outputs: vec![to],
        };
        let list = if is_result {
            &mut self.after
        } else {
            &mut self.before
        };
        list.push(Map::with_bases(&map, bases)?);
        Ok(Some(copy))
    }
}

fn gate(activation: Activation) -> library::GateFn {
    use library::GateFn;
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

impl Fast {
    /// The recurrence by the library, if it has such.
    pub(super) fn new(
        spec: &RecurrentSpec,
        level: Level,
        n_threads: usize,
        weights: &[BoundWeight<'_>],
    ) -> Result<Option<Self>, Unsupported> {
        let places = Places::new(spec);
        let sizes = [spec.time, spec.batch, spec.input_size, spec.hidden_size];
        if spec.x.dtype != DType::F32 || sizes.contains(&0) || i32::try_from(spec.time).is_err() {
            return Ok(None);
        }
        let (d, gates) = (
            spec.direction.count(),
            spec.cell.n_gates().saturating_mul(spec.hidden_size),
        );
        let bound = |arg: usize, o: &Operand, extents: &[u64]| {
            let weight = weights.iter().find(|w| w.arg == arg)?;
            DenseWeight::new(o, extents, *weight)
        };
        let (Some(w), Some(r)) = (
            bound(1, &spec.w, &[d, gates, spec.input_size]),
            bound(2, &spec.r, &[d, gates, spec.hidden_size]),
        ) else {
            return Ok(None);
        };
        let optional = |arg: Option<usize>, o: Option<&Operand>, extents: &[u64]| {
            arg.zip(o).map(|(arg, o)| bound(arg, o, extents))
        };
        let bias = optional(places.bias, spec.bias.as_ref(), &[d, 2 * gates]);
        let peepholes = optional(
            places.peepholes,
            spec.peepholes.as_ref(),
            &[d, 3 * spec.hidden_size],
        );
        if [&bias, &peepholes].iter().any(|w| matches!(w, Some(None))) {
            return Ok(None);
        }

        // Sequences may come before steps in memory, in x and y alike.
        let x_extents = [spec.time, spec.batch, spec.input_size];
        let y_extents = [spec.time, d, spec.batch, spec.hidden_size];
        let state = [d, spec.batch, spec.hidden_size];
        let mut copies = Copies::default();
        let x = copies.dense(Some(0), Some(&spec.x), &x_extents, false)?;
        let initial_h = copies.dense(places.initial_h, spec.initial_h.as_ref(), &state, false)?;
        let initial_c = copies.dense(places.initial_c, spec.initial_c.as_ref(), &state, false)?;
        let y = copies.dense(places.y, spec.y.as_ref(), &y_extents, true)?;
        let y_h = copies.dense(places.y_h, spec.y_h.as_ref(), &state, true)?;
        let y_c = copies.dense(places.y_c, spec.y_c.as_ref(), &state, true)?;
        let lengths = spec
            .lengths
            .as_ref()
            .zip(places.lengths)
            .map(|(o, arg)| Lengths {
                arg,
                stride: o.strides[0] as isize,
                n: spec.batch as usize,
                copy: copies.take(spec.batch as usize * size_of::<i32>()),
            });

        let per_direction = spec.cell.n_activations();
        let mut functions = [[library::GateFn::Tanh; 3]; 2];
        for (i, &activation) in spec.activations.iter().enumerate() {
            functions[i / per_direction][i % per_direction] = gate(activation);
        }
        let shape = library::RecurrentShape {
            kind: match spec.cell {
                Cell::Lstm { input_forget } => library::CellKind::Lstm { input_forget },
                Cell::Gru {
                    linear_before_reset,
                } => library::CellKind::Gru {
                    linear_before_reset,
                },
                Cell::Rnn => library::CellKind::Rnn,
            },
            direction: match spec.direction {
                Direction::Forward => library::Direction::Forward,
                Direction::Reverse => library::Direction::Reverse,
                Direction::Bidirectional => library::Direction::Bidirectional,
            },
            n_steps: spec.time as usize,
            batch: spec.batch as usize,
            input: spec.input_size as usize,
            hidden: spec.hidden_size as usize,
            functions,
            clip: spec
                .clip
                .filter(|clip| !clip.is_nan())
                .map_or(f32::INFINITY, f32::abs),
            batch_first: false,
        };
        let floats = |w: &Option<Option<DenseWeight<'_>>>| {
            w.as_ref()
                .and_then(Option::as_ref)
                .map_or(std::ptr::null(), DenseWeight::floats)
        };
        let weights = library::RecurrentWeights {
            input: w.floats(),
            state: r.floats(),
            bias: floats(&bias),
            peepholes: floats(&peepholes),
        };
        // SAFETY: the weights are whole and without gaps.
        let recurrent = unsafe { library::Recurrent::new(level, shape, weights) };
        let Some(x) = x else { return Ok(None) };
        Ok(Some(Self {
            scratch_bytes: recurrent.scratch_bytes(n_threads),
            recurrent,
            x,
            initial_h,
            initial_c,
            y,
            y_h,
            y_c,
            lengths,
            time: spec.time as i32,
            scratch: copies.bytes,
            before: copies.before,
            after: copies.after,
        }))
    }
}

impl Execute for Fast {
    fn implementation(&self) -> &'static str {
        "packed cells"
    }

    fn needs(&self) -> Needs {
        let copies = self.before.iter().chain(&self.after);
        let own = Needs {
            shared: self.scratch.saturating_add(self.scratch_bytes),
            worker: 0,
        };
        copies.fold(own, |needs, map| needs.max(map.needs()))
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        let constant = |base: Option<Base>| {
            base.map_or(std::ptr::null(), |b| b.pointer(cx).cast_const().cast())
        };
        let result =
            |base: Option<Base>| base.map_or(std::ptr::null_mut(), |b| b.pointer(cx).cast());
        // SAFETY: the caller's promise; copies and scratch have parts of the shared region for
        // themselves, and lengths are brought into range.
        unsafe {
            for map in &self.before {
                map.run(cx);
            }
            let mut lengths = std::ptr::null();
            if let Some(l) = &self.lengths {
                let copy = cx.shared.add(l.copy).cast::<i32>();
                let given = cx.args[l.arg].cast::<i32>();
                for i in 0..l.n {
                    let length = given.offset(i as isize * l.stride).read_unaligned();
                    copy.add(i).write(length.clamp(0, self.time));
                }
                lengths = copy.cast_const();
            }
            let args = library::RecurrentArgs {
                x: constant(Some(self.x)),
                lengths,
                initial_state: constant(self.initial_h),
                initial_cell: constant(self.initial_c),
                y: result(self.y),
                last_state: result(self.y_h),
                last_cell: result(self.y_c),
            };
            let scratch = cx.shared.add(self.scratch);
            if self.recurrent.run(cx.pool, &args, scratch).is_err() {
                cx.fault.raise(Fault::TaskPanicked);
            }
            for map in &self.after {
                map.run(cx);
            }
        }
    }
}
