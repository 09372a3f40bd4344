//! A scheduler on simulated time.

use super::core::{MAX_STARTS, Slot};
use super::policy::{Options, Policy};
use super::profile::{Profile, ProfileError, Running};
use super::recorder::Recorder;
use super::request::{Arrival, BlockTime, Outcome, Record, RequestId};
use super::scheduler::{Decision, Progress, Scheduler, Start};
use std::collections::VecDeque;

/// Requests on a device that is a [`Profile`]: blocks take their times, longer beside others as
/// [`Profile::slowdowns`] says. A function of its inputs alone.
pub struct Simulation {
    scheduler: Scheduler,
    recorder: Recorder,
    running: Vec<Lane>,
    /// Room for blocks that run and their slowdowns.
    set: Vec<Running>,
    slow: Vec<f64>,
    /// When what is left of blocks was reckoned last.
    since: u64,
    /// Starts that have ended, of which the scheduler has not heard.
    notices: VecDeque<(u64, Slot)>,
    now: u64,
    n_requests: u64,
}

/// A request some of whose blocks were started.
struct Lane {
    slot: Slot,
    model: usize,
    lane: u16,
    level: u8,
    block: u16,
    /// How much of its block's time a block takes if the model runs whole.
    scale: f64,
    /// The time alone that is left of the block, in nanoseconds.
    left: f64,
    /// When the block was or will be started.
    start: u64,
    /// When the block begins to run, if it does not yet.
    begins: u64,
    /// When the block ends, as things are; never, if it does not run.
    ends: u64,
    /// How much longer it takes than alone.
    slow: f64,
    /// The ends of starts, by block, and when each may begin.
    starts: [(u16, u64); MAX_STARTS],
    n_starts: usize,
}

impl Simulation {
    /// Nothing happens yet, at time 0.
    ///
    /// # Errors
    ///
    /// As [`Scheduler::new`].
    pub fn new(profile: &Profile, policy: Policy, options: &Options) -> Result<Self, ProfileError> {
        let scheduler = Scheduler::new(profile.clone(), policy, options.clone())?;
        let n_models = profile.models().len();
        let n_lanes = Scheduler::n_lanes(policy, options, n_models);
        Ok(Self {
            recorder: Recorder::new(profile, scheduler.capacity()),
            scheduler,
            running: Vec::with_capacity(n_lanes),
            set: Vec::with_capacity(n_lanes),
            slow: vec![1.0; n_lanes],
            since: 0,
            notices: VecDeque::with_capacity(n_lanes * MAX_STARTS),
            now: 0,
            n_requests: 0,
        })
    }

    /// Lets requests come and run to their ends. `record` is called with each as it ends or is
    /// refused.
    ///
    /// Requests come in the order given; one whose time is before another's that was given earlier
    /// comes right after that one.
    pub fn run(
        &mut self,
        arrivals: impl IntoIterator<Item = Arrival>,
        record: &mut dyn FnMut(&Record),
    ) {
        let mut arrivals = arrivals.into_iter().peekable();
        loop {
            let arrival = arrivals.peek().map(|a| a.at_ns.max(self.now));
            let Some(next) = arrival.into_iter().chain(self.next_event()).min() else {
                break;
            };
            self.now = next;
            let mut is_changed = self.advance();
            while let Some(&(at, slot)) = self.notices.front()
                && at <= self.now
            {
                self.notices.pop_front();
                if self.scheduler.finished(self.now, slot) == Progress::Done {
                    record(self.recorder.ended(slot, self.now, Outcome::Done));
                }
            }
            if arrival == Some(next)
                && let Some(Arrival { request, .. }) = arrivals.next()
            {
                let id = RequestId(self.n_requests);
                self.n_requests += 1;
                match self.scheduler.arrive(self.now, id, request) {
                    Ok(slot) => self.recorder.arrived(slot, self.now, id, request),
                    Err(why) => record(self.recorder.refused(self.now, id, request, why)),
                }
            }
            while let Some(decision) = self.scheduler.next(self.now) {
                match decision {
                    Decision::Start(start) => is_changed |= self.start(&start),
                    Decision::Drop { slot, .. } => {
                        record(self.recorder.ended(slot, self.now, Outcome::Dropped));
                    }
                }
            }
            if is_changed {
                self.reckon();
            }
        }
    }

    /// When something happens next on the device.
    fn next_event(&self) -> Option<u64> {
        let lanes = self.running.iter().map(|l| l.ends.min(l.begins));
        lanes.chain(self.notices.front().map(|n| n.0)).min()
    }

