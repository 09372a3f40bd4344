//! `interleave`: several requests at once, the urgent first, as many as pays.
//!
//! Each request aims at a target: its deadline, or the first of the limits on the response ratio that
//! it can still meet. Most urgent is who can meet the first, then who can meet a later one, then who has
//! missed all; while few wait, whoever is about to miss the last goes before. The more urgent of those
//! that run get the higher priority on the device.
//! Another request is started beside them if the device then does more work, and if each of those
//! that are more urgent is still predicted to meet its target. Every block of a request is such a
//! start, so that whoever runs makes way at the end of a block; only the most urgent of those that run
//! is started ahead.
//!
//! Room is left for models that were asked for with a higher priority and a deadline, so that the next
//! such request can keep it: what has been started of those of lower priority is at most what the
//! deadline has to spare, or one block.
//!
//! Requests of one model start in order of arrival within a priority. Those whose response ratio has
//! grown to the starvation cap, or to 50 times as much in a crowd, go before all others of their
//! priority, the largest ratio first.

use super::core::{Choice, Core, MAX_BESIDE, Slot};
use super::profile::Running;
use super::request::Request;
use super::scheduler::Order;
use super::targets::{Targets, Urgency, is_higher, rank, target_at, urgency};
use std::collections::VecDeque;

/// The work that the device must do more of for another request to run beside others.
const LEAST_GAIN: f64 = 0.02;

/// How much slower those of a higher priority are taken to be than predicted.
const WARY: f64 = 1.25;

/// The part of its time alone that a request may lose to what others have started, if its deadline is
/// tighter than the first limit.
const SPARE_PART: u64 = 4;

pub(super) struct Interleave {
    /// Of each model, who has not started: by priority, then by arrival.
    waiting: Vec<VecDeque<Slot>>,
    /// Who has started.
    active: Vec<Slot>,
    /// Of each model, which memories are in use.
    in_use: Vec<Vec<bool>>,
    lanes: Vec<bool>,
    targets: Targets,
    /// Of each model, the highest priority that it was asked for with, and the tightest deadline then,
    /// in nanoseconds.
    promises: Vec<(u8, u64)>,
    /// Whether targets are to be found anew.
    is_stale: bool,
    /// Who may be started, the most urgent first.
    candidates: Vec<(Urgency, Slot)>,
}

/// The requests that run.
struct Beside {
    n: usize,
    slots: [Slot; MAX_BESIDE],
    urgencies: [Urgency; MAX_BESIDE],
    set: [Running; MAX_BESIDE],
    slow: [f64; MAX_BESIDE],
}

impl Beside {
    fn work(slow: &[f64]) -> f64 {
        slow.iter().map(|s| 1.0 / s).sum()
    }
}

impl Interleave {
    pub(super) fn new(core: &Core) -> Self {
        let n_models = core.n_live.len();
        let copies = usize::from(core.options.copies);
        let queue = core.options.queue.max(1) as usize;
        let queue = || VecDeque::with_capacity(queue);
        Self {
            waiting: (0..n_models).map(|_| queue()).collect(),
            active: Vec::with_capacity(n_models * copies),
            in_use: vec![vec![false; copies]; n_models],
            lanes: vec![false; usize::from(core.options.lanes)],
            targets: Targets::new(),
            promises: vec![(0, u64::MAX); n_models],
            is_stale: false,
            candidates: Vec::with_capacity(n_models * (copies + 1)),
        }
    }

    fn running<'a>(&'a self, core: &'a Core) -> impl Iterator<Item = Slot> + 'a {
        let active = self.active.iter().copied();
        active.filter(|&s| core.get(s).is_running())
    }

    fn beside(&self, core: &Core, now: u64) -> Beside {
        let nobody = Running {
            model: 0,
            block: 0,
            level: 0,
        };
        let mut beside = Beside {
            n: 0,
            slots: [Slot(0); MAX_BESIDE],
            urgencies: [(std::cmp::Reverse(0), 0, 0, 0); MAX_BESIDE],
            set: [nobody; MAX_BESIDE],
            slow: [1.0; MAX_BESIDE],
        };
        // One place is left for who joins.
        for slot in self.running(core).take(MAX_BESIDE - 1) {
            let n = beside.n;
            beside.slots[n] = slot;
            beside.urgencies[n] = urgency(core, slot, now);
            beside.set[n] = running(core, slot, core.get(slot).level);
            beside.n += 1;
        }
        let slow = &mut beside.slow;
        core.profile.slowdowns(&beside.set[..beside.n], slow);
        beside
    }

    /// Whether those that run and are more urgent than a request are predicted to meet their targets
    /// when they are slowed down so much.
    fn lets_meet(core: &Core, own: Urgency, beside: &Beside, slow: &[f64], now: u64) -> bool {
        (0..beside.n).all(|i| {
            let its = beside.urgencies[i];
            let slot = beside.slots[i];
            let (wary, target) = if is_higher(its, own) {
                (WARY, promised_end(core, slot))
            } else {
                (1.0, core.get(slot).target)
            };
            its > own || meets(core, slot, beside.slow[i], wary * slow[i], target, now)
        })
    }

