//! From regions to a plan: storage, kernels and steps, then offsets in arenas.

mod arrange;
mod bound;
mod devices;
mod memory;
mod plan;
mod steps;

pub use plan::{LowerError, LowerOptions, Lowered, Source, lower};
