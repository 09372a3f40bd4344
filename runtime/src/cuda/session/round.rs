//! Running rounds on a device: the blocks of several models as one graph.

use super::{DeviceSession, Graphs, Io, OnHost, Run, lost};
use crate::cuda::context::{Current, Event};
use crate::cuda::is_on_device;
use crate::cuda::schedule::round_schedule;
use crate::engine::Engine;
use crate::error::{BindError, RunError};
use crate::timeline::{Span, Work};
use plans::{ModelIndex, Round, StepIndex, ValidPlan};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a session has for a round.
pub(super) struct Rounds {
    models: Vec<ModelIndex>,
    graphs: Option<Graphs>,
    timed: Option<Timed>,
}

/// A round with the times of all steps taken.
struct Timed {
    graphs: Graphs,
    /// Of each step of the plan: when it starts, when it ends. Empty for steps on the host and those
    /// that are not in the round.
    events: Vec<Option<(Event, Event)>>,
    /// Before and after the copies of each model's inputs and outputs.
    copies: Vec<[Event; 4]>,
}

/// The rounds of a plan, nothing of them made yet.
pub(super) fn none_yet(plan: &ValidPlan) -> Vec<Rounds> {
    let rounds = plan.deploy.iter().flat_map(|d| &d.rounds);
    let models = |round: &Round| {
        let blocks = round.placed.iter().map(|p| &plan.blocks[p.block.index()]);
        let mut models: Vec<ModelIndex> = blocks.map(|b| b.model).collect();
        models.sort_unstable();
        models.dedup();
        models
    };
    rounds
        .map(|round| Rounds {
            models: models(round),
            graphs: None,
            timed: None,
        })
        .collect()
}

/// A round of a plan that has it.
fn of(plan: &ValidPlan, round: usize) -> &Round {
    let rounds = plan.deploy.as_ref().map(|d| &d.rounds);
    &rounds.expect("rounds are asked for by number of those that there are")[round]
}

impl DeviceSession {
    /// Builds the graphs of a round unless that was done.
    ///
    /// # Errors
    ///
    /// If the driver refuses a graph.
    pub(crate) fn prepare_round(&mut self, engine: &Engine, round: usize) -> Result<(), BindError> {
        if self.rounds[round].graphs.is_none() {
            let plan = engine.plan();
            let graphs = self.build_as(engine, false, (StepIndex(0), &[]), |cut| {
                round_schedule(plan, of(plan, round), cut)
            })?;
            self.rounds[round].graphs = Some(graphs);
        }
        Ok(())
    }

    /// Runs a round once and waits for it. Gives the time between the start of the first and the end
    /// of the last graph on the device, if `timed`.
    ///
    /// # Errors
    ///
    /// If the device or a step fails.
    pub(crate) fn run_round(
        &mut self,
        engine: &Engine,
        round: usize,
        io: Io,
        timed: bool,
        on_host: OnHost<'_>,
    ) -> Result<Option<Duration>, RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        self.prepare_round(engine, round).map_err(RunError::Bind)?;
        let Some(graphs) = self.rounds[round].graphs.take() else {
            return Ok(None);
        };
        let models = std::mem::take(&mut self.rounds[round].models);
        let mut running = Running {
            session: self,
            engine,
            current: &current,
            models: &models,
        };
        let result = running.whole(&graphs, io, timed, on_host);
        let result = result.map_err(|e| running.failed(e));
        self.rounds[round].models = models;
        self.rounds[round].graphs = Some(graphs);
        result
    }

    /// Runs a round once with the times of all steps taken, as [`DeviceSession::run_spans`] does for
    /// a model. The first such run of a round allocates.
    ///
    /// # Errors
    ///
    /// As [`DeviceSession::run_round`].
    pub(crate) fn run_round_spans(
        &mut self,
        engine: &Engine,
        round: usize,
        on_host: OnHost<'_>,
    ) -> Result<Vec<Span>, RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        let timed = match self.rounds[round].timed.take() {
            Some(timed) => timed,
            None => self.timed_round(engine, round).map_err(RunError::Bind)?,
        };
        let models = std::mem::take(&mut self.rounds[round].models);
        let mut running = Running {
            session: self,
            engine,
            current: &current,
            models: &models,
        };
        let result = running.spans(&timed, of(engine.plan(), round), on_host);
        let result = result.map_err(|e| running.failed(e));
        self.rounds[round].models = models;
        self.rounds[round].timed = Some(timed);
        result
    }

    fn timed_round(&self, engine: &Engine, round: usize) -> Result<Timed, BindError> {
        let failed = |error| BindError::Cuda {
            what: "an event".to_owned(),
            error,
        };
        let event = || Event::new(&self.context).map_err(failed);
        let plan = engine.plan();
        let mut events: Vec<Option<(Event, Event)>> = plan.steps.iter().map(|_| None).collect();
        for placed in &of(plan, round).placed {
            for i in plan.blocks[placed.block.index()].steps() {
                if is_on_device(&plan.steps[i]) {
                    events[i] = Some((event()?, event()?));
                }
            }
        }
        let models = self.rounds[round].models.iter();
        let copies = models.map(|_| Ok([event()?, event()?, event()?, event()?]));
        Ok(Timed {
            graphs: self.build_as(engine, true, (StepIndex(0), &events), |cut| {
                round_schedule(plan, of(plan, round), cut)
            })?,
            copies: copies.collect::<Result<_, BindError>>()?,
            events,
        })
    }
}

