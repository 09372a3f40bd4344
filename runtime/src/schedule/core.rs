//! The requests that live, and what all policies share.

use super::policy::Options;
use super::profile::{ModelProfile, Profile, Running};
use super::request::{Refusal, Request, RequestId};

/// Where a request that lives is kept: below the number that may live at once. Another request gets
/// it when that one has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Slot(pub u32);

impl Slot {
    /// It as a position.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The most starts of a request that have not ended.
pub(super) const MAX_STARTS: usize = Options::MAX_AHEAD as usize + 1;

/// A request that lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) model: usize,
    pub(super) arrival: u64,
    /// The time alone of the blocks that have not ended, in nanoseconds.
    pub(super) left: u64,
    /// The next block to start.
    pub(super) next: u16,
    /// The next block to end.
    pub(super) done: u16,
    pub(super) n_blocks: u16,
    /// Whether it runs block by block, once it has started.
    pub(super) in_blocks: bool,
    pub(super) is_cancelled: bool,
    /// The numbers of blocks of the starts that have not ended, the oldest first.
    starts: [u16; MAX_STARTS],
    pub(super) n_starts: u8,
    pub(super) copy: u16,
    pub(super) lane: u16,
    pub(super) level: u8,
    /// When the block that runs was started.
    pub(super) since: u64,
    /// When it is to be done, for policies that aim at that.
    pub(super) target: u64,
    /// Which of its targets that is; 0 is the first.
    pub(super) rung: u8,
}

impl Live {
    pub(super) fn has_started(&self) -> bool {
        self.next > 0
    }

    pub(super) fn is_running(&self) -> bool {
        self.n_starts > 0
    }

    /// Whether another start may follow.
    pub(super) fn has_more(&self) -> bool {
        self.next < self.n_blocks && !self.is_cancelled
    }
}

/// What may be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Choice {
    pub(super) slot: Slot,
    /// How many of its blocks.
    pub(super) n_blocks: u16,
    pub(super) lane: u16,
    pub(super) level: u8,
    pub(super) copy: u16,
}

/// The requests that live.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) profile: Profile,
    pub(super) options: Options,
    live: Vec<Live>,
    free: Vec<Slot>,
    /// Requests of each model that live.
    pub(super) n_live: Vec<u32>,
    /// Requests of all models that live.
    pub(super) n_all: u32,
}

impl Core {
    pub(super) fn new(profile: Profile, options: Options) -> Self {
        let n_models = profile.models().len();
        let capacity = (options.queue.max(1) as usize).saturating_mul(n_models);
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
        Self {
            n_live: vec![0; n_models],
            n_all: 0,
            live: Vec::with_capacity(capacity as usize),
            free: (0..capacity).rev().map(Slot).collect(),
            profile,
            options,
        }
    }

    /// The most requests that live at once.
    pub(super) fn capacity(&self) -> usize {
        self.live.len() + self.free.len()
    }

    pub(super) fn model(&self, live: &Live) -> &ModelProfile {
        &self.profile.models()[live.model]
    }

    pub(super) fn get(&self, slot: Slot) -> &Live {
        &self.live[slot.index()]
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Live {
        &mut self.live[slot.index()]
    }

    /// The time alone of the request's model, in nanoseconds; at least 1.
    pub(super) fn solo(&self, slot: Slot) -> u64 {
        self.model(self.get(slot)).solo_ns.max(1)
    }

    /// The time alone of a request's blocks that were started and have not ended, in nanoseconds.
    pub(super) fn started_ns(&self, live: &Live) -> u64 {
        let started = usize::from(live.done)..usize::from(live.next);
        self.model(live).blocks[started].iter().map(|b| b.ns).sum()
    }

    /// Takes a request, unless there is no room.
    pub(super) fn add(
        &mut self,
        id: RequestId,
        request: Request,
        now: u64,
    ) -> Result<Slot, Refusal> {
        let model = request.model.index();
        let Some(profile) = self.profile.models().get(model) else {
            return Err(Refusal::NoModel);
        };
        if self.n_live[model] >= self.options.queue.max(1) {
            return Err(Refusal::QueueFull);
        }
        let Some(slot) = self.free.pop() else {
            return Err(Refusal::QueueFull);
        };
        let live = Live {
            id,
            request,
            model,
            arrival: now,
            left: profile.in_blocks_ns(),
            next: 0,
            done: 0,
            // Checked when the scheduler was made.
            n_blocks: profile.blocks.len() as u16,
            in_blocks: true,
            is_cancelled: false,
            starts: [0; MAX_STARTS],
            n_starts: 0,
            copy: 0,
            lane: 0,
            level: 0,
            since: now,
            target: u64::MAX,
            rung: 0,
        };
        self.n_live[model] += 1;
        self.n_all += 1;
        // Slots are given out in order first, so that the list has a place for each.
        if slot.index() == self.live.len() {
            self.live.push(live);
        } else {
            self.live[slot.index()] = live;
        }
        Ok(slot)
    }

    /// Lets a request go.
    pub(super) fn remove(&mut self, slot: Slot) {
        let model = self.get(slot).model;
        self.n_live[model] -= 1;
        self.n_all -= 1;
        self.free.push(slot);
    }

    /// Notes that blocks of a request are started. Gives the first.
    pub(super) fn start(&mut self, choice: Choice, now: u64) -> u16 {
        let live = self.get_mut(choice.slot);
        let first = live.next;
        live.next += choice.n_blocks;
        live.starts[usize::from(live.n_starts)] = choice.n_blocks;
        if live.n_starts == 0 {
            live.since = now;
        }
        live.n_starts += 1;
        live.lane = choice.lane;
        live.level = choice.level;
        live.copy = choice.copy;
        first
    }

    /// Notes that the oldest start of a request has ended.
    pub(super) fn finish(&mut self, slot: Slot, now: u64) {
        let live = self.get(slot);
        let (model, first, n) = (live.model, usize::from(live.done), live.starts[0]);
        let blocks = &self.profile.models()[model].blocks;
        let ended = &blocks[first..first + usize::from(n)];
        let took: u64 = ended.iter().map(|b| b.ns).sum();
        let live = self.get_mut(slot);
        live.left = live.left.saturating_sub(took);
        live.done += n;
        live.starts.rotate_left(1);
        live.n_starts -= 1;
        live.since = now;
    }
}

/// The most blocks whose slowdown is reckoned with at once; more add nothing.
pub(super) const MAX_BESIDE: usize = 32;

impl Core {
    /// How much longer `model` takes beside one request of each other model that has any.
    pub(super) fn beside_all(&self, model: usize) -> f64 {
        let middle = |model: usize| Running {
            model,
            block: self.profile.models()[model].blocks.len() / 2,
            level: 0,
        };
        let mut running = [middle(model); MAX_BESIDE];
        let mut n = 1;
        for (other, &live) in self.n_live.iter().enumerate() {
            if other != model && live > 0 && n < MAX_BESIDE {
                running[n] = middle(other);
                n += 1;
            }
        }
        let mut slow = [1.0; MAX_BESIDE];
        self.profile.slowdowns(&running[..n], &mut slow);
        slow[0]
    }
}
