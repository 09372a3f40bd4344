//! From a plan that may say anything to one that can be run.

mod code;
mod coverage;
mod deploy;
mod error;
mod memory;
mod order;
mod runs;
mod steps;
mod structure;

pub use error::{PlanError, PlanErrorCode, PlanPlace};
pub use order::MAX_LANES;

use crate::plan::Plan;
use error::Report;
use std::ops::Deref;

/// A plan that passed [`validate`]: the only thing that the runtime runs.
///
/// Beyond what each field's documentation says, it holds that
///
/// - every kernel spec passes [`KernelSpec::check`](crate::KernelSpec::check);
/// - every argument lies in its tensor, starts at a multiple of its element size and is of the
///   tensor's type, and a tensor is used with one type only;
/// - no byte that an argument of a step may write is touched by another argument of the step, though
///   what they touch may lie in turns: slices of one concatenation;
/// - steps that touch a byte which one of them writes are ordered, by lane or by waits, and the
///   order of the list is such an order;
/// - every launch is one that some GPU can run, images lie in their section, and code has a workspace
///   and counters of its own where it needs them;
/// - steps are of arguments in the memory of their device, but for copies between two, and blocks of
///   steps on one device;
/// - a round runs all blocks of a model once and in order, and models that share an arena one after
///   the other; predicted times agree with that order;
/// - whatever a step reads was written in the same run, or is an input or a weight, and outputs
///   are whole when the steps are done, sizes that a run decides among them.
#[derive(Clone, PartialEq, Debug)]
pub struct ValidPlan(Plan);

impl Deref for ValidPlan {
    type Target = Plan;

    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl ValidPlan {
    /// The plan, to be changed and validated again.
    pub fn into_inner(self) -> Plan {
        self.0
    }
}

/// How long the data is that comes with a plan, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lengths {
    /// The weights section.
    pub weights: u64,
    /// The images section.
    pub images: u64,
}

impl Lengths {
    /// What `plan` needs at least.
    pub fn needed(plan: &Plan) -> Self {
        let longest = |ends: &mut dyn Iterator<Item = u64>| ends.max().unwrap_or(0);
        let mut weights = plan
            .weights
            .iter()
            .map(|w| w.offset.saturating_add(w.bytes));
        let mut images = plan.images.iter().map(|i| i.offset.saturating_add(i.bytes));
        Self {
            weights: longest(&mut weights),
            images: longest(&mut images),
        }
    }
}

/// Checks a plan that comes with data of these `lengths`.
///
/// # Errors
///
/// Every violation found. What later checks rely on comes first: while something refers to what is
/// not there, no arguments are looked at, and while an argument is wrong, no memory.
pub fn validate(plan: Plan, lengths: Lengths) -> Result<ValidPlan, Vec<PlanError>> {
    let mut report = Report::default();
    structure::check(&plan, lengths, &mut report);
    report.stop_if_any()?;
    let kernels = steps::check(&plan, &mut report);
    report.stop_if_any()?;
    code::check(&plan, &kernels, &mut report);
    report.stop_if_any()?;
    memory::check(&plan, &kernels, &mut report);
    report.stop_if_any()?;
    Ok(ValidPlan(plan))
}
