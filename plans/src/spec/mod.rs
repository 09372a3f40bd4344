//! Kernel specs: what a kernel computes, as data.
//!
//! One spec has one meaning. It names no buffer: a step gives the arguments, in the order of
//! [`KernelSpec::args`], so that equal kernels of different models are one kernel. Positions in
//! memory are affine: an [`Operand`] has one stride for each dimension of the domain that its
//! class defines, so that transposed, broadcast and sliced operands need no kernel of their own.

mod attention;
mod contract;
mod library;
mod map;
mod movement;
mod recurrent;
mod row;
mod window;

use crate::DType;
use serde::{Deserialize, Serialize};

pub use attention::AttentionSpec;
pub use contract::{ContractSpec, Epilogue, Problem};
pub use library::{
    CumSumSpec, GridSampleSpec, LibrarySpec, NonMaxSuppressionSpec, SampleMode, SamplePadding,
    TopKSpec,
};
pub use map::{GatherAxis, MapInput, MapSpec};
pub use movement::{
    Interpolation, MovementSpec, PadMode, PadSpec, Reduction, ResizeSpec, ScatterSpec,
};
pub use recurrent::{Activation, Cell, Direction, RecurrentSpec};
pub use row::{Phase, RowFold, RowSpec};
pub use window::{MaxIndices, Window, WindowFold, WindowSpec};

/// Where the elements of an argument lie: element `i` of the domain at `sum(i[d] * strides[d])`
/// elements after the argument's start.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Operand {
    /// The element type.
    pub dtype: DType,
    /// Distance in elements between neighbours, for each dimension of the domain; 0 repeats.
    pub strides: Vec<i64>,
}

impl Operand {
    /// The first and the last offset that a walk over `domain` reaches, in elements; `None` if the
    /// domain is empty, the ranks differ or an offset overflows.
    pub fn reach(&self, domain: &[u64]) -> Option<(i64, i64)> {
        if domain.len() != self.strides.len() || domain.contains(&0) {
            return None;
        }
        let (mut low, mut high) = (0i64, 0i64);
        for (&n, &s) in domain.iter().zip(&self.strides) {
            let last = i64::try_from(n - 1).ok()?.checked_mul(s)?;
            if last < 0 {
                low = low.checked_add(last)?;
            } else {
                high = high.checked_add(last)?;
            }
        }
        Some((low, high))
    }
}

/// What a kernel does with an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum Role {
    Read,
    Write,
    /// Read and written in place.
    Update,
}

/// One argument of a kernel: how it is used and how far it reaches.
#[derive(Clone, PartialEq, Debug)]
pub struct ArgSpec {
    /// What it is, for people: `x`, `weight`, `out`.
    pub name: &'static str,
    /// What the kernel does with it.
    pub role: Role,
    /// The element type.
    pub dtype: DType,
    /// First and last element that may be touched, relative to the argument's start; `None` if none is.
    pub reach: Option<(i64, i64)>,
}

/// Why a spec makes no sense.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpecError(pub String);

impl std::fmt::Display for SpecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SpecError {}

/// What a kernel computes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each class is documented at its type")]
pub enum KernelSpec {
    Map(MapSpec),
    Row(RowSpec),
    Contract(ContractSpec),
    Attention(AttentionSpec),
    Window(WindowSpec),
    Movement(MovementSpec),
    Recurrent(RecurrentSpec),
    Library(LibrarySpec),
}

impl KernelSpec {
    /// The class, for people.
    pub fn class(&self) -> &'static str {
        match self {
            KernelSpec::Map(_) => "map",
            KernelSpec::Row(_) => "row",
            KernelSpec::Contract(_) => "contract",
            KernelSpec::Attention(_) => "attention",
            KernelSpec::Window(_) => "window",
            KernelSpec::Movement(_) => "movement",
            KernelSpec::Recurrent(_) => "recurrent",
            KernelSpec::Library(_) => "library",
        }
    }

    /// The arguments, in the order in which steps give them: operands, then results.
    pub fn args(&self) -> Vec<ArgSpec> {
        match self {
            KernelSpec::Map(s) => s.args(),
            KernelSpec::Row(s) => s.args(),
            KernelSpec::Contract(s) => s.args(),
            KernelSpec::Attention(s) => s.args(),
            KernelSpec::Window(s) => s.args(),
            KernelSpec::Movement(s) => s.args(),
            KernelSpec::Recurrent(s) => s.args(),
            KernelSpec::Library(s) => s.args(),
        }
    }
}
