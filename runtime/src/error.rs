//! What can go wrong.

use crate::cpu::exec::Fault;
use crate::cpu::pool::PoolError;
use crate::cuda::{DriverError, Unavailable};
use plans::file::FileError;
use plans::{DType, ImageKind, PlanError, StepIndex, ValidPlan};
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
    /// The weights are not those that the plan was written with.
    File {
        /// The plan's file.
        path: PathBuf,
        /// What is wrong.
        error: FileError,
    },
    /// There is no CUDA device for the plan's steps on one.
    Unavailable(Unavailable),
    /// The plan is for several CUDA devices; an engine drives one.
    SeveralDevices {
        /// The devices, as plans name them.
        devices: Vec<String>,
    },
    /// A step's code was compiled for other devices.
    NoImage {
        /// The first step that uses the code.
        step: Box<StepRef>,
        /// Ten times the major number of the device's compute capability plus the minor one.
        arch: u32,
        /// What it was compiled for.
        images: Vec<ImageKind>,
    },
    /// The driver refuses a step's code.
    Image {
        /// The first step that uses the code.
        step: Box<StepRef>,
        /// What the driver says.
        error: DriverError,
        /// What its compiler says; may be empty.
        log: String,
    },
    /// A function of a step's code is missing, or not as the plan says.
    Function {
        /// The first step that uses the code.
        step: Box<StepRef>,
        /// The function.
        function: String,
        /// What is wrong.
        what: String,
    },
    /// The driver refuses to launch or copy as a step asks.
    Launch {
        /// The step.
        step: Box<StepRef>,
        /// What it refuses.
        what: String,
        /// What it says.
        error: DriverError,
    },
    /// The device has no room, or the host none that the device can reach.
    DeviceMemory {
        /// Bytes that were asked for.
        bytes: u64,
        /// What they are for.
        what: String,
        /// Bytes of the device that are free; 0 if the driver can't say.
        free: u64,
        /// Bytes that the device has.
        total: u64,
    },
    /// The driver failed.
    Cuda {
        /// What could not be had.
        what: String,
        /// What the driver says.
        error: DriverError,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            BindError::File { path, error } => write!(f, "{}: {error}", path.display()),
            BindError::Unavailable(error) => error.fmt(f),
            BindError::SeveralDevices { devices } => write!(
                f,
                "the plan is for {}; an engine drives one CUDA device",
                devices.join(" and ")
            ),
            BindError::NoImage { step, arch, images } => {
                let images: Vec<String> = images.iter().map(ImageKind::to_string).collect();
                write!(
                    f,
                    "{step}: compiled for {}, and the device is sm_{arch}; compile for cuda:sm_{arch}",
                    images.join(", ")
                )
            }
            BindError::Image { step, error, log } => {
                write!(f, "{step}: the driver refuses its code: {error}")?;
                match log.as_str() {
                    "" => Ok(()),
                    log => write!(f, "\n{log}"),
                }
            }
            BindError::Function {
                step,
                function,
                what,
            } => write!(f, "{step}: its function `{function}`: {what}"),
            BindError::Launch { step, what, error } => write!(f, "{step}: {what}: {error}"),
            BindError::DeviceMemory {
                bytes,
                what,
                free,
                total,
            } => write!(
                f,
                "there is no room for {bytes} bytes for {what}: {free} of the device's {total} are free"
            ),
            BindError::Cuda { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for BindError {}

impl BindError {
    /// What the user can do, where that is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            BindError::Unavailable(error) => Some(error.help()),
            BindError::File { error, .. } => Some(error.help()),
            BindError::NoImage { .. } => Some("compile for the device that is there"),
            BindError::Image { .. } => Some("compile the models again, or install a newer driver"),
            BindError::DeviceMemory { .. } => Some(
                "free memory of the device (`nvidia-smi` lists who uses it), or use another one",
            ),
            BindError::Cuda { error, .. } if error.is_sticky() => Some(BROKEN_CONTEXT),
            BindError::SeveralDevices { .. } => Some("compile for one device"),
            BindError::Unsupported { .. }
            | BindError::Defect { .. }
            | BindError::OutOfMemory { .. }
            | BindError::Threads(_)
            | BindError::Function { .. }
            | BindError::Launch { .. }
            | BindError::Cuda { .. } => None,
        }
    }
}

/// What to do when a context is broken.
const BROKEN_CONTEXT: &str =
    "the driver lets this process use the device no more: bind on the CPU, or start a new process";

