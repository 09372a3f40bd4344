//! What can be wrong with a plan.

use crate::code::{CodeIndex, ImageIndex};
use crate::plan::{
    ArenaIndex, BlockIndex, BufferIndex, KernelIndex, ModelIndex, StepIndex, WeightIndex,
};
use std::fmt;

/// One violation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanError {
    /// Of what kind it is.
    pub code: PlanErrorCode,
    /// Where it is.
    pub place: PlanPlace,
    /// What is wrong there.
    pub message: String,
}

/// The kinds of violations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PlanErrorCode {
    /// Something refers to what is not there.
    Missing,
    /// Two things that must differ have the same name or content hash, or a list names one twice.
    Duplicate,
    /// A size does not follow from type and dimensions, or is beyond all bounds.
    Size,
    /// Something does not start at a multiple of its alignment.
    Alignment,
    /// Something reaches out of what holds it.
    Bounds,
    /// Steps or blocks do not follow one another without gap.
    Partition,
    /// A kernel spec makes no sense.
    Kernel,
    /// Device code is not such as any device could run.
    Code,
    /// A step's arguments are not those of its kernel, in number or type.
    Argument,
    /// A weight or an input would be written.
    ReadOnly,
    /// Something is used by a model or a device that it does not belong to.
    Owner,
    /// Bytes are used twice at once.
    Overlap,
    /// A step waits for what does not come before it.
    Order,
    /// Two steps that nothing orders use the same bytes, and one writes them.
    Conflict,
    /// Bytes are read that no step wrote before.
    Unwritten,
    /// Bytes are read that another buffer has overwritten.
    Overwritten,
    /// The plan is too entangled to be checked.
    TooComplex,
}

impl PlanErrorCode {
    /// A stable name.
    pub fn name(self) -> &'static str {
        match self {
            PlanErrorCode::Missing => "plan-missing",
            PlanErrorCode::Duplicate => "plan-duplicate",
            PlanErrorCode::Size => "plan-size",
            PlanErrorCode::Alignment => "plan-alignment",
            PlanErrorCode::Bounds => "plan-bounds",
            PlanErrorCode::Partition => "plan-partition",
            PlanErrorCode::Kernel => "plan-kernel",
            PlanErrorCode::Code => "plan-code",
            PlanErrorCode::Argument => "plan-argument",
            PlanErrorCode::ReadOnly => "plan-read-only",
            PlanErrorCode::Owner => "plan-owner",
            PlanErrorCode::Overlap => "plan-overlap",
            PlanErrorCode::Order => "plan-order",
            PlanErrorCode::Conflict => "plan-conflict",
            PlanErrorCode::Unwritten => "plan-unwritten",
            PlanErrorCode::Overwritten => "plan-overwritten",
            PlanErrorCode::TooComplex => "plan-too-complex",
        }
    }

    /// What the user can do.
    pub fn help(self) -> &'static str {
        match self {
            PlanErrorCode::TooComplex => {
                "compile the models into several plans, or with fewer lanes"
            }
            PlanErrorCode::Kernel | PlanErrorCode::Code => {
                "compile the models again; a plan made by this version that fails so is a bug of the compiler: please report it"
            }
            _ => {
                "the plan was damaged, or made by a compiler with a bug: compile the models again, and please report it if that gives the same"
            }
        }
    }
}

/// A place in a plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(
    missing_docs,
    reason = "the variants name the lists that they point into"
)]
pub enum PlanPlace {
    Plan,
    Model(ModelIndex),
    Input(ModelIndex, usize),
    Output(ModelIndex, usize),
    Arena(ArenaIndex),
    Buffer(BufferIndex),
    Weight(WeightIndex),
    Kernel(KernelIndex),
    Step(StepIndex),
    Argument(StepIndex, usize),
    Workspace(StepIndex),
    Counters(StepIndex),
    Image(ImageIndex),
    Code(CodeIndex),
    Block(BlockIndex),
    CoRun(usize),
    Service(usize),
    Round(usize),
    /// A round, and the position in it.
    Placed(usize, usize),
}

impl fmt::Display for PlanPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanPlace::Plan => write!(f, "plan"),
            PlanPlace::Model(i) => write!(f, "model {}", i.0),
            PlanPlace::Input(i, n) => write!(f, "model {}, input {n}", i.0),
            PlanPlace::Output(i, n) => write!(f, "model {}, output {n}", i.0),
            PlanPlace::Arena(i) => write!(f, "arena {}", i.0),
            PlanPlace::Buffer(i) => write!(f, "buffer {}", i.0),
            PlanPlace::Weight(i) => write!(f, "weight {}", i.0),
            PlanPlace::Kernel(i) => write!(f, "kernel {}", i.0),
            PlanPlace::Step(i) => write!(f, "step {}", i.0),
            PlanPlace::Argument(i, n) => write!(f, "step {}, argument {n}", i.0),
            PlanPlace::Workspace(i) => write!(f, "step {}, workspace", i.0),
            PlanPlace::Counters(i) => write!(f, "step {}, counters", i.0),
            PlanPlace::Image(i) => write!(f, "image {}", i.0),
            PlanPlace::Code(i) => write!(f, "code {}", i.0),
            PlanPlace::Block(i) => write!(f, "block {}", i.0),
            PlanPlace::CoRun(i) => write!(f, "pair of blocks {i}"),
            PlanPlace::Service(i) => write!(f, "service {i}"),
            PlanPlace::Round(r) => write!(f, "round {r}"),
            PlanPlace::Placed(r, p) => write!(f, "round {r}, position {p}"),
        }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.code.name(), self.place, self.message)
    }
}

impl std::error::Error for PlanError {}

impl PlanError {
    /// What the user can do.
    pub fn help(&self) -> &'static str {
        self.code.help()
    }
}

/// The most violations that are listed one by one.
const MAX_LISTED: usize = 200;

/// Violations as they are found.
#[derive(Default)]
pub(super) struct Report {
    errors: Vec<PlanError>,
    n_unlisted: usize,
}

impl Report {
    pub(super) fn add(
        &mut self,
        code: PlanErrorCode,
        place: PlanPlace,
        message: impl Into<String>,
    ) {
        if self.errors.len() == MAX_LISTED {
            self.n_unlisted += 1;
            return;
        }
        self.errors.push(PlanError {
            code,
            place,
            message: message.into(),
        });
    }

    /// Adds a violation unless `holds`; gives `holds` back.
    pub(super) fn require(
        &mut self,
        holds: bool,
        code: PlanErrorCode,
        place: PlanPlace,
        message: impl FnOnce() -> String,
    ) -> bool {
        if !holds {
            self.add(code, place, message());
        }
        holds
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The violations so far, if any.
    pub(super) fn stop_if_any(&mut self) -> Result<(), Vec<PlanError>> {
        let mut errors = std::mem::take(&mut self.errors);
        if let (n, Some(last)) = (self.n_unlisted, errors.last().cloned())
            && n > 0
        {
            errors.push(PlanError {
                message: format!("{n} further violations are not listed"),
                place: PlanPlace::Plan,
                ..last
            });
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}
