//! The graph under construction: nodes typed as they are added, shape arithmetic evaluated.

use super::Note;
use ir::infer::InferCx;
use ir::program::Weights;
use ir::shape::Symbol;
use ir::{Class, DType, Dim, Graph, Op, OpError, Origin, Tensor, TensorType, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Constant operands, in bytes, above which a node is left to the passes.
const MAX_FOLDED_OPERANDS: usize = 1 << 20;

/// Results, in bytes, above which a node is left to the passes.
const MAX_FOLDED_RESULTS: usize = 16 << 10;

/// The size in bytes, dimensions of 0 and unknown ones left out, that no value may have: products
/// of dimensions stay far from overflow.
const MAX_VALUE: usize = 1 << 46;

/// Whether a value of type `ty` is too large for anything to be done with it.
pub(crate) fn is_too_large(ty: &TensorType) -> bool {
    let mut dims = ty.shape.0.iter().filter_map(Dim::known).filter(|&n| n != 0);
    let size = dims.try_fold(ty.dtype.size(), usize::checked_mul);
    size.is_none_or(|n| n > MAX_VALUE)
}

/// A graph that grows node by node.
///
/// Exporters compute shapes at run time, by Shape, Gather, Concat and the like, and operators
/// need to know theirs to be typed. So a node with small constant operands and small results
/// becomes constants at once, and so does one whose result follows from its operands' types.
pub(crate) struct Builder<'p> {
    graph: Graph,
    weights: &'p mut Weights,
    origin: Origin,
    n_folded: usize,
    notes: Vec<Note>,
}

impl<'p> Builder<'p> {
    pub(crate) fn new(name: &str, weights: &'p mut Weights) -> Self {
        Self {
            graph: Graph::new(name),
            weights,
            origin: Origin::default(),
            n_folded: 0,
            notes: Vec::new(),
        }
    }

    /// Nodes added from now on stand for the model's node `name`.
    pub(crate) fn stands_for(&mut self, name: &str) {
        self.origin = Origin::node(name);
    }

    pub(crate) fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        self.graph.add_input(name, ty)
    }

    pub(crate) fn output(&mut self, name: &str, value: ValueId) {
        self.graph.outputs.push((name.into(), value));
    }

    pub(crate) fn constant(&mut self, tensor: Tensor, name: Option<&str>) -> ValueId {
        let ty = tensor.ty();
        let weight = self.weights.add(tensor);
        self.graph.add_weight(name, ty, weight)
    }

    /// The list `values` as an operand.
    pub(crate) fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::from_slice(&[values.len()], values), None)
    }

    /// The number `value` as an operand of `dtype` and rank 0.
    pub(crate) fn scalar(&mut self, dtype: DType, value: f64) -> ValueId {
        self.constant(Tensor::from_f64(dtype, &[], &[value]), None)
    }

    pub(crate) fn ty(&self, value: ValueId) -> &TensorType {
        self.graph.ty(value)
    }

    /// The content of `value`, if it is constant.
    pub(crate) fn content(&self, value: ValueId) -> Option<&Tensor> {
        self.weights.get(self.graph.weight(value)?)
    }

    /// Calls `value` by the name that the model has for it.
    pub(crate) fn name(&mut self, value: ValueId, name: &str) {
        self.graph.values[value].name = Some(name.into());
    }

    /// Adds a node, or constants in its place.
    pub(crate) fn node(
        &mut self,
        op: Op,
        mut inputs: Vec<Option<ValueId>>,
        n_outputs: usize,
    ) -> Result<Vec<ValueId>, OpError> {
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let (mut types, results) = self.infer(&op, &inputs, n_outputs)?;
        if let Some(results) = results {
            self.n_folded += 1;
            return Ok(results
                .into_iter()
                .map(|t| self.constant(t, None))
                .collect());
        }
        self.name_sizes(&inputs, &mut types);
        let node = self.graph.add_node(op, inputs, types, self.origin.clone());
        Ok(self.graph.nodes[node].outputs.clone())
    }

    /// The types of a node's results, and the results themselves if they are to be constants.
    fn infer(
        &self,
        op: &Op,
        inputs: &[Option<ValueId>],
        n_outputs: usize,
    ) -> Result<(Vec<TensorType>, Option<Vec<Tensor>>), OpError> {
        let types: Vec<_> = inputs.iter().map(|v| v.map(|v| self.ty(v))).collect();
        let constants: Vec<_> = inputs
            .iter()
            .map(|v| v.and_then(|v| self.content(v)))
            .collect();
        let cx = InferCx::new(&types, &constants, n_outputs);
        let results = op.infer(&cx)?;
        if let Some(ty) = results.iter().find(|ty| is_too_large(ty)) {
            return Err(OpError::Shape(format!(
                "a result of type {ty} is too large"
            )));
        }
        if let (Some(tensor), 1) = (op.metadata(&cx), n_outputs) {
            return Ok((results, Some(vec![tensor])));
        }
        // Windows, products and loops compute no shapes, and their cost has other bounds than
        // the sizes of operands and results.
        let plain = match op.class() {
            Class::Map | Class::Reduce | Class::View | Class::Movement | Class::Metadata => true,
            Class::Contract | Class::Window | Class::Recurrent | Class::Library => false,
        };
        let all_constant = inputs
            .iter()
            .zip(&constants)
            .all(|(v, c)| v.is_none() || c.is_some());
        let sizes = |sum: usize, n: Option<usize>| sum.checked_add(n?);
        let operands: usize = constants.iter().flatten().map(|t| t.bytes().len()).sum();
        let produced = results.iter().map(TensorType::n_bytes).try_fold(0, sizes);
        let small =
            operands <= MAX_FOLDED_OPERANDS && produced.is_some_and(|n| n <= MAX_FOLDED_RESULTS);
        if !(plain && all_constant && small) {
            return Ok((results, None));
        }
        let tensors = op.eval(&constants, n_outputs)?;
        Ok((results, Some(tensors)))
    }

    /// Gives sizes that inference doesn't know names that no other value's sizes have.
    fn name_sizes(&self, inputs: &[Option<ValueId>], results: &mut [TensorType]) {
        use ir::id::EntityId;
        let operands = inputs.iter().flatten().flat_map(|&v| &self.ty(v).shape.0);
        let known: BTreeSet<&Dim> = operands.collect();
        let mut names: BTreeMap<Symbol, Symbol> = BTreeMap::new();
        let first = self.graph.values.next_id().index();
        for (i, ty) in results.iter_mut().enumerate() {
            for (axis, dim) in ty.shape.0.iter_mut().enumerate() {
                if let Dim::Symbol(symbol) = dim
                    && symbol.is_fresh()
                    && !known.contains(&Dim::Symbol(symbol.clone()))
                {
                    let unique = names
                        .entry(symbol.clone())
                        .or_insert_with(|| Symbol::fresh(first + i, axis));
                    *dim = Dim::Symbol(unique.clone());
                }
            }
        }
    }

    /// Tells the user something about the current node.
    pub(crate) fn note(&mut self, about: impl FnOnce(String) -> Note) {
        let note = about(self.origin.names().collect());
        if !self.notes.iter_mut().any(|n| n.merge(&note)) {
            self.notes.push(note);
        }
    }

    /// The graph, how many nodes became constants, and what there is to tell.
    pub(crate) fn finish(mut self) -> (Graph, usize, Vec<Note>) {
        self.graph.compact();
        (self.graph, self.n_folded, self.notes)
    }
}
