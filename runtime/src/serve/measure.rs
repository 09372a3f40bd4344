//! Profiles by measuring.

use crate::cuda::Io;
use crate::engine::Engine;
use crate::schedule::Profile;
use crate::serve::StartError;
use crate::session::SessionOptions;
use plans::ModelIndex;
use std::sync::Arc;
use std::time::Instant;

impl Profile {
    /// As [`Profile::of_plan`], with the times of blocks measured on this machine: medians of `n`
    /// runs of each model alone. What a run takes beyond its blocks counts as the time of a launch.
    ///
    /// # Errors
    ///
    /// If the plan has no model, or a model can't be run.
    pub fn measure(engine: &Arc<Engine>, n: usize, io: Io) -> Result<Self, StartError> {
        let mut plan = plans::Plan::clone(engine.plan());
        let mut launches = vec![];
        for m in 0..plan.models.len() {
            let model = ModelIndex(m as u32);
            let of = SessionOptions {
                models: vec![model],
                levels: 1,
            };
            let mut session = engine.session_with(&of).map_err(StartError::Bind)?;
            let n_blocks = crate::schedule::blocks_of(&plan, m).count();
            let mut times = vec![vec![]; n_blocks];
            for run in 0..n.max(1) + 2 {
                let began = Instant::now();
                let blocks = session.time_blocks(model, io).map_err(StartError::Run)?;
                let total = began.elapsed().as_nanos() as u64;
                // The first runs are slower than all others.
                if run < 2 {
                    continue;
                }
                let blocks: Vec<u64> = blocks.iter().map(|b| b.as_nanos() as u64).collect();
                launches.push(total.saturating_sub(blocks.iter().sum()));
                for (times, block) in times.iter_mut().zip(blocks) {
                    times.push(block);
                }
            }
            let own = plan.blocks.iter_mut().filter(|b| b.model == model);
            for (block, mut times) in own.zip(times) {
                block.measured_ns = Some(median(&mut times).max(1));
                // Whole runs are what was measured.
                block.cut_ns = 0;
            }
        }
        let mut profile = Profile::of_plan(&plan).map_err(StartError::Profile)?;
        profile.launch_ns = median(&mut launches);
        Ok(profile)
    }
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}
