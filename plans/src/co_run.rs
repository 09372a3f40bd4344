//! How much blocks slow one another down when they run at once.
//!
//! One function for all who reckon with it: making rounds, bounds, simulated time. A block beside
//! which nothing runs takes its own time. Blocks that were measured together take what was
//! measured. The others share multiprocessors and bandwidth: as long as what they need adds up to
//! no more than the device has, each runs as if alone; beyond that, each takes longer in
//! proportion, so that the device does all of the work of which it can.

use crate::deploy::Demand;
use crate::plan::{BlockIndex, Device, ModelIndex, Plan};

/// The time of a block beside which nothing runs, in 1/1000 of its own.
pub const ALONE: u32 = 1000;

/// How much longer `block` takes while all of `others` run beside it than alone, in 1/1000: at
/// least [`ALONE`], and never less for more others.
///
/// With several others, what they add is summed. Blocks on other devices add nothing. Indices that
/// are not in the plan are passed over. [`Table`] answers the same question many times.
pub fn slowdown(plan: &Plan, block: BlockIndex, others: &[BlockIndex]) -> u32 {
    let Some((own, device)) = needs(plan, block) else {
        return ALONE;
    };
    let beside = others.iter().filter_map(|&other| {
        let (demand, at) = needs(plan, other)?;
        let measured = measured_together(plan, block, other);
        (at == device).then(|| measured.map_or(Beside::Shares(demand), Beside::Measured))
    });
    combined(own, beside)
}

/// A block that runs beside another.
#[derive(Clone, Copy)]
enum Beside {
    /// The other was measured to take so much longer, in 1/1000.
    Measured(u32),
    /// It needs this much of the same device.
    Shares(Demand),
}

fn combined(own: Demand, others: impl Iterator<Item = Beside>) -> u32 {
    let (mut compute, mut memory) = (u32::from(own.compute), u32::from(own.memory));
    let mut measured = 0u32;
    for other in others {
        match other {
            Beside::Measured(slowdown) => {
                measured = measured.saturating_add(slowdown.saturating_sub(ALONE));
            }
            Beside::Shares(demand) => {
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

/// [`slowdown`] of some blocks beside each other, prepared to be asked for often.
#[derive(Clone, Debug)]
pub struct Table {
    blocks: Vec<Option<(Demand, Device)>>,
    /// By block and other block: the slowdown that was measured, or 0.
    measured: Vec<u32>,
}

impl Table {
    /// For `blocks`, which are numbered by their positions from here on.
    pub fn new(plan: &Plan, blocks: &[BlockIndex]) -> Self {
        let pairs = || {
            blocks
                .iter()
                .flat_map(|&a| blocks.iter().map(move |&b| (a, b)))
        };
        Self {
            blocks: blocks.iter().map(|&b| needs(plan, b)).collect(),
            measured: pairs()
                .map(|(a, b)| measured_together(plan, a, b).unwrap_or(0))
                .collect(),
        }
    }

    /// [`slowdown`] of the block at one position beside those at others.
    ///
    /// # Panics
    ///
    /// If there is no such position.
    pub fn slowdown(&self, block: usize, others: impl Iterator<Item = usize>) -> u32 {
        let Some((own, device)) = self.blocks[block] else {
            return ALONE;
        };
        let measured = &self.measured[block * self.blocks.len()..];
        let beside = others.filter_map(|other| {
            let (demand, at) = self.blocks[other]?;
            (at == device).then(|| match measured[other] {
                0 => Beside::Shares(demand),
                slowdown => Beside::Measured(slowdown),
            })
        });
        combined(own, beside)
    }
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
fn needs(plan: &Plan, block: BlockIndex) -> Option<(Demand, Device)> {
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
