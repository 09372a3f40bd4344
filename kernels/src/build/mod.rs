//! Regions to kernel specs, one file a class of kernel.

mod attention;
mod contract;
mod domain;
mod elements;
mod library;
mod map;
mod movement;
mod recurrent;
mod row;
mod window;

use crate::layout::Layout;
use ir::{Graph, NodeId, Op, OpError, RegionKind, Tensor, ValueId, Weights};
use plans::KernelSpec;
use std::fmt;

/// A region and where its values lie.
pub struct RegionCx<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// The weights.
    pub weights: &'a Weights,
    /// The class of kernel.
    pub kind: RegionKind,
    /// The nodes, in order.
    pub nodes: &'a [NodeId],
    /// The values that the region stores.
    pub outputs: &'a [ValueId],
    /// Where each operand from outside and each stored value lies.
    pub layout: &'a dyn Fn(ValueId) -> Layout,
}

/// A kernel and its arguments.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelCall {
    /// What it computes.
    pub spec: KernelSpec,
    /// Its arguments, in the order of [`KernelSpec::args`].
    pub args: Vec<KernelArg>,
}

/// An argument of a kernel: a value, and where in its storage the argument starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelArg {
    /// The value.
    pub value: ValueId,
    /// The start, in elements after the start of the value's storage.
    pub offset: i64,
}

/// Why a region has no kernel.
#[derive(Clone, PartialEq, Debug)]
pub struct BuildError {
    /// The node at fault.
    pub node: NodeId,
    /// Why.
    pub why: String,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.why)
    }
}

impl std::error::Error for BuildError {}

/// The kernels that compute a region, in order; usually one.
pub fn region(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    match cx.kind {
        RegionKind::Map => map::build(cx),
        RegionKind::RowReduce => row::build(cx),
        RegionKind::Contract => contract::build(cx),
        RegionKind::Window => window::build(cx),
        RegionKind::Attention => attention::build(cx),
        RegionKind::Movement => movement::build(cx),
        RegionKind::Recurrent => recurrent::build(cx),
        RegionKind::Library => library::build(cx),
        RegionKind::View => Err(cx.error(cx.nodes[0], "a view has no kernel")),
    }
}

/// A copy of the elements of `from`, which lie as `from_layout` says, to `to`.
pub fn copy(dtype: plans::DType, from: (ValueId, &Layout), to: (ValueId, &Layout)) -> KernelCall {
    map::copy(dtype, from, to)
}

impl RegionCx<'_> {
    fn error(&self, node: NodeId, why: impl fmt::Display) -> BuildError {
        BuildError {
            node,
            why: why.to_string(),
        }
    }

    /// The known dimensions of `value`.
    fn dims(&self, value: ValueId) -> Result<Vec<u64>, BuildError> {
        let ty = self.graph.ty(value);
        let dims = ty.shape.dims().ok_or_else(|| {
            let node = self.graph.def_node(value).unwrap_or(self.nodes[0]);
            self.error(node, format!("the shape {} is not known", ty.shape))
        })?;
        Ok(dims.into_iter().map(|d| d as u64).collect())
    }

    fn dtype(&self, value: ValueId) -> plans::DType {
        crate::tape::dtype(self.graph.ty(value).dtype)
    }

    /// The first node whose operator `is` the one that the region was grown from.
    fn anchor(&self, is: impl Fn(&Op) -> bool) -> Result<NodeId, BuildError> {
        let found = self
            .nodes
            .iter()
            .copied()
            .find(|&n| is(&self.graph.nodes[n].op));
        found.ok_or_else(|| self.error(self.nodes[0], format!("no anchor for {:?}", self.kind)))
    }

    /// Operand `i` of `node`, which must be there.
    fn operand(&self, node: NodeId, i: usize) -> Result<ValueId, BuildError> {
        self.optional(node, i)
            .ok_or_else(|| self.error(node, OpError::MissingInput(i)))
    }

    fn optional(&self, node: NodeId, i: usize) -> Option<ValueId> {
        self.graph.nodes[node].inputs.get(i).copied().flatten()
    }

    /// The content of `value`, if it is a constant.
    fn constant(&self, value: ValueId) -> Option<&Tensor> {
        self.weights.get(self.graph.weight(value)?)
    }

    /// The only element of `value`, if it is a constant of one element that `f64` holds exactly.
    fn scalar_constant(&self, value: ValueId) -> Option<f64> {
        let tensor = self.constant(value).filter(|t| t.n_elements() == 1)?;
        let x = tensor.to_f64()?[0];
        (tensor.dtype().is_float() || x.abs() <= (1u64 << 53) as f64).then_some(x)
    }

    fn position(&self, value: ValueId) -> KernelArg {
        KernelArg {
            value,
            offset: (self.layout)(value).offset,
        }
    }
}
