//! What is asked of several models, and the rounds that run them together.

use super::error::{PlanErrorCode as Code, PlanPlace as At, Report};
use super::order::MAX_LANES;
use super::structure::MAX_BYTES;
use crate::co_run::ALONE;
use crate::deploy::{Demand, Deploy, Placed, Round, Service};
use crate::plan::{BlockIndex, ModelIndex, Plan};
use std::collections::BTreeMap;

/// What every time stays below, in nanoseconds: 52 days.
const MAX_NS: u64 = MAX_BYTES;

/// The most rounds of a plan.
const MAX_ROUNDS: usize = 1024;

/// Checks what is asked of the models, what is known of their blocks, and the rounds.
pub(super) fn lists(plan: &Plan, report: &mut Report) {
    for (i, block) in (0..).map(BlockIndex).zip(&plan.blocks) {
        let at = At::Block(i);
        let demand = block.demand;
        report.require(
            demand.compute.max(demand.memory) <= Demand::ALL,
            Code::Size,
            at,
            || {
                format!(
                    "it needs {} and {} thousandths of its device",
                    demand.compute, demand.memory
                )
            },
        );
        for ns in [Some(block.predicted_ns), block.measured_ns] {
            report.require(ns.is_none_or(|ns| ns < MAX_NS), Code::Size, at, || {
                "its time is 2^52 ns or more".to_owned()
            });
        }
        report.require(block.cut_ns <= block.predicted_ns, Code::Size, at, || {
            format!(
                "its cut costs {} ns of the {} ns that it takes",
                block.cut_ns, block.predicted_ns
            )
        });
    }
    co_run(plan, report);
    if let Some(deploy) = &plan.deploy {
        services(plan, deploy, report);
        let n = deploy.rounds.len();
        if !report.require(n <= MAX_ROUNDS, Code::TooComplex, At::Plan, || {
            format!("{n} rounds; the most is {MAX_ROUNDS}")
        }) {
            return;
        }
        let chains = Chains::of(plan);
        for (r, round) in deploy.rounds.iter().enumerate() {
            self::round(plan, &chains, r, round, report);
        }
    }
}

fn co_run(plan: &Plan, report: &mut Report) {
    let mut before = None;
    for (i, pair) in plan.co_run.iter().enumerate() {
        let at = At::CoRun(i);
        let [a, b] = pair.blocks;
        report.require(a < b, Code::Order, at, || {
            format!("blocks {} and {} are not in order", a.0, b.0)
        });
        report.require(before < Some(pair.blocks), Code::Order, at, || {
            "pairs are not in order, or a pair is there twice".to_owned()
        });
        before = Some(pair.blocks);
        let [first, second] = pair.blocks.map(|b| plan.blocks.get(b.index()));
        if let (Some(first), Some(second)) = (first, second) {
            report.require(first.model != second.model, Code::Owner, at, || {
                format!("both blocks belong to model {}", first.model.0)
            });
        } else {
            report.add(Code::Missing, at, "one of its blocks does not exist");
        }
        report.require(
            pair.slowdown.iter().all(|&s| s >= ALONE),
            Code::Size,
            at,
            || format!("{:?} thousandths are faster than alone", pair.slowdown),
        );
    }
}

fn services(plan: &Plan, deploy: &Deploy, report: &mut Report) {
    let asked = deploy.services.iter().map(|s| s.model);
    let all = (0..plan.models.len() as u32).map(ModelIndex);
    report.require(asked.eq(all), Code::Partition, At::Plan, || {
        "its deployment does not name each model once, in order".to_owned()
    });
    for (i, service) in deploy.services.iter().enumerate() {
        let at = At::Service(i);
        let Service {
            rate_mhz,
            deadline_ns,
            bound,
            ..
        } = *service;
        report.require(rate_mhz < MAX_NS, Code::Size, at, || {
            format!("{rate_mhz} requests in 1000 s are 2^52 or more")
        });
        report.require(
            deadline_ns.is_none_or(|ns| ns > 0 && ns < MAX_NS),
            Code::Size,
            at,
            || "its deadline is 0, or 2^52 ns or more".to_owned(),
        );
        report.require(
            bound.is_none_or(|b| b.wait_ns <= b.response_ns && b.response_ns < MAX_NS),
            Code::Size,
            at,
            || "it waits longer than it takes, or takes 2^52 ns or more".to_owned(),
        );
    }
}

/// The blocks of each model in order.
struct Chains {
    first: BTreeMap<ModelIndex, BlockIndex>,
    /// For each block, the next one of its model; one past all blocks after the last.
    next: Vec<BlockIndex>,
}

impl Chains {
    fn of(plan: &Plan) -> Self {
        let end = BlockIndex(plan.blocks.len() as u32);
        let mut chains = Self {
            first: BTreeMap::new(),
            next: vec![end; plan.blocks.len()],
        };
        for (i, block) in plan.blocks.iter().enumerate().rev() {
            let i = BlockIndex(i as u32);
            let next = chains.first.insert(block.model, i);
            chains.next[i.index()] = next.unwrap_or(end);
        }
        chains
    }
}

