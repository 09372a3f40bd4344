//! Example architectures without weights, and the code that fills them.
//!
//! The folder of this crate holds nineteen exported graphs, `NAME.onnx`, whose large weights
//! are replaced by statistics, `NAME.stats.json`. [`fill`] turns them into runnable models
//! with random weights, the same on every machine; [`random_inputs`] makes inputs for them.

#![forbid(unsafe_code)]

mod architectures;
mod fill;
mod inputs;
pub mod random;

pub use architectures::{Architecture, Input, Values, find, folder, list};
pub use fill::{FillError, Filled, Progress, fill};
pub use inputs::{guess_values, random_inputs, random_tensor};
