//! Running a model block by block, without waiting.

use super::{DeviceSession, Io, OnHost, Ready, Run, lost};
use crate::cuda::context::{Context, Current, Event};
use crate::device::Whole;
use crate::engine::Engine;
use crate::error::{BindError, During, RunError};
use plans::{ModelIndex, StepIndex};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The run in blocks of a session.
#[derive(Default)]
pub(super) struct Blocks {
    run: Option<Under>,
    /// One for each part of a model, recorded after it.
    events: Vec<Event>,
}

/// A run that is under way, or at rest between blocks.
#[derive(Clone, Copy)]
struct Under {
    model: ModelIndex,
    io: Io,
    /// Blocks that were asked for.
    n_blocks: usize,
    /// Parts up to the end of those.
    n_parts: usize,
    /// Parts that were started.
    n_started: usize,
    /// Parts that have ended.
    n_ended: usize,
    level: Option<usize>,
}

impl Blocks {
    /// Makes sure that there are events for so many parts.
    pub(super) fn make_room(
        &mut self,
        context: &Arc<Context>,
        n_parts: usize,
    ) -> Result<(), BindError> {
        while self.events.len() < n_parts {
            let event = Event::new(context).map_err(|error| BindError::Cuda {
                what: "an event".to_owned(),
                error,
            })?;
            self.events.push(event);
        }
        Ok(())
    }
}

impl DeviceSession {
    /// Priorities that blocks can be started with.
    pub(crate) fn n_levels(&self) -> u8 {
        // No more than were asked for, which is a number of this size.
        self.levels.len().max(1) as u8
    }

    /// The model of the run in blocks.
    pub(crate) fn block_model(&self) -> Option<ModelIndex> {
        self.blocks.run.map(|r| r.model)
    }

    /// Whether parts that were asked for have not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.blocks.run.is_some_and(|r| r.n_ended < r.n_parts)
    }

    /// Waits for what runs in blocks, and forgets the run with all its faults.
    pub(super) fn settle_blocks(&mut self, current: &Current<'_>) {
        if self.is_running() {
            // An error shows again in whatever comes next.
            let _ = self.stream.synchronize(current);
            for stream in &self.levels {
                let _ = stream.synchronize(current);
            }
            // Steps after one that faulted may have faulted too.
            self.faults.as_mut_slice().fill(0);
        }
        self.blocks.run = None;
    }

    /// Asks for blocks of a model: the first ones, with its inputs, or those after the last ones.
    /// What can be started is; [`DeviceSession::blocks_done`] does the rest.
    ///
    /// # Errors
    ///
    /// If they do not come next, or the device or a step fails; then nothing of the run goes on.
    pub(crate) fn start_blocks(
        &mut self,
        engine: &Engine,
        model: ModelIndex,
        blocks: Range<usize>,
        level: u8,
        io: Io,
        on_host: OnHost<'_>,
    ) -> Result<(), RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.prepare(engine, Whole::Model(model))
            .map_err(RunError::Bind)?;
        let ends = match &self.models[model.index()].graphs {
            Some(graphs) => &graphs.block_ends,
            None => return Ok(()),
        };
        let is_running = self.is_running();
        let under = self.blocks.run.filter(|r| is_running || r.model == model);
        let next = under.map_or(0, |r| r.n_blocks);
        let begins = blocks.start == 0 && !is_running;
        let follows = under.is_some_and(|r| r.model == model) && blocks.start == next;
        if !(begins || follows) || blocks.is_empty() || blocks.end > ends.len() {
            return Err(RunError::Blocks {
                model: engine.plan().models[model.index()].name.clone(),
                asked: blocks.start,
                expected: next,
                n_blocks: ends.len(),
            });
        }
        let n_parts = ends[blocks.end - 1];
        let level =
            (!self.levels.is_empty()).then(|| usize::from(level).min(self.levels.len() - 1));
        let before = under.filter(|_| follows && !begins);
        let run = Under {
            model,
            io,
            n_blocks: blocks.end,
            n_parts,
            n_started: before.map_or(0, |r| r.n_started),
            n_ended: before.map_or(0, |r| r.n_ended),
            level,
        };
        self.blocks.run = Some(run);
        let mut begun = |session: &mut Self| {
            let mut commands = Run::new(session, engine, &current, Whole::Model(model));
            commands.level = level;
            if before.is_none() {
                let recorded = commands.session.start.record(&current, commands.stream());
                recorded.map_err(|e| commands.failed(During::Waiting, e))?;
            }
            match before {
                None if io == Io::Host => commands.copy_inputs(model)?,
                // What comes now waits for what was commanded elsewhere.
                Some(before) if before.level != level && before.n_ended < before.n_started => {
                    let event = &commands.session.blocks.events[before.n_started - 1];
                    let waits = commands.stream().wait_for(&current, event);
                    waits.map_err(|e| commands.failed(During::Waiting, e))?;
                }
                None | Some(_) => {}
            }
            commands.advance(on_host)
        };
        let result = begun(self);
        if result.is_err() {
            self.settle_blocks(&current);
        }
        result
    }

    /// The times of the blocks of a run that has ended: from the end of the part before to the end of
    /// the block, and of the first from the run's start. Steps on the host count with the part after
    /// them.
    ///
    /// # Errors
    ///
    /// If the device fails.
    pub(crate) fn block_times(&mut self, engine: &Engine) -> Result<Vec<Duration>, RunError> {
        let Some(run) = self.blocks.run.filter(|r| r.n_ended == r.n_parts) else {
            return Ok(vec![]);
        };
        let Some(graphs) = &self.models[run.model.index()].graphs else {
            return Ok(vec![]);
        };
        let current = self.context.enter().map_err(lost)?;
        let failed = |error| RunError::Device {
            model: engine.plan().models[run.model.index()].name.clone(),
            during: During::Waiting,
            error,
        };
        let mut before = &self.start;
        let mut times = vec![];
        let mut first = 0;
        for &end in &graphs.block_ends {
            let own = first..end.min(run.n_ended);
            let last = own
                .rev()
                .find(|&p| matches!(graphs.parts[p], Ready::Device(..)));
            times.push(match last {
                Some(part) => {
                    let event = &self.blocks.events[part];
                    let nanoseconds = event.since(&current, before).map_err(failed)?;
                    before = event;
                    Duration::from_nanos(nanoseconds)
                }
                None => Duration::ZERO,
            });
            first = end;
        }
        Ok(times)
    }

    /// The number of blocks that have ended since the run's start. Steps on the host are run here,
    /// and what follows them is started.
    ///
    /// # Errors
    ///
    /// If the device or a step fails; then nothing of the run goes on.
    pub(crate) fn blocks_done(
        &mut self,
        engine: &Engine,
        waits: bool,
        on_host: OnHost<'_>,
    ) -> Result<usize, RunError> {
        let Some(run) = self.blocks.run else {
            return Ok(0);
        };
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        let mut commands = Run::new(self, engine, &current, Whole::Model(run.model));
        commands.level = run.level;
        let mut result = Ok(());
        loop {
            let run = commands.session.blocks.run;
            let left = run.filter(|r| r.n_ended < r.n_parts);
            let Some(run) = left.filter(|_| result.is_ok()) else {
                break;
            };
            if waits && run.n_ended < run.n_started {
                let event = &commands.session.blocks.events[run.n_ended];
                let reached = event.synchronize(&current);
                result = reached.map_err(|e| commands.failed(commands.part(run.n_ended), e));
            }
            if result.is_ok() {
                result = commands.advance(on_host);
            }
            if !waits {
                break;
            }
        }
        if let Err(error) = result {
            self.settle_blocks(&current);
            return Err(error);
        }
        let graphs = self.models[run.model.index()].graphs.as_ref();
        let ended = self.blocks.run.map_or(0, |r| r.n_ended);
        // Few blocks, and the first that has not ended ends the count.
        Ok(graphs.map_or(0, |g| g.block_ends.partition_point(|&end| end <= ended)))
    }
}

