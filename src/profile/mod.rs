//! What kernels and blocks take on the device that is present, kept in a database and compared with
//! what is predicted.

pub mod describe;
mod measure;
pub mod pairs;
mod rows;

pub use measure::{Repeat, measure, step_times};
pub use rows::{
    BlockRow, ClassError, Measured, ModelProfile, Origin, StepRow, chains, class_errors, profile,
};

use crate::report::Diagnostic;
use costs::Kind;
use runtime::{Engine, RunOn};

/// The device that runs a plan, as measurements are kept of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its name: as the driver of a GPU gives it; of a CPU with its threads and instructions.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The version of its driver; of a CPU, that of this program, whose code computes there.
    pub driver: String,
    /// Of a GPU, ten times the major number of the compute capability plus the minor one.
    pub arch: u32,
}

impl Identity {
    /// The device that `engine`, bound to `device`, runs its plan on.
    ///
    /// # Errors
    ///
    /// If the GPU can't be asked.
    pub fn of(engine: &Engine, device: RunOn) -> Result<Self, Diagnostic> {
        if !engine.uses_cuda() {
            return Ok(Self {
                name: format!(
                    "{}, {} threads, {:?}",
                    processor(),
                    engine.n_threads(),
                    engine.level()
                ),
                kind: Kind::Cpu,
                driver: format!("dlirc {}", env!("CARGO_PKG_VERSION")),
                arch: 0,
            });
        }
        let ordinal = match device {
            RunOn::Cuda(n) => n,
            RunOn::Auto | RunOn::Cpu => 0,
        };
        let unavailable =
            |e: runtime::cuda::Unavailable| Diagnostic::from(runtime::BindError::Unavailable(e));
        let info = runtime::cuda::device(ordinal).map_err(unavailable)?;
        let version = runtime::cuda::driver_version().map_err(unavailable)?;
        Ok(Self {
            name: info.name,
            kind: Kind::Cuda,
            driver: format!("CUDA {}.{}", version / 1000, version % 1000 / 10),
            arch: info.arch,
        })
    }
}

/// The processor's name, where the system tells.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.filter(|n| !n.is_empty())
        .unwrap_or_else(|| format!("CPU ({})", std::env::consts::ARCH))
}
