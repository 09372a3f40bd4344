//! Which request runs which block, when, and where.
//!
//! A [`Scheduler`] is a state machine without clock, threads or I/O: requests arrive, blocks finish,
//! requests are cancelled, and it says which block to start next. [`Simulation`] runs it on simulated
//! time with the block times of a [`Profile`], a [`Server`](crate::serve::Server) on
//! sessions. All times are nanoseconds of one
//! clock that never goes back; ratios are in 1/1000.
//!
//! ```
//! use dlirc_runtime::schedule::{ModelProfile, Options, Policy, Profile, Request, Arrival, simulate};
//! use plans::ModelIndex;
//! // Two models: one of 2 ms in four blocks, one of 0.5 ms in one.
//! let profile = Profile::new(vec![
//!     ModelProfile::new("long", &[500_000; 4]),
//!     ModelProfile::new("short", &[500_000]),
//! ]);
//! let arrivals = [
//!     Arrival { at_ns: 0, request: Request::new(ModelIndex(0)) },
//!     Arrival { at_ns: 100_000, request: Request::new(ModelIndex(1)) },
//! ];
//! let records = simulate(&profile, Policy::Dlir, &Options::default(), arrivals).unwrap();
//! // The short one ran between blocks of the long one.
//! assert!(records[1].finish_ns < records[0].finish_ns);
//! ```

mod bnst;
mod core;
mod dlir;
mod fifo;
mod interleave;
mod of_plan;
mod oyst;
mod parallel;
mod policy;
mod profile;
mod recorder;
mod request;
mod scheduler;
mod simulation;
mod targets;
mod token;

pub use core::Slot;
pub(crate) use of_plan::blocks_of;
pub use policy::{Options, Policy, UnknownPolicy};
pub use profile::{BlockProfile, ModelProfile, Profile, ProfileError, Running};
pub(crate) use recorder::Recorder;
pub use request::{Arrival, BlockTime, Outcome, Record, Refusal, Request, RequestId};
pub use scheduler::{Decision, Progress, Scheduler, Start};
pub use simulation::{Simulation, simulate};
