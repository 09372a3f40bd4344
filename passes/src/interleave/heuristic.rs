//! Good schedules of many blocks: lists, and improvement.

use super::problem::{Cost, NEVER, Problem, is_less};
use super::timeline::{Order, State, Timeline, order_of, simulate};

/// How much more must be done at once, in times alone, for a block to start beside others: from
/// whatever can start to hardly any.
const THRESHOLDS: [f64; 6] = [f64::NEG_INFINITY, 0.02, 0.1, 0.25, 0.5, f64::INFINITY];

/// Random changes at once, to leave a schedule that no single change improves.
const KICKS: usize = 3;

/// After how many starts from changes at random that lead to nothing better the search ends, for each
/// job.
const PATIENCE: usize = 24;

/// The best timeline that is found.
pub(super) fn search(problem: &Problem, events: u32) -> Timeline {
    let mut search = Search {
        problem,
        left: events,
        random: 0x9e37_79b9_7f4a_7c15,
    };
    let rank: Vec<usize> = (0..problem.n_models()).collect();
    let mut best = list(problem, &rank, f64::NEG_INFINITY);
    let mut best_cost = best.cost(problem);
    for rank in ranks(problem) {
        for threshold in THRESHOLDS {
            let timeline = list(problem, &rank, threshold);
            let cost = timeline.cost(problem);
            if is_less(cost, best_cost) {
                (best, best_cost) = (timeline, cost);
            }
        }
    }
    if problem.n_models() < 2 {
        return best;
    }
    let mut order = order_of(problem, &best);
    let mut order_cost = search.cost(&order);
    let (mut current, mut current_cost) = (order.clone(), order_cost);
    let mut patience = PATIENCE * problem.jobs.len();
    while search.left > 0 && patience > 0 {
        patience -= 1;
        search.descend(&mut current, &mut current_cost);
        if is_less(current_cost, order_cost) {
            (order, order_cost) = (current.clone(), current_cost);
            patience = PATIENCE * problem.jobs.len();
        }
        current.clone_from(&order);
        for _ in 0..KICKS {
            search.change(&mut current);
        }
        current_cost = search.cost(&current);
    }
    match simulate(problem, &order) {
        Some(timeline) if is_less(timeline.cost(problem), best_cost) => timeline,
        _ => best,
    }
}

/// Orders of models to begin with: by deadline, by time, by priority.
fn ranks(problem: &Problem) -> Vec<Vec<usize>> {
    let mut ranks = vec![];
    let tail = |m: usize| problem.jobs.get(problem.first[m]).map_or(0, |j| j.tail_ns);
    let slack = |m: usize| {
        problem.services[m]
            .deadline_ns
            .map_or(u64::MAX, |d| d.saturating_sub(tail(m)))
    };
    let by = |key: &dyn Fn(usize) -> (u64, u64)| {
        let mut rank: Vec<usize> = (0..problem.n_models()).collect();
        rank.sort_by_key(|&m| key(m));
        rank
    };
    let priority = |m: usize| u64::from(u8::MAX - problem.services[m].priority);
    ranks.push(by(&|m| {
        (
            problem.services[m].deadline_ns.unwrap_or(u64::MAX),
            u64::MAX - tail(m),
        )
    }));
    ranks.push(by(&|m| (slack(m), u64::MAX - tail(m))));
    ranks.push(by(&|m| (priority(m), u64::MAX - tail(m))));
    ranks.push(by(&|m| (priority(m), tail(m))));
    ranks.dedup();
    ranks
}

/// List scheduling: whenever a block ends, those that can start do, in the order of `rank`, if with
/// them so much more is done at once.
fn list(problem: &Problem, rank: &[usize], threshold: f64) -> Timeline {
    let mut state = State::new(problem);
    loop {
        for &model in rank {
            let Some(job) = state.ready(problem, model) else {
                continue;
            };
            let before = state.throughput(problem);
            let mut with = state.clone();
            with.start(problem, job);
            if state.running.is_empty() || with.throughput(problem) - before >= threshold {
                state = with;
            }
        }
        if state.running.is_empty() {
            return state.timeline;
        }
        state.advance(problem);
        state.settle(problem);
    }
}

struct Search<'a> {
    problem: &'a Problem,
    /// Events that may still be simulated.
    left: u32,
    random: u64,
}

impl Search<'_> {
    /// A number below `below`: SplitMix64.
    fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    }

    fn cost(&mut self, order: &Order) -> Cost {
        self.left = self.left.saturating_sub(self.problem.jobs.len() as u32 + 1);
        simulate(self.problem, order).map_or(NEVER, |t| t.cost(self.problem))
    }

    /// Changes what one job waits for, or the order of two models.
    fn change(&mut self, order: &mut Order) {
        let (n, models) = (self.problem.jobs.len(), self.problem.n_models());
        if self.random(4) == 0 {
            let (a, b) = (self.random(models), self.random(models));
            order.rank.swap(a, b);
            return;
        }
        let job = self.random(n);
        let other = self.random(n);
        let same = self.problem.jobs[job].model == self.problem.jobs[other].model;
        order.wait[job] = (!same).then_some(other);
    }

    /// Makes changes that make it better, one at a time, until none does.
    fn descend(&mut self, order: &mut Order, cost: &mut Cost) {
        let (n, models) = (self.problem.jobs.len(), self.problem.n_models());
        // Where there are many, a sample of what could be waited for.
        let tries = n.min(32);
        let mut unchanged = 0;
        let start = self.random(n);
        let mut at = start;
        while unchanged < n && self.left > 0 {
            let job = at % n;
            at += 1;
            unchanged += 1;
            let before = order.wait[job];
            let mut best = (before, *cost);
            for t in 0..=tries {
                let candidate = if t == tries {
                    None
                } else {
                    let other = if n <= tries { t } else { self.random(n) };
                    if self.problem.jobs[other].model == self.problem.jobs[job].model {
                        continue;
                    }
                    Some(other)
                };
                if candidate == before {
                    continue;
                }
                order.wait[job] = candidate;
                let found = self.cost(order);
                if is_less(found, best.1) {
                    best = (candidate, found);
                }
            }
            order.wait[job] = best.0;
            if best.0 != before {
                *cost = best.1;
                unchanged = 0;
            }
        }
        for a in 0..models {
            for b in 0..a {
                if self.left == 0 {
                    return;
                }
                order.rank.swap(a, b);
                let found = self.cost(order);
                if is_less(found, *cost) {
                    *cost = found;
                } else {
                    order.rank.swap(a, b);
                }
            }
        }
    }
}
