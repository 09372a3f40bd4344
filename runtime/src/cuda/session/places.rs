//! Where things lie, and what the nodes of graphs are made from.

use super::{Places, Staged};
use crate::cuda::bound::Bound;
use crate::cuda::context::Event;
use crate::cuda::graph::{Location, Material};
use crate::cuda::schedule::copied_bytes;
use crate::engine::Engine;
use crate::error::BindError;
use cudarc::driver::sys;
use plans::{BUFFER_ALIGN, BufferIndex, ModelIndex, Place, StepIndex, ValidPlan};
use std::ops::Range;

impl Places {
    /// Gives those of these buffers that lie on the device places in the staging memory, from `end`
    /// on.
    pub(super) fn staged(
        &self,
        plan: &ValidPlan,
        buffers: impl Iterator<Item = BufferIndex>,
        end: &mut usize,
    ) -> Vec<Staged> {
        let mut staged = vec![];
        for buffer in buffers {
            let Some(address) = self.buffer(plan, buffer) else {
                continue;
            };
            // A valid plan's ports are as large as their buffers.
            let bytes = plan.buffers[buffer.index()].bytes as usize;
            let start = end.next_multiple_of(BUFFER_ALIGN as usize);
            *end = start + bytes;
            staged.push(Staged {
                buffer,
                address,
                staging: start..start + bytes,
            });
        }
        staged
    }

    pub(super) fn staging(&self, model: ModelIndex, buffer: BufferIndex) -> Option<Range<usize>> {
        let inputs = &self.inputs[model.index()];
        let mut all = inputs.iter().chain(&self.outputs[model.index()]);
        all.find(|s| s.buffer == buffer).map(|s| s.staging.clone())
    }

    /// Where a buffer starts on the device.
    pub(super) fn buffer(&self, plan: &ValidPlan, buffer: BufferIndex) -> Option<u64> {
        let buffer = &plan.buffers[buffer.index()];
        Some(self.arenas[buffer.arena.index()]? + buffer.offset)
    }
}

/// What the graphs of a model or a round are made from.
pub(super) struct Steps<'a> {
    pub(super) engine: &'a Engine,
    pub(super) bound: &'a Bound,
    pub(super) places: &'a Places,
    /// Of each step of the plan; empty if no times are taken.
    pub(super) events: &'a [Option<(Event, Event)>],
}

impl Steps<'_> {
    fn location(&self, place: Place, offset: u64) -> Location {
        let plan = self.engine.plan();
        match place {
            Place::Weight(w) => Location::Device(self.bound.weight(w) + offset),
            Place::Buffer(b) => match self.places.buffer(plan, b) {
                Some(address) => Location::Device(address + offset),
                None => {
                    let buffer = &plan.buffers[b.index()];
                    let start = self.places.host_arenas[buffer.arena.index()];
                    Location::Host(start.wrapping_add((buffer.offset + offset) as usize))
                }
            },
        }
    }
}

impl Material for Steps<'_> {
    fn kernel(&self, step: StepIndex, launch: usize) -> Result<sys::CUkernel, BindError> {
        let plan = self.engine.plan();
        let code = plan.steps[step.index()].code.as_ref();
        let code = code.expect("steps that launch have code").code;
        let loaded = self.engine.loaded();
        self.bound.images.kernel(loaded, code, launch)
    }

    fn params(&self, step: StepIndex) -> Vec<u64> {
        let plan = self.engine.plan();
        let (step, fault) = (&plan.steps[step.index()], self.places.faults[step.index()]);
        let address = |location| match location {
            Location::Device(address) => address,
            // A valid plan's steps have arguments in the memory of their device.
            Location::Host(_) => 0,
        };
        let buffer =
            |b: Option<BufferIndex>| b.map(|b| address(self.location(Place::Buffer(b), 0)));
        let args = step.args.iter();
        let mut params: Vec<u64> = args
            .map(|arg| address(self.location(arg.place, arg.offset)))
            .collect();
        if let Some(step_code) = &step.code {
            let code = &plan.codes[step_code.code.index()];
            if code.workspace > 0 {
                params.push(buffer(step_code.workspace).unwrap_or(0));
            }
            if code.counters > 0 {
                params.push(buffer(step_code.counters).unwrap_or(0));
            }
        }
        params.extend(fault.map(|n| self.places.faults_at + 4 * u64::from(n)));
        params
    }

    fn copy(&self, step: StepIndex) -> (Location, Location, u64) {
        let plan = self.engine.plan();
        let step = &plan.steps[step.index()];
        let at = |n: usize| self.location(step.args[n].place, step.args[n].offset);
        (at(0), at(1), copied_bytes(plan, step))
    }

    fn events(&self, step: StepIndex) -> Option<(&Event, &Event)> {
        let events = self.events.get(step.index())?.as_ref()?;
        Some((&events.0, &events.1))
    }
}
