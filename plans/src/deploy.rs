//! How several models share a device: what blocks need of it, what is asked for, and rounds.

use crate::plan::{BlockIndex, ModelIndex};
use serde::{Deserialize, Serialize};

/// What a block needs of its device when it runs alone, averaged over its time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Demand {
    /// The share of multiprocessors that it keeps busy, in 1/1000.
    pub compute: u16,
    /// The share of the memory's bandwidth, in 1/1000.
    pub memory: u16,
}

impl Demand {
    /// The most that either can be: all of the device.
    pub const ALL: u16 = 1000;

    /// Nothing is known; taken as all of the device.
    pub const UNKNOWN: Demand = Demand {
        compute: 0,
        memory: 0,
    };

    /// Whether anything is known.
    pub fn is_known(self) -> bool {
        self != Self::UNKNOWN
    }
}

/// Two blocks of different models that were measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CoRun {
    /// The blocks, the smaller index first.
    pub blocks: [BlockIndex; 2],
    /// How much longer each takes than alone while both run, in 1/1000: 1000 is as alone, and the
    /// least.
    pub slowdown: [u32; 2],
}

/// Several models as one service: what is asked for each, and how they run together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deploy {
    /// The name of the policy that the bounds hold for: `interleave`, `fifo`.
    pub policy: String,
    /// One for each model, in the models' order.
    pub services: Vec<Service>,
    /// Schedules of several models, each run once.
    pub rounds: Vec<Round>,
}

/// What is asked of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Service {
    /// The model.
    pub model: ModelIndex,
    /// Requests in 1000 s, evenly spaced at the closest; 0 if unknown.
    pub rate_mhz: u64,
    /// The time from arrival by which a request is to be done, in nanoseconds.
    pub deadline_ns: Option<u64>,
    /// Greater goes first.
    pub priority: u8,
    /// The longest that a request can take, if there is such a time.
    pub bound: Option<Bound>,
}

impl Service {
    /// The least time between two requests, in nanoseconds, rounded down; `None` if the rate is
    /// unknown.
    pub fn period_ns(&self) -> Option<u64> {
        1_000_000_000_000u64.checked_div(self.rate_mhz)
    }
}

/// The longest that requests of a model can take, by the plan's block times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bound {
    /// From arrival to the start of the first block, in nanoseconds.
    pub wait_ns: u64,
    /// From arrival to the end of the last block, in nanoseconds.
    pub response_ns: u64,
}

/// Several models run together as one schedule: all blocks of each of them once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Round {
    /// Their blocks, in an order in which they may run, those of a model in the model's order.
    ///
    /// Models that share an arena run one after the other.
    pub placed: Vec<Placed>,
    /// The predicted time of all of it, in nanoseconds: the latest end.
    pub makespan_ns: u64,
}

/// A block's place in a round, with its predicted time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// The block.
    pub block: BlockIndex,
    /// Blocks in one lane run in order.
    pub lane: u16,
    /// Positions in [`Round::placed`] of earlier blocks that must have finished, beside the one
    /// before in its lane; ascending.
    pub after: Vec<u32>,
    /// When it starts, in nanoseconds from the start of the round.
    pub start_ns: u64,
    /// When it ends.
    pub end_ns: u64,
}
