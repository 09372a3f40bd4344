//! The data model of a plan.

use crate::DType;
use crate::code::{Code, Image, StepCode};
use crate::deploy::{CoRun, Demand, Deploy};
use crate::spec::KernelSpec;
use serde::{Deserialize, Serialize};

macro_rules! indices {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in the plan's list.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

indices! {
    /// One of [`Plan::models`].
    ModelIndex,
    /// One of [`Plan::arenas`].
    ArenaIndex,
    /// One of [`Plan::buffers`].
    BufferIndex,
    /// One of [`Plan::weights`].
    WeightIndex,
    /// One of [`Plan::kernels`].
    KernelIndex,
    /// One of [`Plan::steps`].
    StepIndex,
    /// One of [`Plan::blocks`].
    BlockIndex,
}

/// Several models and how to run them.
///
/// Only a `ValidPlan` can be run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// What it was made for and from.
    pub fingerprint: Fingerprint,
    /// The models, in the user's order.
    pub models: Vec<Model>,
    /// Regions of memory; each is one allocation.
    pub arenas: Vec<Arena>,
    /// Tensors at fixed places in arenas.
    pub buffers: Vec<Buffer>,
    /// Constants, one a content hash.
    pub weights: Vec<Weight>,
    /// Kernels, each used by any number of steps.
    pub kernels: Vec<KernelSpec>,
    /// Compiled device code.
    pub images: Vec<Image>,
    /// Kernels made into device code, each used by any number of steps.
    pub codes: Vec<Code>,
    /// The steps, those of a model side by side and in an order in which they may run.
    pub steps: Vec<Step>,
    /// Consecutive steps of one model: the units of preemption.
    pub blocks: Vec<Block>,
    /// Blocks that were measured together, in order of [`CoRun::blocks`]; of others,
    /// [`co_run`](crate::co_run) says how they slow one another down.
    pub co_run: Vec<CoRun>,
    /// What is asked of the models together, and their rounds.
    pub deploy: Option<Deploy>,
    /// What was decided and should not stay silent, such as a step placed elsewhere than asked.
    pub warnings: Vec<String>,
}

/// What a plan was made for and from; checked before anything is allocated.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The compiler's version.
    pub compiler: String,
    /// The target as the user gave it: `cpu`, `cuda:sm_90`.
    pub target: String,
    /// BLAKE3 of each model's graph and weights after import, in the models' order.
    pub models: Vec<[u8; 32]>,
    /// The options that shaped the plan, in canonical text.
    pub options: String,
    /// The oldest CUDA driver that loads its images, as `cuDriverGetVersion` counts: 13000 for 13.0.
    /// 0 if there are none.
    pub cuda_driver: u32,
}

/// One model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Model {
    /// Its name, unique in the plan.
    pub name: String,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// Its first step.
    pub first_step: StepIndex,
    /// The number of its steps.
    pub n_steps: u32,
    /// Nodes of the imported graph.
    pub n_nodes: u32,
}

impl Model {
    /// The positions of its steps in [`Plan::steps`].
    pub fn steps(&self) -> std::ops::Range<usize> {
        let first = self.first_step.index();
        first..first + self.n_steps as usize
    }
}

/// An input or output of a model: a row-major tensor in a buffer of its own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// The name that the model gave.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The dimensions, outermost first; of one that `size` names, the most that it can be.
    pub dims: Vec<u64>,
    /// Where it lies.
    pub buffer: BufferIndex,
    /// The dimension whose size each run decides, if one is; outputs only.
    pub size: Option<RunSize>,
}

/// The size of a dimension of an output, which a run decides: what lies beyond it means nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunSize {
    /// The dimension.
    pub axis: u32,
    /// Where the run leaves the size, an i64. Ports may share it.
    ///
    /// Readers take less than 0 for 0, and more than the port's dimension for that dimension.
    pub count: BufferIndex,
}

impl RunSize {
    /// The bytes of a count.
    pub const BYTES: u64 = 8;
}

impl Port {
    /// The dimensions after a run that left the size `count`.
    pub fn dims_after(&self, count: i64) -> Vec<u64> {
        let mut dims = self.dims.clone();
        if let Some(size) = self.size
            && let Some(dim) = dims.get_mut(size.axis as usize)
        {
            *dim = u64::try_from(count).unwrap_or(0).min(*dim);
        }
        dims
    }

