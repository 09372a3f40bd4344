//! Running plans on a CUDA device, with nothing but the driver.
//!
//! The driver is opened when a plan asks for it; where there is none, or no device, that is an error
//! that says what to install. Binding uploads the weights that device code reads and loads the
//! images that fit the device. A session is one allocation of device memory and, for each block of a
//! model, one graph whose nodes are the launches and copies of the plan; running a model launches
//! its graphs. Nothing is found out by running host code: the plan says all.
//!
//! An engine uses the device's primary context, which all of the process shares, or one of its own
//! ([`Options::own_context`]). An error such as an illegal address breaks the context for good: every
//! engine that uses it fails from then on, with [`RunError::Lost`](crate::RunError::Lost), and CPU
//! engines and other devices go on. The primary context is made anew once all of its engines, and
//! whatever else in the process uses it, have let it go; an engine with a context of its own takes
//! nobody with it.

mod bound;
mod context;
pub mod dlpack;
mod driver;
mod graph;
mod image;
mod memory;
pub(crate) mod schedule;
mod session;
mod weights;

pub use driver::{DriverError, Unavailable};

pub(crate) use bound::{Bound, context};
pub(crate) use context::Context;
pub(crate) use memory::PinnedMemory;
pub(crate) use schedule::is_on_device;
pub(crate) use session::{DeviceSession, Io, OnHost};

/// How plans are run on a CUDA device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Load the kernels of a model, and build its graphs, when it first runs, instead of all when
    /// the plan is bound. The first run of each model then allocates and may fail to bind.
    pub lazy: bool,
    /// Use a context of the engine's own: slower to bind and apart from all else that uses the
    /// device, errors included. Its memory can't be handed to other users of the device.
    pub own_context: bool,
    /// Run every step as a graph by itself and wait for it, so that an error is that of a step.
    pub step_by_step: bool,
}

/// Memory of a CUDA device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevicePtr {
    /// Its address, as the device sees it.
    pub address: u64,
    /// Its size.
    pub bytes: u64,
    /// The device, as the driver numbers it.
    pub device: u16,
}

/// The number of CUDA devices.
///
/// # Errors
///
/// If there is no driver that will do, or no device.
pub fn n_devices() -> Result<u16, Unavailable> {
    driver::Driver::get().map(driver::Driver::n_devices)
}

/// What a CUDA device is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// Its name, as the driver says.
    pub name: String,
    /// Ten times the major number of its compute capability plus the minor one.
    pub arch: u32,
    /// Its multiprocessors.
    pub n_sms: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// What device `ordinal` is.
///
/// # Errors
///
/// If there is no such device.
pub fn device(ordinal: u16) -> Result<DeviceInfo, Unavailable> {
    context::describe(ordinal)
}
