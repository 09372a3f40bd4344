//! Patches: the only way in which passes change a graph.

use crate::graph::{Graph, NodeId, Origin, ValueId};
use crate::id::EntityId;
use crate::infer::InferCx;
use crate::ops::{Op, OpError};
use crate::program::Weights;
use crate::shape::TensorType;
use crate::tensor::Tensor;
use std::fmt;

/// A set of changes to one graph: new nodes, and values that other values take the place of.
///
/// New nodes are typed by inference as they are added. [`apply`](Self::apply) checks that every
/// replacement has the type of what it replaces, splices the new nodes in where they are needed,
/// and drops nodes that nothing reads any more.
pub struct Patch<'a> {
    graph: &'a mut Graph,
    weights: &'a mut Weights,
    origin: Origin,
    new_nodes: Vec<NodeId>,
    replaced: Vec<(ValueId, ValueId)>,
}

/// Why a patch is wrong: a bug in the pass that made it.
#[derive(Clone, PartialEq, Debug)]
pub enum PatchError {
    /// A new node does not type.
    Node {
        /// The operator.
        op: &'static str,
        /// Why.
        why: OpError,
    },
    /// A replacement has another type than what it replaces.
    Type {
        /// The value to be replaced.
        old: ValueId,
        /// Its type.
        old_type: TensorType,
        /// The replacement's type.
        new_type: TensorType,
    },
    /// A replacement depends on what it replaces.
    Cycle(ValueId),
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatchError::Node { op, why } => write!(f, "new node {op}: {why}"),
            PatchError::Type {
                old,
                old_type,
                new_type,
            } => {
                write!(
                    f,
                    "{old} of type {old_type} cannot become a value of type {new_type}"
                )
            }
            PatchError::Cycle(value) => write!(f, "the replacement of {value} depends on it"),
        }
    }
}

impl std::error::Error for PatchError {}

impl<'a> Patch<'a> {
    /// An empty patch of `graph`.
    pub fn new(graph: &'a mut Graph, weights: &'a mut Weights) -> Self {
        Self {
            graph,
            weights,
            origin: Origin::default(),
            new_nodes: vec![],
            replaced: vec![],
        }
    }

    /// Nodes added from now on stand for what `nodes` stand for.
    pub fn stands_for(&mut self, nodes: &[NodeId]) -> &mut Self {
        self.origin = Origin::default();
        for &n in nodes {
            self.origin.merge(&self.graph.nodes[n].origin);
        }
        self
    }

    /// The graph as it was, with the new nodes outside its order.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        self.weights
    }

    /// A new constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let ty = tensor.ty();
        let weight = self.weights.add(tensor);
        self.graph.add_weight(None, ty, weight)
    }

    /// A new node with one result.
    pub fn node(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, PatchError> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        Ok(self.node_with(op, inputs, 1)?[0])
    }

    /// A new node with `n_outputs` results; operands may be left out.
    pub fn node_with(
        &mut self,
        op: impl Into<Op>,
        inputs: Vec<Option<ValueId>>,
        n_outputs: usize,
    ) -> Result<Vec<ValueId>, PatchError> {
        let op = op.into();
        let types = infer_node(self.graph, self.weights, &op, &inputs, n_outputs)
            .map_err(|why| PatchError::Node { op: op.name(), why })?;
        let node = self.graph.push_node(op, inputs, types, self.origin.clone());
        self.new_nodes.push(node);
        Ok(self.graph.nodes[node].outputs.clone())
    }

    /// Every reader of `old`, outputs of the graph included, shall read `new`.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        self.replaced.push((old, new));
    }

    /// Carries the changes out. The graph is unchanged if this fails, but for unused arena items.
    pub fn apply(self) -> Result<(), PatchError> {
        let Patch {
            graph,
            new_nodes,
            replaced,
            ..
        } = self;
        for &(old, new) in &replaced {
            let (a, b) = (graph.ty(old), graph.ty(new));
            if !compatible(a, b) {
                return Err(PatchError::Type {
                    old,
                    old_type: a.clone(),
                    new_type: b.clone(),
                });
            }
        }
        let mut target: Vec<ValueId> = graph.values.ids().collect();
        for &(old, new) in &replaced {
            target[old.index()] = new;
        }
        let resolve = |mut v: ValueId| {
            for _ in 0..=replaced.len() {
                let next = target[v.index()];
                if next == v {
                    return Ok(v);
                }
                v = next;
            }
            Err(PatchError::Cycle(v))
        };
        let order = splice(graph, &new_nodes, &resolve)?;
        for &n in order.iter() {
            for v in graph.nodes[n].inputs.iter_mut().flatten() {
                *v = resolve(*v)?;
            }
        }
        for (_, v) in &mut graph.outputs {
            *v = resolve(*v)?;
        }
        for &(old, new) in &replaced {
            let (name, ty) = (graph.values[old].name.clone(), graph.values[old].ty.clone());
            let value = &mut graph.values[resolve(new)?];
            if value.name.is_none() {
                value.name = name;
            }
            if value.ty.shape.dims().is_none() {
                value.ty = ty;
            }
        }
        graph.order = order;
        remove_dead(graph);
        Ok(())
    }
}

