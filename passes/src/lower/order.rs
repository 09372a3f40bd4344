//! What orders the steps of a model: what they read and write, and the lanes that they are in.

use super::steps::{ModelDraft, StepDraft, StorageKind};
use plans::spec::{ArgSpec, Role};
use std::collections::BTreeMap;
use std::ops::Range;

/// Up to this many accesses to a storage are compared byte by byte; beyond, whatever writes to it is
/// taken to write all of it.
const MAX_COMPARED: usize = 64;

/// One access to a storage.
struct Access {
    step: usize,
    spec: ArgSpec,
    at: u64,
}

/// For each step of `draft` in `range`, by its place there, the steps before it that must have
/// finished: it reads what they write, or writes what they read or write. Some that others of them
/// imply may be left out.
pub(super) fn dependencies(draft: &ModelDraft, range: Range<usize>) -> Vec<Vec<usize>> {
    let mut after: Vec<Vec<usize>> = vec![vec![]; range.len()];
    let mut accesses: BTreeMap<usize, Vec<Access>> = BTreeMap::new();
    for (i, step) in draft.steps[range].iter().enumerate() {
        for (&(storage, at), spec) in step.args.iter().zip(step.spec.args()) {
            let is_weight = matches!(draft.storages[storage].kind, StorageKind::Weight(_));
            if !is_weight && spec.reach.is_some() {
                let access = Access { step: i, spec, at };
                accesses.entry(storage).or_default().push(access);
            }
        }
    }
    for accesses in accesses.values() {
        if accesses.len() <= MAX_COMPARED {
            by_bytes(accesses, &mut after);
        } else {
            by_storage(accesses, &mut after);
        }
    }
    for (i, before) in after.iter_mut().enumerate() {
        before.retain(|&earlier| earlier != i);
        before.sort_unstable();
        before.dedup();
    }
    after
}

fn by_bytes(accesses: &[Access], after: &mut [Vec<usize>]) {
    for (n, b) in accesses.iter().enumerate() {
        for a in &accesses[..n] {
            let matters = a.spec.role != Role::Read || b.spec.role != Role::Read;
            if matters && a.spec.shares_bytes(a.at, &b.spec, b.at) {
                after[b.step].push(a.step);
            }
        }
    }
}

fn by_storage(accesses: &[Access], after: &mut [Vec<usize>]) {
    let mut writer = None;
    let mut readers: Vec<usize> = vec![];
    for access in accesses {
        after[access.step].extend(writer);
        if access.spec.role == Role::Read {
            readers.push(access.step);
        } else {
            after[access.step].append(&mut readers);
            writer = Some(access.step);
        }
    }
}

/// Which steps have surely finished when another starts: for each step and lane, one more than the
/// position of the last step of that lane that has, or 0.
///
/// These are vector clocks with the lanes as processes (Mattern, "Virtual time and global states of
/// distributed systems", 1989); a plan's validation counts in the same way.
#[derive(Default)]
pub(super) struct Clocks {
    n_lanes: usize,
    /// The lane of each step.
    lanes: Vec<usize>,
    finished: Vec<u32>,
    /// The last step of each lane.
    last: Vec<Option<usize>>,
}

impl Clocks {
    /// Clocks of no steps yet, for lanes 0 to `n_lanes`, the latter left out.
    pub(super) fn new(n_lanes: usize) -> Self {
        Self {
            n_lanes,
            last: vec![None; n_lanes],
            ..Self::default()
        }
    }

    /// The clocks of steps as their lanes and waits say.
    pub(super) fn of(steps: &[StepDraft]) -> Self {
        let n_lanes = steps.iter().map(|s| usize::from(s.lane) + 1).max();
        let mut clocks = Self::new(n_lanes.unwrap_or(1));
        for step in steps {
            clocks.push(usize::from(step.lane), &step.waits);
        }
        clocks
    }

    /// Adds the next step, which runs in `lane` when the steps `after` have finished. Gives those of
    /// them that neither the lane nor another of them implies.
    pub(super) fn push(&mut self, lane: usize, after: &[usize]) -> Vec<usize> {
        let n = self.n_lanes;
        let mut own = vec![0; n];
        if let Some(last) = self.last[lane] {
            self.merge(&mut own, last);
        }
        // Later steps imply earlier ones, never the other way round.
        let mut needed = after.to_vec();
        needed.sort_unstable_by(|a, b| b.cmp(a));
        needed.retain(|&step| {
            let implied = own[self.lanes[step]] as usize > step;
            if !implied {
                self.merge(&mut own, step);
            }
            !implied
        });
        needed.sort_unstable();
        self.last[lane] = Some(self.lanes.len());
        self.lanes.push(lane);
        self.finished.extend(own);
        needed
    }

    fn merge(&self, own: &mut [u32], step: usize) {
        for (a, b) in own.iter_mut().zip(self.at(step)) {
            *a = (*a).max(*b);
        }
        let lane = self.lanes[step];
        own[lane] = own[lane].max(step as u32 + 1);
    }

    /// The last step of each lane so far.
    pub(super) fn last(&self) -> impl Iterator<Item = usize> {
        self.last.iter().flatten().copied()
    }

    /// The number of lanes.
    pub(super) fn n_lanes(&self) -> usize {
        self.n_lanes
    }

    /// The lane of a step.
    pub(super) fn lane(&self, step: usize) -> usize {
        self.lanes[step]
    }

    /// Of each lane, one more than the position of the last step that has finished when `step` starts.
    pub(super) fn at(&self, step: usize) -> &[u32] {
        &self.finished[step * self.n_lanes..][..self.n_lanes]
    }

    /// For each lane, and each number of a step in it plus one: the last step of the list that need not
    /// come after that step.
    pub(super) fn latest(&self) -> Vec<Vec<usize>> {
        let n = self.lanes.len();
        (0..self.n_lanes)
            .map(|lane| {
                // By clock, the last step that has it; then of all lower clocks.
                let mut latest = vec![0; n + 1];
                for step in 0..n {
                    let below = self.at(step)[lane] as usize + 1;
                    if below <= n {
                        latest[below] = step;
                    }
                }
                for i in 1..=n {
                    latest[i] = latest[i].max(latest[i - 1]);
                }
                latest
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_others_imply_are_left_out() {
        let mut clocks = Clocks::new(3);
        assert!(clocks.push(0, &[]).is_empty());
        assert_eq!(clocks.push(1, &[0]), [0]);
        assert!(clocks.push(0, &[0]).is_empty());
        assert_eq!(clocks.push(2, &[0, 1]), [1]);
        // Two lanes join in the first, which has waited for 0 itself.
        assert_eq!(clocks.push(0, &[0, 1, 3]), [3]);
        assert!(clocks.push(0, &[1, 2]).is_empty());
        assert_eq!(clocks.push(1, &[3, 4]), [4]);
        assert_eq!(clocks.at(6), [5, 2, 4]);
        // Steps that need not come after step 1, of lane 1: itself, and what does not wait for it.
        assert_eq!(clocks.latest()[1][2], 2);
        // After step 5, the last of lane 0: none but itself does not come, and step 6 of lane 1.
        assert_eq!(clocks.latest()[0][6], 6);
    }
}
