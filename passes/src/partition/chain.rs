//! A model as a chain of steps that can be cut between any two.

use plans::blocks::{Live, live};
use plans::{Device, Model, Plan};
use std::ops::Range;

/// What a step takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StepTime {
    /// Behind another step of its block, in nanoseconds.
    pub ns: u64,
    /// As the first of a block, when nothing before it hides its start, in nanoseconds.
    pub first_ns: u64,
    /// How long it would keep the whole device busy, in nanoseconds: steps of different lanes together
    /// take no less than the sum.
    pub busy_ns: u64,
}

/// What a cut costs on a device, beside the hidden start of the step after it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct CutCosts {
    /// What starting a block takes, in nanoseconds.
    pub launch_ns: f64,
    /// How much longer a byte takes from memory than from the last cache, in nanoseconds: what runs
    /// between two blocks leaves nothing in the cache.
    pub reload_ns_per_byte: f64,
    /// The size of the last cache, in bytes: more than that is read from memory anyway.
    pub cache_bytes: u64,
}

impl CutCosts {
    /// What a cut costs that `bytes` are alive across.
    fn of(&self, bytes: u64) -> u64 {
        let reload = bytes.min(self.cache_bytes) as f64 * self.reload_ns_per_byte;
        (self.launch_ns + reload).max(0.0).round() as u64
    }
}

/// A model's steps, their times, and what cutting between them costs.
///
/// Boundary `b` lies before step `b`; a block is the steps between two boundaries. Its time is that of
/// its steps in the uncut model, and what the cut at its first boundary costs:
///
/// `block_ns(a..b) = done[b] - done[a] + cut[a]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// By boundary, the time at which all steps before it are done in the uncut model, in
    /// nanoseconds.
    done: Vec<u64>,
    /// By boundary, what a block that starts there takes beyond its steps, in nanoseconds: at 0 the
    /// launch and its first step's start, elsewhere these, the overlap that is lost, and reading what
    /// is alive.
    cut: Vec<u64>,
    /// By boundary, whether a block starts there in any case.
    forced: Vec<bool>,
    /// By boundary, what is alive there.
    live: Vec<Live>,
}

impl Chain {
    /// The chain of `model`, whose steps take `times`, by position in the plan.
    ///
    /// Steps of different lanes overlap; a cut waits for all of them.
    pub fn of(
        plan: &Plan,
        model: &Model,
        times: &[StepTime],
        costs: &dyn Fn(Device) -> CutCosts,
    ) -> Self {
        let steps = model.steps();
        let n = steps.len();
        let time = |b: usize| times.get(steps.start + b).copied().unwrap_or_default();
        let mut lanes: Vec<(u16, u64)> = vec![];
        let mut spans: Vec<(u64, u64)> = vec![];
        for i in steps.clone() {
            let step = &plan.steps[i];
            let waited = step.waits.iter().filter_map(|w| {
                let w = w.index().checked_sub(steps.start)?;
                spans.get(w).map(|s| s.1)
            });
            let mut start = waited.max().unwrap_or(0);
            let ns = time(i - steps.start).ns;
            match lanes.iter_mut().find(|(lane, _)| *lane == step.lane) {
                Some((_, end)) => {
                    start = start.max(*end);
                    *end = start + ns;
                }
                None => lanes.push((step.lane, start + ns)),
            }
            spans.push((start, start + ns));
        }
        let mut done = vec![0u64; n + 1];
        let mut busy = 0;
        for (b, span) in spans.iter().enumerate() {
            busy += time(b).busy_ns;
            done[b + 1] = done[b].max(span.1).max(busy);
        }
        // By boundary, when the first of the steps after it starts.
        let mut begun = vec![u64::MAX; n + 1];
        for (b, span) in spans.iter().enumerate().rev() {
            begun[b] = begun[b + 1].min(span.0);
        }
        let device = |b: usize| plan.steps[steps.start + b].device;
        let live = live(plan, model);
        let start = |b: usize| time(b).first_ns.saturating_sub(time(b).ns);
        let cut = (0..n)
            .map(|b| match b {
                0 => costs(device(0)).of(0) + start(0),
                _ => {
                    let overlap = done[b].saturating_sub(begun[b]);
                    costs(device(b)).of(live[b].bytes) + start(b) + overlap
                }
            })
            .collect();
        let forced = (0..n)
            .map(|b| b == 0 || device(b) != device(b - 1))
            .collect();
        Self {
            done,
            cut,
            forced,
            live,
        }
    }

