//! What can go wrong.

use crate::cpu::exec::Fault;
use crate::cpu::pool::PoolError;
use plans::file::FileError;
use plans::{DType, PlanError, StepIndex, ValidPlan};
use std::fmt;
use std::path::PathBuf;

/// Why a plan could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file can't be read.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes are no undamaged plan file of a known format.
    File(FileError),
    /// The plan makes no sense: all violations.
    Plan(Vec<PlanError>),
    /// There is no room for the plan.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: u64,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io { path, source } => write!(f, "can't read {}: {source}", path.display()),
            LoadError::File(error) => error.fmt(f),
            LoadError::Plan(errors) => {
                write!(f, "the plan is not valid")?;
                for error in errors {
                    write!(f, "\n  {error}")?;
                }
                Ok(())
            }
            LoadError::OutOfMemory { bytes } => out_of_memory(f, *bytes),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Io { source, .. } => Some(source),
            LoadError::File(error) => Some(error),
            LoadError::Plan(_) | LoadError::OutOfMemory { .. } => None,
        }
    }
}

fn out_of_memory(f: &mut fmt::Formatter<'_>, bytes: u64) -> fmt::Result {
    write!(f, "there is no room for {bytes} bytes of memory")
}

/// A step, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepRef {
    /// Its position in the plan.
    pub step: StepIndex,
    /// The model that it belongs to.
    pub model: String,
    /// The operators that it computes.
    pub label: String,
    /// The nodes of the user's model that it stands for.
    pub origin: Vec<String>,
}

impl StepRef {
    /// What `step` of `plan` is called.
    pub(crate) fn new(plan: &ValidPlan, step: StepIndex) -> Self {
        let named = &plan.steps[step.index()];
        Self {
            step,
            model: plan.models[named.model.index()].name.clone(),
            label: named.label.clone(),
            origin: named.origin.clone(),
        }
    }
}

impl fmt::Display for StepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "model {}, step {} ({})",
            self.model, self.step.0, self.label
        )?;
        if !self.origin.is_empty() {
            write!(f, ", nodes {}", self.origin.join(", "))?;
        }
        Ok(())
    }
}

/// Why a plan can't be run here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BindError {
    /// A step is for a device that this engine does not drive.
    Device {
        /// The step.
        step: StepRef,
        /// The device, as plans name it.
        device: String,
    },
    /// There is no implementation of a step's kernel.
    Unsupported {
        /// The first step that uses the kernel.
        step: StepRef,
        /// What there is none of.
        what: String,
    },
    /// A thread panicked while it prepared a step's kernel: a defect of the runtime.
    Defect {
        /// The first step that uses the kernel.
        step: StepRef,
    },
    /// There is no room for weights, buffers or working memory.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: u64,
    },
    /// The pool of threads could not be made.
    Threads(PoolError),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindError::Device { step, device } => {
                write!(
                    f,
                    "{step}: made for {device}, which this engine does not drive; compile for cpu"
                )
            }
            BindError::Unsupported { step, what } => {
                write!(f, "{step}: the CPU has no kernel for {what}")
            }
            BindError::Defect { step } => {
                write!(
                    f,
                    "{step}: preparing its kernel failed; please report this defect"
                )
            }
            BindError::OutOfMemory { bytes } => out_of_memory(f, *bytes),
            BindError::Threads(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for BindError {}

/// Why a run failed. The session can be used again; outputs of the run are not to be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunError {
    /// The plan has no such model.
    Model(PortError),
    /// A step failed.
    Step {
        /// The step.
        step: StepRef,
        /// What went wrong.
        fault: Fault,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Model(error) => error.fmt(f),
            RunError::Step { step, fault } => write!(f, "{step}: {fault}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Why there is no such model, input or output, or why data does not fit it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PortError {
    /// No model has this name or number.
    NoModel {
        /// The name or number.
        asked: String,
        /// The models that there are.
        models: Vec<String>,
    },
    /// The model has no input or output of this name or number.
    NoPort {
        /// The model.
        model: String,
        /// `input` or `output`.
        kind: &'static str,
        /// The name or number.
        asked: String,
        /// Those that there are.
        ports: Vec<String>,
    },
    /// Data of another type.
    DType {
        /// The model.
        model: String,
        /// The input.
        port: String,
        /// The type that belongs there.
        expected: DType,
        /// The type that came.
        found: DType,
    },
    /// Data of other dimensions.
    Dims {
        /// The model.
        model: String,
        /// The input.
        port: String,
        /// The dimensions that belong there.
        expected: Vec<u64>,
        /// The dimensions that came.
        found: Vec<u64>,
    },
    /// Another number of bytes than type and dimensions take.
    Bytes {
        /// The model.
        model: String,
        /// The input.
        port: String,
        /// The number that belongs there.
        expected: u64,
        /// The number that came.
        found: u64,
    },
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PortError::NoModel { asked, models } => {
                write!(f, "no model {asked}; the plan holds {}", models.join(", "))
            }
            PortError::NoPort {
                model,
                kind,
                asked,
                ports,
            } => write!(
                f,
                "model {model} has no {kind} {asked}; its {kind}s are {}",
                ports.join(", ")
            ),
            PortError::DType {
                model,
                port,
                expected,
                found,
            } => write!(
                f,
                "input {port} of model {model} is of type {expected}, not {found}"
            ),
            PortError::Dims {
                model,
                port,
                expected,
                found,
            } => write!(
                f,
                "input {port} of model {model} has dimensions {expected:?}, not {found:?}"
            ),
            PortError::Bytes {
                model,
                port,
                expected,
                found,
            } => write!(
                f,
                "input {port} of model {model} takes {expected} bytes, not {found}"
            ),
        }
    }
}

impl std::error::Error for PortError {}
