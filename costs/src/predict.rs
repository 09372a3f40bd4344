//! The interface of predictors.

use crate::Work;
use std::fmt::Debug;

/// How long something takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// The mean, in nanoseconds.
    pub ns: f64,
    /// The standard deviation: of runs where it was measured, of the error where it was predicted.
    pub std_ns: f64,
    /// Where it comes from.
    pub source: Source,
}

/// Where an estimate comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// It was measured so many times.
    Measured(u64),
    /// It was predicted from what the kernel does and what the device can do.
    Predicted,
}

/// The share of a device that work takes while it runs alone, from 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Demand {
    /// Of its multiprocessors.
    pub compute: f64,
    /// Of its memory's bandwidth.
    pub memory: f64,
}

/// Says how long work takes on a device.
pub trait Predict: Debug {
    /// One run of a kernel, timed by itself.
    fn alone(&self, work: &Work) -> Estimate;

    /// One run of a kernel in a chain of kernels that run one after the other, if timed by itself it
    /// takes `alone`.
    fn in_chain(&self, work: &Work, alone: Estimate) -> Estimate;

    /// What a kernel takes of the device while its chain runs alone.
    fn demand(&self, work: &Work) -> Demand;

    /// The share of the room for blocks that the fullest launch of a kernel takes, from 0 to 1; all of it
    /// on a device that has no such thing.
    fn room(&self, work: &Work) -> f64;

    /// How many times as long each of two takes while the other one runs beside it.
    fn together(&self, a: &Demand, b: &Demand) -> [f64; 2];
}
