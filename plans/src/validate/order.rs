//! Which step of a model has finished when another starts.

use crate::plan::{Plan, StepIndex};
use std::collections::BTreeMap;
use std::ops::Range;

/// The most lanes that the steps of a model may be spread over.
pub const MAX_LANES: usize = 64;

/// The order of a model's steps: for each step and lane, how many steps (by position in the model)
/// of that lane have surely finished when the step starts.
///
/// These are vector clocks (Mattern, "Virtual time and global states of distributed systems",
/// 1989) with the lanes as processes.
pub(super) struct Order {
    first: usize,
    /// The lane of each step, numbered by first use.
    lanes: Vec<usize>,
    n_lanes: usize,
    /// `n_lanes` entries a step: one more than the position of the last finished step, or 0.
    finished: Vec<u32>,
    /// For each lane, and each position in the model: the last step that need not come after the step
    /// of that lane there.
    latest: Vec<Vec<u32>>,
}

impl Order {
    /// The order of the steps in `range`; `None` if they use more than [`MAX_LANES`] lanes.
    pub(super) fn new(plan: &Plan, range: Range<usize>) -> Option<Self> {
        let steps = &plan.steps[range.clone()];
        let mut numbers = BTreeMap::new();
        let lanes: Vec<usize> = steps
            .iter()
            .map(|s| {
                let next = numbers.len();
                *numbers.entry(s.lane).or_insert(next)
            })
            .collect();
        let n_lanes = numbers.len();
        if n_lanes > MAX_LANES {
            return None;
        }
        let mut order = Self {
            first: range.start,
            lanes,
            n_lanes,
            finished: vec![],
            latest: vec![],
        };
        if n_lanes > 1 {
            order.clocks(plan, range);
            order.latest = (0..n_lanes).map(|lane| order.latest_of(lane)).collect();
        }
        Some(order)
    }

    fn clocks(&mut self, plan: &Plan, range: Range<usize>) {
        let n = self.n_lanes;
        self.finished = vec![0; n * range.len()];
        let mut last: Vec<Option<usize>> = vec![None; n];
        for (i, step) in plan.steps[range].iter().enumerate() {
            let waits = step.waits.iter().map(|w| w.index() - self.first);
            let (before, rest) = self.finished.split_at_mut(i * n);
            let own = &mut rest[..n];
            for earlier in waits.chain(last[self.lanes[i]]) {
                for (a, b) in own.iter_mut().zip(&before[earlier * n..]) {
                    *a = (*a).max(*b);
                }
                let lane = self.lanes[earlier];
                own[lane] = own[lane].max(earlier as u32 + 1);
            }
            last[self.lanes[i]] = Some(i);
        }
    }

    fn latest_of(&self, lane: usize) -> Vec<u32> {
        let n = self.lanes.len();
        let mut latest = vec![0; n];
        for step in 0..n {
            // It need not come after steps from here on.
            let from = self.finished[step * self.n_lanes + lane] as usize;
            if let Some(latest) = latest.get_mut(from) {
                *latest = step as u32;
            }
        }
        for i in 1..n {
            latest[i] = latest[i].max(latest[i - 1]);
        }
        latest
    }

    /// Whether `now` or a later step of the list need not come after `earlier`.
    pub(super) fn may_meet(&self, earlier: StepIndex, now: StepIndex) -> bool {
        let at = earlier.index() - self.first;
        match self.latest.get(self.lanes[at]) {
            Some(latest) => latest[at] as usize >= now.index() - self.first,
            None => false,
        }
    }

    /// Whether all steps run one after the other.
    pub(super) fn is_total(&self) -> bool {
        self.n_lanes <= 1
    }

    /// The lane of a step.
    pub(super) fn lane(&self, step: StepIndex) -> usize {
        self.lanes[step.index() - self.first]
    }

    /// Whether `earlier` has surely finished when `later` starts.
    pub(super) fn precedes(&self, earlier: StepIndex, later: StepIndex) -> bool {
        if self.is_total() {
            return earlier < later;
        }
        let (a, b) = (earlier.index() - self.first, later.index() - self.first);
        self.finished[b * self.n_lanes + self.lanes[a]] as usize > a
    }
}
