//! What passes share: one sweep over a graph in its order, and questions about what is around a node.
//!
//! A sweep gathers all its changes in one patch, so that a pass takes time linear in the size of
//! the graph. Questions are answered for the graph as it will be: an operand whose defining node was
//! rewritten earlier in the sweep is seen as its replacement.

use crate::manager::{Cause, Changed, PassCx, PassError};
use ir::dtype::Kind;
use ir::graph::Def;
use ir::id::EntityId;
use ir::patch::PatchError;
use ir::{
    DType, Graph, GraphId, NodeId, Op, Patch, Program, Tensor, TensorType, ValueId, WeightId,
    Weights,
};

/// Most nodes of one pattern.
const PATTERN_LIMIT: usize = 64;

/// A walk over the nodes of one graph that gathers changes.
pub(crate) struct Sweep<'p, 'c, 'o> {
    graph_id: GraphId,
    patch: Patch<'p>,
    cx: &'c mut PassCx<'o>,
    /// How many operands and outputs read each value.
    n_readers: Vec<u32>,
    /// How many operands and outputs of all graphs read each weight.
    weight_readers: &'p [u32],
    changes: usize,
}

/// Applies `rule` to every node of every graph, in order, and then all changes of a graph at once.
///
/// The rule sees the nodes that were there before the sweep, not those that it makes.
pub(crate) fn sweep(
    program: &mut Program,
    cx: &mut PassCx<'_>,
    mut rule: impl FnMut(&mut Sweep<'_, '_, '_>, NodeId) -> Result<(), Cause>,
) -> Result<Changed, PassError> {
    let weight_readers = weight_readers(program);
    let mut total = Changed::default();
    for id in program.graphs.ids() {
        total += sweep_graph(program, id, cx, &weight_readers, &mut rule)?;
    }
    Ok(total)
}

fn sweep_graph(
    program: &mut Program,
    id: GraphId,
    cx: &mut PassCx<'_>,
    weight_readers: &[u32],
    rule: &mut impl FnMut(&mut Sweep<'_, '_, '_>, NodeId) -> Result<(), Cause>,
) -> Result<Changed, PassError> {
    let graph = &mut program.graphs[id];
    let order = graph.order.clone();
    let mut sweep = Sweep {
        graph_id: id,
        n_readers: n_readers(graph),
        patch: Patch::new(graph, &mut program.weights),
        cx,
        weight_readers,
        changes: 0,
    };
    for node in order {
        sweep.cx.count_work(1);
        if let Err(cause) = rule(&mut sweep, node) {
            return Err(sweep.cx.error(sweep.patch.graph(), Some(node), cause));
        }
    }
    let Sweep {
        patch, cx, changes, ..
    } = sweep;
    if !patch.is_empty() {
        cx.count_work(patch.graph().order.len());
        patch
            .apply()
            .map_err(|cause| cx.error(&program.graphs[id], None, cause))?;
    }
    Ok(Changed(changes))
}

fn n_readers(graph: &Graph) -> Vec<u32> {
    let mut n = vec![0; graph.values.len()];
    for &node in &graph.order {
        for v in graph.nodes[node].inputs.iter().flatten() {
            n[v.index()] += 1;
        }
    }
    for (_, v) in &graph.outputs {
        n[v.index()] += 1;
    }
    n
}

fn weight_readers(program: &Program) -> Vec<u32> {
    let mut n = vec![0; program.weights.len()];
    for (_, graph) in program.graphs.iter() {
        let operands = graph
            .order
            .iter()
            .flat_map(|&n| graph.nodes[n].inputs.iter());
        let read = operands
            .flatten()
            .chain(graph.outputs.iter().map(|(_, v)| v));
        for w in read.filter_map(|&v| graph.weight(v)) {
            n[w.index()] += 1;
        }
    }
    n
}

impl Sweep<'_, '_, '_> {
    // The graph.

    /// The graph, with nodes that were made in this sweep outside its order.
    pub(crate) fn graph(&self) -> &Graph {
        self.patch.graph()
    }

    /// Which graph of the program it is.
    pub(crate) fn graph_id(&self) -> GraphId {
        self.graph_id
    }

    /// The weights of the program.
    pub(crate) fn weights(&self) -> &Weights {
        self.patch.weights()
    }

    /// The operator of `node`.
    pub(crate) fn op(&self, node: NodeId) -> &Op {
        &self.graph().nodes[node].op
    }

    /// The operands of `node`.
    pub(crate) fn inputs(&self, node: NodeId) -> Vec<Option<ValueId>> {
        let inputs = self.graph().nodes[node].inputs.iter();
        inputs.map(|v| v.map(|v| self.patch.resolve(v))).collect()
    }

    /// Operand `i` of `node`, if it is there.
    pub(crate) fn input(&self, node: NodeId, i: usize) -> Option<ValueId> {
        let v = self.graph().nodes[node].inputs.get(i).copied().flatten()?;
        Some(self.patch.resolve(v))
    }

    /// The results of `node`.
    pub(crate) fn outputs(&self, node: NodeId) -> &[ValueId] {
        &self.graph().nodes[node].outputs
    }

    /// Result 0 of `node`.
    pub(crate) fn output(&self, node: NodeId) -> ValueId {
        self.outputs(node)[0]
    }

    /// The value that readers of `v` read.
    pub(crate) fn resolve(&self, v: ValueId) -> ValueId {
        self.patch.resolve(v)
    }

    /// The type of `v`.
    pub(crate) fn ty(&self, v: ValueId) -> &TensorType {
        self.graph().ty(self.patch.resolve(v))
    }

    /// The element type of `v`.
    pub(crate) fn dtype(&self, v: ValueId) -> DType {
        self.ty(v).dtype
    }

    /// The dimensions of `v`, if all are known.
    pub(crate) fn dims(&self, v: ValueId) -> Option<Vec<usize>> {
        self.ty(v).shape.dims()
    }

    /// The number of dimensions of `v`.
    pub(crate) fn rank(&self, v: ValueId) -> usize {
        self.ty(v).shape.rank()
    }

    /// The node that `v` is the first result of.
    pub(crate) fn def(&self, v: ValueId) -> Option<NodeId> {
        match self.graph().values[self.patch.resolve(v)].def {
            Def::Node { node, output: 0 } => Some(node),
            Def::Node { .. } | Def::Input(_) | Def::Weight(_) => None,
        }
    }

    /// The content of `v`, if it is constant.
    pub(crate) fn constant(&self, v: ValueId) -> Option<&Tensor> {
        let weight = self.weight(v)?;
        self.patch.weights().get(weight)
    }

    /// The weight behind `v`, if it is constant.
    pub(crate) fn weight(&self, v: ValueId) -> Option<WeightId> {
        self.graph().weight(self.patch.resolve(v))
    }

    /// Whether `v` is constant.
    pub(crate) fn is_constant(&self, v: ValueId) -> bool {
        self.weight(v).is_some()
    }

    /// How many operands and outputs read `v`.
    pub(crate) fn n_readers(&self, v: ValueId) -> u32 {
        let v = self.patch.resolve(v);
        self.n_readers.get(v.index()).copied().unwrap_or(0)
    }

    /// How many operands and outputs of the whole program read the weight behind `v`.
    pub(crate) fn n_weight_readers(&self, v: ValueId) -> u32 {
        let readers = |w: WeightId| self.weight_readers.get(w.index()).copied();
        self.weight(v).and_then(readers).unwrap_or(0)
    }

    // Constants.

    /// The number that `v` is, if it is a real constant of one element.
    pub(crate) fn scalar(&self, v: ValueId) -> Option<f64> {
        let tensor = self.constant(v)?;
        if tensor.n_elements() != 1 {
            return None;
        }
        tensor.to_f64()?.first().copied()
    }

    /// The content of `v` as integers, if it is a constant of an integer type.
    pub(crate) fn ints(&self, v: ValueId) -> Option<Vec<i64>> {
        self.constant(v)?.to_i64()
    }

    // Patterns.

    /// The operands of the node that defines `v`, if `is` holds for its operator.
    pub(crate) fn operands<const N: usize>(
        &self,
        v: ValueId,
        is: impl Fn(&Op) -> bool,
    ) -> Option<[ValueId; N]> {
        let node = self.def(v).filter(|&n| is(self.op(n)))?;
        let inputs: Option<Vec<ValueId>> = self.inputs(node).into_iter().collect();
        inputs?.try_into().ok()
    }

    /// The operand of the node that defines `v`, if `is` holds for its operator.
    pub(crate) fn operand(&self, v: ValueId, is: impl Fn(&Op) -> bool) -> Option<ValueId> {
        self.operands::<1>(v, is).map(|[x]| x)
    }

    /// The two operands of the node that defines `v`, if `is` holds for its operator, in both orders.
    pub(crate) fn either_order(
        &self,
        v: ValueId,
        is: impl Fn(&Op) -> bool,
    ) -> std::iter::Flatten<std::option::IntoIter<[[ValueId; 2]; 2]>> {
        let both = self.operands::<2>(v, is);
        both.map(|[a, b]| [[a, b], [b, a]]).into_iter().flatten()
    }

    /// x and c where `v` is `x * c`, c a constant number, and x has the type of `v`.
    pub(crate) fn times(&self, v: ValueId) -> Option<(ValueId, f64)> {
        if let Some(x) = self.operand(v, |op| matches!(op, Op::Neg(_))) {
            return Some((x, -1.0));
        }
        if let Some([x, c]) = self.operands(v, |op| matches!(op, Op::Div(_))) {
            let c = self.scalar(c)?;
            return (self.is_float(v) && self.ty(x) == self.ty(v)).then_some((x, 1.0 / c));
        }
        self.with_number(v, |op| matches!(op, Op::Mul(_)))
    }

    /// x and c where `v` is `x + c`, c a constant number, and x has the type of `v`.
    pub(crate) fn plus(&self, v: ValueId) -> Option<(ValueId, f64)> {
        if let Some([x, c]) = self.operands(v, |op| matches!(op, Op::Sub(_))) {
            let c = self.scalar(c)?;
            return (self.ty(x) == self.ty(v)).then_some((x, -c));
        }
        self.with_number(v, |op| matches!(op, Op::Add(_)))
    }

    fn with_number(&self, v: ValueId, is: impl Fn(&Op) -> bool) -> Option<(ValueId, f64)> {
        self.either_order(v, is).find_map(|[x, c]| {
            let c = self.scalar(c)?;
            (self.ty(x) == self.ty(v)).then_some((x, c))
        })
    }

    /// Whether the elements of `v` are floating-point numbers.
    pub(crate) fn is_float(&self, v: ValueId) -> bool {
        self.dtype(v).kind() == Kind::Float
    }

    /// Whether `a` is `b` up to the rounding of the type of `v`, and of the digits that exporters write.
    pub(crate) fn near(&self, v: ValueId, a: f64, b: f64) -> bool {
        let tolerance = match self.dtype(v) {
            DType::F16 => 2e-3,
            DType::BF16 => 1e-2,
            _ => 1e-4,
        };
        (a - b).abs() <= tolerance * b.abs()
    }

    /// The axes that the reduction that defines `v` folds, if `is` holds for it: its operand, the
    /// axes, and whether they stay.
    pub(crate) fn reduction(
        &self,
        v: ValueId,
        is: impl Fn(&Op) -> bool,
    ) -> Option<(ValueId, Vec<usize>, bool)> {
        let node = self.def(v).filter(|&n| is(self.op(n)))?;
        let x = self.input(node, 0)?;
        let axes = self.input(node, 1).map(|axes| self.ints(axes));
        let axes = match axes {
            Some(axes) => axes?,
            None => (0..self.rank(x) as i64).collect(),
        };
        let axes = ir::infer::normalize_axes(&axes, self.rank(x)).ok()?;
        let keeps = self.rank(v) == self.rank(x);
        (!axes.is_empty()).then_some((x, axes, keeps))
    }

    /// The nodes between the results `roots` and the values `leaves`, roots included, ascending.
    pub(crate) fn between(&self, roots: &[ValueId], leaves: &[ValueId]) -> Vec<NodeId> {
        let mut found: Vec<NodeId> = vec![];
        let mut pending: Vec<ValueId> = roots.to_vec();
        while let Some(v) = pending.pop() {
            let v = self.patch.resolve(v);
            if leaves.contains(&v) || found.len() == PATTERN_LIMIT {
                continue;
            }
            let Some(node) = self.graph().def_node(v) else {
                continue;
            };
            if !found.contains(&node) {
                found.push(node);
                pending.extend(self.inputs(node).into_iter().flatten());
            }
        }
        found.sort_unstable();
        found
    }

    // Changes.

    /// Replaces the only result of `node` that is read by what `make` gives, if leave is granted.
    pub(crate) fn rewrite(
        &mut self,
        node: NodeId,
        make: impl FnOnce(&mut Self) -> Result<ValueId, PatchError>,
    ) -> Result<(), Cause> {
        self.rewrite_pattern(&[node], self.output(node), make)
    }

    /// Replaces `old`, which `nodes` compute, by what `make` gives, if leave is granted.
    pub(crate) fn rewrite_pattern(
        &mut self,
        nodes: &[NodeId],
        old: ValueId,
        make: impl FnOnce(&mut Self) -> Result<ValueId, PatchError>,
    ) -> Result<(), Cause> {
        if self.may_change(nodes) {
            let new = make(self)?;
            self.replace(old, new);
        }
        Ok(())
    }

    /// Asks leave to make one change, of `nodes`; new nodes stand for what they stand for.
    pub(crate) fn may_change(&mut self, nodes: &[NodeId]) -> bool {
        let granted = self.cx.may_change();
        if granted {
            self.changes += 1;
            self.patch.stands_for(nodes);
            let names = |&n: &NodeId| self.patch.graph().nodes[n].origin.names().len();
            self.cx.count_work(nodes.iter().map(names).sum());
        }
        granted
    }

    /// Writes down what else is known of the type of `v`.
    pub(crate) fn refine(&mut self, v: ValueId, ty: &TensorType) -> Result<bool, PatchError> {
        let v = self.patch.resolve(v);
        self.patch.refine(v, ty)
    }

    /// Every reader of `old` shall read `new`.
    pub(crate) fn replace(&mut self, old: ValueId, new: ValueId) {
        let (from, to) = (self.patch.resolve(old), self.patch.resolve(new));
        if self.n_readers.len() <= to.index() {
            self.n_readers.resize(to.index() + 1, 0);
        }
        let gained = self.n_readers.get(from.index()).copied().unwrap_or(0);
        // The node behind `old` reads nothing any more once all its results are replaced.
        let lost = match self.def(from) {
            Some(node) if self.outputs(node).len() == 1 => {
                let inputs = self.inputs(node);
                inputs.iter().filter(|v| **v == Some(to)).count() as u32
            }
            _ => 0,
        };
        let n = &mut self.n_readers[to.index()];
        *n = (*n + gained).saturating_sub(lost);
        self.patch.replace(from, to);
    }

    /// A new node with one result.
    pub(crate) fn node(
        &mut self,
        op: impl Into<Op>,
        inputs: &[ValueId],
    ) -> Result<ValueId, PatchError> {
        self.cx.count_work(1);
        let inputs: Vec<ValueId> = inputs.iter().map(|&v| self.patch.resolve(v)).collect();
        self.patch.node(op, &inputs)
    }

    /// A new node with one result whose operands may be left out.
    pub(crate) fn node_with(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
    ) -> Result<ValueId, PatchError> {
        Ok(self.node_results(op, inputs, 1)?[0])
    }

    /// A new node with `n_outputs` results whose operands may be left out.
    pub(crate) fn node_results(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        n_outputs: usize,
    ) -> Result<Vec<ValueId>, PatchError> {
        self.cx.count_work(1);
        let resolved = inputs.iter().map(|v| v.map(|v| self.patch.resolve(v)));
        self.patch.node_with(op, resolved.collect(), n_outputs)
    }

    /// A new constant.
    pub(crate) fn constant_value(&mut self, tensor: Tensor) -> ValueId {
        self.patch.constant(tensor)
    }

    /// A new constant number of type `dtype`, of rank 0.
    pub(crate) fn number(&mut self, dtype: DType, value: f64) -> ValueId {
        self.patch.constant(Tensor::from_f64(dtype, &[], &[value]))
    }

    /// A new constant list of integers.
    pub(crate) fn list(&mut self, values: &[i64]) -> ValueId {
        self.patch
            .constant(Tensor::from_slice(&[values.len()], values))
    }

    /// `x` under the dimensions `dims`, which are as many elements.
    pub(crate) fn reshaped(&mut self, x: ValueId, dims: &[usize]) -> Result<ValueId, PatchError> {
        if self.dims(x).as_deref() == Some(dims) {
            return Ok(self.patch.resolve(x));
        }
        let target: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
        let target = self.list(&target);
        let op = ir::ops::Reshape {
            allowzero: dims.contains(&0),
        };
        self.node(op, &[x, target])
    }

    /// `x` with its dimensions in the order `perm`.
    pub(crate) fn transposed(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, PatchError> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(self.patch.resolve(x));
        }
        self.node(ir::ops::Transpose::by(perm), &[x])
    }

    /// Says why `node` is left as it is, if anybody wants to know.
    pub(crate) fn refuse(&mut self, node: NodeId, reason: impl FnOnce() -> String) {
        self.cx.refuse(self.patch.graph(), node, reason);
    }
}
