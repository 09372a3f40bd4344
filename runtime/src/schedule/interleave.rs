//! `interleave`: several requests at once, the urgent first, as many as pays.
//!
//! Each request aims at a target: its deadline, or the first of the limits on the response ratio that
//! it can still meet. Who has the earliest target goes first (EDF), and gets the higher priority on
//! the device. Who is past its target aims at the next limit and thereby makes room for those that
//! can still meet theirs. Another request is started beside those that run if the device then does
//! more work, and if each of those that are more urgent is still predicted to meet its target.
//!
//! Requests of one model start in order of arrival within a priority. A request whose response ratio
//! has grown by the starvation cap counts as one priority higher for each time that it has.

use super::core::{Choice, Core, MAX_BESIDE, Slot};
use super::profile::Running;
use super::request::Request;
use super::scheduler::Order;
use std::cmp::Reverse;
use std::collections::VecDeque;

/// The work that the device must do more of for another request to run beside others, in 1/1000.
const LEAST_GAIN: f64 = 0.02;

/// Limits double beyond the last one given.
const BEYOND: u64 = 2;

pub(super) struct Interleave {
    /// Of each model, who has not started: by priority, then by arrival.
    waiting: Vec<VecDeque<Slot>>,
    /// Who has started.
    active: Vec<Slot>,
    /// Of each model, which memories are in use.
    in_use: Vec<Vec<bool>>,
    lanes: Vec<bool>,
}

/// Who goes first is less: effective priority, then target, then arrival.
type Urgency = (Reverse<u64>, u64, u64);

impl Interleave {
    pub(super) fn new(core: &Core) -> Self {
        let n_models = core.n_live.len();
        let copies = usize::from(core.options.copies);
        let queue = core.options.queue.max(1) as usize;
        Self {
            waiting: (0..n_models)
                .map(|_| VecDeque::with_capacity(queue))
                .collect(),
            active: Vec::with_capacity(n_models * copies),
            in_use: vec![vec![false; copies]; n_models],
            lanes: vec![false; usize::from(core.options.lanes)],
        }
    }

    fn running<'a>(&'a self, core: &'a Core) -> impl Iterator<Item = Slot> + 'a {
        let active = self.active.iter().copied();
        active.filter(|&s| core.get(s).is_running())
    }

    /// Whether the device does more work with one more request, and the more urgent ones of those
    /// that run are still predicted to meet their targets.
    fn may_join(&self, core: &Core, slot: Slot, urgency: Urgency, level: u8, now: u64) -> bool {
        let block = |slot: Slot, level: u8| {
            let live = core.get(slot);
            Running {
                model: live.model,
                block: usize::from(live.done.min(live.n_blocks - 1)),
                level,
            }
        };
        let mut set = [block(slot, level); MAX_BESIDE];
        let mut slots = [slot; MAX_BESIDE];
        let mut n = 0;
        for other in self.running(core) {
            if other != slot && n + 1 < MAX_BESIDE {
                set[n] = block(other, core.get(other).level);
                slots[n] = other;
                n += 1;
            }
        }
        if n == 0 {
            return true;
        }
        set[n] = block(slot, level);
        let (mut before, mut after) = ([1.0; MAX_BESIDE], [1.0; MAX_BESIDE]);
        core.profile.slowdowns(&set[..n], &mut before);
        core.profile.slowdowns(&set[..=n], &mut after);
        let mut is_first = true;
        for i in 0..n {
            let its = urgency_of(core, slots[i], now);
            if its < urgency {
                is_first = false;
                if !keeps_target(core, slots[i], before[i], after[i], now) {
                    return false;
                }
            }
        }
        let work = |slow: &[f64]| slow.iter().map(|s| 1.0 / s).sum::<f64>();
        // Who is the most urgent runs in any case: the others make room for it.
        is_first || work(&after[..=n]) >= work(&before[..n]) * (1.0 + LEAST_GAIN)
    }

    /// The level between those that run and are more urgent, and those that are less. Level 0 is for
    /// those above the common priority.
    fn level(&self, core: &Core, slot: Slot, urgency: Urgency, now: u64) -> u8 {
        let n_levels = core.options.levels;
        if n_levels == 1 || urgency.0.0 > 0 {
            return 0;
        }
        let (mut above, mut below) = (0, n_levels);
        for other in self.running(core) {
            if other == slot {
                continue;
            }
            let level = core.get(other).level;
            if urgency_of(core, other, now) < urgency {
                above = above.max(level);
            } else {
                below = below.min(level);
            }
        }
        ((above + below) / 2).clamp(1, n_levels - 1)
    }

    fn choose(&self, core: &Core, slot: Slot, now: u64, urgency: Urgency) -> Option<Choice> {
        let live = core.get(slot);
        let copy = if live.has_started() {
            live.copy
        } else {
            self.in_use[live.model].iter().position(|used| !used)? as u16
        };
        if live.is_running() {
            return Some(Choice {
                slot,
                n_blocks: 1,
                lane: live.lane,
                level: live.level,
                copy,
            });
        }
        let lane = self.lanes.iter().position(|used| !used)? as u16;
        let level = self.level(core, slot, urgency, now);
        self.may_join(core, slot, urgency, level, now)
            .then_some(Choice {
                slot,
                n_blocks: 1,
                lane,
                level,
                copy,
            })
    }
}

/// The priority that a request has by now: it grows with its response ratio.
fn priority(core: &Core, slot: Slot, now: u64) -> u64 {
    let live = core.get(slot);
    let own = u64::from(live.request.priority);
    match core.options.starvation_cap {
        0 => own,
        cap => {
            let total = now - live.arrival + live.left;
            own + (u128::from(total) * 1000 / u128::from(core.solo(slot)) / u128::from(cap)) as u64
        }
    }
}

