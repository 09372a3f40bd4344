//! Inputs, constants and outputs of the main graph.

use super::flatten::{FlatGraph, Name};
use super::order::{Definer, GraphProblem};
use crate::proto::{GraphProto, TensorProto, ValueInfoProto};
use std::collections::BTreeSet;

/// What a graph is put between: inputs, constants and outputs.
pub(crate) struct Frame<'m> {
    /// Inputs that are no constants; in old files constants are inputs as well.
    pub(crate) inputs: Vec<&'m ValueInfoProto>,
    /// Constants.
    pub(crate) initializers: Vec<(Name, &'m TensorProto)>,
    /// Outputs, in order.
    pub(crate) outputs: Vec<Name>,
    /// What defines each value, by [`Name::index`].
    pub(crate) definers: Vec<Vec<Definer>>,
}

impl<'m> Frame<'m> {
    pub(crate) fn new(
        graph: &'m GraphProto,
        flat: &mut FlatGraph<'m>,
    ) -> Result<Self, Vec<GraphProblem>> {
        let mut problems = Vec::new();
        for sparse in &graph.sparse_initializer {
            let values = sparse.values.as_deref();
            let name = values.and_then(|v| v.name.clone()).unwrap_or_default();
            problems.push(GraphProblem::SparseInitializer { name });
        }
        if graph.output.is_empty() {
            problems.push(GraphProblem::NoOutputs);
        }
        let mut named = |name: Option<&'m str>, what, flat: &mut FlatGraph<'m>| {
            let name = name.filter(|n| !n.is_empty());
            if name.is_none() {
                problems.push(GraphProblem::Nameless { what });
            }
            flat.intern(name.unwrap_or_default())
        };
        let initializers: Vec<_> = graph
            .initializer
            .iter()
            .map(|t| (named(t.name.as_deref(), "initializer", flat), t))
            .collect();
        let inputs: Vec<_> = graph
            .input
            .iter()
            .map(|i| (named(i.name.as_deref(), "input", flat), i))
            .collect();
        let outputs: Vec<_> = graph
            .output
            .iter()
            .map(|o| named(o.name.as_deref(), "output", flat))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut known = BTreeSet::new();
        let again = outputs.iter().filter(|&&name| !known.insert(name));
        let repeated = |&name: &Name| GraphProblem::RepeatedOutput {
            name: flat.display(name),
        };
        let problems: Vec<_> = again.map(repeated).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut definers = flat.definers();
        for &(name, _) in &initializers {
            definers[name.index()].push(Definer::Initializer);
        }
        let is_constant = |name: &Name| definers[name.index()].contains(&Definer::Initializer);
        let inputs: Vec<_> = inputs
            .into_iter()
            .filter(|(name, _)| !is_constant(name))
            .collect();
        for &(name, _) in &inputs {
            definers[name.index()].push(Definer::Input);
        }
        let inputs = inputs.into_iter().map(|(_, input)| input).collect();
        Ok(Self {
            inputs,
            initializers,
            outputs,
            definers,
        })
    }
}
