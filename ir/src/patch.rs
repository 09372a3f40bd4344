//! Patches: the only way in which passes change a graph.

use crate::graph::{Graph, NodeId, Origin, ValueId};
use crate::id::EntityId;
use crate::infer::InferCx;
use crate::ops::{Op, OpError};
use crate::program::Weights;
use crate::shape::{Dim, Symbol, TensorType};
use crate::tensor::Tensor;
use std::cell::Cell;
use std::fmt;

/// How many of the user's nodes a new node may stand for, if it takes the place of several.
pub const ORIGIN_LIMIT: usize = 256;

/// A set of changes to one graph: new nodes, and values that other values take the place of.
///
/// New nodes are typed by inference as they are added. [`apply`](Self::apply) checks that every
/// replacement has the type of what it replaces, splices the new nodes in where they are needed,
/// and drops nodes that nothing reads any more. It takes time linear in the size of the graph, so
/// a pass gathers all its changes in one patch; [`resolve`](Self::resolve) shows the graph as it
/// will be to the rules that come later in the sweep.
pub struct Patch<'a> {
    graph: &'a mut Graph,
    weights: &'a mut Weights,
    origin: Origin,
    replaced: Vec<(ValueId, ValueId)>,
    /// What each value is replaced by, or itself; values beyond the end are not replaced.
    target: Vec<Cell<ValueId>>,
    cyclic: Option<ValueId>,
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
            replaced: vec![],
            target: vec![],
            cyclic: None,
        }
    }

    /// Nodes added from now on stand for what `nodes` stand for.
    ///
    /// Of the nodes beyond the first, only so many count that no node stands for more than
    /// [`ORIGIN_LIMIT`] others: chains that shrink to nothing would gather all their names again
    /// and again.
    pub fn stands_for(&mut self, nodes: &[NodeId]) -> &mut Self {
        let mut n_names = 0;
        let origins = nodes.iter().map(|&n| &self.graph.nodes[n].origin);
        let taken = origins.take_while(|o| {
            let first = n_names == 0;
            n_names += o.names().len();
            first || n_names <= ORIGIN_LIMIT
        });
        self.origin = taken.flat_map(Origin::names).collect();
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
        Ok(self.graph.nodes[node].outputs.clone())
    }

    /// Every reader of `old`, outputs of the graph included, shall read `new`.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        let known = self.target.len().max(old.index() + 1);
        self.target
            .extend((self.target.len()..known).map(|i| Cell::new(ValueId::from_index(i))));
        self.target[old.index()].set(old);
        if self.resolve(new) == old {
            self.cyclic.get_or_insert(old);
        }
        self.target[old.index()].set(new);
        self.replaced.push((old, new));
    }

    /// What readers of `v` will read once the patch is applied.
    pub fn resolve(&self, v: ValueId) -> ValueId {
        if self.cyclic.is_some() {
            return v;
        }
        resolve(&self.target, v)
    }

    /// Whether there is anything to apply.
    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty()
    }

    /// Writes down what else is known of the type of `v`: dimensions that were symbols.
    ///
    /// This takes effect at once. Returns whether the type changed.
    pub fn refine(&mut self, v: ValueId, ty: &TensorType) -> Result<bool, PatchError> {
        let old = self.graph.ty(v);
        let Some(both) = meet(old, ty) else {
            return Err(PatchError::Type {
                old: v,
                old_type: old.clone(),
                new_type: ty.clone(),
            });
        };
        let changed = both != *old;
        if changed {
            self.graph.values[v].ty = both;
        }
        Ok(changed)
    }

    /// Carries the changes out. The graph is unchanged if this fails, but for unused arena items.
    pub fn apply(self) -> Result<(), PatchError> {
        let Patch {
            graph,
            replaced,
            target,
            cyclic,
            ..
        } = self;
        if let Some(value) = cyclic {
            return Err(PatchError::Cycle(value));
        }
        let resolve = |v| resolve(&target, v);
        let mut refined = Vec::with_capacity(replaced.len());
        for &(old, new) in &replaced {
            let (old_type, new_type) = (graph.ty(old), graph.ty(resolve(new)));
            let ty = meet(new_type, old_type).ok_or_else(|| PatchError::Type {
                old,
                old_type: old_type.clone(),
                new_type: new_type.clone(),
            })?;
            refined.push((resolve(new), old, ty));
        }
        let order = splice(graph, &resolve)?;
        for &n in order.iter() {
            for v in graph.nodes[n].inputs.iter_mut().flatten() {
                *v = resolve(*v);
            }
        }
        for (_, v) in &mut graph.outputs {
            *v = resolve(*v);
        }
        for (new, old, ty) in refined {
            let name = graph.values[old].name.clone();
            let value = &mut graph.values[new];
            if value.name.is_none() {
                value.name = name;
            }
            // Two values with different knowledge may have become this one: keep both's.
            if let Some(ty) = meet(&value.ty, &ty) {
                value.ty = ty;
            }
        }
        graph.order = order;
        Ok(())
    }
}

