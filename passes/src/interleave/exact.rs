//! The best of all schedules, where they are few: branch and bound.

use super::problem::{Cost, Problem, is_less};
use super::timeline::{State, Timeline};

/// With more blocks than this there are too many schedules to try.
const MANY: usize = 24;

/// A timeline no worse than `known`, and whether it is the best of all: whenever a job ends, all ways
/// to start some of those that can start are tried.
pub(super) fn search(problem: &Problem, known: Timeline, nodes: u32) -> (Timeline, bool) {
    if problem.jobs.len() > MANY {
        return (known, false);
    }
    let mut search = Search {
        problem,
        best_cost: known.cost(problem),
        best: known,
        nodes,
    };
    let is_best = search.from(State::new(problem));
    (search.best, is_best)
}

struct Search<'a> {
    problem: &'a Problem,
    best: Timeline,
    best_cost: Cost,
    /// States that may still be looked at.
    nodes: u32,
}

impl Search<'_> {
    /// Whether all that follows from `state` was looked at, or can't be better.
    fn from(&mut self, state: State) -> bool {
        let ready: Vec<usize> = (0..self.problem.n_models())
            .filter_map(|model| state.ready(self.problem, model))
            .collect();
        self.choose(state, &ready, false)
    }

    /// Starts each of `ready` or not, then goes on.
    fn choose(&mut self, state: State, ready: &[usize], held_back: bool) -> bool {
        let Some((&job, rest)) = ready.split_first() else {
            return self.go_on(state, held_back);
        };
        let model = self.problem.jobs[job].model;
        let mut complete = true;
        // A lane or memory may have been given away meanwhile.
        if state.ready(self.problem, model) == Some(job) {
            let mut with = state.clone();
            with.start(self.problem, job);
            complete &= self.choose(with, rest, held_back);
        }
        complete & self.choose(state, rest, true)
    }

    fn go_on(&mut self, mut state: State, held_back: bool) -> bool {
        if state.running.is_empty() {
            if state.is_done(self.problem) && !held_back {
                let cost = state.timeline.cost(self.problem);
                if is_less(cost, self.best_cost) {
                    self.best_cost = cost;
                    self.best = state.timeline;
                }
            }
            // To let the device idle never helps: nothing changes by it.
            return true;
        }
        if self.nodes == 0 {
            return false;
        }
        self.nodes -= 1;
        state.advance(self.problem);
        state.settle(self.problem);
        if !is_less(self.bound(&state), self.best_cost) {
            return true;
        }
        self.from(state)
    }

    /// What nothing that follows from `state` can be less than.
    fn bound(&self, state: &State) -> Cost {
        let problem = self.problem;
        let mut ends = state.timeline.ends.clone();
        let mut work = [0.0; 2];
        for (model, end) in ends.iter_mut().enumerate() {
            let next = state.next[model];
            let jobs = &problem.jobs[next..problem.first[model + 1]];
            let running = state
                .running
                .iter()
                .find(|r| problem.jobs[r.0].model == model);
            let left = running.map_or(0.0, |r| r.1);
            if let Some(&(job, left)) = running {
                let ns = problem.jobs[job].ns.max(1) as f64;
                for (sum, work) in work.iter_mut().zip(problem.jobs[job].work) {
                    *sum += work * left / ns;
                }
            }
            for job in jobs {
                for (sum, work) in work.iter_mut().zip(job.work) {
                    *sum += work;
                }
            }
            let tail = jobs.first().map_or(0, |j| j.tail_ns) as f64;
            if running.is_some() || !jobs.is_empty() {
                *end = state.time + left + tail;
            }
        }
        let mut cost = problem.cost(&ends);
        if problem.needs_bind {
            cost.1 = cost.1.max(state.time + work[0].max(work[1]));
        }
        cost
    }
}
