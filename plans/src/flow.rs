//! Which step computes what another one reads.

use crate::plan::{BufferIndex, ModelIndex, Place, RunSize, StepIndex};
use crate::spec::{ArgSpec, Role};
use crate::validate::ValidPlan;
use std::collections::BTreeSet;
use std::ops::Range;

/// Where data comes from or goes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// An input of a model, by its number there.
    Input(ModelIndex, usize),
    /// A step.
    Step(StepIndex),
    /// An output of a model, by its number there.
    Output(ModelIndex, usize),
}

/// Data that is written at one end and read at the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// Where it comes from.
    pub from: End,
    /// Where it goes to.
    pub to: End,
    /// Where it lies.
    pub buffer: BufferIndex,
}

/// The most flows that are listed; only plans with thousands of partial writes to one buffer have
/// more.
const MAX_FLOWS: usize = 1 << 20;

/// The flows of a plan, in order of where they come from. Steps that only share memory have none.
pub fn flows(plan: &ValidPlan) -> Vec<Flow> {
    let kernels: Vec<Vec<ArgSpec>> = plan.kernels.iter().map(|k| k.args()).collect();
    let mut writers: Vec<Vec<(End, Range<u64>)>> = vec![vec![]; plan.buffers.len()];
    let mut found = BTreeSet::new();
    let mut read =
        |writers: &[(End, Range<u64>)], to: End, buffer: BufferIndex, span: Range<u64>| {
            for (from, written) in writers.iter().rev() {
                if written.start < span.end && span.start < written.end && found.len() < MAX_FLOWS {
                    found.insert(Flow {
                        from: *from,
                        to,
                        buffer,
                    });
                    if written.start <= span.start && span.end <= written.end {
                        break;
                    }
                }
            }
        };
    for (m, model) in (0..).map(ModelIndex).zip(&plan.models) {
        for (n, port) in model.inputs.iter().enumerate() {
            let b = port.buffer.index();
            writers[b].push((End::Input(m, n), 0..plan.buffers[b].bytes));
        }
        for i in model.steps() {
            let (step, specs) = (&plan.steps[i], &kernels[plan.steps[i].kernel.index()]);
            let to = End::Step(StepIndex(i as u32));
            let mut written = vec![];
            for (arg, spec) in step.args.iter().zip(specs) {
                let (Place::Buffer(b), Some(span)) = (arg.place, spec.touched(arg.offset)) else {
                    continue;
                };
                if spec.role != Role::Write {
                    read(&writers[b.index()], to, b, span.clone());
                }
                if spec.role != Role::Read && !span.is_empty() {
                    written.push((b, span));
                }
            }
            for (b, span) in written {
                writers[b.index()].push((to, span));
            }
        }
        for (n, port) in model.outputs.iter().enumerate() {
            let to = End::Output(m, n);
            let b = port.buffer.index();
            read(&writers[b], to, port.buffer, 0..plan.buffers[b].bytes);
            if let Some(RunSize { count, .. }) = port.size {
                read(&writers[count.index()], to, count, 0..RunSize::BYTES);
            }
        }
    }
    found.into_iter().collect()
}
