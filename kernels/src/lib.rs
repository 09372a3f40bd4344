//! The code generator of dlirc: regions of operators to kernel specs.
//!
//! [`build::region`] turns a region of a graph into the specs of the kernels that compute it, given
//! where every value lies in memory ([`Layout`]).

pub mod build;
pub mod cuda;
pub mod layout;
pub mod tape;

pub use build::{BuildError, KernelArg, KernelCall, RegionCx};
pub use layout::Layout;