    /// Whether a request's next block, with all that has been started of no higher priority, is short
    /// enough for models that were asked for with a higher one and a deadline.
    fn spares_promises(&self, core: &Core, slot: Slot) -> bool {
        let live = core.get(slot);
        let own = live.request.priority;
        let promises = self.promises.iter().enumerate();
        let higher = promises.filter(|(_, p)| p.0 > own && p.1 < u64::MAX);
        let Some(spare) = higher.map(|(model, p)| spare(core, model, p.1)).min() else {
            return true;
        };
        let started = self.active.iter().map(|&s| core.get(s));
        let started = started.filter(|l| l.is_running() && l.request.priority <= own);
        let started: u64 = started.map(|l| core.started_ns(l)).sum();
        let next = core.model(live).blocks[usize::from(live.next)].ns;
        started == 0 || started + next <= spare
    }

    /// Whether models that were asked for with a higher priority could keep their deadlines if a
    /// request came now, with one more beside those that run.
    fn keeps_promises(&self, core: &Core, slot: Slot, beside: &mut Beside) -> bool {
        let n = beside.n + 1;
        let own = core.get(slot).request.priority;
        let promises = self.promises.iter().enumerate();
        let mut higher = promises.filter(|(_, p)| p.0 > own && p.1 < u64::MAX);
        higher.all(|(model, &(_, deadline))| {
            let its = &core.profile.models()[model];
            // Those of it that run are looked after by name.
            if n == MAX_BESIDE || beside.set[..n].iter().any(|r| r.model == model) {
                return true;
            }
            beside.set[n] = Running {
                model,
                block: its.blocks.len() / 2,
                level: 0,
            };
            let mut slow = [1.0; MAX_BESIDE];
            core.profile.slowdowns(&beside.set[..=n], &mut slow);
            its.in_blocks_ns() as f64 * slow[n] <= deadline as f64
        })
    }

    /// Whether a request may start beside those that run.
    fn may_join(
        &self,
        core: &Core,
        slot: Slot,
        own: Urgency,
        level: u8,
        beside: &mut Beside,
        now: u64,
    ) -> bool {
        let n = beside.n;
        if n == 0 {
            return true;
        }
        beside.set[n] = running(core, slot, level);
        let mut after = [1.0; MAX_BESIDE];
        core.profile.slowdowns(&beside.set[..=n], &mut after);
        // Who is the most urgent runs in any case: the others make room for it.
        let is_first = beside.urgencies[..n].iter().all(|&its| own < its);
        let more = Beside::work(&after[..=n]) / Beside::work(&beside.slow[..n]);
        (is_first || more >= 1.0 + LEAST_GAIN)
            && Self::lets_meet(core, own, beside, &after, now)
            && self.spares_promises(core, slot)
            && self.keeps_promises(core, slot, beside)
    }

    fn choose(
        &self,
        core: &Core,
        slot: Slot,
        own: Urgency,
        beside: &mut Beside,
        now: u64,
    ) -> Option<Choice> {
        let live = core.get(slot);
        if live.is_running() {
            let is_first = beside.urgencies[..beside.n].iter().all(|&its| own <= its);
            return (is_first && self.spares_promises(core, slot)).then_some(Choice {
                slot,
                n_blocks: 1,
                lane: live.lane,
                level: live.level,
                copy: live.copy,
            });
        }
        let copy = if live.has_started() {
            live.copy
        } else {
            self.in_use[live.model].iter().position(|used| !used)? as u16
        };
        let lane = self.lanes.iter().position(|used| !used)? as u16;
        let level = level(core, own, beside);
        self.may_join(core, slot, own, level, beside, now)
            .then_some(Choice {
                slot,
                n_blocks: 1,
                lane,
                level,
                copy,
            })
    }
}

fn running(core: &Core, slot: Slot, level: u8) -> Running {
    let live = core.get(slot);
    Running {
        model: live.model,
        block: usize::from(live.done.min(live.n_blocks - 1)),
        level,
    }
}

/// The level between those that run and are more urgent, and those that are less. Level 0 is for
/// those above the common priority.
fn level(core: &Core, own: Urgency, beside: &Beside) -> u8 {
    let n_levels = core.options.levels;
    if n_levels == 1 || own.0.0 > 1 {
        return 0;
    }
    let (mut above, mut below) = (0, n_levels);
    for i in 0..beside.n {
        let its = beside.set[i].level;
        if beside.urgencies[i] < own {
            above = above.max(its);
        } else {
            below = below.min(its);
        }
    }
    above.midpoint(below).clamp(1, n_levels - 1)
}

/// What a request of a model with such a deadline may lose to what others have started, in
/// nanoseconds.
fn spare(core: &Core, model: usize, deadline: u64) -> u64 {
    let its = &core.profile.models()[model];
    let first = core.options.limits.first().copied().unwrap_or(0);
    if deadline < its.solo_ns.saturating_mul(u64::from(first)) / 1000 {
        its.solo_ns / SPARE_PART
    } else {
        deadline - its.solo_ns.min(deadline)
    }
}

