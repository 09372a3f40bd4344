//! What a step is expected to take of a GPU, to tell which steps to run at once.

use super::steps::{ModelDraft, StepDraft};
use crate::predict::{Run, grid};
use costs::{Predict, Work};
use kernels::cuda::contract::{self, Schedule};
use kernels::cuda::{Generated, Target};
use plans::{KernelSpec, Resources};

/// What a step takes when no other lane runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Estimate {
    /// Nanoseconds from its start to its end, in a chain.
    pub ns: f64,
    /// The share of the GPU that it keeps busy meanwhile: of its arithmetic, of its memory's rate or
    /// of the room for blocks, whichever is greatest. More than 0, at most 1.
    pub share: f64,
}

/// What a step keeps busy at least: nothing runs beside any number of others.
const LEAST: f64 = 0.02;

/// The estimate of a step of `draft`, with its code if it has any.
pub(super) fn estimate(
    draft: &ModelDraft,
    step: &StepDraft,
    code: Option<&Generated>,
    target: &Target,
    predict: &dyn Predict,
) -> Estimate {
    let work = work(draft, step, code, target);
    let share = match code {
        // A copy keeps the way between the host and the device busy, which kernels don't need.
        None => 0.0,
        // Its blocks wait for each other, and beside others they might not all find room.
        Some(code) if code.launches.iter().any(|l| l.cooperative) => 1.0,
        Some(_) => {
            let demand = predict.demand(&work);
            demand.compute.max(demand.memory).max(predict.room(&work))
        }
    };
    Estimate {
        ns: predict.in_chain(&work, predict.alone(&work)).ns,
        share: share.clamp(LEAST, 1.0),
    }
}

/// What of a step matters for its time.
fn work(draft: &ModelDraft, step: &StepDraft, code: Option<&Generated>, target: &Target) -> Work {
    let resources = Resources {
        registers: code.map_or(0, |code| registers(&step.spec, code)),
        ..Resources::default()
    };
    let launches = code.map_or(&[][..], |code| &code.launches).iter();
    let run = Run {
        spec: &step.spec,
        schedule: code.map(|code| code.schedule.as_str()),
        flop: step.flop,
        bytes_read: step.bytes_read,
        bytes_written: step.bytes_written,
        leaves_on: step
            .args
            .last()
            .map_or(step.device, |&(s, _)| draft.storages[s].device),
        launches: launches
            .map(|launch| grid(launch, &resources, target.arch))
            .collect(),
    };
    run.work()
}

/// Registers of a thread before there is an image that says it; 0 where nothing is known of them.
fn registers(spec: &KernelSpec, code: &Generated) -> u32 {
    match (spec, contract::parse(&code.schedule)) {
        (KernelSpec::Contract(_), Some(Schedule::Tiled(tiled))) => tiled.registers as u32,
        _ => 0,
    }
}