/// A run of a round.
struct Running<'a> {
    session: &'a mut DeviceSession,
    engine: &'a Engine,
    current: &'a Current<'a>,
    models: &'a [ModelIndex],
}

impl Running<'_> {
    /// A run of one of its models, for what is done model by model.
    fn of(&mut self, model: ModelIndex) -> Run<'_> {
        Run::new(self.session, self.engine, self.current, model)
    }

    /// A run of the first of its models, for what is done for all of them.
    fn any(&mut self) -> Run<'_> {
        let first = self.models.first().copied();
        self.of(first.unwrap_or(ModelIndex(0)))
    }

    /// An error of any of them is one of all; what still runs is waited for, so that nothing is
    /// touched behind its back.
    fn failed(&mut self, error: RunError) -> RunError {
        let plan = self.engine.plan();
        let names = self.models.iter();
        let names: Vec<&str> = names
            .map(|m| plan.models[m.index()].name.as_str())
            .collect();
        self.any().settle();
        match error {
            RunError::Device { during, error, .. } => RunError::Device {
                model: names.join(" or "),
                during,
                error,
            },
            other => other,
        }
    }

    fn record(&mut self, event: &Event) -> Result<(), RunError> {
        let recorded = event.record(self.current, &self.session.stream);
        recorded.map_err(|error| self.any().failed(crate::During::Waiting, error))
    }

    fn whole(
        &mut self,
        graphs: &Graphs,
        io: Io,
        timed: bool,
        on_host: OnHost<'_>,
    ) -> Result<Option<Duration>, RunError> {
        if io == Io::Host {
            for &model in self.models {
                self.of(model).copy_inputs()?;
            }
        }
        let run = self.any();
        let failed = |error| run.failed(crate::During::Waiting, error);
        let (start, end) = (&run.session.start, &run.session.end);
        if timed {
            start
                .record(run.current, &run.session.stream)
                .map_err(failed)?;
        }
        let running = run.parts(graphs, on_host)?;
        if timed {
            end.record(run.current, &run.session.stream)
                .map_err(failed)?;
        }
        if io == Io::Host {
            for &model in self.models {
                self.of(model).copy_outputs()?;
            }
        }
        let run = self.any();
        run.wait(running)?;
        if !timed {
            return Ok(None);
        }
        let (start, end) = (&run.session.start, &run.session.end);
        let nanoseconds = end.since(run.current, start);
        let nanoseconds = nanoseconds.map_err(|error| run.failed(crate::During::Waiting, error))?;
        Ok(Some(Duration::from_nanos(nanoseconds)))
    }

    fn spans(
        &mut self,
        timed: &Timed,
        round: &Round,
        on_host: OnHost<'_>,
    ) -> Result<Vec<Span>, RunError> {
        let began = Instant::now();
        let models = self.models;
        for (&model, [before, after, ..]) in models.iter().zip(&timed.copies) {
            self.record(before)?;
            self.of(model).copy_inputs()?;
            self.record(after)?;
        }
        let mut on_host_times: Vec<(StepIndex, Duration, Duration)> = vec![];
        let running = self.any().parts(&timed.graphs, &mut |step| {
            let start = began.elapsed();
            on_host(step)?;
            on_host_times.push((step, start, began.elapsed() - start));
            Ok(())
        })?;
        for (&model, [.., before, after]) in models.iter().zip(&timed.copies) {
            self.record(before)?;
            self.of(model).copy_outputs()?;
            self.record(after)?;
        }
        self.any().wait(running)?;
        let Some([zero, ..]) = timed.copies.first() else {
            return Ok(vec![]);
        };
        let current = self.current;
        let plan = self.engine.plan();
        let run = self.any();
        let since = |end: &Event, start: &Event| {
            let nanoseconds = end.since(current, start);
            let nanoseconds =
                nanoseconds.map_err(|error| run.failed(crate::During::Waiting, error))?;
            Ok(Duration::from_nanos(nanoseconds))
        };
        let span = |work, start: &Event, end: &Event| {
            Ok(Span {
                work,
                start: since(start, zero)?,
                duration: since(end, start)?,
            })
        };
        let mut spans = vec![];
        for (&model, [before, after, ..]) in models.iter().zip(&timed.copies) {
            spans.push(span(Work::Inputs(model), before, after)?);
        }
        let blocks = round.placed.iter().map(|p| &plan.blocks[p.block.index()]);
        let mut hosts = on_host_times.into_iter();
        for i in blocks.flat_map(|b| b.steps()) {
            match &timed.events[i] {
                Some((start, end)) => {
                    spans.push(span(Work::Step(StepIndex(i as u32)), start, end)?);
                }
                // Steps on the host ran in this order.
                None => spans.extend(hosts.next().map(|(step, start, duration)| Span {
                    work: Work::Step(step),
                    start,
                    duration,
                })),
            }
        }
        for (&model, [.., before, after]) in models.iter().zip(&timed.copies) {
            spans.push(span(Work::Outputs(model), before, after)?);
        }
        Ok(spans)
    }
}
