//! `parallel`: one request of each model at a time, whole, all models at once.

use super::core::{Choice, Core, Slot};
use super::request::Request;
use super::scheduler::Order;
use std::collections::VecDeque;

/// Each model has a lane of its own, and nothing is controlled.
pub(super) struct Parallel {
    /// Of each model, who waits or runs; the first may run.
    queues: Vec<VecDeque<Slot>>,
    is_running: Vec<bool>,
}

impl Parallel {
    pub(super) fn new(core: &Core) -> Self {
        let n_models = core.n_live.len();
        let queue = core.options.queue.max(1) as usize;
        Self {
            queues: (0..n_models)
                .map(|_| VecDeque::with_capacity(queue))
                .collect(),
            is_running: vec![false; n_models],
        }
    }
}

impl Order for Parallel {
    fn arrived(&mut self, core: &mut Core, slot: Slot, _now: u64) {
        self.queues[core.get(slot).model].push_back(slot);
    }

    fn next(&mut self, core: &mut Core, _now: u64) -> Option<Choice> {
        let idle = |model: usize| !self.is_running[model];
        let heads = self.queues.iter().enumerate();
        let mut heads = heads.filter_map(|(m, q)| q.front().filter(|_| idle(m)).map(|&s| (m, s)));
        let (model, slot) = heads.next()?;
        Some(Choice {
            slot,
            n_blocks: core.get(slot).n_blocks,
            lane: model as u16,
            level: core.options.levels - 1,
            copy: 0,
        })
    }

    fn started(&mut self, core: &mut Core, choice: Choice) {
        self.is_running[core.get(choice.slot).model] = true;
    }

    fn finished(&mut self, _core: &mut Core, _slot: Slot) {}

    fn gone(&mut self, core: &Core, slot: Slot) {
        let model = core.get(slot).model;
        if self.queues[model].front() == Some(&slot) {
            self.is_running[model] = false;
        }
        self.queues[model].retain(|&s| s != slot);
    }

    /// As if all models that have requests went on running beside it.
    fn predicted_end(&self, core: &Core, request: Request, now: u64) -> u64 {
        let model = request.model.index();
        let queue = &self.queues[model];
        let before: u64 = queue.iter().map(|&s| core.get(s).left).sum();
        let own = core.profile.models()[model].solo_ns;
        let beside = core.beside_all(model);
        now + ((before + own) as f64 * beside) as u64
    }
}
