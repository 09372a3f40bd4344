//! The worst that blocks do to each other.

use super::{Options, Rule, needs, window};
use plans::co_run::{ALONE, measured_together};
use plans::{BlockIndex, Demand, Device, Plan, Service};

/// How much models are slowed down at worst.
pub(super) struct Slow {
    /// The least that the device does of all that runs at once, in times alone.
    pub(super) rate: f64,
    /// For each service, the time of its blocks, with the worst blocks beside each.
    beside: Vec<u64>,
}

impl Slow {
    pub(super) fn new(plan: &Plan, services: &[Service], rule: Rule, options: &Options) -> Self {
        let at_once = match rule {
            Rule::Fifo | Rule::Bnst | Rule::Oyst | Rule::Dlir => 1,
            Rule::Parallel => services.len(),
            Rule::Interleave => options.lanes,
        };
        let copies = match rule {
            Rule::Interleave => options.copies,
            _ => 1,
        };
        let blocks: Vec<Vec<BlockIndex>> = services
            .iter()
            .map(|s| {
                let all = (0..).map(BlockIndex).zip(&plan.blocks);
                all.filter(|(_, b)| b.model == s.model)
                    .map(|(i, _)| i)
                    .collect()
            })
            .collect();
        let worst = Worst {
            plan,
            blocks: &blocks,
            at_once,
            copies,
        };
        let mut excess = 0.0f64;
        let mut beside = vec![];
        for (i, own) in blocks.iter().enumerate() {
            let mut sum = 0u64;
            for &block in own {
                let ns = window::with_margin(plan.blocks[block.index()].ns(), options);
                let slowdown = worst.slowdown(i, block);
                sum = sum.saturating_add((ns as f64 * slowdown / f64::from(ALONE)).ceil() as u64);
                excess = excess.max(worst.by_one(i, block));
            }
            beside.push(sum);
        }
        // Of n at once, each takes at most 1 + (n - 1) * excess times as long.
        let n = at_once as f64;
        Self {
            rate: match at_once {
                0 | 1 => 1.0,
                _ => (n / (1.0 + (n - 1.0) * excess)).min(1.0),
            },
            beside,
        }
    }

    /// The time of a request's blocks with the worst beside each.
    pub(super) fn beside(&self, service: usize) -> u64 {
        self.beside[service]
    }
}

struct Worst<'a> {
    plan: &'a Plan,
    blocks: &'a [Vec<BlockIndex>],
    at_once: usize,
    copies: usize,
}

/// What a block beside adds: to the sums of what is needed, and measured.
#[derive(Clone, Copy, Default)]
struct Adds {
    compute: f64,
    memory: f64,
    measured: f64,
}

impl Worst<'_> {
    fn device(&self, block: BlockIndex) -> Option<Device> {
        let first = self.plan.blocks[block.index()].first_step;
        self.plan.steps.get(first.index()).map(|s| s.device)
    }

    /// What `other` adds to the time of `block`, a block of service `i`.
    fn adds(&self, i: usize, block: BlockIndex, other: BlockIndex) -> Adds {
        if self.device(block) != self.device(other) {
            return Adds::default();
        }
        let measured = match self.blocks[i].contains(&other) {
            // Two requests of one model are taken to slow one another down as much as any other does
            // on average; what is worst is no less.
            true => self.worst_measured(i, block),
            false => measured_together(self.plan, block, other),
        };
        match measured {
            Some(slowdown) => Adds {
                measured: f64::from(slowdown.saturating_sub(ALONE)),
                ..Adds::default()
            },
            None => {
                let Demand { compute, memory } = needs(self.plan.blocks[other.index()].demand);
                Adds {
                    compute: f64::from(compute),
                    memory: f64::from(memory),
                    measured: 0.0,
                }
            }
        }
    }

    fn worst_measured(&self, i: usize, block: BlockIndex) -> Option<u32> {
        let others = self.blocks.iter().enumerate().filter(|(j, _)| *j != i);
        others
            .flat_map(|(_, blocks)| blocks)
            .filter_map(|&other| measured_together(self.plan, block, other))
            .max()
    }

    /// How much longer a block takes at most, in 1/1000.
    fn slowdown(&self, i: usize, block: BlockIndex) -> f64 {
        let own = needs(self.plan.blocks[block.index()].demand);
        let alone = f64::from(ALONE);
        // Each sum is largest if each other model adds the most to it.
        type Part = fn(Adds) -> f64;
        let parts: [(f64, Part); 3] = [
            (alone, |a| a.measured),
            (f64::from(own.compute), |a| a.compute + a.measured),
            (f64::from(own.memory), |a| a.memory + a.measured),
        ];
        let sums = parts.map(|(own, of)| {
            let mut most: Vec<f64> = vec![];
            for (j, blocks) in self.blocks.iter().enumerate() {
                let n = self.copies - usize::from(j == i);
                let worst = blocks.iter().map(|&b| of(self.adds(i, block, b)));
                let worst = worst.fold(0.0, f64::max);
                most.extend(std::iter::repeat_n(worst, n));
            }
            most.sort_by(|a, b| b.total_cmp(a));
            own + most
                .iter()
                .take(self.at_once.saturating_sub(1))
                .sum::<f64>()
        });
        sums.into_iter().fold(alone, f64::max)
    }

    /// The most that one block beside adds to the time of a block, relative to it: at most 1 if they
    /// share the device by their needs.
    fn by_one(&self, i: usize, block: BlockIndex) -> f64 {
        let mut most = 0.0f64;
        for (j, blocks) in self.blocks.iter().enumerate() {
            if j == i && self.copies < 2 {
                continue;
            }
            for &other in blocks {
                let adds = self.adds(i, block, other);
                most = most.max(adds.compute.max(adds.memory)).max(adds.measured);
            }
        }
        most / f64::from(ALONE)
    }
}