/// Follows `target` from `v` to its end, and shortens the way for the next time.
fn resolve(target: &[Cell<ValueId>], mut v: ValueId) -> ValueId {
    while let Some(cell) = target.get(v.index())
        && cell.get() != v
    {
        let next = cell.get();
        if let Some(after) = target.get(next.index()) {
            cell.set(after.get());
        }
        v = next;
    }
    v
}

/// The results of a node by inference over the graph's types and constants.
///
/// Sizes known only at run time get names that no other value of the graph has.
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
    let mut results = op.infer(&InferCx::new(&types, &constants, n_outputs))?;
    let of_operands = |s: &Symbol| {
        let mut dims = types.iter().flatten().flat_map(|t| &t.shape.0);
        dims.any(|d| matches!(d, Dim::Symbol(t) if t == s))
    };
    let first = graph.values.len();
    let mut renamed: Vec<(Symbol, Symbol)> = vec![];
    for (output, ty) in results.iter_mut().enumerate() {
        for (axis, dim) in ty.shape.0.iter_mut().enumerate() {
            let Dim::Symbol(s) = dim else { continue };
            if !s.is_fresh() || of_operands(s) {
                continue;
            }
            let known = renamed.iter().find(|(old, _)| old == s);
            let new = match known {
                Some((_, new)) => new.clone(),
                None => {
                    let new = Symbol::fresh(first + output, axis);
                    renamed.push((s.clone(), new.clone()));
                    new
                }
            };
            *dim = Dim::Symbol(new);
        }
    }
    Ok(results)
}

/// What is known of a value that has type `a` and type `b`, a known dimension before a symbol, a
/// symbol of the user's before one of inference's, `a`'s before `b`'s; none if they contradict.
fn meet(a: &TensorType, b: &TensorType) -> Option<TensorType> {
    if a.dtype != b.dtype || a.shape.rank() != b.shape.rank() {
        return None;
    }
    let dims = a.shape.0.iter().zip(&b.shape.0).map(|pair| match pair {
        (Dim::Known(x), Dim::Known(y)) if x != y => None,
        (x @ Dim::Known(_), _) | (_, x @ Dim::Known(_)) => Some(x.clone()),
        (Dim::Symbol(x), y @ Dim::Symbol(s)) if x.is_fresh() && !s.is_fresh() => Some(y.clone()),
        (x, _) => Some(x.clone()),
    });
    Some(TensorType::new(a.dtype, dims.collect::<Option<_>>()?))
}

/// The live nodes in the old order with the new ones among them, each as late as its readers
/// allow; operands are read through `resolve`.
fn splice(graph: &Graph, resolve: &impl Fn(ValueId) -> ValueId) -> Result<Vec<NodeId>, PatchError> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Dead,
        Live,
        Open,
        Done,
    }
    let mut state = vec![State::Dead; graph.nodes.len()];
    let roots: Vec<NodeId> = graph
        .outputs
        .iter()
        .filter_map(|&(_, v)| graph.def_node(resolve(v)))
        .collect();
    let mut pending = roots.clone();
    let mut n_live = 0;
    while let Some(n) = pending.pop() {
        if std::mem::replace(&mut state[n.index()], State::Live) == State::Live {
            continue;
        }
        n_live += 1;
        let operands = graph.nodes[n].inputs.iter().flatten();
        pending.extend(operands.filter_map(|&v| graph.def_node(resolve(v))));
    }
    let mut order = Vec::with_capacity(n_live);
    let mut stack: Vec<(NodeId, usize)> = vec![];
    for &root in graph.order.iter().chain(&roots) {
        if state[root.index()] != State::Live {
            continue;
        }
        state[root.index()] = State::Open;
        stack.push((root, 0));
        while let Some(&mut (n, ref mut next)) = stack.last_mut() {
            let inputs = &graph.nodes[n].inputs;
            let Some(&operand) = inputs.get(*next) else {
                state[n.index()] = State::Done;
                order.push(n);
                stack.pop();
                continue;
            };
            *next += 1;
            let Some(v) = operand else { continue };
            let Some(def) = graph.def_node(resolve(v)) else {
                continue;
            };
            match state[def.index()] {
                State::Done | State::Dead => {}
                State::Open => return Err(PatchError::Cycle(v)),
                State::Live => {
                    state[def.index()] = State::Open;
                    stack.push((def, 0));
                }
            }
        }
    }
    Ok(order)
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