    /// A chain of steps that run one after the other.
    ///
    /// All lists are as long as `step_ns`; `cut` and `live` are of the boundaries before the steps.
    #[cfg(test)]
    pub(super) fn in_order(step_ns: &[u64], cut: &[u64], forced: &[usize], live: &[Live]) -> Self {
        let mut done = vec![0];
        for ns in step_ns {
            done.push(done[done.len() - 1] + ns);
        }
        let mut live = live.to_vec();
        live.push(Live::default());
        Self {
            done,
            cut: cut.to_vec(),
            forced: (0..cut.len())
                .map(|b| b == 0 || forced.contains(&b))
                .collect(),
            live,
        }
    }

    /// The number of steps.
    pub fn n_steps(&self) -> usize {
        self.cut.len()
    }

    /// The time of the block of `steps`, in nanoseconds. There is at least one.
    pub fn block_ns(&self, steps: Range<usize>) -> u64 {
        self.done[steps.end] - self.done[steps.start] + self.cut[steps.start]
    }

    /// The time of the model without any cut that is not forced, in nanoseconds.
    pub fn whole_ns(&self) -> u64 {
        let forced = (0..self.n_steps()).filter(|&b| self.forced[b]);
        self.done[self.n_steps()] + forced.map(|b| self.cut[b]).sum::<u64>()
    }

    /// What starting a block at boundary `b` adds to the model's time, in nanoseconds: nothing where
    /// one starts in any case.
    pub fn extra_ns(&self, b: usize) -> u64 {
        if self.forced[b] { 0 } else { self.cut[b] }
    }

    /// What is alive at boundary `b`.
    pub fn live(&self, b: usize) -> Live {
        self.live[b]
    }

    /// The time at which all steps before boundary `b` are done in the uncut model, in nanoseconds.
    pub(super) fn done(&self, b: usize) -> u64 {
        self.done[b]
    }

    /// What a block that starts at boundary `b` takes beyond its steps, in nanoseconds.
    pub(super) fn cut(&self, b: usize) -> u64 {
        self.cut[b]
    }

    /// Boundaries at which a block starts in any case, 0 among them.
    pub(super) fn forced(&self) -> Vec<usize> {
        (0..self.n_steps()).filter(|&b| self.forced[b]).collect()
    }

    /// Boundaries at which a block may start or not.
    pub(super) fn free(&self) -> Vec<usize> {
        (0..self.n_steps()).filter(|&b| !self.forced[b]).collect()
    }

    /// The blocks that start at `starts`, which is ascending and begins with 0.
    pub(super) fn blocks<'a>(
        &self,
        starts: &'a [usize],
    ) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let ends = starts.iter().skip(1).copied().chain([self.n_steps()]);
        starts.iter().copied().zip(ends).map(|(a, b)| a..b)
    }

    /// The times of the blocks that start at `starts`, in nanoseconds.
    pub(super) fn times(&self, starts: &[usize]) -> Vec<u64> {
        self.blocks(starts).map(|b| self.block_ns(b)).collect()
    }

    /// The chain that can only be cut at boundaries of `keep`, which is ascending and holds all forced
    /// ones.
    pub(super) fn thinned(&self, keep: &[usize]) -> Self {
        let at = |list: &[u64]| keep.iter().map(|&b| list[b]).collect::<Vec<_>>();
        let last = self.n_steps();
        let mut done = at(&self.done);
        done.push(self.done[last]);
        let mut live: Vec<Live> = keep.iter().map(|&b| self.live[b]).collect();
        live.push(self.live[last]);
        Self {
            done,
            cut: at(&self.cut),
            forced: keep.iter().map(|&b| self.forced[b]).collect(),
            live,
        }
    }
}
