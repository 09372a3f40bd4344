//! Evaluation of a whole graph.

use crate::graph::{Def, Graph, NodeId, ValueId};
use crate::id::EntityId;
use crate::ops::OpError;
use crate::program::Weights;
use crate::tensor::Tensor;
use std::fmt;

/// Why a graph cannot be evaluated.
#[derive(Clone, PartialEq, Debug)]
pub enum EvalError {
    /// A node failed.
    Node(NodeId, OpError),
    /// An input was not given, or has another type.
    Input(ValueId),
    /// A weight whose content is not there.
    Weight(ValueId),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EvalError::Node(node, why) => write!(f, "{node}: {why}"),
            EvalError::Input(value) => write!(f, "input {value} is missing or of another type"),
            EvalError::Weight(value) => write!(f, "the content of weight {value} is missing"),
        }
    }
}

impl std::error::Error for EvalError {}

/// The outputs of `graph` for `inputs`, in order; symbolic dimensions take what the inputs have.
pub fn graph(
    graph: &Graph,
    weights: &Weights,
    inputs: &[Tensor],
) -> Result<Vec<Tensor>, EvalError> {
    let mut last_use = vec![usize::MAX; graph.values.len()];
    for (position, &n) in graph.order.iter().enumerate() {
        for v in graph.nodes[n].inputs.iter().flatten() {
            last_use[v.index()] = position;
        }
    }
    let mut held: Vec<Option<Tensor>> = vec![None; graph.values.len()];
    for (id, value) in graph.values.iter() {
        match value.def {
            Def::Input(i) => {
                let given = inputs.get(i as usize).filter(|t| {
                    t.dtype() == value.ty.dtype
                        && t.dims().len() == value.ty.shape.rank()
                        && value
                            .ty
                            .shape
                            .0
                            .iter()
                            .zip(t.dims())
                            .all(|(d, &n)| d.known().is_none_or(|k| k == n))
                });
                held[id.index()] = Some(given.ok_or(EvalError::Input(id))?.clone());
            }
            Def::Weight(w) => {
                held[id.index()] = Some(weights.get(w).ok_or(EvalError::Weight(id))?.clone());
            }
            Def::Node { .. } => {}
        }
    }
    for (position, &n) in graph.order.iter().enumerate() {
        let node = &graph.nodes[n];
        let operands: Vec<Option<&Tensor>> = node
            .inputs
            .iter()
            .map(|v| v.and_then(|v| held[v.index()].as_ref()))
            .collect();
        let results = node
            .op
            .eval(&operands, node.outputs.len())
            .map_err(|why| EvalError::Node(n, why))?;
        for (&v, t) in node.outputs.iter().zip(results) {
            held[v.index()] = Some(t);
        }
        for v in node.inputs.iter().flatten() {
            if last_use[v.index()] == position && !graph.is_output(*v) {
                held[v.index()] = None;
            }
        }
    }
    graph
        .outputs
        .iter()
        .map(|&(_, v)| held[v.index()].clone().ok_or(EvalError::Input(v)))
        .collect()
}
