//! How much blocks slow one another down when they run at once.
//!
//! One function for all who reckon with it: making rounds, bounds, simulated time. A block beside
//! which nothing runs takes its own time. Blocks that were measured together take what was
//! measured. The others share multiprocessors and bandwidth: as long as what they need adds up to
//! no more than the device has, each runs as if alone; beyond that, each takes longer in
//! proportion, so that the device does all of the work of which it can.

use crate::deploy::Demand;
use crate::plan::{BlockIndex, ModelIndex, Plan};

/// The time of a block beside which nothing runs, in 1/1000 of its own.
pub const ALONE: u32 = 1000;

/// How much longer `block` takes while all of `others` run beside it than alone, in 1/1000: at
/// least [`ALONE`], and never less for more others.
///
/// With several others, what they add is summed. Blocks on other devices add nothing. Indices that
/// are not in the plan are passed over.
pub fn slowdown(plan: &Plan, block: BlockIndex, others: &[BlockIndex]) -> u32 {
    let Some((own, device)) = needs(plan, block) else {
        return ALONE;
    };
    let (mut compute, mut memory) = (u32::from(own.compute), u32::from(own.memory));
    let mut measured = 0u32;
    for &other in others {
        let Some((demand, at)) = needs(plan, other) else {
            continue;
        };
        if at != device {
            continue;
        }
        match measured_together(plan, block, other) {
            Some(slowdown) => measured = measured.saturating_add(slowdown.saturating_sub(ALONE)),
            None => {
                compute = compute.saturating_add(demand.compute.into());
                memory = memory.saturating_add(demand.memory.into());
            }
        }
    }
    // What the block does not need does not hold it up.
    let used = |own: u16, all: u32| if own > 0 { all } else { 0 };
    let shared = used(own.compute, compute).max(used(own.memory, memory));
    shared.max(ALONE).saturating_add(measured)
}

/// How much longer `block` was measured to take beside `other`, in 1/1000; `None` if they were not
/// measured together.
pub fn measured_together(plan: &Plan, block: BlockIndex, other: BlockIndex) -> Option<u32> {
    let pair = [block.min(other), block.max(other)];
    let found = plan.co_run.binary_search_by_key(&pair, |c| c.blocks).ok()?;
    let [first, second] = plan.co_run[found].slowdown;
    Some(if block < other { first } else { second })
}

/// Whether requests of two models may run at once: they are two, and share no arena.
pub fn may_overlap(plan: &Plan, a: ModelIndex, b: ModelIndex) -> bool {
    a != b
        && !plan
            .arenas
            .iter()
            .any(|arena| arena.models.contains(&a) && arena.models.contains(&b))
}

/// What a block needs, and the device it runs on. What is not known counts as all of the device.
fn needs(plan: &Plan, block: BlockIndex) -> Option<(Demand, crate::plan::Device)> {
    let block = plan.blocks.get(block.index())?;
    let device = plan.steps.get(block.first_step.index())?.device;
    let demand = if block.demand.is_known() {
        block.demand
    } else {
        Demand {
            compute: Demand::ALL,
            memory: Demand::ALL,
        }
    };
    Some((demand, device))
}
