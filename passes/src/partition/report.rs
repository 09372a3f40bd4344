//! What a plan's blocks come to.

use super::chain::{Chain, CutCosts, StepTime};
use super::ga::Figures;
use super::liveness::Live;
use plans::{BlockIndex, Device, ModelIndex, Plan};

/// The blocks of a model.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelBlocks {
    /// The model.
    pub model: ModelIndex,
    /// The time of all blocks, and how even it is.
    pub figures: Figures,
    /// Each block.
    pub blocks: Vec<BlockCut>,
}

/// A block and the cut before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockCut {
    /// The block.
    pub block: BlockIndex,
    /// Its predicted time, the cut before it included, in nanoseconds.
    pub ns: u64,
    /// What is alive where it starts: for a model's first block, its inputs.
    pub live: Live,
}

/// The blocks of each model of `plan`, whose steps take `times`.
pub fn report(
    plan: &Plan,
    times: &[StepTime],
    costs: &dyn Fn(Device) -> CutCosts,
) -> Vec<ModelBlocks> {
    let of_model = |(m, model)| {
        let chain = Chain::of(plan, model, times, costs);
        let own = (0..).map(BlockIndex).zip(&plan.blocks);
        let blocks: Vec<BlockCut> = own
            .filter(|(_, block)| block.model == m)
            .map(|(index, block)| {
                let start = block.first_step.index() - model.steps().start;
                BlockCut {
                    block: index,
                    ns: chain.block_ns(start..start + block.n_steps as usize),
                    live: chain.live(start),
                }
            })
            .collect();
        let of_blocks: Vec<u64> = blocks.iter().map(|b| b.ns).collect();
        ModelBlocks {
            model: m,
            figures: Figures::of(&of_blocks, chain.whole_ns()),
            blocks,
        }
    };
    (0..)
        .map(ModelIndex)
        .zip(&plan.models)
        .map(of_model)
        .collect()
}
