//! What runs the steps of a plan.

use plans::{ModelIndex, Round, StepIndex, ValidPlan};
use std::ops::Range;

/// What a session runs as a whole: a model is as a round of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whole {
    /// One model.
    Model(ModelIndex),
    /// One of the plan's rounds, by number.
    Round(usize),
}

impl Whole {
    /// The models that are run, in the plan's order; none of a round that does not exist.
    pub(crate) fn models(self, plan: &ValidPlan) -> Vec<ModelIndex> {
        match self {
            Whole::Model(model) => vec![model],
            Whole::Round(round) => {
                let placed = self::round(plan, round).map_or(&[][..], |r| &r.placed);
                let blocks = placed.iter().map(|p| &plan.blocks[p.block.index()]);
                let mut models: Vec<ModelIndex> = blocks.map(|b| b.model).collect();
                models.sort_unstable();
                models.dedup();
                models
            }
        }
    }

    /// The positions of its steps in the plan, in the order in which they are commanded.
    pub(crate) fn steps(self, plan: &ValidPlan) -> Vec<usize> {
        match self {
            Whole::Model(model) => plan.models[model.index()].steps().collect(),
            Whole::Round(round) => {
                let placed = self::round(plan, round).map_or(&[][..], |r| &r.placed);
                let blocks = placed.iter().map(|p| &plan.blocks[p.block.index()]);
                blocks.flat_map(|b| b.steps()).collect()
            }
        }
    }

    /// Gives `device` the commands that run it once.
    ///
    /// # Errors
    ///
    /// As [`replay`].
    pub(crate) fn replay<D: Device>(
        self,
        plan: &ValidPlan,
        device: &mut D,
    ) -> Result<(), D::Error> {
        match self {
            Whole::Model(model) => replay(plan, model, device),
            Whole::Round(round) => replay_round(plan, round, device),
        }
    }
}

/// Round `round` of the plan, if it has as many.
pub(crate) fn round(plan: &ValidPlan, round: usize) -> Option<&Round> {
    plan.deploy.as_ref()?.rounds.get(round)
}

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

    /// Round `round` of the plan starts. Its blocks follow, instead of a model.
    ///
    /// # Errors
    ///
    /// If the device can't start.
    fn begin_round(&mut self, _round: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The steps of the block at `position` of a round follow, as if in lanes of their own: they
    /// start only when the block before in its lane and those that it is placed after have finished.
    ///
    /// # Errors
    ///
    /// If a step failed.
    fn block(&mut self, _round: usize, _position: usize) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The round ends when all lanes have.
    ///
    /// # Errors
    ///
    /// If a step failed.
    fn end_round(&mut self, _round: usize) -> Result<(), Self::Error> {
        Ok(())
    }
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
    steps(plan, plan.models[model.index()].steps(), device)?;
    device.end(model)
}

/// Gives `device` the commands that run round `round` once: nothing if there is no such round.
///
/// # Errors
///
/// The first error of the device; nothing is commanded after it.
pub fn replay_round<D: Device>(
    plan: &ValidPlan,
    round: usize,
    device: &mut D,
) -> Result<(), D::Error> {
    let Some(found) = self::round(plan, round) else {
        return Ok(());
    };
    device.begin_round(round)?;
    for (position, placed) in found.placed.iter().enumerate() {
        device.block(round, position)?;
        steps(plan, plan.blocks[placed.block.index()].steps(), device)?;
    }
    device.end_round(round)
}

fn steps<D: Device>(plan: &ValidPlan, steps: Range<usize>, device: &mut D) -> Result<(), D::Error> {
    for i in steps {
        let step = StepIndex(i as u32);
        for &on in &plan.steps[i].waits {
            device.wait(step, on)?;
        }
        device.launch(step)?;
    }
    Ok(())
}
