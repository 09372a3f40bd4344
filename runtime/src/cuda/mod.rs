//! Running plans on a CUDA device, with nothing but the driver.
//!
//! The driver is opened when a plan asks for it; where there is none, or no device, that is an error
//! that says what to install. Binding uploads the weights that device code reads and loads the
//! images that fit the device. A session is one allocation of device memory and, for each block of a
//! model, one graph whose nodes are the launches and copies of the plan; running a model launches
//! its graphs. Nothing is found out by running host code: the plan says all.
//!
//! Engines use the device's primary context, which all of the process shares. Most errors, such as too
//! little memory or a position out of range, concern one call, and the engine goes on. After an error
//! that a kernel breaks the device's rules by, such as an illegal address, the driver refuses all that
//! the process asks of the device, in whatever context: engines that use it fail from then on
//! with [`RunError::Lost`](crate::RunError::Lost), CPU engines go on, and only a new process can use
//! the device again. Whoever needs models that can't take each other along runs them in processes of
//! their own.

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
pub use session::Io;
pub(crate) use session::{DeviceSession, OnHost, SessionModels};

/// How plans are run on a CUDA device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Load the kernels of a model, and build its graphs, when it first runs, instead of all when
    /// the plan is bound. The first run of each model then allocates and may fail to bind.
    pub lazy: bool,
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

/// The version of the driver, as `cuDriverGetVersion` counts: 13000 for 13.0.
///
/// # Errors
///
/// If there is no driver that will do.
pub fn driver_version() -> Result<u32, Unavailable> {
    let driver = driver::Driver::get()?;
    Ok(u32::try_from(driver.version()).unwrap_or(0))
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
