//! What a plan holds and needs, in numbers.

use crate::plan::{ArenaIndex, ArenaKind, BufferIndex, Place, Plan, StepIndex};
use crate::validate::ValidPlan;
use std::ops::RangeInclusive;

/// A plan in numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanStats {
    /// For each arena.
    pub arenas: Vec<ArenaStats>,
    /// For each class of kernels that steps run, in order of the class's name.
    pub classes: Vec<ClassStats>,
    /// For each model.
    pub models: Vec<ModelStats>,
    /// The data of all weights, in bytes.
    pub weights_bytes: u64,
}

/// How well an arena is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArenaStats {
    /// Which arena.
    pub arena: ArenaIndex,
    /// Its buffers.
    pub n_buffers: usize,
    /// Its size as planned.
    pub planned_bytes: u64,
    /// What its buffers would take side by side.
    pub sum_bytes: u64,
    /// What its buffers take at least, in the order of the steps: the most bytes that are live at
    /// once. Of an arena of inputs and outputs, all are.
    pub live_bytes: u64,
}

/// What the steps of one class do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClassStats {
    /// The class.
    pub class: &'static str,
    /// Distinct kernels.
    pub n_kernels: usize,
    /// Steps.
    pub n_steps: usize,
    /// Their operations; a multiply-add counts as 2.
    pub flop: u64,
    /// Bytes that they read and write.
    pub bytes: u64,
}

/// What a model does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelStats {
    /// Nodes of the imported graph.
    pub n_nodes: u32,
    /// Steps.
    pub n_steps: u32,
    /// Their operations; a multiply-add counts as 2.
    pub flop: u64,
    /// Bytes that they read and write.
    pub bytes: u64,
}

/// The numbers of a plan.
pub fn stats(plan: &ValidPlan) -> PlanStats {
    let live = live_ranges(plan);
    let arenas = buffers_by_arena(plan)
        .into_iter()
        .zip(&plan.arenas)
        .enumerate()
        .map(|(i, (own, arena))| {
            let bytes = |b: &BufferIndex| plan.buffers[b.index()].bytes;
            let sum_bytes = total(own.iter().map(bytes));
            ArenaStats {
                arena: ArenaIndex(i as u32),
                n_buffers: own.len(),
                planned_bytes: arena.bytes,
                sum_bytes,
                live_bytes: match arena.kind {
                    ArenaKind::Io | ArenaKind::Counters => sum_bytes,
                    ArenaKind::Scratch => most_live(
                        own.iter()
                            .filter_map(|b| Some((live[b.index()].clone()?, bytes(b)))),
                    ),
                },
            }
        })
        .collect();
    let models = plan
        .models
        .iter()
        .map(|model| {
            let steps = &plan.steps[model.steps()];
            ModelStats {
                n_nodes: model.n_nodes,
                n_steps: model.n_steps,
                flop: total(steps.iter().map(|s| s.flop)),
                bytes: total(steps.iter().flat_map(|s| [s.bytes_read, s.bytes_written])),
            }
        })
        .collect();
    PlanStats {
        arenas,
        classes: classes(plan),
        models,
        weights_bytes: plan.weights.iter().map(|w| w.bytes).sum(),
    }
}

/// The buffers of each arena, in order of their offsets.
pub(crate) fn buffers_by_arena(plan: &Plan) -> Vec<Vec<BufferIndex>> {
    let mut by_arena = vec![vec![]; plan.arenas.len()];
    for (i, buffer) in (0..).map(BufferIndex).zip(&plan.buffers) {
        if let Some(own) = by_arena.get_mut(buffer.arena.index()) {
            own.push(i);
        }
    }
    for own in &mut by_arena {
        own.sort_by_key(|b| plan.buffers[b.index()].offset);
    }
    by_arena
}

fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

fn classes(plan: &ValidPlan) -> Vec<ClassStats> {
    let mut names: Vec<&str> = plan.kernels.iter().map(|k| k.class()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|class| {
            let is_of_class = |kernel: usize| plan.kernels[kernel].class() == class;
            let steps = plan.steps.iter().filter(|s| is_of_class(s.kernel.index()));
            ClassStats {
                class,
                n_kernels: (0..plan.kernels.len()).filter(|&k| is_of_class(k)).count(),
                n_steps: steps.clone().count(),
                flop: total(steps.clone().map(|s| s.flop)),
                bytes: total(steps.flat_map(|s| [s.bytes_read, s.bytes_written])),
            }
        })
        .collect()
}

/// For each buffer, the first and the last step, in the order of the list, at which it holds
/// something: an input from its model's first step on, an output to its last. `None` if no step
/// uses it.
pub fn live_ranges(plan: &Plan) -> Vec<Option<RangeInclusive<usize>>> {
    let mut ranges: Vec<Option<RangeInclusive<usize>>> = vec![None; plan.buffers.len()];
    let mut extend = |buffer: BufferIndex, step: usize| {
        if let Some(range) = ranges.get_mut(buffer.index()) {
            *range = Some(match range {
                Some(r) => step.min(*r.start())..=step.max(*r.end()),
                None => step..=step,
            });
        }
    };
    for model in plan.models.iter().filter(|m| m.n_steps > 0) {
        for port in &model.inputs {
            extend(port.buffer, model.steps().start);
        }
        for port in &model.outputs {
            extend(port.buffer, model.steps().end - 1);
        }
    }
    for (i, step) in plan.steps.iter().enumerate() {
        for arg in &step.args {
            if let Place::Buffer(buffer) = arg.place {
                extend(buffer, i);
            }
        }
        let own = step.code.iter().flat_map(|c| [c.workspace, c.counters]);
        own.flatten().for_each(|buffer| extend(buffer, i));
    }
    ranges
}

/// The most bytes that are live at one step.
fn most_live(ranges: impl Iterator<Item = (RangeInclusive<usize>, u64)>) -> u64 {
    // Frees come before allocations of the next step.
    let mut changes: Vec<(StepIndex, bool, u64)> = ranges
        .flat_map(|(range, bytes)| {
            let step = |i: usize| StepIndex(i as u32);
            [
                (step(*range.start()), true, bytes),
                (step(range.end() + 1), false, bytes),
            ]
        })
        .collect();
    changes.sort_unstable();
    // Buffers may share bytes, so that the sum is bounded by their number only.
    let (mut live, mut most) = (0u128, 0);
    for (_, is_start, bytes) in changes {
        let bytes = u128::from(bytes);
        if is_start {
            live += bytes;
            most = live.max(most);
        } else {
            live -= bytes;
        }
    }
    u64::try_from(most).unwrap_or(u64::MAX)
}