    /// Its type, for people: `f32[1,1000]`; `i64[<=200,3]` where a run decides the size.
    pub fn ty(&self) -> String {
        let dims: Vec<String> = self
            .dims
            .iter()
            .enumerate()
            .map(|(axis, n)| match self.size {
                Some(size) if size.axis as usize == axis => format!("<={n}"),
                _ => n.to_string(),
            })
            .collect();
        format!("{}[{}]", self.dtype, dims.join(","))
    }
}

/// A region of memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arena {
    /// The memory that it is in.
    pub device: Device,
    /// Its size.
    pub bytes: u64,
    /// What it holds.
    pub kind: ArenaKind,
    /// The models whose buffers it holds. With several, they never run at once.
    pub models: Vec<ModelIndex>,
}

/// What an arena holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ArenaKind {
    /// Inputs and outputs: never reused, so that they stay between runs.
    Io,
    /// Intermediate results: reused as soon as they are dead.
    Scratch,
    /// Counters of device code: zero when the plan is bound, and after every run.
    Counters,
}

/// What runs steps and has memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Device {
    /// The host.
    Cpu,
    /// A CUDA device, by number.
    Cuda(u16),
}

/// A tensor's place.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Buffer {
    /// The arena.
    pub arena: ArenaIndex,
    /// Where it starts; a multiple of [`BUFFER_ALIGN`].
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
    /// The model that it belongs to.
    pub model: ModelIndex,
    /// The value that it holds, for people.
    pub name: String,
}

/// The alignment of buffers in arenas and of weights in their section, in bytes.
pub const BUFFER_ALIGN: u64 = 256;

/// A constant tensor, row-major.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Weight {
    /// BLAKE3 of its type, dimensions and data.
    pub hash: [u8; 32],
    /// The element type.
    pub dtype: DType,
    /// The dimensions, outermost first.
    pub dims: Vec<u64>,
    /// Where it starts in the weights section; a multiple of [`BUFFER_ALIGN`].
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
    /// CRC-32 of its data.
    pub crc: u32,
}

/// An argument of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Arg {
    /// The tensor.
    pub place: Place,
    /// Where the kernel's argument starts in it, in bytes; a multiple of the element size.
    pub offset: u64,
}

/// A tensor that a step may touch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Place {
    Buffer(BufferIndex),
    Weight(WeightIndex),
}

/// One launch of a kernel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Step {
    /// The kernel.
    pub kernel: KernelIndex,
    /// Its arguments, in the order of [`KernelSpec::args`].
    pub args: Vec<Arg>,
    /// The model that it belongs to.
    pub model: ModelIndex,
    /// Where it runs.
    pub device: Device,
    /// What it runs there; none on the host, and none for a copy between devices.
    pub code: Option<StepCode>,
    /// Steps of a model with the same lane run in order; different lanes only as `waits` say.
    pub lane: u16,
    /// Steps of other lanes that must have finished.
    pub waits: Vec<StepIndex>,
    /// The operators that it computes, for people: `Conv+Relu`.
    pub label: String,
    /// The nodes of the user's model that it stands for.
    pub origin: Vec<String>,
    /// Operations; a multiply-add counts as 2.
    pub flop: u64,
    /// Bytes read, each operand once.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// Consecutive steps of one model that run on one device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Block {
    /// The model.
    pub model: ModelIndex,
    /// The first step.
    pub first_step: StepIndex,
    /// The number of steps.
    pub n_steps: u32,
    /// The time that the cost model predicts, in nanoseconds; 0 where it says nothing.
    pub predicted_ns: u64,
    /// What of that the cut before the block costs: so much less would it and the block before it take
    /// as one. 0 where they can't be one.
    pub cut_ns: u64,
    /// The time that was measured, in nanoseconds.
    pub measured_ns: Option<u64>,
    /// What it needs of its device.
    pub demand: Demand,
}

impl Block {
    /// Its time alone: measured, or else predicted, in nanoseconds; 0 if nothing is known.
    pub fn ns(&self) -> u64 {
        self.measured_ns.unwrap_or(self.predicted_ns)
    }

    /// The positions of its steps in [`Plan::steps`].
    pub fn steps(&self) -> std::ops::Range<usize> {
        let first = self.first_step.index();
        first..first + self.n_steps as usize
    }
}
