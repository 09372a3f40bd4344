//! Profiles of plans.

use super::profile::{BlockProfile, ModelProfile, Profile, ProfileError};
use plans::co_run::{self, Weight};
use plans::{BlockIndex, ModelIndex, Plan};

impl Profile {
    /// What a plan says of its models: the times of their blocks, measured or predicted, what they
    /// need, and which were measured together. A model alone and whole takes the sum of its blocks
    /// without what cuts cost.
    ///
    /// Blocks of one model are never measured together. Where others were measured beside a block,
    /// two of its model at once are taken to slow one another down as those do on average.
    ///
    /// # Errors
    ///
    /// If the plan has no model, or says nothing of the time of a block.
    pub fn of_plan(plan: &Plan) -> Result<Self, ProfileError> {
        let models = (0..plan.models.len()).map(|m| {
            let blocks: Vec<BlockProfile> = blocks_of(plan, m)
                .map(|block| {
                    let block = &plan.blocks[block.index()];
                    BlockProfile {
                        ns: block.ns(),
                        weight: Weight::of(block, plan.steps[block.steps().start].device),
                    }
                })
                .collect();
            ModelProfile {
                name: plan.models[m].name.clone(),
                solo_ns: solo_ns(plan, m),
                blocks,
            }
        });
        let mut profile = Profile::new(models.collect());
        profile.check()?;
        let n_models = plan.models.len();
        let device =
            |block: BlockIndex| plan.steps[plan.blocks[block.index()].steps().start].device;
        for a in 0..n_models {
            for (i, block) in blocks_of(plan, a).enumerate() {
                let (mut sum, mut n) = (0u64, 0u64);
                for (b, j, other) in (0..n_models)
                    .flat_map(|b| (0..).zip(blocks_of(plan, b)).map(move |(j, o)| (b, j, o)))
                {
                    if device(block) != device(other) {
                        profile.set_excess((a, i), (b, j), co_run::ALONE);
                    } else if let Some(slowdown) = co_run::measured_together(plan, block, other) {
                        profile.set_excess((a, i), (b, j), slowdown);
                        sum += u64::from(slowdown);
                        n += 1;
                    }
                }
                if let Some(mean) = sum.checked_div(n) {
                    for j in 0..profile.models()[a].blocks.len() {
                        profile.set_excess((a, i), (a, j), mean as u32);
                    }
                }
            }
        }
        Ok(profile)
    }
}

/// The time of a model whole: that of its blocks without what cutting it costs.
fn solo_ns(plan: &Plan, model: usize) -> u64 {
    let blocks = blocks_of(plan, model).map(|b| &plan.blocks[b.index()]);
    let uncut = blocks.map(|b| b.ns().saturating_sub(b.cut_ns));
    uncut.sum::<u64>().max(1)
}

/// The blocks of a model, in order.
pub(crate) fn blocks_of(plan: &Plan, model: usize) -> impl Iterator<Item = BlockIndex> + '_ {
    let blocks = plan.blocks.iter().enumerate();
    let own = blocks.filter(move |(_, b)| b.model == ModelIndex(model as u32));
    own.map(|(i, _)| BlockIndex(i as u32))
}
