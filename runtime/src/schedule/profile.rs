//! What a scheduler knows of models: the times of their blocks, and how they slow one another down.

use plans::Demand;
use plans::co_run::Weight;
use std::fmt;

/// A block.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BlockProfile {
    /// Its time alone, in nanoseconds.
    pub ns: u64,
    /// What it does to others beside it with which it was not measured, and they to it.
    pub weight: Weight,
}

/// A model.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelProfile {
    /// Its name.
    pub name: String,
    /// Its time alone and whole, in nanoseconds.
    pub solo_ns: u64,
    /// Its blocks, in order.
    pub blocks: Vec<BlockProfile>,
}

impl ModelProfile {
    /// A model whose blocks take these times, in nanoseconds, and need all of the device, which two of
    /// them share evenly; cutting it costs nothing.
    pub fn new(name: &str, blocks: &[u64]) -> Self {
        let block = |&ns: &u64| BlockProfile {
            ns,
            weight: Weight::fair(Demand::UNKNOWN),
        };
        Self {
            name: name.to_owned(),
            solo_ns: blocks.iter().sum(),
            blocks: blocks.iter().map(block).collect(),
        }
    }

    /// The sum of its blocks' times, in nanoseconds.
    pub fn in_blocks_ns(&self) -> u64 {
        self.blocks.iter().map(|b| b.ns).sum()
    }
}

/// No pair was measured.
const UNMEASURED: u32 = u32::MAX;

/// Models, and what a device makes of them.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    models: Vec<ModelProfile>,
    /// The number of each model's first block among all blocks.
    first: Vec<usize>,
    n_blocks: usize,
    /// By block and other block: how much longer the first takes beside the second, in 1/1000 of its
    /// time alone. Empty if no pair was measured.
    excess: Vec<u32>,
    /// What is left of the slowdown by a block of lower priority, in 1/1000: 0 if priorities are kept
    /// at once, 1000 if the device knows none.
    pub residual: u32,
    /// From the decision to start a block on a device that waits for it to its start, in nanoseconds.
    pub launch_ns: u64,
    /// From the end of a block until the scheduler hears of it, in nanoseconds.
    pub notice_ns: u64,
}

/// Why a plan gives no profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProfileError {
    /// Nothing is known of the time of a block.
    NoTime {
        /// The model.
        model: String,
        /// The block, by number in the model.
        block: usize,
    },
    /// A model has no block, or too many to count.
    Blocks {
        /// The model.
        model: String,
    },
    /// There is no model.
    NoModel,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProfileError::NoTime { model, block } => {
                write!(
                    f,
                    "model {model}: nothing is known of the time of block {block}"
                )
            }
            ProfileError::Blocks { model } => {
                write!(f, "model {model} has no block, or more than {}", u16::MAX)
            }
            ProfileError::NoModel => f.write_str("there is no model"),
        }
    }
}

impl std::error::Error for ProfileError {}

/// A block that runs, for [`Profile::slowdowns`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Running {
    /// Its model.
    pub model: usize,
    /// Its number in the model.
    pub block: usize,
    /// Its priority on the device; 0 is the most urgent.
    pub level: u8,
}

impl Profile {
    /// These models, on a device that takes no time for launches and whose priorities leave two
    /// fifths of the slowdown by less urgent blocks.
    pub fn new(models: Vec<ModelProfile>) -> Self {
        let mut first = Vec::with_capacity(models.len());
        let mut n_blocks = 0;
        for model in &models {
            first.push(n_blocks);
            n_blocks += model.blocks.len();
        }
        Self {
            models,
            first,
            n_blocks,
            excess: vec![],
            residual: 400,
            launch_ns: 0,
            notice_ns: 0,
        }
    }

    /// The models.
    pub fn models(&self) -> &[ModelProfile] {
        &self.models
    }

    /// From arrival to end of a request with nothing beside it, in nanoseconds: the time of the model
    /// alone and whole, and what it takes to launch it and to notice its end; 0 if there is no such
    /// model.
    pub fn alone_ns(&self, model: usize) -> u64 {
        let model = self.models.get(model);
        model.map_or(0, |m| m.solo_ns + self.launch_ns + self.notice_ns)
    }

    /// Whether there is something to schedule: a model, and a block with a time in each.
    ///
    /// # Errors
    ///
    /// The first model or block of which that is not so.
    pub fn check(&self) -> Result<(), ProfileError> {
        if self.models.is_empty() {
            return Err(ProfileError::NoModel);
        }
        for model in &self.models {
            if model.blocks.is_empty() || model.blocks.len() > usize::from(u16::MAX) {
                return Err(ProfileError::Blocks {
                    model: model.name.clone(),
                });
            }
            if let Some(block) = model.blocks.iter().position(|b| b.ns == 0) {
                return Err(ProfileError::NoTime {
                    model: model.name.clone(),
                    block,
                });
            }
        }
        Ok(())
    }

    /// Says how much longer two blocks take while both run than alone, each in 1/1000: 1000 is as
    /// alone. Blocks are `(model, block)`; of pairs for which that was not said, their needs say it.
    /// What is not among the blocks is passed over.
    pub fn set_pair(&mut self, a: (usize, usize), b: (usize, usize), slowdown: [u32; 2]) {
        self.set_excess(b, a, slowdown[1]);
        self.set_excess(a, b, slowdown[0]);
    }

    /// Says how much longer the first takes beside the second, in 1/1000.
    pub(super) fn set_excess(&mut self, a: (usize, usize), b: (usize, usize), slowdown: u32) {
        let (Some(a), Some(b)) = (self.number(a), self.number(b)) else {
            return;
        };
        if self.excess.is_empty() {
            self.excess = vec![UNMEASURED; self.n_blocks * self.n_blocks];
        }
        self.excess[a * self.n_blocks + b] = slowdown.saturating_sub(1000);
    }

