//! The state machine: events in, decisions out.

use super::core::{Choice, Core, Slot};
use super::policy::{Options, Policy};
use super::profile::{Profile, ProfileError};
use super::request::{Refusal, Request, RequestId};
use super::{bnst, dlir, fifo, interleave, oyst, parallel};
use plans::ModelIndex;
use std::ops::Range;

/// What a policy does.
pub(super) trait Order: Send {
    /// A request has come.
    fn arrived(&mut self, core: &mut Core, slot: Slot, now: u64);

    /// What to start next; nothing of it is noted yet. A request that is chosen and not started is
    /// offered to [`Order::gone`].
    fn next(&mut self, core: &mut Core, now: u64) -> Option<Choice>;

    /// What was chosen has been started.
    fn started(&mut self, core: &mut Core, choice: Choice);

    /// A start of a request has ended; the request goes on.
    fn finished(&mut self, core: &mut Core, slot: Slot);

    /// A request that runs no more, for whatever reason, is about to be let go.
    fn gone(&mut self, core: &Core, slot: Slot);

    /// When a request that comes now is predicted to end.
    fn predicted_end(&self, core: &Core, request: Request, now: u64) -> u64;
}

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Start blocks of a request.
    Start(Start),
    /// A request's deadline has passed while it waited: it lives no more.
    Drop {
        /// Where it was kept.
        slot: Slot,
        /// The request.
        id: RequestId,
    },
}

/// Blocks to start, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Where the request is kept.
    pub slot: Slot,
    /// The request.
    pub id: RequestId,
    /// Its model.
    pub model: ModelIndex,
    /// Which memory of the model it runs in: the same for all of its blocks.
    pub copy: u16,
    /// The blocks, by number in the model. They follow those of the request's last start, which may
    /// still run.
    pub blocks: Range<u16>,
    /// What runs in one lane runs one after the other. A request changes it only when none of its
    /// blocks runs.
    pub lane: u16,
    /// The priority on the device; 0 is the most urgent.
    pub level: u8,
    /// Whether the model runs block by block.
    pub in_blocks: bool,
}

/// How a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Blocks of it are left.
    Alive,
    /// All of its blocks have run: it lives no more.
    Done,
    /// It was cancelled, and nothing of it runs: it lives no more.
    Cancelled,
}

/// A policy at work on requests.
///
/// A decision allocates nothing and takes time in proportion to the requests that live at most, in
/// `interleave` to models and lanes.
pub struct Scheduler {
    policy: Policy,
    core: Core,
    order: Box<dyn Order>,
    now: u64,
}

