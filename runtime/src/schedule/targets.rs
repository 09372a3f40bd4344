//! What requests aim at, for `interleave`.

use super::core::{Core, Live, Slot};
use std::cmp::Reverse;

/// The most requests that are given targets together.
const MAX_JOBS: usize = 32;

/// Rungs beyond the last limit.
const MAX_BEYOND: usize = 8;

/// A request beyond its first target is pressed when less time is left to the last limit than so many
/// times what it has to run.
const PRESSED: f64 = 2.5;

/// With more requests than this, equal ratios would make all of them late, and who is saved from
/// missing the last limit costs others their first: nobody is pressed, and the starvation cap is
/// [`PATIENCE`] times as far.
const CROWD: u32 = 12;

/// How much farther the starvation cap is in a crowd.
const PATIENCE: u64 = 50;

/// Who goes first is less: by rank; then who is pressed to meet the last limit; then who can meet its
/// first target, the one with least to run first; then who can meet a later one, the one of the
/// shortest model first; then those beyond all limits, the largest response ratio first; then by
/// arrival.
pub(super) type Urgency = (Reverse<u64>, u8, u64, u64);

/// A request that is given a target.
#[derive(Clone, Copy, Debug)]
struct Job {
    /// Its rank, reversed, its target, and when it came.
    order: (Reverse<u64>, u64, u64),
    slot: Slot,
    /// The time alone that is left, in nanoseconds.
    left: u64,
    rung: usize,
}

/// Finds targets; its memory is there from the start.
#[derive(Debug)]
pub(super) struct Targets {
    jobs: Vec<Job>,
}

impl Targets {
    pub(super) fn new() -> Self {
        Self {
            jobs: Vec::with_capacity(MAX_JOBS),
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
                left,
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
            let Some((longest, _)) = own.max_by_key(|(_, j)| j.left) else {
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

    /// The first job that is late if all run one after the other in this order. What co-running gains
    /// is left out: a target too many costs those that could be met.
    fn first_late(&self, now: u64) -> Option<usize> {
        let mut end = now;
        self.jobs.iter().position(|job| {
            end += job.left;
            end > job.order.1
        })
    }
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

/// Whether a request that has missed its first target is close to missing the last limit.
fn is_pressed(core: &Core, live: &Live, now: u64) -> bool {
    let is_last = live.rung > 0 && n_targets(core, live) == usize::from(live.rung) + 1;
    is_last
        && core.n_all <= CROWD
        && (live.target.saturating_sub(now) as f64) < PRESSED * live.left as f64
}

/// How many targets a request has up to the last limit.
fn n_targets(core: &Core, live: &Live) -> usize {
    core.options.limits.len() + usize::from(live.request.deadline_ns.is_some())
}

pub(super) fn urgency(core: &Core, slot: Slot, now: u64) -> Urgency {
    let live = core.get(slot);
    let rank = rank(core, slot, now);
    let largest_first = || u64::MAX - ratio(core, slot, now);
    // Of those who starve, who has waited longest for what it is: if all do, nobody is left behind.
    let (class, key) = if rank % 2 == 1 {
        (0, largest_first())
    } else if is_pressed(core, live, now) {
        (0, live.target)
    } else if live.rung == 0 {
        (1, live.left)
    } else if usize::from(live.rung) < n_targets(core, live) {
        (2, core.solo(slot))
    } else {
        (3, largest_first())
    };
    (Reverse(rank), class, key, live.id.0)
}