    /// As [`Profile::set_pair`] for all blocks of two models, which may be the same one.
    pub fn set_models(&mut self, a: usize, b: usize, slowdown: [u32; 2]) {
        for i in 0..self.models.get(a).map_or(0, |m| m.blocks.len()) {
            for j in 0..self.models.get(b).map_or(0, |m| m.blocks.len()) {
                self.set_pair((a, i), (b, j), slowdown);
            }
        }
    }

    fn number(&self, (model, block): (usize, usize)) -> Option<usize> {
        let blocks = self.models.get(model)?.blocks.len();
        (block < blocks).then(|| self.first[model] + block)
    }

    /// How much longer a block takes beside another, in times alone.
    fn excess(&self, a: Running, b: Running) -> f64 {
        let number = |r: Running| self.first[r.model] + r.block;
        match self.excess.get(number(a) * self.n_blocks + number(b)) {
            Some(&excess) if excess != UNMEASURED => f64::from(excess) / 1e3,
            _ => {
                let weight = |r: Running| self.models[r.model].blocks[r.block].weight;
                weight(a).excess_beside(weight(b))
            }
        }
    }

    /// How much longer each of these takes while all run than alone: at least 1, in `out`.
    ///
    /// At one level this is what [`plans::co_run`] says of streams: what each of the others adds is
    /// summed. Of what a less
    /// urgent block would add, [`Profile::residual`] is left; what the more urgent ones thereby get
    /// more of, the less urgent lack, so that the device does as much work as at one level.
    ///
    /// # Panics
    ///
    /// If one of them is not a block of the profile, or `out` is shorter than they are.
    pub fn slowdowns(&self, running: &[Running], out: &mut [f64]) {
        let out = &mut out[..running.len()];
        for (i, &own) in running.iter().enumerate() {
            let others = running.iter().enumerate().filter(|(j, _)| *j != i);
            out[i] = 1.0 + others.map(|(_, &r)| self.excess(own, r)).sum::<f64>();
        }
        let mut level = running.iter().map(|r| r.level).min();
        if running.iter().all(|r| Some(r.level) == level) {
            out.iter_mut().for_each(|slow| *slow = slow.min(MOST));
            return;
        }
        let residual = f64::from(self.residual) / 1e3;
        // What the levels from here on would do at one level, and what is left for them.
        let mut fair: f64 = out.iter().map(|slow| 1.0 / slow).sum();
        let mut left = fair;
        while let Some(now) = level {
            let part = left / fair;
            for (i, &own) in running.iter().enumerate().filter(|(_, r)| r.level == now) {
                fair -= 1.0 / out[i];
                let others = running.iter().enumerate().filter(|(j, _)| *j != i);
                let adds = |(_, &r): (usize, &Running)| match r.level > now {
                    true => residual * self.excess(own, r),
                    false => self.excess(own, r),
                };
                let speed = part / (1.0 + others.map(adds).sum::<f64>());
                left = (left - speed).max(0.0);
                out[i] = (1.0 / speed).clamp(1.0, MOST);
            }
            level = running.iter().map(|r| r.level).filter(|&l| l > now).min();
        }
    }
}

/// The most that a block is slowed down: others leave gaps.
const MOST: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn running(model: usize, level: u8) -> Running {
        Running {
            model,
            block: 0,
            level,
        }
    }

    fn slowdowns(profile: &Profile, running: &[Running]) -> Vec<f64> {
        let mut out = vec![0.0; running.len()];
        profile.slowdowns(running, &mut out);
        out
    }

    fn two(excess: u32) -> Profile {
        let mut profile = Profile::new(vec![
            ModelProfile::new("a", &[1000]),
            ModelProfile::new("b", &[1000]),
        ]);
        profile.set_models(0, 1, [1000 + excess; 2]);
        profile
    }

    #[test]
    fn alone_a_block_takes_its_time() {
        assert_eq!(slowdowns(&two(500), &[running(0, 3)]), [1.0]);
    }

    #[test]
    fn what_was_measured_counts_and_else_what_is_needed() {
        let profile = two(500);
        assert_eq!(
            slowdowns(&profile, &[running(0, 3), running(1, 3)]),
            [1.5, 1.5]
        );
        // Two of one model were not measured: both need all.
        assert_eq!(
            slowdowns(&profile, &[running(0, 3), running(0, 3)]),
            [2.0, 2.0]
        );
    }

    #[test]
    fn the_urgent_is_slowed_less_and_no_work_is_lost() {
        let mut profile = two(500);
        profile.residual = 200;
        let both = slowdowns(&profile, &[running(0, 0), running(1, 3)]);
        assert!((both[0] - 1.1).abs() < 1e-9, "{both:?}");
        let work: f64 = both.iter().map(|s| 1.0 / s).sum();
        assert!((work - 2.0 / 1.5).abs() < 1e-9, "{both:?}");
        // By needs, too.
        let both = slowdowns(&profile, &[running(0, 0), running(0, 3)]);
        assert!((both[0] - 1.2).abs() < 1e-9, "{both:?}");
        let work: f64 = both.iter().map(|s| 1.0 / s).sum();
        assert!((work - 1.0).abs() < 1e-9, "{both:?}");
        // A device that knows no priorities.
        profile.residual = 1000;
        assert_eq!(
            slowdowns(&profile, &[running(0, 0), running(0, 3)]),
            [2.0, 2.0]
        );
    }
}
