//! What sessions of a plan share on a device.

use super::Options;
use super::context::{Context, Current};
use super::driver::{Driver, DriverError, Unavailable};
use super::image::Images;
use super::memory::{DeviceMemory, PinnedMemory};
use super::weights::{WeightPlaces, upload};
use crate::cpu::pool::Pool;
use crate::error::BindError;
use crate::load::Loaded;
use plans::{Device, ValidPlan, WeightIndex};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A plan's weights and kernels on a device.
pub(crate) struct Bound {
    pub(crate) context: Arc<Context>,
    pub(crate) images: Images,
    pub(crate) options: Options,
    places: WeightPlaces,
    weights: Option<DeviceMemory>,
}

/// The context of device `ordinal`, if its driver is one for the plan.
///
/// # Errors
///
/// If there is none.
pub(crate) fn context(plan: &ValidPlan, ordinal: u16) -> Result<Arc<Context>, Unavailable> {
    let found = Driver::get()?.version();
    let needed = i32::try_from(plan.fingerprint.cuda_driver).unwrap_or(i32::MAX);
    if found < needed {
        return Err(Unavailable::OldDriver { found, needed });
    }
    Context::new(ordinal)
}

impl Bound {
    /// Uploads weights and loads kernels, at the same time.
    ///
    /// # Errors
    ///
    /// If the plan is for several devices, the device has no room for the weights, they are damaged or
    /// the driver refuses an image.
    pub(crate) fn new(
        loaded: &Loaded,
        pool: &Pool,
        context: Arc<Context>,
        options: Options,
    ) -> Result<Self, BindError> {
        let plan = loaded.plan();
        one_device(plan)?;
        let images = Images::new(plan, &context)?;
        let places = WeightPlaces::new(plan);
        let n_now = if options.lazy { 0 } else { images.len() };
        let (weights, kernels) = std::thread::scope(|scope| {
            let weights = scope.spawn(|| upload(&context, loaded, &places, pool.n_threads()));
            // Errors are kept with the images.
            let _ = pool.run(n_now, &|image, _| {
                let _ = images.load(image, loaded);
            });
            let kernels = (0..n_now).try_for_each(|image| images.load(image, loaded));
            (weights.join(), kernels)
        });
        kernels?;
        // Nothing in the thread panics: slices are cut to their lengths.
        let weights = weights.expect("uploading does not panic")?;
        Ok(Self {
            context,
            images,
            options,
            places,
            weights,
        })
    }

    /// Where a weight that device code reads starts.
    pub(crate) fn weight(&self, weight: WeightIndex) -> u64 {
        let offset = self.places.offsets[weight.index()];
        let offset = offset.expect("weights that device code reads were uploaded");
        self.weights.as_ref().map_or(0, DeviceMemory::address) + offset
    }

    /// Memory of the host that the device can reach.
    pub(crate) fn pinned(&self, bytes: u64, what: &str) -> Result<PinnedMemory, BindError> {
        PinnedMemory::new(&self.context, bytes).map_err(|e| {
            let what = format!("{what}, pinned on the host");
            failed_to_allocate(&self.context, bytes, &what, e)
        })
    }

    /// Bytes of device memory that the weights take.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.places.bytes
    }
}

/// An error of an allocation of `bytes` for `what`, or of a copy.
pub(crate) fn failed_to_allocate(
    context: &Context,
    bytes: u64,
    what: &str,
    error: DriverError,
) -> BindError {
    if !error.is_out_of_memory() {
        return BindError::Cuda {
            what: what.to_owned(),
            error,
        };
    }
    let (free, total) = context
        .enter()
        .map_or((0, 0), |current: Current<'_>| current.memory());
    BindError::DeviceMemory {
        bytes,
        what: what.to_owned(),
        free,
        total,
    }
}

/// Checks that a plan is for no more than one CUDA device.
fn one_device(plan: &ValidPlan) -> Result<(), BindError> {
    let of_steps = plan.steps.iter().map(|s| s.device);
    let of_arenas = plan.arenas.iter().map(|a| a.device);
    let devices: BTreeSet<Device> = of_steps
        .chain(of_arenas)
        .filter(|&d| d != Device::Cpu)
        .collect();
    if devices.len() > 1 {
        return Err(BindError::SeveralDevices {
            devices: devices.into_iter().map(|d| d.to_string()).collect(),
        });
    }
    Ok(())
}
