//! Rounds: several models run together as one schedule.
//!
//! A round starts every block of its models once. Blocks of a model follow each other; blocks of
//! different models run side by side, each as fast as [`plans::co_run`] says. What is decided is
//! which block starts when which other one ends: as soon as it can, or later, so that blocks run
//! beside those that need what they leave. That is all that a graph of launches can be told, and
//! all that is searched: `exact` tries every such schedule, by branch and bound, where
//! there are few; `heuristic` builds some by lists and improves the best where there are many.
//! Neither looks at a clock: the same plan gives the same rounds.

mod exact;
mod heuristic;
mod memory;
mod problem;
mod timeline;

#[cfg(test)]
pub(crate) mod tests;

pub use memory::share_arenas;

use plans::{ModelIndex, Plan, Round, Service};
use problem::Problem;

/// How rounds are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The most blocks that run at once.
    pub lanes: u16,
    /// The most partial schedules that are looked at to find the best one of all; beyond, the best
    /// that was found is taken.
    pub exact_nodes: u32,
    /// The events that schedules may have together that are built to improve on others.
    pub events: u32,
}

impl Default for Options {
    /// Up to 8 lanes, which a GPU starts kernels from at no cost; under a second for any plan.
    fn default() -> Self {
        Self {
            lanes: 8,
            exact_nodes: 60_000,
            events: 3_000_000,
        }
    }
}

/// A round and how it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The round.
    pub round: Round,
    /// Whether no better one exists, by the times and slowdowns of the plan.
    pub is_best: bool,
    /// The time of its models one after another, in nanoseconds.
    pub serial_ns: u64,
    /// By how much each model with a deadline ends after it, in nanoseconds, in the order of the
    /// services; 0 for those without.
    pub late_ns: Vec<u64>,
}

/// The best round of the models of `services` that is found: first the least sum of what they are
/// late, weighed by priorities; then the least makespan; then those of high priority early.
///
/// Models that share an arena run one after the other.
pub fn round(plan: &Plan, services: &[Service], options: &Options) -> Found {
    let problem = Problem::new(plan, services, options.lanes);
    let timeline = heuristic::search(&problem, options.events);
    let (timeline, is_best) = exact::search(&problem, timeline, options.exact_nodes);
    let late_ns = problem.late(&timeline);
    Found {
        serial_ns: problem.serial_ns(),
        round: timeline::placed(&problem, &timeline),
        is_best,
        late_ns,
    }
}

/// The sets of models that rounds are made for: all of them, and for each rate below others, those
/// that are asked for more often.
pub fn sets(services: &[Service]) -> Vec<Vec<ModelIndex>> {
    let mut rates: Vec<u64> = services.iter().map(|s| s.rate_mhz).collect();
    rates.sort_unstable();
    rates.dedup();
    let at_least = |rate: u64| -> Vec<ModelIndex> {
        let often = services.iter().filter(|s| s.rate_mhz >= rate);
        often.map(|s| s.model).collect()
    };
    let mut sets: Vec<Vec<ModelIndex>> = rates.into_iter().map(at_least).collect();
    sets.retain(|set| set.len() > 1);
    if sets.is_empty() && !services.is_empty() {
        sets.push(services.iter().map(|s| s.model).collect());
    }
    sets
}
