//! Device code: what a GPU runs for a kernel.
//!
//! A [`KernelSpec`](crate::KernelSpec) says what is computed; a [`Code`] is one way to compute it on
//! a GPU: compiled functions and how each is launched. Steps on a GPU name the code that they run.

use crate::plan::{BufferIndex, KernelIndex};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of [`Plan::images`](crate::Plan::images).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ImageIndex(pub u32);

/// One of [`Plan::codes`](crate::Plan::codes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CodeIndex(pub u32);

impl ImageIndex {
    /// The position in the plan's list.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl CodeIndex {
    /// The position in the plan's list.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Compiled device code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Image {
    /// What the bytes are.
    pub kind: ImageKind,
    /// Where they start in the images section; a multiple of [`BUFFER_ALIGN`](crate::BUFFER_ALIGN).
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// CRC-32 of them.
    pub crc: u32,
    /// What each function takes, for people; only where an assembler has said so.
    pub resources: Vec<Resources>,
}

/// What an image's bytes are. The architecture is ten times the major number of the compute
/// capability plus the minor one: 90 for sm_90.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum ImageKind {
    /// Machine code: runs on this architecture, and on later ones of the same major number.
    Cubin(u32),
    /// PTX: the driver compiles it for this architecture and all later ones.
    Ptx(u32),
}

impl fmt::Display for ImageKind {
    /// `sm_90`, or `compute_90` for PTX.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageKind::Cubin(arch) => write!(f, "sm_{arch}"),
            ImageKind::Ptx(arch) => write!(f, "compute_{arch}"),
        }
    }
}

/// What one function takes of a multiprocessor.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Resources {
    /// The function.
    pub function: String,
    /// Registers a thread.
    pub registers: u32,
    /// Bytes a thread spills to local memory.
    pub spills: u32,
    /// Bytes of local memory a thread: what it spills, and arrays that registers can't hold.
    pub stack_bytes: u32,
    /// Bytes of shared memory a block that the function declares itself.
    pub shared_bytes: u32,
}

/// One way to compute a kernel on a GPU.
///
/// Every function has the same parameters, all device pointers: the arguments of the step in the
/// order of [`KernelSpec::args`](crate::KernelSpec::args), each where it starts; then the workspace
/// if there is one; then the counters if there are any; then the fault word if the code may fault.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Code {
    /// What it computes.
    pub kernel: KernelIndex,
    /// The point of the kernel's config space that it is, for people: JSON.
    pub schedule: String,
    /// The same functions for different architectures, machine code first.
    pub images: Vec<ImageIndex>,
    /// What is launched, in order; each launch starts when the one before it has finished.
    pub launches: Vec<Launch>,
    /// Bytes of memory that launches leave results for each other in; what it holds before does not
    /// matter.
    pub workspace: u64,
    /// Bytes of memory that is zero before every run and left zero by it.
    pub counters: u64,
    /// Whether a run may write to the fault word: a [`FAULT_POSITION`] for a position out of range.
    pub may_fault: bool,
}

/// What the fault word holds when a position that data gave was out of range.
pub const FAULT_POSITION: u32 = 1;

/// One launch of a function.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// Its name in the images.
    pub function: String,
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Blocks of a cluster along x, y, z; ones where there is none.
    pub cluster: [u32; 3],
    /// Dynamic shared memory of a block, in bytes.
    pub shared_bytes: u32,
    /// Whether all blocks must run at once, because they wait for each other.
    pub cooperative: bool,
    /// Whether the function itself waits for the launches before it (programmatic dependent launch),
    /// so that it may be started while they still run.
    pub starts_early: bool,
}

/// What a step on a GPU runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepCode {
    /// The code.
    pub code: CodeIndex,
    /// A buffer of the code's workspace; in a scratch arena of the step's device.
    pub workspace: Option<BufferIndex>,
    /// A buffer of the code's counters, the step's own; in an arena of counters of the step's device.
    pub counters: Option<BufferIndex>,
}
