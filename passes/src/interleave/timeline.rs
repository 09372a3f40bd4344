//! When blocks start and end if they start by given rules.

use super::problem::{Cost, Problem};
use plans::{Placed, Round};

/// Rules by which jobs start.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Order {
    /// For each job, another one that it waits for beside the one before in its model.
    pub(super) wait: Vec<Option<usize>>,
    /// Models in the order in which they get a lane, or memory that they share, if several could.
    pub(super) rank: Vec<usize>,
}

/// When jobs run.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    /// The jobs in the order in which they start.
    pub(super) started: Vec<usize>,
    pub(super) start: Vec<f64>,
    pub(super) end: Vec<f64>,
    /// For each job, the one whose end it started at, if it did not start at the beginning.
    pub(super) trigger: Vec<Option<usize>>,
    /// For each model, its end.
    pub(super) ends: Vec<f64>,
}

impl Timeline {
    pub(super) fn cost(&self, problem: &Problem) -> Cost {
        problem.cost(&self.ends)
    }
}

/// Jobs that run, and what has ended: all that decides what comes.
#[derive(Clone)]
pub(super) struct State {
    pub(super) time: f64,
    /// The next job of each model.
    pub(super) next: Vec<usize>,
    /// The jobs that run and what is left of each, in nanoseconds alone.
    pub(super) running: Vec<(usize, f64)>,
    /// The job that ended last.
    pub(super) ended: Option<usize>,
    /// Room for the slowdowns of those that run.
    slow: Vec<f64>,
    pub(super) timeline: Timeline,
}

impl State {
    pub(super) fn new(problem: &Problem) -> Self {
        let n = problem.jobs.len();
        Self {
            time: 0.0,
            next: problem.first[..problem.n_models()].to_vec(),
            running: Vec::with_capacity(problem.n_models()),
            ended: None,
            slow: Vec::with_capacity(problem.n_models()),
            timeline: Timeline {
                started: Vec::with_capacity(n),
                start: vec![0.0; n],
                end: vec![f64::INFINITY; n],
                trigger: vec![None; n],
                ends: vec![0.0; problem.n_models()],
            },
        }
    }

    /// Whether all jobs have ended.
    pub(super) fn is_done(&self, problem: &Problem) -> bool {
        self.running.is_empty() && self.timeline.started.len() == problem.jobs.len()
    }

    pub(super) fn has_ended(&self, job: usize) -> bool {
        self.timeline.end[job] <= self.time
    }

    /// Whether a model has begun and not ended.
    fn is_open(&self, problem: &Problem, model: usize) -> bool {
        let (first, end) = (problem.first[model], problem.first[model + 1]);
        let begun = self.next[model] > first;
        begun && (self.next[model] < end || !self.has_ended(end - 1))
    }

    /// The next job of a model, if it can start now: the one before has ended, there is a lane, and
    /// nobody uses its memory.
    pub(super) fn ready(&self, problem: &Problem, model: usize) -> Option<usize> {
        let job = self.next[model];
        if job == problem.first[model + 1] || self.running.len() >= problem.lanes {
            return None;
        }
        let is_free = if problem.is_first(job) {
            let apart = &problem.apart[model];
            !apart.iter().any(|&other| self.is_open(problem, other))
        } else {
            self.has_ended(job - 1)
        };
        is_free.then_some(job)
    }

    pub(super) fn start(&mut self, problem: &Problem, job: usize) {
        let model = problem.jobs[job].model;
        self.next[model] += 1;
        self.running.push((job, problem.jobs[job].ns as f64));
        self.timeline.started.push(job);
        self.timeline.start[job] = self.time;
        self.timeline.trigger[job] = self.ended;
    }

    /// How much longer a running job takes than alone.
    fn slowdown(&self, problem: &Problem, job: usize) -> f64 {
        let others = self.running.iter().map(|r| r.0).filter(|&o| o != job);
        f64::from(problem.table.slowdown(job, others)) / 1000.0
    }

    /// How much is done of all that runs, in times alone.
    pub(super) fn throughput(&self, problem: &Problem) -> f64 {
        let running = self.running.iter();
        running
            .map(|&(job, _)| 1.0 / self.slowdown(problem, job))
            .sum()
    }

