//! The predictor of dlirc: what running a kernel costs on a device.
//!
//! A [`Device`] is a text file: what a device can do, and how much of that each class of kernels
//! reaches. [`Work`] says of a kernel what matters for its time. A [`Predict`] makes an [`Estimate`]
//! of both; [`Roofline`] is the first that does. A [`Database`] keeps what was measured, and
//! [`fit::fit`] makes a device of it.

pub mod database;
mod device;
pub mod fit;
mod predict;
mod roofline;
mod times;
mod work;

pub use database::{Database, DatabaseError, Key};
pub use device::{Device, DeviceError, Efficiency, Kind, Launches, Transfers};
pub use predict::{Demand, Estimate, Predict, Source};
pub use roofline::Roofline;
pub use times::Times;
pub use work::{Grid, Work};
