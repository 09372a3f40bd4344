//! Profiles by measuring.

use crate::cuda::Io;
use crate::engine::Engine;
use crate::schedule::{Policy, Profile, Request};
use crate::serve::{Records, Server, ServerOptions, StartError};
use crate::session::SessionOptions;
use plans::ModelIndex;
use std::sync::Arc;

impl Profile {
    /// As [`Profile::of_plan`], with the times of blocks measured on this machine: medians of `n`
    /// runs of each model alone. What a request to a server that waits for it takes beyond its blocks
    /// counts as the time of a launch: the median of `n` requests for each model.
    ///
    /// # Errors
    ///
    /// If the plan has no model, or a model can't be run.
    pub fn measure(engine: &Arc<Engine>, n: usize, io: Io) -> Result<Self, StartError> {
        let mut plan = plans::Plan::clone(engine.plan());
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
                let blocks = session.time_blocks(model, io).map_err(StartError::Run)?;
                // The first runs are slower than all others.
                if run < 2 {
                    continue;
                }
                for (times, block) in times.iter_mut().zip(&blocks) {
                    times.push(block.as_nanos() as u64);
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
        profile.launch_ns = launch_ns(engine, &profile, n.max(1), io)?;
        Ok(profile)
    }
}

/// What requests that come one at a time take beyond the blocks of `profile`, in nanoseconds.
fn launch_ns(engine: &Arc<Engine>, profile: &Profile, n: usize, io: Io) -> Result<u64, StartError> {
    let options = ServerOptions {
        io,
        ..ServerOptions::default()
    };
    let n_models = profile.models().len();
    let n_blocks = profile.models().iter().map(|m| m.blocks.len()).max();
    let records = Records::new(n_models * n, n_blocks.unwrap_or(0));
    let server = Server::start(engine, profile.clone(), Policy::Fifo, &options, records)?;
    for model in 0..n_models {
        for _ in 0..n {
            // There is room: nothing else is in the mailbox.
            let _ = server.submit(Request::new(ModelIndex(model as u32)));
            server.wait_until_idle();
        }
    }
    let Some(records) = server.stop() else {
        return Ok(0);
    };
    if let Some(error) = records.first_error() {
        return Err(StartError::Run(error.clone()));
    }
    let beyond = records.records().iter().map(|record| {
        let solo_ns = profile.models()[record.request.model.index()].solo_ns;
        record.total_ns().saturating_sub(solo_ns)
    });
    Ok(median(&mut beyond.collect::<Vec<_>>()))
}

fn median(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}