impl Scheduler {
    /// A policy for these models, and nothing to do yet.
    ///
    /// # Errors
    ///
    /// If there is no model, or nothing is known of the time of a block.
    pub fn new(profile: Profile, policy: Policy, options: Options) -> Result<Self, ProfileError> {
        profile.check()?;
        let options = Options {
            lanes: options.lanes.max(1),
            copies: options.copies.max(1),
            levels: options.levels.max(1),
            ahead: options.ahead.min(Options::MAX_AHEAD),
            ..options
        };
        let core = Core::new(profile, options);
        let order: Box<dyn Order> = match policy {
            Policy::Fifo => Box::new(fifo::Fifo::new(&core)),
            Policy::Bnst => Box::new(bnst::Bnst::new(&core)),
            Policy::Oyst => Box::new(oyst::Oyst::new(&core)),
            Policy::Dlir => Box::new(dlir::Dlir::new(&core)),
            Policy::Parallel => Box::new(parallel::Parallel::new(&core)),
            Policy::Interleave => Box::new(interleave::Interleave::new(&core)),
        };
        Ok(Self {
            policy,
            core,
            order,
            now: 0,
        })
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// What it knows of the models.
    pub fn profile(&self) -> &Profile {
        &self.core.profile
    }

    /// The most requests that live at once: slots are below.
    pub fn capacity(&self) -> usize {
        self.core.capacity()
    }

    /// Lanes that starts may name.
    pub fn n_lanes(policy: Policy, options: &Options, n_models: usize) -> usize {
        match policy {
            Policy::Fifo | Policy::Bnst | Policy::Oyst | Policy::Dlir => 1,
            Policy::Parallel => n_models,
            Policy::Interleave => usize::from(options.lanes.max(1)),
        }
    }

    /// Memories of each model that starts may name.
    pub fn n_copies(policy: Policy, options: &Options) -> usize {
        match policy {
            Policy::Interleave => usize::from(options.copies.max(1)),
            _ => 1,
        }
    }

    /// Requests that live.
    pub fn n_live(&self) -> usize {
        self.core.n_all as usize
    }

    fn at(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    /// A request comes. Gives where it is kept until it ends.
    ///
    /// # Errors
    ///
    /// If it is not taken.
    pub fn arrive(&mut self, now: u64, id: RequestId, request: Request) -> Result<Slot, Refusal> {
        let now = self.at(now);
        if self.core.options.admission
            && let Some(deadline) = request.deadline_ns
            && request.model.index() < self.core.profile.models().len()
        {
            let end = self.order.predicted_end(&self.core, request, now);
            let predicted_ns = end.saturating_sub(now);
            if predicted_ns > deadline {
                return Err(Refusal::Deadline { predicted_ns });
            }
        }
        let slot = self.core.add(id, request, now)?;
        self.order.arrived(&mut self.core, slot, now);
        Ok(slot)
    }

    /// The oldest start of a request that had not ended has.
    pub fn finished(&mut self, now: u64, slot: Slot) -> Progress {
        let now = self.at(now);
        self.core.finish(slot, now);
        let live = self.core.get(slot);
        let progress = if live.done == live.n_blocks {
            Progress::Done
        } else if live.is_cancelled && !live.is_running() {
            Progress::Cancelled
        } else {
            self.order.finished(&mut self.core, slot);
            return Progress::Alive;
        };
        self.let_go(slot);
        progress
    }

    /// Nobody wants a request any more. Blocks of it that were started run to their end;
    /// [`Scheduler::finished`] is to be told.
    pub fn cancel(&mut self, now: u64, slot: Slot) -> Progress {
        self.at(now);
        let live = self.core.get_mut(slot);
        live.is_cancelled = true;
        if live.is_running() {
            return Progress::Alive;
        }
        self.let_go(slot);
        Progress::Cancelled
    }

    /// A request has failed: nothing of it runs any more, and it lives no more.
    pub fn fail(&mut self, now: u64, slot: Slot) {
        self.at(now);
        self.core.get_mut(slot).n_starts = 0;
        self.let_go(slot);
    }

    fn let_go(&mut self, slot: Slot) {
        self.order.gone(&self.core, slot);
        self.core.remove(slot);
    }

    /// What to do next; to be asked until there is nothing.
    pub fn next(&mut self, now: u64) -> Option<Decision> {
        let now = self.at(now);
        let choice = self.order.next(&mut self.core, now)?;
        let slot = choice.slot;
        let live = self.core.get(slot);
        let id = live.id;
        let late = |deadline: u64| now > live.arrival.saturating_add(deadline);
        if self.core.options.drop_late
            && !live.has_started()
            && live.request.deadline_ns.is_some_and(late)
        {
            self.let_go(slot);
            return Some(Decision::Drop { slot, id });
        }
        if !live.has_started() {
            self.core.get_mut(slot).in_blocks = choice.n_blocks < self.core.get(slot).n_blocks;
        }
        let first = self.core.start(choice, now);
        self.order.started(&mut self.core, choice);
        let live = self.core.get(slot);
        Some(Decision::Start(Start {
            slot,
            id,
            model: live.request.model,
            copy: choice.copy,
            blocks: first..first + choice.n_blocks,
            lane: choice.lane,
            level: choice.level,
            in_blocks: live.in_blocks,
        }))
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler")
            .field("policy", &self.policy)
            .field("n_live", &self.n_live())
            .finish_non_exhaustive()
    }
}
