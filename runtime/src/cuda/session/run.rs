//! Running models and rounds from their inputs to their end.

use super::{DeviceSession, Graphs, Io, OnHost, Ready, Run, lost};
use crate::cuda::context::Event;
use crate::cuda::graph::Graph;
use crate::cuda::is_on_device;
use crate::cuda::schedule::{Cut, Part, Schedule, round_schedule, schedule};
use crate::cuda::session::places::Steps;
use crate::device::{Whole, round};
use crate::engine::Engine;
use crate::error::{BindError, During, RunError};
use crate::timeline::{Span, Work};
use plans::{ModelIndex, StepIndex, ValidPlan};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a session has for a model or a round; graphs are made when they are first needed.
pub(super) struct Runnable {
    /// The models that are run, in the plan's order.
    pub(super) models: Vec<ModelIndex>,
    pub(super) graphs: Option<Graphs>,
    timed: Option<Timed>,
}

/// Graphs that take the times of all steps.
struct Timed {
    graphs: Graphs,
    /// Of each step of the plan: when it starts, when it ends. Empty for steps on the host and those
    /// that are not run.
    events: Vec<Option<(Event, Event)>>,
    /// Before and after the copies of each model's inputs and outputs.
    copies: Vec<[Event; 4]>,
}

impl Runnable {
    pub(super) fn new(plan: &ValidPlan, whole: Whole) -> Self {
        Self {
            models: whole.models(plan),
            graphs: None,
            timed: None,
        }
    }
}

impl DeviceSession {
    pub(super) fn runnable(&self, whole: Whole) -> &Runnable {
        match whole {
            Whole::Model(model) => &self.models[model.index()],
            Whole::Round(round) => &self.rounds[round],
        }
    }

    fn runnable_mut(&mut self, whole: Whole) -> &mut Runnable {
        match whole {
            Whole::Model(model) => &mut self.models[model.index()],
            Whole::Round(round) => &mut self.rounds[round],
        }
    }

    /// Builds the graphs of a model or a round unless that was done.
    ///
    /// # Errors
    ///
    /// If the driver refuses a graph.
    pub(crate) fn prepare(&mut self, engine: &Engine, whole: Whole) -> Result<(), BindError> {
        if self.runnable(whole).graphs.is_none() {
            let graphs = self.build(engine, whole, None)?;
            // Models are run block by block, too.
            if let Whole::Model(_) = whole {
                self.blocks.make_room(&self.context, graphs.parts.len())?;
            }
            self.runnable_mut(whole).graphs = Some(graphs);
        }
        Ok(())
    }

    /// The graphs of a model or a round, which take times if there are events for them.
    fn build(
        &self,
        engine: &Engine,
        whole: Whole,
        events: Option<&[Option<(Event, Event)>]>,
    ) -> Result<Graphs, BindError> {
        let bound = engine.bound().expect("device sessions are of CUDA engines");
        let plan = engine.plan();
        let material = Steps {
            engine,
            bound,
            places: &self.places,
            events: events.unwrap_or_default(),
        };
        let cut = Cut {
            every_step: bound.options.step_by_step,
            timed: events.is_some(),
            waits: &|code| bound.images.waits(plan, code),
        };
        let Schedule { parts, block_ends } = match whole {
            Whole::Model(model) => schedule(plan, model, cut),
            Whole::Round(number) => {
                let found = round(plan, number);
                round_schedule(plan, found.expect("a round that the plan has"), cut)
            }
        };
        let parts = parts.into_iter().map(|part| {
            Ok(match part {
                Part::Device(segment) => Ready::Device(
                    Graph::new(plan, &self.context, &self.stream, &segment, &material)?,
                    segment.steps,
                ),
                Part::Host(steps) => Ready::Host(steps),
            })
        });
        Ok(Graphs {
            parts: parts.collect::<Result<_, BindError>>()?,
            block_ends,
        })
    }

