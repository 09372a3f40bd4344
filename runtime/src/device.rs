//! What runs the steps of a plan.

use plans::{ModelIndex, StepIndex, ValidPlan};

/// Takes the commands that run a model, in order.
///
/// The schedule of a model is the calls that [`replay`] makes; a device that writes them down
/// ([`Trace`](crate::trace::Trace)) shows it without running anything.
pub trait Device {
    /// What can go wrong.
    type Error;

    /// A run of `model` starts.
    ///
    /// # Errors
    ///
    /// If the device can't start.
    fn begin(&mut self, model: ModelIndex) -> Result<(), Self::Error>;

    /// Whatever comes next on the lane of `step` starts only when `on`, a step of another lane,
    /// has finished.
    ///
    /// # Errors
    ///
    /// If a step failed.
    fn wait(&mut self, step: StepIndex, on: StepIndex) -> Result<(), Self::Error>;

    /// `step` starts when the steps before it on its lane have finished.
    ///
    /// # Errors
    ///
    /// If a step failed.
    fn launch(&mut self, step: StepIndex) -> Result<(), Self::Error>;

    /// The run ends when all lanes have.
    ///
    /// # Errors
    ///
    /// If a step failed.
    fn end(&mut self, model: ModelIndex) -> Result<(), Self::Error>;
}

/// Gives `device` the commands that run `model` once.
///
/// # Errors
///
/// The first error of the device; nothing is commanded after it.
pub fn replay<D: Device>(
    plan: &ValidPlan,
    model: ModelIndex,
    device: &mut D,
) -> Result<(), D::Error> {
    device.begin(model)?;
    for i in plan.models[model.index()].steps() {
        let step = StepIndex(i as u32);
        for &on in &plan.steps[i].waits {
            device.wait(step, on)?;
        }
        device.launch(step)?;
    }
    device.end(model)
}