    /// Goes on to the next end of a job. What ends at the same time does so by and by, without time
    /// in between.
    pub(super) fn advance(&mut self, problem: &Problem) {
        let mut slow = std::mem::take(&mut self.slow);
        slow.clear();
        let running = self.running.iter();
        slow.extend(running.map(|&(job, _)| self.slowdown(problem, job)));
        let mut first: Option<(usize, f64)> = None;
        for (i, (&(_, left), slow)) in self.running.iter().zip(&slow).enumerate() {
            let dt = left * slow;
            if first.is_none_or(|(_, least)| dt < least) {
                first = Some((i, dt));
            }
        }
        let Some((i, dt)) = first else {
            self.slow = slow;
            return;
        };
        self.time += dt;
        for ((_, left), slow) in self.running.iter_mut().zip(&slow) {
            let rest = *left - dt / slow;
            // Rounding must not leave crumbs.
            *left = if rest < 1e-6 { 0.0 } else { rest };
        }
        self.slow = slow;
        let (job, _) = self.running.remove(i);
        self.timeline.end[job] = self.time;
        self.ended = Some(job);
        if problem.is_last(job) {
            self.timeline.ends[problem.jobs[job].model] = self.time;
        }
    }

    /// Ends what has nothing left to do now.
    pub(super) fn settle(&mut self, problem: &Problem) {
        while self.running.iter().any(|&(_, left)| left == 0.0) {
            self.advance(problem);
        }
    }
}

/// What happens if every job starts as soon as `order` lets it; nothing if jobs wait for each other.
pub(super) fn simulate(problem: &Problem, order: &Order) -> Option<Timeline> {
    let mut state = State::new(problem);
    loop {
        for &model in &order.rank {
            if let Some(job) = state.ready(problem, model)
                && order.wait[job].is_none_or(|w| state.has_ended(w))
            {
                state.start(problem, job);
            }
        }
        if state.running.is_empty() {
            return state.is_done(problem).then_some(state.timeline);
        }
        state.advance(problem);
        state.settle(problem);
    }
}

/// The rules that give a timeline: each job waits for the one at whose end it started.
pub(super) fn order_of(problem: &Problem, timeline: &Timeline) -> Order {
    let mut rank: Vec<usize> = (0..problem.n_models()).collect();
    rank.sort_by(|&a, &b| {
        let start = |m: usize| {
            let first = problem.first[m];
            let position = timeline.started.iter().position(|&j| j == first);
            position.unwrap_or(usize::MAX)
        };
        start(a).cmp(&start(b))
    });
    let wait = (0..problem.jobs.len())
        .map(|job| {
            let trigger = timeline.trigger[job]?;
            let before = !problem.is_first(job) && trigger == job - 1;
            (!before).then_some(trigger)
        })
        .collect();
    Order { wait, rank }
}

/// A timeline as a round: blocks with lanes and what they wait for.
pub(super) fn placed(problem: &Problem, timeline: &Timeline) -> Round {
    let mut position = vec![0u32; problem.jobs.len()];
    for (p, &job) in (0..).zip(&timeline.started) {
        position[job] = p;
    }
    // The last job of each lane.
    let mut lanes: Vec<usize> = vec![];
    let mut placed: Vec<Placed> = vec![];
    for &job in &timeline.started {
        let start = timeline.start[job];
        let trigger = timeline.trigger[job];
        let mut after: Vec<usize> = vec![];
        after.extend((!problem.is_first(job)).then(|| job - 1));
        after.extend(trigger.filter(|&t| timeline.end[t] == start && start > 0.0));
        if problem.is_first(job) {
            for &other in &problem.apart[problem.jobs[job].model] {
                let last = problem.first[other + 1].checked_sub(1);
                let ran = last.filter(|&l| problem.first[other] <= l && timeline.end[l] <= start);
                after.extend(ran.filter(|&l| position[l] < position[job]));
            }
        }
        let is_free = |last: usize| timeline.end[last] <= start && position[last] < position[job];
        let wanted = |lane: &usize| after.first() == Some(lane) || trigger == Some(*lane);
        let own = lanes
            .iter()
            .position(|last| is_free(*last) && after.first() == Some(last));
        let lane = own
            .or_else(|| lanes.iter().position(|last| is_free(*last) && wanted(last)))
            .or_else(|| (lanes.len() < problem.lanes).then_some(lanes.len()))
            .or_else(|| lanes.iter().position(|last| is_free(*last)))
            .unwrap_or(lanes.len());
        let before = lanes.get(lane).copied();
        match lanes.get_mut(lane) {
            Some(last) => *last = job,
            None => lanes.push(job),
        }
        let mut after: Vec<u32> = after
            .into_iter()
            .filter(|&a| Some(a) != before)
            .map(|a| position[a])
            .collect();
        after.sort_unstable();
        after.dedup();
        placed.push(Placed {
            block: problem.jobs[job].block,
            lane: lane as u16,
            after,
            start_ns: start.round() as u64,
            end_ns: timeline.end[job].round() as u64,
        });
    }
    Round {
        makespan_ns: placed.iter().map(|p| p.end_ns).max().unwrap_or(0),
        placed,
    }
}
