//! From regions to a plan: storage, kernels and steps, then offsets in arenas.

mod arrange;
mod bound;
mod devices;
mod estimate;
mod lanes;
mod memory;
mod order;
mod plan;
mod steps;
mod weights;

pub use lanes::{Branches, DEFAULT_LANES, Lanes, MAX_LANES};
pub use plan::{LowerError, LowerOptions, Lowered, Source, lower};
