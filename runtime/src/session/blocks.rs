//! Running a model block by block.

use super::Session;
use crate::cuda::Io;
use crate::device::Whole;
use crate::error::{PortError, RunError};
use crate::schedule::blocks_of;
use plans::{ModelIndex, StepIndex};
use std::ops::Range;
use std::time::{Duration, Instant};

/// The run in blocks of a session on the host.
#[derive(Default)]
pub(super) struct HostBlocks {
    model: Option<ModelIndex>,
    /// Blocks that have run.
    n_done: usize,
}

impl Session {
    /// The number of a model's blocks.
    ///
    /// # Errors
    ///
    /// If there is no such model.
    pub fn n_blocks(&self, model: ModelIndex) -> Result<usize, PortError> {
        self.of(model)?;
        Ok(blocks_of(self.plan(), model.index()).count())
    }

    /// Priorities that [`Session::start_blocks`] tells apart; 1 on the host.
    pub fn n_levels(&self) -> u8 {
        self.device.as_ref().map_or(1, |d| d.n_levels())
    }

    /// Starts blocks of a run of a model, by number: the first ones begin a run, the others follow
    /// those that were started before, which may still run. `io` says whether inputs are copied to
    /// the device before the first and outputs from it after the last. Of several levels, 0 is the
    /// most urgent; larger ones than there are count as the last.
    ///
    /// On a CUDA device this does not wait, and [`Session::blocks_done`] says how far the run is;
    /// until the blocks have ended, inputs and outputs of the session are refused, and every other
    /// kind of run waits for them and gives the run up. On the host the blocks are run. Nothing is
    /// allocated.
    ///
    /// # Errors
    ///
    /// If there is no such model, the blocks do not come next, or a step or the device fails: then
    /// nothing of the run goes on.
    pub fn start_blocks(
        &mut self,
        model: ModelIndex,
        blocks: Range<usize>,
        level: u8,
        io: Io,
    ) -> Result<(), RunError> {
        let started = self.on_device(Whole::Model(model), |device, engine, on_host| {
            device.start_blocks(engine, model, blocks.clone(), level, io, on_host)
        })?;
        if started.is_some() {
            return Ok(());
        }
        let n_blocks = self.n_blocks(model).map_err(RunError::Model)?;
        let is_same = self.blocks.model == Some(model);
        let expected = if is_same { self.blocks.n_done } else { 0 };
        let follows = blocks.start == 0 || blocks.start == expected;
        if !follows || blocks.is_empty() || blocks.end > n_blocks {
            return Err(RunError::Blocks {
                model: self.plan().models[model.index()].name.clone(),
                asked: blocks.start,
                expected,
                n_blocks,
            });
        }
        let engine = std::sync::Arc::clone(&self.engine);
        let plan = engine.plan();
        self.blocks.model = None;
        for block in blocks_of(plan, model.index())
            .skip(blocks.start)
            .take(blocks.len())
        {
            for i in plan.blocks[block.index()].steps() {
                // SAFETY: the session is borrowed mutably, and nothing of it is on a device.
                unsafe { self.run_step(StepIndex(i as u32)) }?;
            }
        }
        self.blocks = HostBlocks {
            model: Some(model),
            n_done: blocks.end,
        };
        Ok(())
    }

    /// How many blocks have ended of the run that [`Session::start_blocks`] began last. Does not
    /// wait, but runs steps on the host whose turn has come.
    ///
    /// # Errors
    ///
    /// If a step or the device has failed: then nothing of the run goes on.
    pub fn blocks_done(&mut self) -> Result<usize, RunError> {
        self.poll(false)
    }

    /// As [`Session::blocks_done`]; waits for all blocks that were started.
    ///
    /// # Errors
    ///
    /// As [`Session::blocks_done`].
    pub fn wait_for_blocks(&mut self) -> Result<usize, RunError> {
        self.poll(true)
    }

    /// Runs all blocks of a model once, one after the other, and gives the time of each: on a CUDA
    /// device as it measures it, from the end of the one before; `io` as for
    /// [`Session::start_blocks`].
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn time_blocks(&mut self, model: ModelIndex, io: Io) -> Result<Vec<Duration>, RunError> {
        let n_blocks = self.n_blocks(model).map_err(RunError::Model)?;
        if self.device.is_some() {
            self.start_blocks(model, 0..n_blocks, 0, io)?;
            self.wait_for_blocks()?;
            let times = self.on_device(Whole::Model(model), |device, engine, _| {
                device.block_times(engine)
            })?;
            return Ok(times.unwrap_or_default());
        }
        let mut times = Vec::with_capacity(n_blocks);
        for block in 0..n_blocks {
            let began = Instant::now();
            self.start_blocks(model, block..block + 1, 0, io)?;
            times.push(began.elapsed());
        }
        Ok(times)
    }

    fn poll(&mut self, waits: bool) -> Result<usize, RunError> {
        let Some(device) = &self.device else {
            return Ok(self.blocks.model.map_or(0, |_| self.blocks.n_done));
        };
        let Some(model) = device.block_model() else {
            return Ok(0);
        };
        let done = self.on_device(Whole::Model(model), |device, engine, on_host| {
            device.blocks_done(engine, waits, on_host)
        })?;
        Ok(done.unwrap_or_default())
    }
}
