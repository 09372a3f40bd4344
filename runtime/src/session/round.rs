//! Running rounds: several models of a plan as one schedule.

use super::{Cpu, Session};
use crate::cuda::{DeviceSession, Io, OnHost};
use crate::device::replay_round;
use crate::engine::Engine;
use crate::error::RunError;
use crate::timeline::{Span, Work};
use plans::{ModelIndex, Round, StepIndex};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Session {
    /// The rounds of the plan.
    pub fn rounds(&self) -> &[Round] {
        self.plan().deploy.as_ref().map_or(&[], |d| &d.rounds)
    }

    /// The models of round `round`, in the plan's order; none if there is no such round.
    pub fn models_of_round(&self, round: usize) -> Vec<ModelIndex> {
        let placed = self.rounds().get(round).map_or(&[][..], |r| &r.placed);
        let blocks = placed.iter().map(|p| p.block.index());
        let mut models: Vec<ModelIndex> = blocks.map(|b| self.plan().blocks[b].model).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    /// Makes round `round` ready to be run: on a CUDA device, builds its graphs. The first run does
    /// so otherwise.
    ///
    /// # Errors
    ///
    /// If there is no such round, or the device fails.
    pub fn prepare_round(&mut self, round: usize) -> Result<(), RunError> {
        self.check_round(round)?;
        match &mut self.device {
            Some(device) => device
                .prepare_round(&self.engine, round)
                .map_err(RunError::Bind),
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
        self.check_round(round)?;
        if self.device.is_some() {
            return self
                .round_on_device(|device, engine, on_host| {
                    device.run_round(engine, round, Io::Host, false, on_host)
                })
                .map(|_| ());
        }
        self.replay_round(round, None)
    }

    /// As [`Session::run_round`], with inputs as they lie on the device and outputs left there, as
    /// [`Session::run_on_device_timed`]; gives the time from the start of the first step to the end of
    /// the last, as the device measures it; on the host, the time of the run.
    ///
    /// # Errors
    ///
    /// As [`Session::run_round`].
    pub fn run_round_on_device_timed(&mut self, round: usize) -> Result<Duration, RunError> {
        let began = Instant::now();
        if self.device.is_none() {
            self.run_round(round)?;
            return Ok(began.elapsed());
        }
        self.check_round(round)?;
        let time = self.round_on_device(|device, engine, on_host| {
            device.run_round(engine, round, Io::Device, true, on_host)
        })?;
        Ok(time.unwrap_or_default())
    }

    /// As [`Session::run_round`]; says when each step ran, in the order of the round. Times are taken
    /// as [`Session::run_observed`] does.
    ///
    /// # Errors
    ///
    /// As [`Session::run_round`].
    pub fn run_round_spans(&mut self, round: usize) -> Result<Vec<Span>, RunError> {
        self.check_round(round)?;
        if self.device.is_some() {
            return self.round_on_device(|device, engine, on_host| {
                device.run_round_spans(engine, round, on_host)
            });
        }
        let began = Instant::now();
        let mut spans = vec![];
        self.replay_round(
            round,
            Some(&mut |step, duration| {
                spans.push(Span {
                    work: Work::Step(step),
                    start: began.elapsed().saturating_sub(duration),
                    duration,
                });
            }),
        )?;
        Ok(spans)
    }

    fn check_round(&self, round: usize) -> Result<(), RunError> {
        let n_rounds = self.rounds().len();
        if let Some(found) = self.rounds().get(round) {
            // A session for some models has no memory for the others.
            for placed in &found.placed {
                let model = self.plan().blocks[placed.block.index()].model;
                self.of(model).map_err(RunError::Model)?;
            }
            return Ok(());
        }
        Err(RunError::NoRound {
            asked: round,
            n_rounds,
        })
    }

    fn replay_round(
        &mut self,
        round: usize,
        observe: Option<&mut dyn FnMut(StepIndex, Duration)>,
    ) -> Result<(), RunError> {
        let engine = Arc::clone(&self.engine);
        let mut device = Cpu {
            session: self,
            observe,
        };
        replay_round(engine.plan(), round, &mut device)
    }

    /// Lets the device run a round, with a way to run steps on the host.
    fn round_on_device<T: Default>(
        &mut self,
        run: impl FnOnce(&mut DeviceSession, &Engine, OnHost<'_>) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let engine = Arc::clone(&self.engine);
        let mut device = self.device.take();
        let result = match device.as_deref_mut() {
            Some(device) => run(device, &engine, &mut |step| {
                // SAFETY: the session is borrowed mutably, and what runs on the device was waited
                // for.
                unsafe { self.run_step(step) }
            }),
            None => Ok(T::default()),
        };
        self.device = device;
        result
    }
}
