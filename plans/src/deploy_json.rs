//! What is asked of the models together, and rounds, as JSON.

use crate::deploy::Deploy;
use crate::plan::Plan;
use serde::Serialize;

/// Two blocks that were measured together.
#[derive(Clone, Debug, Serialize)]
pub struct CoRunJson {
    /// The blocks.
    pub blocks: [u32; 2],
    /// How much longer each takes than alone, in 1/1000.
    pub slowdown: [u32; 2],
}

/// Several models as one service.
#[derive(Clone, Debug, Serialize)]
pub struct DeployJson {
    /// The policy that the bounds hold for.
    pub policy: String,
    /// One for each model.
    pub services: Vec<ServiceJson>,
    /// Schedules of several models.
    pub rounds: Vec<RoundJson>,
}

/// What is asked of a model.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceJson {
    /// The model.
    pub model: u32,
    /// Requests in 1000 s; 0 if unknown.
    pub rate_mhz: u64,
    /// The time by which a request is to be done, in nanoseconds.
    pub deadline_ns: Option<u64>,
    /// Greater goes first.
    pub priority: u8,
    /// The longest wait for the first block, in nanoseconds; null without a bound.
    pub worst_wait_ns: Option<u64>,
    /// The longest time from arrival to the end, in nanoseconds; null without a bound.
    pub worst_response_ns: Option<u64>,
}

/// Several models run together, each once.
#[derive(Clone, Debug, Serialize)]
pub struct RoundJson {
    /// The predicted time of all of it, in nanoseconds.
    pub makespan_ns: u64,
    /// The blocks in an order in which they may run.
    pub placed: Vec<PlacedJson>,
}

/// A block's place in a round.
#[derive(Clone, Debug, Serialize)]
pub struct PlacedJson {
    /// The block.
    pub block: u32,
    /// Blocks in one lane run in order.
    pub lane: u16,
    /// Positions in `placed` of blocks of other lanes that must have finished.
    pub after: Vec<u32>,
    /// When it starts by prediction, in nanoseconds.
    pub start_ns: u64,
    /// When it ends by prediction.
    pub end_ns: u64,
}

pub(crate) fn co_run(plan: &Plan) -> Vec<CoRunJson> {
    plan.co_run
        .iter()
        .map(|pair| CoRunJson {
            blocks: pair.blocks.map(|b| b.0),
            slowdown: pair.slowdown,
        })
        .collect()
}

pub(crate) fn deploy(deploy: &Deploy) -> DeployJson {
    DeployJson {
        policy: deploy.policy.clone(),
        services: deploy
            .services
            .iter()
            .map(|s| ServiceJson {
                model: s.model.0,
                rate_mhz: s.rate_mhz,
                deadline_ns: s.deadline_ns,
                priority: s.priority,
                worst_wait_ns: s.bound.map(|b| b.wait_ns),
                worst_response_ns: s.bound.map(|b| b.response_ns),
            })
            .collect(),
        rounds: deploy
            .rounds
            .iter()
            .map(|round| RoundJson {
                makespan_ns: round.makespan_ns,
                placed: round
                    .placed
                    .iter()
                    .map(|p| PlacedJson {
                        block: p.block.0,
                        lane: p.lane,
                        after: p.after.clone(),
                        start_ns: p.start_ns,
                        end_ns: p.end_ns,
                    })
                    .collect(),
            })
            .collect(),
    }
}
