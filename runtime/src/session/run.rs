//! Running models and rounds: several models of a plan as one schedule.

use super::Session;
use crate::cuda::{DeviceSession, Io, OnHost};
use crate::device::{Device, Whole};
use crate::engine::Engine;
use crate::error::RunError;
use crate::timeline::{Span, Work};
use plans::{ModelIndex, Round, StepIndex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Is told of each step on the host, with the time that it took.
type Observe<'a> = &'a mut dyn FnMut(StepIndex, Duration);

impl Session {
    /// Runs a model once, from its inputs to its outputs. Nothing is allocated.
    ///
    /// # Errors
    ///
    /// If there is no such model, or a step or the device fails.
    pub fn run(&mut self, model: ModelIndex) -> Result<(), RunError> {
        self.run_whole(Whole::Model(model), Io::Host)
    }

    /// As [`Session::run`]; `observe` is called for each step with the time that it took.
    ///
    /// Steps on a CUDA device are timed by the device, with each waiting for the ones that it depends
    /// on to end, and `observe` is called when all are done; the first such run of a model allocates.
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn run_observed(
        &mut self,
        model: ModelIndex,
        observe: &mut dyn FnMut(StepIndex, Duration),
    ) -> Result<(), RunError> {
        if self.device.is_none() {
            return self.replay(Whole::Model(model), Some(observe));
        }
        for span in self.run_spans(model)? {
            if let Work::Step(step) = span.work {
                observe(step, span.duration);
            }
        }
        Ok(())
    }

    /// Runs a model once and says when each of its steps ran, in the order of the plan;
    /// [`chrome_trace`](crate::timeline::chrome_trace) draws that. Times are taken as
    /// [`Session::run_observed`] does.
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn run_spans(&mut self, model: ModelIndex) -> Result<Vec<Span>, RunError> {
        self.whole_spans(Whole::Model(model))
    }

    /// Runs a model once with its inputs as they lie on the device, and leaves its outputs there:
    /// nothing is copied to or from [`Session::input_mut`] and [`Session::output`]. Waits for the
    /// end. On the host, this is [`Session::run`].
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn run_on_device(&mut self, model: ModelIndex) -> Result<(), RunError> {
        self.run_whole(Whole::Model(model), Io::Device)
    }

    /// As [`Session::run_on_device`]; gives the time from the start of the model's first step to the
    /// end of its last, as the device measures it; on the host, the time of the run.
    ///
    /// # Errors
    ///
    /// As [`Session::run`].
    pub fn run_on_device_timed(&mut self, model: ModelIndex) -> Result<Duration, RunError> {
        self.whole_time(Whole::Model(model))
    }

    /// The rounds of the plan.
    pub fn rounds(&self) -> &[Round] {
        self.plan().deploy.as_ref().map_or(&[], |d| &d.rounds)
    }

    /// The models of round `round`, in the plan's order; none if there is no such round.
    pub fn models_of_round(&self, round: usize) -> Vec<ModelIndex> {
        Whole::Round(round).models(self.plan())
    }

    /// Makes round `round` ready to be run: on a CUDA device, builds its graphs. The first run does
    /// so otherwise.
    ///
    /// # Errors
    ///
    /// If there is no such round, or the device fails.
    pub fn prepare_round(&mut self, round: usize) -> Result<(), RunError> {
        let whole = Whole::Round(round);
        self.check(whole)?;
        match &mut self.device {
            Some(device) => device.prepare(&self.engine, whole).map_err(RunError::Bind),
            None => Ok(()),
        }
    }

    /// Runs all models of round `round` once, as the plan interleaves them: on a CUDA device as one
    /// graph with a branch for each lane, interrupted only where the host runs a block; on the host
    /// one block after another, in the predicted order. Each model's outputs are those of
    /// [`Session::run`]. Nothing is allocated once the round was prepared.
    ///
    /// # Errors
    ///
    /// If there is no such round, or a step or the device fails.
    pub fn run_round(&mut self, round: usize) -> Result<(), RunError> {
        self.run_whole(Whole::Round(round), Io::Host)
    }

    /// As [`Session::run_round`], with inputs as they lie on the device and outputs left there, as
    /// [`Session::run_on_device_timed`]; gives the time from the start of the first step to the end of
    /// the last, as the device measures it; on the host, the time of the run.
    ///
    /// # Errors
    ///
    /// As [`Session::run_round`].
    pub fn run_round_on_device_timed(&mut self, round: usize) -> Result<Duration, RunError> {
        self.whole_time(Whole::Round(round))
    }

    /// As [`Session::run_round`]; says when each step ran, in the order of the round. Times are taken
    /// as [`Session::run_observed`] does.
    ///
    /// # Errors
    ///
    /// As [`Session::run_round`].
    pub fn run_round_spans(&mut self, round: usize) -> Result<Vec<Span>, RunError> {
        self.whole_spans(Whole::Round(round))
    }

    fn run_whole(&mut self, whole: Whole, io: Io) -> Result<(), RunError> {
        let run = self.on_device(whole, |device, engine, on_host| {
            device.run(engine, whole, io, false, on_host)
        })?;
        match run {
            Some(_) => Ok(()),
            None => self.replay(whole, None),
        }
    }

    fn whole_time(&mut self, whole: Whole) -> Result<Duration, RunError> {
        let began = Instant::now();
        let time = self.on_device(whole, |device, engine, on_host| {
            device.run(engine, whole, Io::Device, true, on_host)
        })?;
        match time {
            Some(time) => Ok(time.unwrap_or_default()),
            None => self.replay(whole, None).map(|()| began.elapsed()),
        }
    }

    fn whole_spans(&mut self, whole: Whole) -> Result<Vec<Span>, RunError> {
        let spans = self.on_device(whole, |device, engine, on_host| {
            device.run_spans(engine, whole, on_host)
        })?;
        if let Some(spans) = spans {
            return Ok(spans);
        }
        let began = Instant::now();
        let mut spans = vec![];
        let mut observe = |step, duration| {
            spans.push(Span {
                work: Work::Step(step),
                start: began.elapsed().saturating_sub(duration),
                duration,
            });
        };
        self.replay(whole, Some(&mut observe))?;
        Ok(spans)
    }

    /// Whether there is such a model or round, and the session is for it.
    fn check(&self, whole: Whole) -> Result<(), RunError> {
        match whole {
            Whole::Model(model) => {
                self.of(model).map_err(RunError::Model)?;
            }
            Whole::Round(asked) => {
                let n_rounds = self.rounds().len();
                let found = self.rounds().get(asked);
                let found = found.ok_or(RunError::NoRound { asked, n_rounds })?;
                // A session for some models has no memory for the others.
                for placed in &found.placed {
                    let model = self.plan().blocks[placed.block.index()].model;
                    self.of(model).map_err(RunError::Model)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the device run a model or a round, with a way to run steps on the host; `None` if the
    /// session has no device.
    pub(super) fn on_device<T>(
        &mut self,
        whole: Whole,
        run: impl FnOnce(&mut DeviceSession, &Engine, OnHost<'_>) -> Result<T, RunError>,
    ) -> Result<Option<T>, RunError> {
        self.check(whole)?;
        let Some(mut device) = self.device.take() else {
            return Ok(None);
        };
        let engine = Arc::clone(&self.engine);
        let result = run(&mut device, &engine, &mut |step| {
            // SAFETY: the session is borrowed mutably, and what runs on the device was waited for.
            unsafe { self.run_step(step) }
        });
        self.device = Some(device);
        result.map(Some)
    }

    fn replay(&mut self, whole: Whole, observe: Option<Observe<'_>>) -> Result<(), RunError> {
        self.check(whole)?;
        let engine = Arc::clone(&self.engine);
        let mut device = Cpu {
            session: self,
            observe,
        };
        whole.replay(engine.plan(), &mut device)
    }
}

/// The CPU, running steps as they are commanded. Lanes are one: the list of steps is an order in
/// which they may run.
struct Cpu<'a, 'b> {
    session: &'a mut Session,
    observe: Option<Observe<'b>>,
}

impl Device for Cpu<'_, '_> {
    type Error = RunError;

    fn begin(&mut self, _model: ModelIndex) -> Result<(), RunError> {
        Ok(())
    }

    fn wait(&mut self, _step: StepIndex, _on: StepIndex) -> Result<(), RunError> {
        Ok(())
    }

    fn launch(&mut self, step: StepIndex) -> Result<(), RunError> {
        let Some(observe) = self.observe.as_mut() else {
            // SAFETY: the session is borrowed mutably.
            return unsafe { self.session.run_step(step) };
        };
        let start = Instant::now();
        // SAFETY: as above.
        unsafe { self.session.run_step(step) }?;
        observe(step, start.elapsed());
        Ok(())
    }

    fn end(&mut self, _model: ModelIndex) -> Result<(), RunError> {
        Ok(())
    }
}
