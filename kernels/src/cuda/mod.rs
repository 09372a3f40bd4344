//! Kernel specs to CUDA C, one file a class of kernel.
//!
//! [`generate`] is a function of the spec, the architecture and the schedule alone: the same spec
//! gives the same source, so that its images can be cached and shared by models. Sources need no
//! header and no library.

pub mod attention;
#[cfg(feature = "nvrtc")]
pub mod compile;
pub mod contract;
mod dims;
mod library;
pub mod map;
mod movement;
mod prelude;
pub mod recurrent;
pub mod row;
mod source;
mod tape;
pub mod window;

use plans::{KernelSpec, Launch};
use std::fmt;
use std::str::FromStr;

/// What code is generated for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Target {
    /// Ten times the major number of the compute capability plus the minor one: 90 for sm_90.
    pub arch: u32,
    /// Multiprocessors that the launch shapes are made for.
    pub n_sms: u32,
    /// The most shared memory that a block can have, in bytes.
    pub max_shared: u32,
    /// How f32 factors of contractions may be rounded.
    pub precision: Precision,
}

/// How contractions multiply f32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Precision {
    /// In the type that they have.
    #[default]
    Fp32,
    /// As three products of tf32 where tensor cores are faster: errors of the size of f32's. An infinite
    /// factor makes results that are no numbers.
    Tf32x3,
    /// Rounded to tf32 (10 bits after the point) where tensor cores are faster; sums are f32.
    Tf32,
}

impl Target {
    /// The target of an architecture, in its largest common form.
    ///
    /// # Errors
    ///
    /// If there is no such architecture, or it is too old.
    pub fn of_arch(arch: u32) -> Result<Self, Refused> {
        // Multiprocessors of A100, RTX 3090 Ti, RTX 4090, H200, B200, RTX 5090; shared memory from
        // the CUDA programming guide's table of compute capabilities.
        let (n_sms, max_shared) = match arch {
            80 => (108, 163 << 10),
            86 => (84, 99 << 10),
            89 => (128, 99 << 10),
            90 => (132, 227 << 10),
            100 => (148, 227 << 10),
            120 => (170, 99 << 10),
            _ => {
                return Err(Refused(format!(
                    "sm_{arch} is not known; known are sm_80, sm_86, sm_89, sm_90, sm_100 and sm_120"
                )));
            }
        };
        Ok(Self {
            arch,
            n_sms,
            max_shared,
            precision: Precision::default(),
        })
    }
}

impl Precision {
    /// All, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::Fp32, Precision::Tf32x3, Precision::Tf32];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32x3 => "tf32x3",
            Precision::Tf32 => "tf32",
        })
    }
}

impl FromStr for Precision {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let of = Self::ALL.into_iter().find(|p| p.to_string() == text);
        of.ok_or_else(|| Refused(format!("{text} is no precision; fp32, tf32x3 and tf32 are")))
    }
}

/// CUDA C of a kernel, and how it is launched; what the fields mean, [`plans::Code`] says.
#[derive(Clone, PartialEq, Debug)]
pub struct Generated {
    /// CUDA C++ without includes; its functions are `extern "C"`.
    pub source: String,
    /// The launches, in order.
    pub launches: Vec<Launch>,
    /// Bytes of workspace.
    pub workspace: u64,
    /// Bytes of counters.
    pub counters: u64,
    /// Whether the fault word is a parameter.
    pub may_fault: bool,
    /// The schedule, as JSON.
    pub schedule: String,
}

/// Why there is no device code for a kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// Device code for `spec`.
///
/// # Errors
///
/// If the class has no generator for what the spec asks; the kernel then runs on the host.
pub fn generate(spec: &KernelSpec, target: &Target) -> Result<Generated, Refused> {
    match spec {
        KernelSpec::Attention(s) => attention::generate(s, target),
        KernelSpec::Contract(s) => contract::generate(s, target),
        KernelSpec::Library(s) => library::generate(s, target),
        KernelSpec::Map(s) => map::generate(s, target),
        KernelSpec::Recurrent(s) => recurrent::generate(s, target),
        KernelSpec::Movement(s) => movement::generate(s, target),
        KernelSpec::Row(s) => row::generate(s, target),
        KernelSpec::Transfer(s) => map::generate(&s.as_map(), target),
        KernelSpec::Window(s) => window::generate(s, target),
    }
}
