//! What is to be scheduled.

use super::timeline::Timeline;
use plans::co_run::{Table, may_overlap};
use plans::{BlockIndex, Plan, Service};

/// The blocks of some models, numbered one after another, those of a model side by side.
pub(super) struct Problem {
    pub(super) jobs: Vec<Job>,
    /// The first job of each model, and the number of jobs at the end.
    pub(super) first: Vec<usize>,
    pub(super) services: Vec<Service>,
    /// Models that must not overlap, each with the others.
    pub(super) apart: Vec<Vec<usize>>,
    pub(super) lanes: usize,
    pub(super) table: Table,
    /// Whether blocks never run faster together than their needs alone allow.
    pub(super) needs_bind: bool,
}

/// A block.
pub(super) struct Job {
    pub(super) block: BlockIndex,
    /// Its model, by position in the services.
    pub(super) model: usize,
    /// Its time alone, in nanoseconds.
    pub(super) ns: u64,
    /// Its time times what it needs of multiprocessors and of bandwidth.
    pub(super) work: [f64; 2],
    /// From its start to the end of its model, alone.
    pub(super) tail_ns: u64,
}

/// What is better if it is less, part by part: lateness weighed by priority, makespan, and the ends
/// of the models weighed by priority, all in nanoseconds.
pub(super) type Cost = (f64, f64, f64);

/// The cost of what can't be run.
pub(super) const NEVER: Cost = (f64::INFINITY, f64::INFINITY, f64::INFINITY);

impl Problem {
    pub(super) fn new(plan: &Plan, services: &[Service], lanes: u16) -> Self {
        let (mut jobs, mut first) = (vec![], vec![]);
        for (model, service) in services.iter().enumerate() {
            first.push(jobs.len());
            for (i, block) in (0..).map(BlockIndex).zip(&plan.blocks) {
                if block.model == service.model {
                    let needs = |need: u16| match block.demand.is_known() {
                        true => f64::from(need) / 1000.0,
                        false => 1.0,
                    };
                    // In the graph of a round nothing is cut.
                    let ns = block.ns().saturating_sub(block.cut_ns);
                    let work = [block.demand.compute, block.demand.memory];
                    jobs.push(Job {
                        block: i,
                        model,
                        ns,
                        work: work.map(|need| ns as f64 * needs(need)),
                        tail_ns: 0,
                    });
                }
            }
        }
        first.push(jobs.len());
        let blocks: Vec<BlockIndex> = jobs.iter().map(|j| j.block).collect();
        for model in 0..services.len() {
            let mut tail = 0;
            for job in jobs[first[model]..first[model + 1]].iter_mut().rev() {
                tail += job.ns;
                job.tail_ns = tail;
            }
        }
        let overlap = |a: usize, b: usize| may_overlap(plan, services[a].model, services[b].model);
        let others = |a: usize| (0..services.len()).filter(move |&b| b != a);
        Self {
            apart: (0..services.len())
                .map(|a| others(a).filter(|&b| !overlap(a, b)).collect())
                .collect(),
            services: services.to_vec(),
            lanes: usize::from(lanes.max(1)),
            table: Table::new(plan, &blocks),
            needs_bind: plan.co_run.is_empty() && on_one_device(plan, &blocks),
            jobs,
            first,
        }
    }

    pub(super) fn n_models(&self) -> usize {
        self.services.len()
    }

    /// Whether a job is the last of its model.
    pub(super) fn is_last(&self, job: usize) -> bool {
        self.first[self.jobs[job].model + 1] == job + 1
    }

    /// Whether a job is the first of its model.
    pub(super) fn is_first(&self, job: usize) -> bool {
        self.first[self.jobs[job].model] == job
    }

    /// The time of all models one after another.
    pub(super) fn serial_ns(&self) -> u64 {
        self.jobs.iter().map(|j| j.ns).sum()
    }

    fn weight(&self, model: usize) -> f64 {
        1.0 + f64::from(self.services[model].priority)
    }

    /// The cost if the models end at these times, which may be no more than known to be late.
    pub(super) fn cost(&self, ends: &[f64]) -> Cost {
        let mut cost = (0.0, 0.0f64, 0.0);
        for (model, &end) in ends.iter().enumerate() {
            if let Some(deadline) = self.services[model].deadline_ns {
                cost.0 += self.weight(model) * (end - deadline as f64).max(0.0);
            }
            cost.1 = cost.1.max(end);
            cost.2 += self.weight(model) * end;
        }
        cost
    }

    /// By how much each model is late.
    pub(super) fn late(&self, timeline: &Timeline) -> Vec<u64> {
        let late = |model: usize| {
            let deadline = self.services[model].deadline_ns?;
            Some((timeline.ends[model].round() as u64).saturating_sub(deadline))
        };
        let models = 0..self.n_models();
        models.map(|m| late(m).unwrap_or(0)).collect()
    }
}

fn on_one_device(plan: &Plan, blocks: &[BlockIndex]) -> bool {
    let device = |b: &BlockIndex| {
        let block = plan.blocks.get(b.index())?;
        Some(plan.steps.get(block.first_step.index())?.device)
    };
    blocks
        .windows(2)
        .all(|pair| device(&pair[0]) == device(&pair[1]))
}

/// Whether one cost is less than another by more than rounding.
pub(super) fn is_less(a: Cost, b: Cost) -> bool {
    for (a, b) in [(a.0, b.0), (a.1, b.1), (a.2, b.2)] {
        let margin = 1e-9 * a.abs().max(b.abs()).min(1e15) + 1e-6;
        if a < b - margin {
            return true;
        }
        if a > b + margin {
            return false;
        }
    }
    false
}
