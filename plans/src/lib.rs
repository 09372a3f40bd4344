//! The contract of dlirc: what an execution plan is, its file, its checks.
//!
//! A [`Plan`] is data: models with their inputs and outputs, buffers at fixed offsets in arenas,
//! kernels as specs ([`spec`]), and steps that apply kernels to buffers and weights. It knows
//! nothing of the compiler that made it, and the runtime knows nothing else.

pub mod blocks;
pub mod co_run;
pub mod code;
mod code_lines;
pub mod deploy;
#[cfg(feature = "json")]
mod deploy_json;
mod deploy_lines;
mod describe;
pub mod dot;
pub mod dtype;
pub mod file;
pub mod flow;
#[cfg(feature = "json")]
pub mod json;
pub mod occupancy;
#[cfg(feature = "picture")]
pub mod picture;
pub mod plan;
pub mod spec;
pub mod stats;
pub mod tape;
pub mod text;
pub mod validate;

pub use code::*;
pub use deploy::*;
pub use dtype::DType;
pub use plan::*;
pub use spec::KernelSpec;
pub use tape::Tape;
pub use validate::{Lengths, PlanError, ValidPlan, validate};