/// Why a run failed. The session can be used again; outputs of the run are not to be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunError {
    /// The plan has no such model.
    Model(PortError),
    /// The plan has no such round.
    NoRound {
        /// Its number.
        asked: usize,
        /// How many rounds there are.
        n_rounds: usize,
    },
    /// A step failed.
    Step {
        /// The step.
        step: StepRef,
        /// What went wrong.
        fault: Fault,
    },
    /// The device failed.
    Device {
        /// The model that was run.
        model: String,
        /// What was being done.
        during: During,
        /// What the driver says.
        error: DriverError,
    },
    /// The device failed before, in a way after which the driver lets this process do nothing more with
    /// it.
    Lost {
        /// What the driver said.
        error: DriverError,
    },
    /// What a lazy engine left undone can't be done.
    Bind(BindError),
    /// Blocks were asked for that do not follow those that were started before.
    Blocks {
        /// The model.
        model: String,
        /// The first block that was asked for.
        asked: usize,
        /// The one that comes next.
        expected: usize,
        /// The number of the model's blocks.
        n_blocks: usize,
    },
}

/// What a device was doing when it failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum During {
    /// Copying inputs.
    Inputs,
    /// Copying outputs.
    Outputs,
    /// Some or all of these steps.
    Steps {
        /// The first.
        first: Box<StepRef>,
        /// The last; it may be the same.
        last: Box<StepRef>,
    },
    /// Nothing that is known.
    Waiting,
}

impl RunError {
    /// What the user can do, where that is known.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            RunError::Device {
                during: During::Steps { first, last },
                ..
            } if first != last => Some("bind with `step_by_step` to see which step it is"),
            RunError::Device { error, .. } if error.is_sticky() => Some(BROKEN_CONTEXT),
            RunError::Lost { .. } => Some(BROKEN_CONTEXT),
            RunError::Bind(error) => error.help(),
            RunError::NoRound { n_rounds: 0, .. } => {
                Some("`dlirc compile --deploy` makes plans with rounds")
            }
            RunError::NoRound { .. }
            | RunError::Model(_)
            | RunError::Step { .. }
            | RunError::Device { .. }
            | RunError::Blocks { .. } => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Model(error) => error.fmt(f),
            RunError::NoRound { asked, n_rounds } => {
                write!(f, "no round {asked}; the plan has {n_rounds}")
            }
            RunError::Step { step, fault } => write!(f, "{step}: {fault}"),
            RunError::Device {
                model,
                during,
                error,
            } => match during {
                During::Inputs => write!(f, "model {model}, copying its inputs: {error}"),
                During::Outputs => write!(f, "model {model}, copying its outputs: {error}"),
                During::Waiting => write!(f, "model {model}: {error}"),
                During::Steps { first, last } if first == last => write!(f, "{first}: {error}"),
                During::Steps { first, last } => write!(
                    f,
                    "model {model}, one of the steps {} ({}) to {} ({}): {error}",
                    first.step.0, first.label, last.step.0, last.label
                ),
            },
            RunError::Lost { error } => {
                write!(f, "the device was lost by an earlier error: {error}")
            }
            RunError::Bind(error) => error.fmt(f),
            RunError::Blocks {
                model,
                asked,
                expected,
                n_blocks,
            } => write!(
                f,
                "model {model}: block {asked} does not come next; block {expected} of {n_blocks} does"
            ),
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
    /// Blocks of the session run: its inputs and outputs belong to the device until they end.
    Running {
        /// The model.
        model: String,
    },
    /// It lies on the host.
    NotOnDevice {
        /// The model.
        model: String,
        /// The input or output.
        port: String,
    },
    /// A tensor of another library, or memory, that does not fit.
    Tensor {
        /// The model.
        model: String,
        /// The input.
        port: String,
        /// What belongs there.
        expected: String,
        /// What came.
        found: String,
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
            PortError::Running { model } => write!(
                f,
                "blocks run in the session: inputs and outputs of model {model} can't be had until they end"
            ),
            PortError::NotOnDevice { model, port } => {
                write!(
                    f,
                    "{port} of model {model} lies on the host, not on a CUDA device"
                )
            }
            PortError::Tensor {
                model,
                port,
                expected,
                found,
            } => write!(
                f,
                "input {port} of model {model} takes {expected}, not {found}"
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