/// When a request aims to be done.
fn target(core: &Core, slot: Slot, now: u64) -> u64 {
    let live = core.get(slot);
    let earliest = now + live.left;
    if let Some(deadline) = live.request.deadline_ns {
        let deadline = live.arrival.saturating_add(deadline);
        if earliest <= deadline {
            return deadline;
        }
    }
    let solo = core.solo(slot);
    let at = |limit: u64| {
        live.arrival
            .saturating_add(solo.saturating_mul(limit) / 1000)
    };
    let mut limits = core.options.limits.iter().map(|&l| u64::from(l));
    if let Some(limit) = limits.find(|&l| earliest <= at(l)) {
        return at(limit);
    }
    let last = core
        .options
        .limits
        .last()
        .map_or(1000, |&l| u64::from(l.max(1000)));
    let mut limit = last.saturating_mul(BEYOND);
    while earliest > at(limit) && limit < u64::MAX / BEYOND {
        limit *= BEYOND;
    }
    at(limit)
}

fn urgency_of(core: &Core, slot: Slot, now: u64) -> Urgency {
    let live = core.get(slot);
    (
        Reverse(priority(core, slot, now)),
        target(core, slot, now),
        live.id.0,
    )
}

/// Whether a request that is slowed down `after` times is predicted to meet its target, or would not
/// either if it were slowed down `before` times.
fn keeps_target(core: &Core, slot: Slot, before: f64, after: f64, now: u64) -> bool {
    let live = core.get(slot);
    let target = target(core, slot, now) as f64;
    let end = |slow: f64| {
        let block = &core.model(live).blocks[usize::from(live.done)];
        let done = ((now - live.since) as f64 / before).min(block.ns as f64);
        now as f64 + (live.left as f64 - done).max(0.0) * slow
    };
    end(after) <= target || end(before) > target
}

impl Order for Interleave {
    fn arrived(&mut self, core: &mut Core, slot: Slot, _now: u64) {
        let live = core.get(slot);
        let queue = &mut self.waiting[live.model];
        let first = |&other: &Slot| core.get(other).request.priority >= live.request.priority;
        let at = queue.iter().rposition(first).map_or(0, |at| at + 1);
        queue.insert(at, slot);
    }

    fn next(&mut self, core: &Core, now: u64) -> Option<Choice> {
        // Who may start: those that have begun and are not far enough ahead, and the first of each
        // model. The most urgent that can is chosen.
        let mut after: Option<Urgency> = None;
        let mut is_held = false;
        loop {
            let begun = self.active.iter().copied().filter(|&s| {
                let live = core.get(s);
                live.has_more() && live.n_starts <= core.options.ahead
            });
            let heads = self.waiting.iter().filter_map(|q| q.front().copied());
            let mut best: Option<(Urgency, Slot)> = None;
            for slot in begun.chain(heads) {
                let urgency = urgency_of(core, slot, now);
                if after.is_none_or(|a| urgency > a) && best.is_none_or(|(b, _)| urgency < b) {
                    best = Some((urgency, slot));
                }
            }
            let (urgency, slot) = best?;
            // Who runs does not go further ahead while somebody more urgent waits for its lane.
            if !(is_held && core.get(slot).is_running())
                && let Some(choice) = self.choose(core, slot, now, urgency)
            {
                return Some(choice);
            }
            is_held |= !core.get(slot).is_running();
            after = Some(urgency);
        }
    }

    fn started(&mut self, core: &mut Core, choice: Choice) {
        let model = core.get(choice.slot).model;
        if self.waiting[model].front() == Some(&choice.slot) {
            self.waiting[model].pop_front();
            self.active.push(choice.slot);
            self.in_use[model][usize::from(choice.copy)] = true;
        }
        self.lanes[usize::from(choice.lane)] = true;
    }

    fn finished(&mut self, core: &mut Core, slot: Slot) {
        let live = core.get(slot);
        if !live.is_running() {
            self.lanes[usize::from(live.lane)] = false;
        }
    }

    fn gone(&mut self, core: &Core, slot: Slot) {
        let live = core.get(slot);
        if !live.has_started() {
            self.waiting[live.model].retain(|&s| s != slot);
            return;
        }
        self.active.retain(|&s| s != slot);
        self.in_use[live.model][usize::from(live.copy)] = false;
        // The lane of one that was cancelled between blocks may be another's by now.
        if self.is_free(core, live.lane) {
            self.lanes[usize::from(live.lane)] = false;
        }
    }

    /// What is more urgent goes first, and all that runs shares the device.
    fn predicted_end(&self, core: &Core, request: Request, now: u64) -> u64 {
        let model = request.model.index();
        let own = core.profile.models()[model].in_blocks_ns();
        let deadline = now.saturating_add(request.deadline_ns.unwrap_or(u64::MAX));
        let waiting = self.waiting.iter().flatten();
        let before: u64 = waiting
            .chain(&self.active)
            .filter(|&&s| {
                let theirs = u64::from(request.priority);
                let its = priority(core, s, now);
                its > theirs || its == theirs && target(core, s, now) <= deadline
            })
            .map(|&s| core.get(s).left)
            .sum();
        let beside = core.beside_all(model);
        let at_once = core.n_live.iter().filter(|&&n| n > 0).count().max(1) as f64;
        now + (before as f64 * beside / at_once + own as f64 * beside.min(2.0)) as u64
    }
}

impl Interleave {
    /// Whether nobody runs in a lane.
    fn is_free(&self, core: &Core, lane: u16) -> bool {
        !self.running(core).any(|s| core.get(s).lane == lane)
    }
}
