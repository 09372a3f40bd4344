//! The worst that blocks do to each other.

use super::{Options, Rule, window};
use plans::co_run::{ALONE, Weight, measured_together};
use plans::{BlockIndex, Device, Plan, Service};

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
        let mut beside = vec![];
        for (i, own) in blocks.iter().enumerate() {
            let mut sum = 0u64;
            for &block in own {
                let ns = window::with_margin(plan.blocks[block.index()].ns(), options);
                let slowdown = worst.slowdown(i, block);
                sum = sum.saturating_add((ns as f64 * slowdown).ceil() as u64);
            }
            beside.push(sum);
        }
        // Whatever turns are taken to be, what they give holds.
        let by_turns = worst.rate(Weight::turn);
        Self {
            rate: by_turns.max(worst.rate(|_| 1.0)),
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

impl Worst<'_> {
    fn device(&self, block: BlockIndex) -> Option<Device> {
        let first = self.plan.blocks[block.index()].first_step;
        self.plan.steps.get(first.index()).map(|s| s.device)
    }

    /// What `other` adds to the time of `block`, a block of service `i`, in times alone.
    fn excess(&self, i: usize, block: BlockIndex, other: BlockIndex) -> f64 {
        if self.device(block) != self.device(other) {
            return 0.0;
        }
        let measured = match self.blocks[i].contains(&other) {
            // Two requests of one model are taken to slow one another down as much as any other does
            // on average; what is worst is no less.
            true => self.worst_measured(i, block),
            false => measured_together(self.plan, block, other),
        };
        match measured {
            Some(slowdown) => f64::from(slowdown.saturating_sub(ALONE)) / f64::from(ALONE),
            None => self.weight(block).excess_beside(self.weight(other)),
        }
    }

    fn weight(&self, block: BlockIndex) -> Weight {
        let own = &self.plan.blocks[block.index()];
        Weight::of(own, self.device(block).unwrap_or(Device::Cpu))
    }

    fn worst_measured(&self, i: usize, block: BlockIndex) -> Option<u32> {
        let others = self.blocks.iter().enumerate().filter(|(j, _)| *j != i);
        others
            .flat_map(|(_, blocks)| blocks)
            .filter_map(|&other| measured_together(self.plan, block, other))
            .max()
    }

    /// How much longer a block takes at most: each other model adds the most that one of its blocks
    /// does.
    fn slowdown(&self, i: usize, block: BlockIndex) -> f64 {
        let mut most: Vec<f64> = vec![];
        for (j, blocks) in self.blocks.iter().enumerate() {
            let n = self.copies - usize::from(j == i);
            let excess = blocks.iter().map(|&b| self.excess(i, block, b));
            most.extend(std::iter::repeat_n(excess.fold(0.0, f64::max), n));
        }
        most.sort_by(|a, b| b.total_cmp(a));
        1.0 + most
            .iter()
            .take(self.at_once.saturating_sub(1))
            .sum::<f64>()
    }

    /// The least that the device does of what runs at once, in times alone, if blocks share it by
    /// such turns and a pair adds up to so many times more to each other: with turns `w` and excesses
    /// of at most `m·w(b)/w(a)`, that is `Σ w(a) / (w(a) + m·Σ w(b))`, and least for equal turns.
    fn rate(&self, turn: impl Fn(Weight) -> f64) -> f64 {
        let mut more = 0.0f64;
        for (i, own) in self.blocks.iter().enumerate() {
            for (j, others) in self.blocks.iter().enumerate() {
                if j == i && self.copies < 2 {
                    continue;
                }
                for (&block, &other) in own.iter().flat_map(|a| others.iter().map(move |b| (a, b)))
                {
                    let turns = turn(self.weight(other)) / turn(self.weight(block));
                    more = more.max(self.excess(i, block, other) / turns);
                }
            }
        }
        let n = self.at_once.max(1) as f64;
        (n / (1.0 + (n - 1.0) * more)).min(1.0)
    }
}
