//! One request at a time: a queue, and the right to run.

use super::core::{Choice, Core, Slot};
use super::request::Request;

/// How a request that takes the token for the first time runs.
pub(super) type InBlocks = fn(&Core, Slot) -> bool;

/// A queue; its head has the token. Whoever runs stays in it.
pub(super) struct Token {
    queue: Vec<Slot>,
    /// Who has blocks that have not ended.
    running: Option<Slot>,
    in_blocks: InBlocks,
}

impl Token {
    pub(super) fn new(core: &Core, in_blocks: InBlocks) -> Self {
        Self {
            queue: Vec::with_capacity(core.capacity()),
            running: None,
            in_blocks,
        }
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.queue.push(slot);
    }

    /// Puts a request where it adds least to the sum of response ratios, as far as one pass from the
    /// end finds out: it goes before another of another model unless that makes the sum of both
    /// larger (SPLIT, the greedy preemption test).
    pub(super) fn insert_by_ratio(&mut self, core: &Core, slot: Slot) {
        let at = self.place_by_ratio(core, core.get(slot).model, core.get(slot).left);
        self.queue.insert(at, slot);
    }

    /// Where a request with `left` ns to run of `model` would go.
    ///
    /// With E(w) = (elapsed + w + left) / solo, going before Q changes N's ratio by -left(Q) /
    /// solo(N) and Q's by left(N) / solo(Q); what has elapsed and who else waits cancels out.
    fn place_by_ratio(&self, core: &Core, model: usize, left: u64) -> usize {
        let solo = core.profile.models()[model].solo_ns.max(1);
        let own = u128::from(left) * u128::from(solo);
        let stays_behind = |&other: &Slot| {
            let its = core.get(other);
            its.model == model || own > u128::from(its.left) * u128::from(core.solo(other))
        };
        let stop = self.queue.iter().rposition(stays_behind);
        stop.map_or(0, |at| at + 1)
    }

    /// Work that goes before a request that comes now, in nanoseconds.
    pub(super) fn before(&self, core: &Core, model: usize, by_ratio: bool) -> u64 {
        let left = core.profile.models()[model].in_blocks_ns();
        let at = if by_ratio {
            self.place_by_ratio(core, model, left)
        } else {
            self.queue.len()
        };
        let mut sum: u64 = self.queue[..at].iter().map(|&s| core.get(s).left).sum();
        // What runs whole runs on even if it stands behind.
        if let Some(running) = self.running
            && !self.queue[..at].contains(&running)
        {
            sum += core.get(running).left;
        }
        sum
    }

    pub(super) fn next(&self, core: &Core) -> Option<Choice> {
        let head = *self.queue.first()?;
        let live = core.get(head);
        if let Some(running) = self.running {
            // Ahead unless somebody goes before it: those behind it wait in any case.
            let may = running == head
                && live.in_blocks
                && live.has_more()
                && live.n_starts <= core.options.ahead;
            if !may {
                return None;
            }
        }
        let in_blocks = if live.has_started() {
            live.in_blocks
        } else {
            (self.in_blocks)(core, head)
        };
        Some(Choice {
            slot: head,
            n_blocks: if in_blocks {
                1
            } else {
                live.n_blocks - live.next
            },
            lane: 0,
            level: core.options.levels - 1,
            copy: 0,
        })
    }

    pub(super) fn started(&mut self, slot: Slot) {
        self.running = Some(slot);
    }

    pub(super) fn finished(&mut self, core: &Core, slot: Slot) {
        if !core.get(slot).is_running() {
            self.running = None;
        }
    }

    pub(super) fn gone(&mut self, slot: Slot) {
        if self.running == Some(slot) {
            self.running = None;
        }
        self.queue.retain(|&s| s != slot);
    }
}

/// A policy that is a token with a rule for where requests queue and one for how they run.
macro_rules! token_policy {
    ($(#[$meta:meta])* $name:ident, by_ratio: $by_ratio:expr, in_blocks: $in_blocks:expr) => {
        $(#[$meta])*
        pub(super) struct $name($crate::schedule::token::Token);

        impl $name {
            pub(super) fn new(core: &$crate::schedule::core::Core) -> Self {
                Self($crate::schedule::token::Token::new(core, $in_blocks))
            }
        }

        impl $crate::schedule::scheduler::Order for $name {
            fn arrived(
                &mut self,
                core: &mut $crate::schedule::core::Core,
                slot: $crate::schedule::core::Slot,
                _now: u64,
            ) {
                if $by_ratio {
                    self.0.insert_by_ratio(core, slot);
                } else {
                    self.0.push(slot);
                }
            }

            fn next(
                &mut self,
                core: &mut $crate::schedule::core::Core,
                _now: u64,
            ) -> Option<$crate::schedule::core::Choice> {
                self.0.next(core)
            }

            fn started(
                &mut self,
                _core: &mut $crate::schedule::core::Core,
                choice: $crate::schedule::core::Choice,
            ) {
                self.0.started(choice.slot);
            }

            fn finished(
                &mut self,
                core: &mut $crate::schedule::core::Core,
                slot: $crate::schedule::core::Slot,
            ) {
                self.0.finished(core, slot);
            }

            fn gone(
                &mut self,
                _core: &$crate::schedule::core::Core,
                slot: $crate::schedule::core::Slot,
            ) {
                self.0.gone(slot);
            }

            fn predicted_end(
                &self,
                core: &$crate::schedule::core::Core,
                request: $crate::schedule::request::Request,
                now: u64,
            ) -> u64 {
                $crate::schedule::token::predicted_end(&self.0, core, request, now, $by_ratio)
            }
        }
    };
}
pub(super) use token_policy;

pub(super) fn predicted_end(
    token: &Token,
    core: &Core,
    request: Request,
    now: u64,
    by_ratio: bool,
) -> u64 {
    let model = request.model.index();
    let own = core.profile.models()[model].in_blocks_ns();
    now + token.before(core, model, by_ratio) + own
}
