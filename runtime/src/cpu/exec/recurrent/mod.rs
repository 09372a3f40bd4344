//! Recurrences over time: f32 with constant weights by the recurrence library, others step by step.

mod fast;
mod plain;

use super::bind::BoundWeight;
use super::error::Unsupported;
use super::{Cx, Execute, Needs};
use crate::cpu::level::Level;
use fast::Fast;
use plain::Plain;
use plans::spec::RecurrentSpec;

/// The arguments of a recurrence: those that are there, in the order of the spec.
#[derive(Clone, Copy, Debug, Default)]
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
    fn new(spec: &RecurrentSpec) -> Self {
        // x, w and r come first.
        let mut next = 3;
        let mut place = |is_there: bool| {
            is_there.then(|| {
                next += 1;
                next - 1
            })
        };
        Self {
            bias: place(spec.bias.is_some()),
            lengths: place(spec.lengths.is_some()),
            initial_h: place(spec.initial_h.is_some()),
            initial_c: place(spec.initial_c.is_some()),
            peepholes: place(spec.peepholes.is_some()),
            y: place(spec.y.is_some()),
            y_h: place(spec.y_h.is_some()),
            y_c: place(spec.y_c.is_some()),
        }
    }
}

/// The arguments that are packed when they are weights: w, r, bias and peepholes.
pub(super) fn packed_args(spec: &RecurrentSpec) -> Vec<usize> {
    let places = Places::new(spec);
    [Some(1), Some(2), places.bias, places.peepholes]
        .into_iter()
        .flatten()
        .collect()
}

/// A prepared recurrence.
pub(crate) enum Recurrent {
    Fast(Box<Fast>),
    Plain(Box<Plain>),
}

impl Recurrent {
    pub(crate) fn new(
        spec: &RecurrentSpec,
        level: Level,
        n_threads: usize,
        weights: &[BoundWeight<'_>],
    ) -> Result<Self, Unsupported> {
        Ok(match Fast::new(spec, level, n_threads, weights)? {
            Some(fast) => Recurrent::Fast(Box::new(fast)),
            None => Recurrent::Plain(Box::new(Plain::new(spec))),
        })
    }
}

impl Execute for Recurrent {
    fn implementation(&self) -> &'static str {
        match self {
            Recurrent::Fast(fast) => fast.implementation(),
            Recurrent::Plain(plain) => plain.implementation(),
        }
    }

    fn needs(&self) -> Needs {
        match self {
            Recurrent::Fast(fast) => fast.needs(),
            Recurrent::Plain(plain) => plain.needs(),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Recurrent::Fast(fast) => fast.run(cx),
                Recurrent::Plain(plain) => plain.run(cx),
            }
        }
    }
}