    /// Lets blocks begin and end that do by now. Says whether any does.
    fn advance(&mut self) -> bool {
        let now = self.now;
        if !self
            .running
            .iter()
            .any(|l| l.begins <= now || l.ends <= now)
        {
            return false;
        }
        self.settle();
        let notice = self.scheduler.profile().notice_ns;
        let mut i = 0;
        while i < self.running.len() {
            let lane = &mut self.running[i];
            if lane.begins <= now {
                lane.begins = u64::MAX;
            }
            if lane.ends > now {
                i += 1;
                continue;
            }
            let time = BlockTime {
                block: lane.block,
                lane: lane.lane,
                level: lane.level,
                start_ns: lane.start,
                end_ns: now,
            };
            self.recorder.block(lane.slot, time);
            lane.block += 1;
            lane.start = now;
            lane.begins = now;
            if lane.block == lane.starts[0].0 {
                self.notices.push_back((now + notice, lane.slot));
                lane.starts.rotate_left(1);
                lane.n_starts -= 1;
                if lane.n_starts == 0 {
                    // The order of lanes decides nothing but the order of sums.
                    self.running.remove(i);
                    continue;
                }
                lane.begins = now.max(lane.starts[0].1);
            }
            let model = &self.scheduler.profile().models()[lane.model];
            lane.left = model.blocks[usize::from(lane.block)].ns as f64 * lane.scale;
            lane.ends = u64::MAX;
            if lane.begins <= now {
                lane.begins = u64::MAX;
            }
            i += 1;
        }
        true
    }

    fn start(&mut self, start: &Start) -> bool {
        let now = self.now;
        self.recorder.started(start, now);
        let profile = self.scheduler.profile();
        let ready = now + profile.launch_ns;
        if let Some(lane) = self.running.iter_mut().find(|l| l.slot == start.slot) {
            lane.starts[lane.n_starts] = (start.blocks.end, ready);
            lane.n_starts += 1;
            return false;
        }
        let model = &profile.models()[start.model.index()];
        let scale = if start.in_blocks {
            1.0
        } else {
            model.solo_ns as f64 / model.in_blocks_ns() as f64
        };
        let mut starts = [(0, 0); MAX_STARTS];
        starts[0] = (start.blocks.end, ready);
        let lane = Lane {
            slot: start.slot,
            model: start.model.index(),
            lane: start.lane,
            level: start.level,
            block: start.blocks.start,
            scale,
            left: model.blocks[usize::from(start.blocks.start)].ns as f64 * scale,
            start: now,
            begins: if ready > now { ready } else { u64::MAX },
            ends: u64::MAX,
            slow: 1.0,
            starts,
            n_starts: 1,
        };
        self.settle();
        self.running.push(lane);
        true
    }

    /// Takes what ran since the last time off what is left.
    fn settle(&mut self) {
        let passed = (self.now - self.since) as f64;
        if passed > 0.0 {
            for lane in self.running.iter_mut().filter(|l| l.ends < u64::MAX) {
                lane.left = (lane.left - passed / lane.slow).max(0.0);
            }
        }
        self.since = self.now;
    }

    /// Finds slowdowns anew, and when blocks end.
    fn reckon(&mut self) {
        self.settle();
        self.set.clear();
        let runs = |l: &&mut Lane| l.begins == u64::MAX;
        self.set
            .extend(self.running.iter_mut().filter(runs).map(|l| Running {
                model: l.model,
                block: usize::from(l.block),
                level: l.level,
            }));
        self.scheduler
            .profile()
            .slowdowns(&self.set, &mut self.slow);
        for (lane, &slow) in self.running.iter_mut().filter(runs).zip(&self.slow) {
            lane.slow = slow;
            lane.ends = self.now + (lane.left * slow).ceil() as u64;
        }
    }
}

/// The records of these requests, in the order in which they came.
///
/// # Errors
///
/// As [`Scheduler::new`].
pub fn simulate(
    profile: &Profile,
    policy: Policy,
    options: &Options,
    arrivals: impl IntoIterator<Item = Arrival>,
) -> Result<Vec<Record>, ProfileError> {
    let mut records = vec![];
    let mut simulation = Simulation::new(profile, policy, options)?;
    simulation.run(arrivals, &mut |record| records.push(record.clone()));
    records.sort_by_key(|r| r.id);
    Ok(records)
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulation")
            .field("scheduler", &self.scheduler)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}