impl Run<'_> {
    /// Notes parts that have ended and starts those that may be.
    fn advance(&mut self, on_host: OnHost<'_>) -> Result<(), RunError> {
        while let Some(run) = self.session.blocks.run
            && run.n_ended < run.n_parts
        {
            let session = &*self.session;
            let Some(graphs) = &session.models[run.model.index()].graphs else {
                return Ok(());
            };
            // The run as it will be when this turn of the loop has done something.
            let mut next = run;
            if run.n_started < run.n_parts
                && let Ready::Device(graph, steps) = &graphs.parts[run.n_started]
            {
                // SAFETY: the graph touches weights, which nobody writes, and memory of the session,
                // which nobody touches until the part has ended: until then inputs, outputs and host
                // steps are refused (`is_running`), other runs wait (`settle_blocks`), and so does
                // dropping the streams, which comes before all else of the session.
                unsafe { graph.launch(self.current, self.stream()) }
                    .map_err(|e| self.failed(self.steps(steps.clone()), e))?;
                next.n_started += 1;
                if next.n_started == graphs.parts.len() && run.io == Io::Host {
                    self.copy_outputs(run.model)?;
                }
                let event = &session.blocks.events[run.n_started];
                event
                    .record(self.current, self.stream())
                    .map_err(|e| self.failed(During::Waiting, e))?;
            } else if run.n_ended < run.n_started {
                let event = &session.blocks.events[run.n_ended];
                let is_reached = event.is_reached(self.current);
                if !is_reached.map_err(|e| self.failed(self.part(run.n_ended), e))? {
                    return Ok(());
                }
                if let Ready::Device(_, steps) = &graphs.parts[run.n_ended] {
                    self.fault(steps.clone())?;
                }
                next.n_ended += 1;
            } else if let Ready::Host(steps) = &graphs.parts[run.n_started] {
                // All before has ended.
                for i in steps.clone() {
                    on_host(StepIndex(i as u32))?;
                }
                next.n_started += 1;
                next.n_ended += 1;
                if next.n_started == graphs.parts.len() && run.io == Io::Host {
                    self.copy_outputs(run.model)?;
                    let stream = self.stream();
                    stream
                        .synchronize(self.current)
                        .map_err(|e| self.failed(During::Outputs, e))?;
                }
            }
            self.session.blocks.run = Some(next);
        }
        Ok(())
    }

    /// What runs in a part.
    fn part(&self, part: usize) -> During {
        let graphs = self.session.runnable(self.whole).graphs.as_ref();
        match graphs.and_then(|g| g.parts.get(part)) {
            Some(Ready::Device(_, steps) | Ready::Host(steps)) => self.steps(steps.clone()),
            None => During::Waiting,
        }
    }
}