    /// Runs a model or a round once and waits for it. Gives the time between the start of the first
    /// and the end of the last graph on the device, if `timed`.
    ///
    /// # Errors
    ///
    /// If the device or a step fails.
    pub(crate) fn run(
        &mut self,
        engine: &Engine,
        whole: Whole,
        io: Io,
        timed: bool,
        on_host: OnHost<'_>,
    ) -> Result<Option<Duration>, RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        self.prepare(engine, whole).map_err(RunError::Bind)?;
        let run = Run::new(self, engine, &current, whole);
        let result = run.whole(io, timed, on_host);
        if result.is_err() {
            run.settle();
        }
        result
    }

    /// Runs a model or a round once with the times of all steps taken: none starts early, and the
    /// clocks themselves take a microsecond or so a step. The first such run allocates.
    ///
    /// # Errors
    ///
    /// As [`DeviceSession::run`].
    pub(crate) fn run_spans(
        &mut self,
        engine: &Engine,
        whole: Whole,
        on_host: OnHost<'_>,
    ) -> Result<Vec<Span>, RunError> {
        let context = Arc::clone(&self.context);
        let current = context.enter().map_err(lost)?;
        self.settle_blocks(&current);
        if self.runnable(whole).timed.is_none() {
            let timed = self.timed(engine, whole).map_err(RunError::Bind)?;
            self.runnable_mut(whole).timed = Some(timed);
        }
        let run = Run::new(self, engine, &current, whole);
        let result = run.spans(on_host);
        if result.is_err() {
            run.settle();
        }
        result
    }

    fn timed(&self, engine: &Engine, whole: Whole) -> Result<Timed, BindError> {
        let failed = |error| BindError::Cuda {
            what: "an event".to_owned(),
            error,
        };
        let event = || Event::new(&self.context).map_err(failed);
        let plan = engine.plan();
        let mut events: Vec<Option<(Event, Event)>> = plan.steps.iter().map(|_| None).collect();
        for i in whole.steps(plan) {
            if is_on_device(&plan.steps[i]) {
                events[i] = Some((event()?, event()?));
            }
        }
        let graphs = self.build(engine, whole, Some(&events))?;
        let models = self.runnable(whole).models.iter();
        let copies = models.map(|_| Ok([event()?, event()?, event()?, event()?]));
        Ok(Timed {
            graphs,
            events,
            copies: copies.collect::<Result<_, BindError>>()?,
        })
    }
}

impl Run<'_> {
    /// The models that are run.
    pub(super) fn models(&self) -> &[ModelIndex] {
        &self.session.runnable(self.whole).models
    }

    fn record(&self, event: &Event) -> Result<(), RunError> {
        let recorded = event.record(self.current, &self.session.stream);
        recorded.map_err(|error| self.failed(During::Waiting, error))
    }

    /// The time from one event to a later one.
    fn between(&self, start: &Event, end: &Event) -> Result<Duration, RunError> {
        let nanoseconds = end.since(self.current, start);
        let nanoseconds = nanoseconds.map_err(|error| self.failed(During::Waiting, error))?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// A run from the inputs to the end.
    fn whole(
        &self,
        io: Io,
        timed: bool,
        on_host: OnHost<'_>,
    ) -> Result<Option<Duration>, RunError> {
        let session = &*self.session;
        let Some(graphs) = &session.runnable(self.whole).graphs else {
            return Ok(None);
        };
        if io == Io::Host {
            for &model in self.models() {
                self.copy_inputs(model)?;
            }
        }
        if timed {
            self.record(&session.start)?;
        }
        let running = self.parts(graphs, on_host)?;
        if timed {
            self.record(&session.end)?;
        }
        if io == Io::Host {
            for &model in self.models() {
                self.copy_outputs(model)?;
            }
        }
        self.wait(running)?;
        match timed {
            true => self.between(&session.start, &session.end).map(Some),
            false => Ok(None),
        }
    }

    /// After an error: waits for what still runs, so that nothing is touched behind its back.
    fn settle(&self) {
        // The error that came first is the one to tell.
        let _ = self.session.stream.synchronize(self.current);
    }

    /// A run with the times of all steps taken.
    fn spans(&self, on_host: OnHost<'_>) -> Result<Vec<Span>, RunError> {
        let Some(timed) = &self.session.runnable(self.whole).timed else {
            return Ok(vec![]);
        };
        let copies = || self.models().iter().copied().zip(&timed.copies);
        let began = Instant::now();
        for (model, [before, after, ..]) in copies() {
            self.record(before)?;
            self.copy_inputs(model)?;
            self.record(after)?;
        }
        let mut on_host_times: Vec<(StepIndex, Duration, Duration)> = vec![];
        let running = self.parts(&timed.graphs, &mut |step| {
            let start = began.elapsed();
            on_host(step)?;
            on_host_times.push((step, start, began.elapsed() - start));
            Ok(())
        })?;
        for (model, [.., before, after]) in copies() {
            self.record(before)?;
            self.copy_outputs(model)?;
            self.record(after)?;
        }
        self.wait(running)?;
        let Some([zero, ..]) = timed.copies.first() else {
            return Ok(vec![]);
        };
        let span = |work, start: &Event, end: &Event| {
            Ok(Span {
                work,
                start: self.between(zero, start)?,
                duration: self.between(start, end)?,
            })
        };
        let mut spans = vec![];
        for (model, [before, after, ..]) in copies() {
            spans.push(span(Work::Inputs(model), before, after)?);
        }
        let mut hosts = on_host_times.into_iter();
        for i in self.whole.steps(self.plan) {
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
        for (model, [.., before, after]) in copies() {
            spans.push(span(Work::Outputs(model), before, after)?);
        }
        Ok(spans)
    }
}
