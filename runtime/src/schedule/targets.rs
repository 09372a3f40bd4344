//! What requests aim at, for `interleave`.

use super::core::{Core, Slot};
use super::profile::Running;
use std::cmp::Reverse;

/// The most requests that are given targets together.
const MAX_JOBS: usize = 32;

/// Rungs beyond the last limit.
const MAX_BEYOND: usize = 8;

/// A request beyond its first target is pressed when less time is left to the next one than so many
/// times what it has to run.
pub(super) const PRESSED: f64 = 2.5;

/// With more requests than this, equal ratios would make all of them late: the starvation cap is
/// [`PATIENCE`] times as far.
const CROWD: u32 = 16;

/// How much farther the starvation cap is in a crowd.
const PATIENCE: u64 = 5;

/// Who goes first is less: by rank, then who is pressed to meet a target that is not its first,
/// then who can meet its first, the one with least to run first, then the others by target; then by
/// arrival.
pub(super) type Urgency = (Reverse<u64>, u8, u64, u64);

/// A request that is given a target.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// Its rank, reversed, its target, and when it came.
    order: (Reverse<u64>, u64, u64),
    slot: Slot,
    /// The time alone that is left, in nanoseconds.
    left: f64,
    /// How much longer it takes beside another request, less 1.
    excess: f64,
    rung: usize,
}

/// Finds targets; its memory is there from the start.
#[derive(Debug)]
pub(super) struct Targets {
    jobs: Vec<Job>,
    /// Of each model, how much longer it takes beside another on average, less 1.
    excess: Vec<f64>,
    n_lanes: f64,
}

impl Targets {
    pub(super) fn new(core: &Core) -> Self {
        Self {
            jobs: Vec::with_capacity(MAX_JOBS),
            excess: (0..core.n_live.len())
                .map(|m| mean_excess(core, m))
                .collect(),
            n_lanes: f64::from(core.options.lanes),
        }
    }

    /// Gives these requests targets such that as many as possible are predicted to meet their first
    /// one, and of the others as many as possible the next: in order of targets, and where one would
    /// be late, the longest so far is put off to its next (Moore, "An n job, one machine sequencing
    /// algorithm for minimizing the number of late jobs", 1968).
    pub(super) fn find(&mut self, core: &mut Core, slots: impl Iterator<Item = Slot>, now: u64) {
        self.jobs.clear();
        let n_rungs = core.options.limits.len() + MAX_BEYOND;
        for slot in slots.take(MAX_JOBS) {
            let left = left(core, slot, now);
            let is_late = |rung: &usize| now + left > target_at(core, slot, *rung);
            let rung = (0..n_rungs).find(|r| !is_late(r)).unwrap_or(n_rungs);
            let live = core.get(slot);
            self.jobs.push(Job {
                order: (
                    Reverse(rank(core, slot, now)),
                    target_at(core, slot, rung),
                    live.id.0,
                ),
                slot,
                left: left as f64,
                excess: self.excess[live.model],
                rung,
            });
        }
        self.jobs.sort_unstable_by_key(|j| j.order);
        // Each is put off a few times at most.
        for _ in 0..4 * self.jobs.len() {
            let Some(late) = self.first_late(now) else {
                break;
            };
            let so_far = self.jobs[..=late].iter().enumerate();
            let its = self.jobs[late].order.0;
            let own = so_far.filter(|(_, j)| j.order.0 == its && j.rung < n_rungs);
            let Some((longest, _)) = own.max_by(|(_, a), (_, b)| a.left.total_cmp(&b.left)) else {
                break;
            };
            let job = &mut self.jobs[longest];
            job.rung += 1;
            job.order.1 = target_at(core, job.slot, job.rung);
            let put_off = *job;
            let behind = &self.jobs[longest + 1..];
            let n = behind.partition_point(|j| j.order < put_off.order);
            self.jobs[longest..=longest + n].rotate_left(1);
        }
        for job in &self.jobs {
            let live = core.get_mut(job.slot);
            live.target = job.order.1;
            live.rung = job.rung as u8;
        }
    }

