//! Cuts each model of a plan into blocks, between which another model may run.
//!
//! A [`Chain`] says what a model's steps take and what cutting between two of them costs; a
//! [`Splitter`] chooses the cuts; [`partition`] writes them into the plan, and [`set_times`] what they
//! cost, of which [`plans::blocks`] makes figures. After "SPLIT: QoS-Aware DNN Inference on Shared GPU via Evenly-Sized Model Splitting"
//! (ICPP 2023), whose genetic search is one of the splitters.

mod chain;
mod dp;
mod ga;
mod greedy;
#[cfg(test)]
mod tests;

pub use chain::{Chain, CutCosts, StepTime};
pub use ga::{Generation, GeneticOptions, fitness};

use plans::{Block, Demand, Device, Plan, StepIndex};

/// What blocks are to be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// This many blocks of a model, from 1: fewer only if it has fewer steps, more only if it changes
    /// devices more often.
    Blocks(usize),
    /// Blocks of at most so many nanoseconds, but for single steps that take longer.
    Within(u64),
}

/// How cuts are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Splitter {
    /// None but where the device changes.
    #[default]
    Whole,
    /// The most even blocks, exactly: of times nearest to equal shares, the cost of cuts included;
    /// within a limit, of the fewest blocks.
    Dp(Goal),
    /// SPLIT's genetic search for so many blocks.
    Genetic(usize, GeneticOptions),
    /// Steps in order until a block is full.
    Greedy(Goal),
    /// Every step by itself.
    Every,
    /// Where less than two tensors are alive.
    Converge,
}

/// The most blocks of a model that can be asked for.
pub const MAX_BLOCKS: usize = 1024;

/// How a chain is cut.
#[derive(Clone, PartialEq, Debug)]
pub struct Split {
    /// Where blocks start, ascending from 0; empty without steps.
    pub starts: Vec<usize>,
    /// The generations of a genetic search.
    pub generations: Vec<Generation>,
}

/// Cuts `chain`. The same chain and splitter give the same cuts.
pub fn split(chain: &Chain, splitter: &Splitter) -> Split {
    let starts = match *splitter {
        Splitter::Whole => chain.forced(),
        Splitter::Dp(Goal::Blocks(n)) => dp::even(chain, n),
        Splitter::Dp(Goal::Within(max_ns)) => dp::within(chain, max_ns),
        Splitter::Greedy(Goal::Blocks(n)) => greedy::equal_times(chain, n),
        Splitter::Greedy(Goal::Within(max_ns)) => greedy::filled(chain, max_ns),
        Splitter::Every => greedy::every(chain),
        Splitter::Converge => greedy::converge(chain),
        Splitter::Genetic(n, ref options) if chain.n_steps() > 0 => {
            let (starts, generations) = ga::genetic(chain, n, options);
            return Split {
                starts,
                generations,
            };
        }
        Splitter::Genetic(..) => vec![],
    };
    Split {
        starts,
        generations: vec![],
    }
}

/// Cuts the models of `plan`, whose steps take `times`, by position: its blocks become new ones, of
/// which nothing is known yet. What the splitter could not do as asked becomes a warning of the plan.
/// Returns the generations of a genetic search, by model.
pub fn partition(
    plan: &mut Plan,
    times: &[StepTime],
    costs: &dyn Fn(Device) -> CutCosts,
    splitter: &Splitter,
) -> Vec<Vec<Generation>> {
    let mut blocks: Vec<Block> = vec![];
    let mut generations = vec![];
    let mut warnings = vec![];
    for (m, model) in plan.models.iter().enumerate() {
        let chain = Chain::of(plan, model, times, costs);
        let split = split(&chain, splitter);
        let first = model.first_step.0;
        let of_model = |b: &&Block| b.model.index() == m;
        // There is one wherever there are steps.
        if let Some(pattern) = plan.blocks.iter().find(of_model) {
            blocks.extend(chain.blocks(&split.starts).map(|steps| Block {
                first_step: StepIndex(first + steps.start as u32),
                n_steps: steps.len() as u32,
                predicted_ns: 0,
                cut_ns: 0,
                measured_ns: None,
                demand: Demand::UNKNOWN,
                ..pattern.clone()
            }));
        }
        warnings.extend(unmet(&chain, &split, splitter, plan, m));
        generations.push(split.generations);
    }
    plan.blocks = blocks;
    plan.warnings.extend(warnings);
    generations
}

/// Sets the predicted times of a plan's blocks, and what of them is for cuts, by what its steps take.
pub fn set_times(plan: &mut Plan, times: &[StepTime], costs: &dyn Fn(Device) -> CutCosts) {
    let chains: Vec<Chain> = plan
        .models
        .iter()
        .map(|model| Chain::of(plan, model, times, costs))
        .collect();
    for block in &mut plan.blocks {
        let chain = &chains[block.model.index()];
        let start = (block.first_step.0 - plan.models[block.model.index()].first_step.0) as usize;
        block.predicted_ns = chain.block_ns(start..start + block.n_steps as usize);
        block.cut_ns = chain.extra_ns(start);
    }
}

/// What the splitter could not do as asked for model `m`.
fn unmet(
    chain: &Chain,
    split: &Split,
    splitter: &Splitter,
    plan: &Plan,
    m: usize,
) -> Option<String> {
    let model = &plan.models[m];
    match *splitter {
        Splitter::Dp(Goal::Within(max_ns)) | Splitter::Greedy(Goal::Within(max_ns)) => {
            let blocks: Vec<_> = chain.blocks(&split.starts).collect();
            let longer: Vec<_> = blocks
                .into_iter()
                .filter(|b| chain.block_ns(b.clone()) > max_ns)
                .collect();
            let worst = longer.iter().max_by_key(|b| chain.block_ns((*b).clone()))?;
            let step = &plan.steps[model.steps().start + worst.start];
            Some(format!(
                "model {}: {} of {} blocks take longer than {:.1} us: a single step is never cut, and \
                 the longest ({}) is predicted to take {:.1} us",
                model.name,
                longer.len(),
                split.starts.len(),
                max_ns as f64 / 1e3,
                step.label,
                chain.block_ns((*worst).clone()) as f64 / 1e3
            ))
        }
        Splitter::Dp(Goal::Blocks(n)) | Splitter::Genetic(n, _) if split.starts.len() != n => {
            let found = split.starts.len();
            let why = if found < n {
                "it has no more steps"
            } else {
                "a block runs on one device, and so often it changes"
            };
            let s = if found == 1 { "" } else { "s" };
            Some(format!(
                "model {}: {found} block{s}, not {n}: {why}",
                model.name
            ))
        }
        Splitter::Whole
        | Splitter::Dp(Goal::Blocks(_))
        | Splitter::Genetic(..)
        | Splitter::Greedy(Goal::Blocks(_))
        | Splitter::Every
        | Splitter::Converge => None,
    }
}
