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
mod rules;
mod transfer;
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
pub use rules::{MAX_ELEMENTS, MAX_RANK};
pub use transfer::TransferSpec;
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
    /// Extent and stride, in elements, of each dimension that is walked: those of the domain, then
    /// those that gathered positions move along. If an extent is 0, nothing is touched.
    pub walk: Vec<(u64, i64)>,
    /// First and last element that may be touched, relative to the argument's start; `None` if none is.
    pub reach: Option<(i64, i64)>,
}

impl ArgSpec {
    /// An argument that is walked as `operand` says, over `domain`.
    pub(crate) fn new(name: &'static str, role: Role, operand: &Operand, domain: &[u64]) -> Self {
        Self {
            name,
            role,
            dtype: operand.dtype,
            walk: domain
                .iter()
                .copied()
                .zip(operand.strides.iter().copied())
                .collect(),
            reach: operand.reach(domain),
        }
    }

    /// One element at the argument's start.
    pub(crate) fn scalar(name: &'static str, role: Role, dtype: DType) -> Self {
        Self {
            name,
            role,
            dtype,
            walk: vec![],
            reach: Some((0, 0)),
        }
    }

    /// The argument with positions picked along further dimensions.
    pub(crate) fn gathered(mut self, axes: &[GatherAxis]) -> Self {
        for axis in axes {
            self.walk.push((axis.len, axis.stride));
            self.reach = self.reach.and_then(|(low, high)| {
                let last = i64::try_from(axis.len).ok()?.checked_sub(1)?;
                let last = (last >= 0).then_some(last)?.checked_mul(axis.stride)?;
                Some((
                    low.checked_add(last.min(0))?,
                    high.checked_add(last.max(0))?,
                ))
            });
        }
        self
    }

    /// The bytes that the kernel may touch in a tensor if the argument starts at byte `offset`;
    /// empty if it touches none, `None` if they start before the tensor or overflow.
    pub fn touched(&self, offset: u64) -> Option<std::ops::Range<u64>> {
        let Some((low, high)) = self.reach else {
            return Some(offset..offset);
        };
        let size = self.dtype.size() as i64;
        let byte = |element: i64| offset.checked_add_signed(element.checked_mul(size)?);
        Some(byte(low)?..byte(high.checked_add(1)?)?)
    }
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
    Transfer(TransferSpec),
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
            KernelSpec::Transfer(_) => "transfer",
        }
    }

    /// Checks that the spec makes sense: ranks, element types, extents, window geometry, positions.
    ///
    /// A spec that passes can be run on arguments that hold their [`reach`](ArgSpec::reach) without
    /// panic, without arithmetic on positions that overflows 64 bits, and without access outside;
    /// no two elements of an output share a place.
    ///
    /// # Errors
    ///
    /// The first thing that makes no sense.
    pub fn check(&self) -> Result<(), SpecError> {
        match self {
            KernelSpec::Map(s) => s.check(),
            KernelSpec::Row(s) => s.check(),
            KernelSpec::Contract(s) => s.check(),
            KernelSpec::Attention(s) => s.check(),
            KernelSpec::Window(s) => s.check(),
            KernelSpec::Movement(s) => s.check(),
            KernelSpec::Recurrent(s) => s.check(),
            KernelSpec::Library(s) => s.check(),
            KernelSpec::Transfer(s) => s.check(),
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
            KernelSpec::Transfer(s) => s.args(),
        }
    }
}
