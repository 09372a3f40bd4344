//! How much blocks slow one another down when they run at once.
//!
//! A block beside which nothing runs takes its own time. Blocks that were measured together take what
//! was measured. For the others there are two models:
//!
//! - In a round, which is one graph, they share multiprocessors and bandwidth: as long as what they
//!   need adds up to no more than the device has, each runs as if alone; beyond that, each takes longer
//!   in proportion, so that the device does all of the work of which it can ([`slowdown`], [`Table`]).
//! - In streams of their own, as requests run, their kernels take turns ([`Weight`]). Policies, bounds
//!   and simulated time reckon with that.

use crate::deploy::Demand;
use crate::plan::{Block, BlockIndex, Device, ModelIndex, Plan};

/// The time of a block beside which nothing runs, in 1/1000 of its own.
pub const ALONE: u32 = 1000;

/// What a block in a stream does to those in others with which it was not measured, and how much it
/// minds them.
///
/// A kernel waits until those before it have given their last threads to the device. So a block takes
/// longer by the share of the device that another needs, the more so the longer the other's kernels are
/// compared with its own. What several add is summed. However many run, the device does no less than
/// one after another, and no more of any resource than it has.
///
/// The exponent is fitted to five models that ran at once on an H200, as `benches/NOTES.md` says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Weight {
    /// The share of the device that it needs, from 0 to 1: of that resource of which it needs most.
    share: f64,
    /// The mean time of its kernels in nanoseconds, to the power of 9/16.
    turn: f64,
}

impl Weight {
    /// A block that needs so much of a GPU and runs `ns` in `n_kernels` kernels. What is not known
    /// counts as all of the device.
    pub fn new(demand: Demand, ns: u64, n_kernels: u32) -> Self {
        let kernel_ns = ns.max(1) as f64 / f64::from(n_kernels.max(1));
        // By square roots, which are the same on every machine.
        let root = kernel_ns.sqrt();
        Self {
            share: share(demand),
            turn: root * root.sqrt().sqrt().sqrt(),
        }
    }

    /// A block that needs so much of a device that gives everybody the same time.
    pub fn fair(demand: Demand) -> Self {
        Self {
            share: share(demand),
            turn: 1.0,
        }
    }

    /// Of a block on a device.
    pub fn of(block: &Block, device: Device) -> Self {
        match device {
            Device::Cpu => Self::fair(block.demand),
            Device::Cuda(_) => Self::new(block.demand, block.ns(), block.n_steps),
        }
    }

    /// How much longer it takes beside the other, in times alone.
    pub fn excess_beside(self, other: Self) -> f64 {
        other.share * (other.turn / self.turn)
    }

    /// In proportion to which blocks get their turns on a device that all of them need whole.
    pub fn turn(self) -> f64 {
        self.turn
    }
}

fn share(demand: Demand) -> f64 {
    match demand.is_known() {
        true => f64::from(demand.compute.max(demand.memory)) / 1e3,
        false => 1.0,
    }
}

/// How much longer `block` takes in a round while all of `others` run beside it than alone, in 1/1000: at
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
