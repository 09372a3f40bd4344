//! The command `dlirc`: compiles several neural networks into one plan that runs them together.
//!
//! [`driver`] is the pipeline; [`cli`] holds one file a verb; [`report`] alone draws diagnostics.

pub mod beside;
pub mod blocks;
pub mod children;
pub mod cli;
pub mod deploy;
pub mod device_code;
pub mod device_model;
pub mod driver;
pub mod inputs;
pub mod limits;
pub mod load;
pub mod measure;
pub mod npy;
pub mod oracle;
pub mod profile;
pub mod report;