/// The results of a node by inference over the graph's types and constants.
pub fn infer_node(
    graph: &Graph,
    weights: &Weights,
    op: &Op,
    inputs: &[Option<ValueId>],
    n_outputs: usize,
) -> Result<Vec<TensorType>, OpError> {
    let types: Vec<_> = inputs.iter().map(|v| v.map(|v| graph.ty(v))).collect();
    let constants: Vec<_> = inputs
        .iter()
        .map(|v| v.and_then(|v| weights.get(graph.weight(v)?)))
        .collect();
    op.infer(&InferCx::new(&types, &constants, n_outputs))
}

/// Same element type, same rank, and no two known dimensions that differ.
fn compatible(a: &TensorType, b: &TensorType) -> bool {
    a.dtype == b.dtype
        && a.shape.rank() == b.shape.rank()
        && a.shape
            .0
            .iter()
            .zip(&b.shape.0)
            .all(|(x, y)| match (x.known(), y.known()) {
                (Some(x), Some(y)) => x == y,
                _ => true,
            })
}

/// The old order with the new nodes in it, each as late as its readers allow; operands are read
/// through `resolve`.
fn splice(
    graph: &Graph,
    new_nodes: &[NodeId],
    resolve: &impl Fn(ValueId) -> Result<ValueId, PatchError>,
) -> Result<Vec<NodeId>, PatchError> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Unseen,
        Open,
        Done,
    }
    let mut state = vec![State::Unseen; graph.nodes.len()];
    let mut order = Vec::with_capacity(graph.order.len() + new_nodes.len());
    let mut stack: Vec<(NodeId, usize)> = vec![];
    for &root in &graph.order {
        if state[root.index()] == State::Done {
            continue;
        }
        state[root.index()] = State::Open;
        stack.push((root, 0));
        while let Some(&mut (n, ref mut next)) = stack.last_mut() {
            let inputs = &graph.nodes[n].inputs;
            if *next == inputs.len() {
                state[n.index()] = State::Done;
                order.push(n);
                stack.pop();
                continue;
            }
            let operand = inputs[*next];
            *next += 1;
            let Some(v) = operand else { continue };
            let Some(def) = graph.def_node(resolve(v)?) else {
                continue;
            };
            match state[def.index()] {
                State::Done => {}
                State::Open => return Err(PatchError::Cycle(v)),
                State::Unseen => {
                    state[def.index()] = State::Open;
                    stack.push((def, 0));
                }
            }
        }
    }
    // Outputs of the graph may be new nodes that no node of the old order reads.
    let outputs: Vec<ValueId> = graph
        .outputs
        .iter()
        .map(|&(_, v)| resolve(v))
        .collect::<Result<_, _>>()?;
    for &n in new_nodes {
        if state[n.index()] != State::Done
            && graph.nodes[n].outputs.iter().any(|v| outputs.contains(v))
        {
            push_with_operands(
                graph,
                n,
                &mut |m| {
                    let fresh = state[m.index()] != State::Done;
                    state[m.index()] = State::Done;
                    fresh
                },
                resolve,
                &mut order,
            )?;
        }
    }
    Ok(order)
}

fn push_with_operands(
    graph: &Graph,
    root: NodeId,
    enter: &mut impl FnMut(NodeId) -> bool,
    resolve: &impl Fn(ValueId) -> Result<ValueId, PatchError>,
    order: &mut Vec<NodeId>,
) -> Result<(), PatchError> {
    if !enter(root) {
        return Ok(());
    }
    let mut stack = vec![(root, 0usize)];
    while let Some(&mut (n, ref mut next)) = stack.last_mut() {
        let inputs = &graph.nodes[n].inputs;
        if *next == inputs.len() {
            order.push(n);
            stack.pop();
            continue;
        }
        let operand = inputs[*next];
        *next += 1;
        if let Some(v) = operand
            && let Some(def) = graph.def_node(resolve(v)?)
            && enter(def)
        {
            stack.push((def, 0));
        }
    }
    Ok(())
}

/// Takes nodes out of the order whose results nothing reads. Returns how many there were.
pub fn remove_dead(graph: &mut Graph) -> usize {
    let mut needed = vec![false; graph.values.len()];
    for &(_, v) in &graph.outputs {
        needed[v.index()] = true;
    }
    let before = graph.order.len();
    let mut kept = Vec::with_capacity(before);
    for &n in graph.order.iter().rev() {
        let node = &graph.nodes[n];
        if node.outputs.iter().any(|v| needed[v.index()]) {
            for v in node.inputs.iter().flatten() {
                needed[v.index()] = true;
            }
            kept.push(n);
        }
    }
    kept.reverse();
    graph.order = kept;
    before - graph.order.len()
}