fn round(plan: &Plan, chains: &Chains, r: usize, round: &Round, report: &mut Report) {
    let mut lanes = BTreeMap::new();
    // The position of the last block of each lane.
    let mut last: Vec<usize> = vec![];
    // For each model in it, the next block, and the position of the one before.
    let mut next: BTreeMap<ModelIndex, (BlockIndex, Option<usize>)> = BTreeMap::new();
    let mut clocks = Clocks::default();
    for (p, placed) in round.placed.iter().enumerate() {
        let at = At::Placed(r, p);
        let n_lanes = lanes.len();
        let lane = *lanes.entry(placed.lane).or_insert(n_lanes);
        if lane == MAX_LANES {
            report.add(Code::TooComplex, at, format!("more than {MAX_LANES} lanes"));
            return;
        }
        let ascending = placed.after.is_sorted_by(|a, b| a < b);
        let earlier = placed.after.last().is_none_or(|&a| (a as usize) < p);
        if !report.require(ascending && earlier, Code::Order, at, || {
            "it waits for what does not come before it in the round, or twice".to_owned()
        }) {
            return;
        }
        let before = last.get(lane).copied();
        let waits = placed.after.iter().map(|&a| a as usize).chain(before);
        let ready = waits.clone().map(|w| round.placed[w].end_ns).max();
        times(placed, ready.unwrap_or(0), at, report);
        clocks.push(lane, waits);
        if lane == last.len() {
            last.push(p);
        } else {
            last[lane] = p;
        }
        let Some(block) = plan.blocks.get(placed.block.index()) else {
            let message = format!("it is block {}, which does not exist", placed.block.0);
            report.add(Code::Missing, at, message);
            continue;
        };
        let first = chains.first.get(&block.model).copied();
        let first = first.unwrap_or(placed.block);
        let (wanted, done) = next.entry(block.model).or_insert((first, None));
        report.require(*wanted == placed.block, Code::Partition, at, || {
            format!(
                "it is block {} of model {}, whose next one is {}",
                placed.block.0, block.model.0, wanted.0
            )
        });
        report.require(
            done.is_none_or(|d| clocks.precedes(d, p)),
            Code::Order,
            at,
            || {
                format!(
                    "it does not wait for the block before in model {}",
                    block.model.0
                )
            },
        );
        *wanted = chains.next[placed.block.index()];
        *done = Some(p);
    }
    for (model, (wanted, _)) in &next {
        let is_whole = wanted.index() == plan.blocks.len();
        report.require(is_whole, Code::Partition, At::Round(r), || {
            format!("block {} of model {} is not in it", wanted.0, model.0)
        });
    }
    let latest = round.placed.iter().map(|p| p.end_ns).max().unwrap_or(0);
    report.require(
        round.makespan_ns == latest,
        Code::Size,
        At::Round(r),
        || {
            format!(
                "it takes {} ns, and its last block ends at {latest} ns",
                round.makespan_ns
            )
        },
    );
    shared_arenas(plan, r, round, &clocks, report);
}

fn times(placed: &Placed, ready: u64, at: At, report: &mut Report) {
    report.require(
        ready <= placed.start_ns && placed.start_ns <= placed.end_ns && placed.end_ns < MAX_NS,
        Code::Order,
        at,
        || {
            format!(
                "it runs from {} to {} ns, and what it waits for ends at {ready} ns",
                placed.start_ns, placed.end_ns
            )
        },
    );
}

/// Models with memory in common must not run at once.
fn shared_arenas(plan: &Plan, r: usize, round: &Round, clocks: &Clocks, report: &mut Report) {
    // The first and the last position of each model.
    let mut spans: BTreeMap<ModelIndex, (usize, usize)> = BTreeMap::new();
    for (p, placed) in round.placed.iter().enumerate() {
        if let Some(block) = plan.blocks.get(placed.block.index()) {
            spans.entry(block.model).or_insert((p, p)).1 = p;
        }
    }
    for arena in &plan.arenas {
        let mut users: Vec<(usize, usize, ModelIndex)> = arena
            .models
            .iter()
            .filter_map(|m| spans.get(m).map(|&(first, last)| (first, last, *m)))
            .collect();
        users.sort_unstable();
        for pair in users.windows(2) {
            let ((_, last, a), (first, _, b)) = (pair[0], pair[1]);
            let apart = last < first && clocks.precedes(last, first);
            report.require(apart, Code::Conflict, At::Round(r), || {
                format!("models {} and {} share an arena and may overlap", a.0, b.0)
            });
        }
    }
}

/// What has surely finished when a block starts: vector clocks with the lanes as processes, as for
/// the steps of a model.
#[derive(Default)]
struct Clocks {
    lanes: Vec<usize>,
    /// For each position and lane, one more than the last position of that lane that has finished.
    finished: Vec<Vec<u32>>,
}

impl Clocks {
    fn push(&mut self, lane: usize, waits: impl Iterator<Item = usize>) {
        let mut own: Vec<u32> = vec![];
        for earlier in waits {
            let before = &self.finished[earlier];
            let from = self.lanes[earlier];
            own.resize(own.len().max(before.len()).max(from + 1), 0);
            for (a, b) in own.iter_mut().zip(before) {
                *a = (*a).max(*b);
            }
            own[from] = own[from].max(earlier as u32 + 1);
        }
        self.lanes.push(lane);
        self.finished.push(own);
    }

    /// Whether `earlier` has surely finished when `later` starts.
    fn precedes(&self, earlier: usize, later: usize) -> bool {
        let finished = self.finished[later].get(self.lanes[earlier]);
        finished.is_some_and(|&n| n as usize > earlier)
    }
}