    /// The first job that is late if all run in this order, as many at once as there are lanes.
    fn first_late(&self, now: u64) -> Option<usize> {
        let (mut work, mut excess) = (0.0, 0.0);
        self.jobs.iter().enumerate().position(|(i, job)| {
            work += job.left;
            excess += job.excess;
            let n = (i + 1) as f64;
            let at_once = n.min(self.n_lanes);
            let rate = at_once / (1.0 + (at_once - 1.0) * excess / n);
            now as f64 + work / rate.max(1.0) > job.order.1 as f64
        })
    }
}

/// How much longer a block of `model` takes beside one of any model, on average, less 1.
fn mean_excess(core: &Core, model: usize) -> f64 {
    let models = core.profile.models();
    let own = models[model].blocks.len();
    let (mut sum, mut n) = (0.0, 0.0);
    for (other, its) in models.iter().enumerate() {
        for block in 0..own {
            let running = |model, block| Running {
                model,
                block,
                level: 0,
            };
            let pair = [
                running(model, block),
                running(other, block * its.blocks.len() / own),
            ];
            let mut slow = [1.0; 2];
            core.profile.slowdowns(&pair, &mut slow);
            sum += slow[0] - 1.0;
            n += 1.0;
        }
    }
    sum / n
}

/// When a request aims to be done at a rung: its deadline, if it has one, then at the limits, then at
/// twice as much each.
pub(super) fn target_at(core: &Core, slot: Slot, rung: usize) -> u64 {
    let live = core.get(slot);
    let limits = &core.options.limits;
    let rung = match live.request.deadline_ns {
        Some(deadline) if rung == 0 => return live.arrival.saturating_add(deadline),
        Some(_) => rung - 1,
        None => rung,
    };
    let limit = match limits.get(rung) {
        Some(&limit) => u64::from(limit),
        None => {
            let last = limits.last().map_or(1000, |&l| u64::from(l.max(1000)));
            last << (rung - limits.len() + 1).min(20)
        }
    };
    live.arrival + (u128::from(core.solo(slot)) * u128::from(limit) / 1000) as u64
}

/// The time alone that is left; a block that runs counts as half done at most, for it is not known
/// how fast it runs.
fn left(core: &Core, slot: Slot, now: u64) -> u64 {
    let live = core.get(slot);
    if !live.is_running() {
        return live.left;
    }
    let block = &core.model(live).blocks[usize::from(live.done)];
    let done = ((now - live.since) / 2).min(block.ns / 2);
    live.left.saturating_sub(done)
}

/// The response ratio of a request that runs alone from now on, in 1/1000.
fn ratio(core: &Core, slot: Slot, now: u64) -> u64 {
    let live = core.get(slot);
    let total = u128::from(now - live.arrival + live.left) * 1000;
    u64::try_from(total / u128::from(core.solo(slot))).unwrap_or(u64::MAX)
}

/// The rank of a request: twice its priority, and one more once its response ratio has grown to the
/// starvation cap.
pub(super) fn rank(core: &Core, slot: Slot, now: u64) -> u64 {
    let live = core.get(slot);
    let patience = if core.n_all > CROWD { PATIENCE } else { 1 };
    let cap = patience * u64::from(core.options.starvation_cap);
    let is_starved = cap > 0 && ratio(core, slot, now) >= cap;
    2 * u64::from(live.request.priority) + u64::from(is_starved)
}

/// Whether one is of a higher priority than the other.
pub(super) fn is_higher(a: Urgency, b: Urgency) -> bool {
    a.0.0 / 2 > b.0.0 / 2
}

/// Whether a request has missed its first target and is close to missing the next.
pub(super) fn is_pressed(core: &Core, slot: Slot, now: u64, how: f64) -> bool {
    let live = core.get(slot);
    live.rung > 0 && (live.target.saturating_sub(now) as f64) < how * live.left as f64
}

pub(super) fn urgency(core: &Core, slot: Slot, now: u64) -> Urgency {
    let live = core.get(slot);
    let rank = rank(core, slot, now);
    // Of those who starve, who has waited longest for what it is: if all do, nobody is left behind.
    let (class, key) = if rank % 2 == 1 {
        (0, u64::MAX - ratio(core, slot, now))
    } else if is_pressed(core, slot, now, PRESSED) {
        (0, live.target)
    } else if live.rung == 0 {
        (1, live.left)
    } else {
        (2, live.target)
    };
    (Reverse(rank), class, key, live.id.0)
}