/// When a request is to be done for those of lower priority to run beside it: with a deadline, having
/// lost no more than it has to spare.
fn promised_end(core: &Core, slot: Slot) -> u64 {
    let live = core.get(slot);
    let end = live.request.deadline_ns.map(|deadline| {
        let lasts = core
            .solo(slot)
            .saturating_add(spare(core, live.model, deadline));
        live.arrival.saturating_add(lasts)
    });
    end.map_or(live.target, |end| end.min(live.target))
}

/// Whether a request that has been slowed down `before` times is predicted to be done at `target` when
/// it is slowed down `after` times.
fn meets(core: &Core, slot: Slot, before: f64, after: f64, target: u64, now: u64) -> bool {
    let live = core.get(slot);
    let block = &core.model(live).blocks[usize::from(live.done)];
    let done = ((now - live.since) as f64 / before).min(block.ns as f64);
    let left = (live.left as f64 - done).max(0.0);
    now as f64 + left * after <= target as f64
}

impl Order for Interleave {
    fn arrived(&mut self, core: &mut Core, slot: Slot, _now: u64) {
        self.is_stale = true;
        let request = core.get(slot).request;
        let promise = &mut self.promises[request.model.index()];
        let deadline = request.deadline_ns.unwrap_or(u64::MAX);
        if request.priority > promise.0 {
            *promise = (request.priority, deadline);
        } else if request.priority == promise.0 {
            promise.1 = promise.1.min(deadline);
        }
        let target = target_at(core, slot, 0);
        core.get_mut(slot).target = target;
        let live = core.get(slot);
        let queue = &mut self.waiting[live.model];
        let first = |&other: &Slot| core.get(other).request.priority >= live.request.priority;
        let at = queue.iter().rposition(first).map_or(0, |at| at + 1);
        queue.insert(at, slot);
    }

    fn next(&mut self, core: &mut Core, now: u64) -> Option<Choice> {
        if std::mem::take(&mut self.is_stale) {
            let copies = usize::from(core.options.copies);
            let waiting = self.waiting.iter().flat_map(|q| q.iter().take(copies));
            let slots = self.active.iter().chain(waiting).copied();
            self.targets.find(core, slots, now);
        }
        let core = &*core;
        // Those that have begun and are not far enough ahead, and the first of each model.
        let begun = self.active.iter().copied().filter(|&s| {
            let live = core.get(s);
            live.has_more() && live.n_starts <= core.options.ahead
        });
        let heads = self.waiting.iter().filter_map(|q| q.front().copied());
        self.candidates.clear();
        self.candidates
            .extend(begun.chain(heads).map(|s| (urgency(core, s, now), s)));
        self.candidates.sort_unstable();
        let mut beside = self.beside(core, now);
        let mut is_held = false;
        for &(own, slot) in &self.candidates {
            let is_running = core.get(slot).is_running();
            // Who runs does not go further ahead while somebody more urgent waits for its lane.
            if is_held && is_running {
                continue;
            }
            let choice = self.choose(core, slot, own, &mut beside, now);
            if choice.is_some() {
                return choice;
            }
            is_held |= !is_running;
        }
        None
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
        self.is_stale = true;
        let live = core.get(slot);
        if !live.is_running() {
            self.lanes[usize::from(live.lane)] = false;
        }
    }

    fn gone(&mut self, core: &Core, slot: Slot) {
        self.is_stale = true;
        let live = core.get(slot);
        if !live.has_started() {
            self.waiting[live.model].retain(|&s| s != slot);
            return;
        }
        self.active.retain(|&s| s != slot);
        self.in_use[live.model][usize::from(live.copy)] = false;
        // The lane of one that was cancelled between blocks may be another's by now.
        if !self.running(core).any(|s| core.get(s).lane == live.lane) {
            self.lanes[usize::from(live.lane)] = false;
        }
    }

    /// What goes before it runs first, as much at once as models have requests.
    fn predicted_end(&self, core: &Core, request: Request, now: u64) -> u64 {
        let model = request.model.index();
        let own = core.profile.models()[model].in_blocks_ns();
        let deadline = now.saturating_add(request.deadline_ns.unwrap_or(u64::MAX));
        let all = self.waiting.iter().flatten().chain(&self.active);
        let first = all.filter(|&&s| {
            let (its, theirs) = (rank(core, s, now), 2 * u64::from(request.priority));
            its > theirs || its == theirs && core.get(s).target <= deadline
        });
        let before: u64 = first.map(|&s| core.get(s).left).sum();
        let beside = core.beside_all(model);
        let at_once = core.n_live.iter().filter(|&&n| n > 0).count().max(1) as f64;
        let waits = before as f64 * beside / at_once;
        now.saturating_add((waits + own as f64 * beside.min(2.0)) as u64)
    }
}
