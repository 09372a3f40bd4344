//! Parts of a model as models of their own, that run one after the other as the whole does.
//!
//! [`Children::of`] shares the nodes of a file out among parts, so that every part needs only inputs of
//! the model and results of parts before it; [`Children::write`] writes one of them. A part's
//! constants, those included that reading the model folds (shapes, mostly), lie in it.

mod assign;
mod encode;

use crate::import::{Outline, outline};
use crate::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::{OnnxError, ReadOptions, Source};
use assign::assign;
use encode::Parts;
use ir::{Tensor, TensorType};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// A model shared out among parts.
#[derive(Debug)]
pub struct Children {
    model: ModelProto,
    outline: Outline,
    /// The parts, in the order in which they run.
    pub parts: Vec<Child>,
    /// What the whole model takes, constants left out.
    pub inputs: Vec<Port>,
    /// What the whole model gives.
    pub outputs: Vec<Port>,
    /// The nodes of all parts.
    pub n_nodes: usize,
}

/// A part of a model.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Child {
    /// Its nodes, by position in the file's graph, in an order in which they may run.
    nodes: Vec<usize>,
    /// Constants that it needs, by name.
    constants: Vec<String>,
    /// Outputs of the model that are constants, and leave here.
    constant_outputs: Vec<String>,
    /// The number of nodes of the parts before it.
    pub first: usize,
    /// What it takes: inputs of the model, and results of parts before it.
    pub inputs: Vec<Port>,
    /// What it gives: outputs of the model, and what parts after it take.
    pub outputs: Vec<Port>,
}

impl Child {
    /// The number of its nodes. A part without any is no model.
    pub fn n_nodes(&self) -> usize {
        self.nodes.len() + self.constant_outputs.len()
    }
}

/// A tensor that a model takes or gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Its name, the same in all parts.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// Why a part can't be written.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The model can't be read.
    #[error(transparent)]
    Model(#[from] OnnxError),
    /// The type of a value that goes from one part to another is not known.
    #[error("the type of value {value:?}, which goes from one part to another, is not known")]
    Untyped {
        /// The value.
        value: String,
    },
    /// More bytes than a file of this format can have.
    #[error(
        "part {part} would have {bytes} bytes, and a model with its weights inside has at most \
         {MAX_BYTES}"
    )]
    TooLarge {
        /// The part.
        part: usize,
        /// Its size.
        bytes: u64,
    },
    /// The part can't be written.
    #[error("writing failed")]
    Write(#[from] io::Error),
}

/// The most bytes of a file: more than protocol buffers can have are refused by all readers.
pub const MAX_BYTES: u64 = i32::MAX as u64;

impl Children {
    /// Shares the nodes of `source` out: to part `i` those that `origins[i]` names, by the names of
    /// [`Origin`](ir::Origin), as far as what they depend on lies in it or before it; else to the first
    /// part after that. Nodes of several parts go to the first of them, those of none to where their
    /// results are first needed. What nothing needs is left out.
    ///
    /// # Errors
    /// When the model can't be read with `options`.
    pub fn of(
        source: &Source,
        options: &ReadOptions,
        origins: &[BTreeSet<&str>],
    ) -> Result<Self, ChildError> {
        let model = crate::parse(source)?;
        let outline = outline(source, &model, options)?;
        let none = GraphProto::default();
        let graph = model.graph.as_ref().unwrap_or(&none);
        let assigned = assign(graph, &outline, origins);
        let mut children = Self {
            parts: vec![],
            inputs: vec![],
            outputs: vec![],
            n_nodes: 0,
            outline,
            model,
        };
        children.describe(&assigned, origins.len().max(1))?;
        Ok(children)
    }

    /// Fills `parts`, `inputs` and `outputs`, the nodes being in the parts `assigned`.
    fn describe(&mut self, assigned: &[(usize, usize)], n_parts: usize) -> Result<(), ChildError> {
        let none = GraphProto::default();
        let graph = self.model.graph.as_ref().unwrap_or(&none);
        let values = &self.outline.values;
        let constant = |name: &str| {
            values
                .get(name)
                .is_some_and(|(_, content)| content.is_some())
        };
        let port = |name: &str| match values.get(name) {
            Some((ty, _)) => Ok(Port {
                name: name.to_owned(),
                ty: ty.clone(),
            }),
            None => Err(ChildError::Untyped {
                value: name.to_owned(),
            }),
        };
        let mut made: BTreeMap<&str, usize> = BTreeMap::new();
        for &(node, part) in assigned {
            made.extend(results(&graph.node[node]).map(|name| (name, part)));
        }
        // What each part takes from elsewhere, and gives, in order.
        let mut takes: Vec<Vec<&str>> = vec![vec![]; n_parts];
        let mut gives: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); n_parts];
        let mut parts = vec![Child::default(); n_parts];
        for &(node, part) in assigned {
            parts[part].nodes.push(node);
            for name in operands(&graph.node[node]) {
                let from = made.get(name).copied();
                if from == Some(part) || takes[part].contains(&name) {
                    continue;
                }
                takes[part].push(name);
                if let (Some(from), false) = (from, constant(name)) {
                    gives[from].insert(name);
                }
            }
        }
        for output in graph.output.iter().filter_map(|o| o.name.as_deref()) {
            match made.get(output) {
                Some(&part) => drop(gives[part].insert(output)),
                None if constant(output) => {
                    parts[n_parts - 1].constant_outputs.push(output.to_owned());
                }
                // An input that is an output as it is.
                None => {}
            }
        }
        let mut first = 0;
        for (part, (takes, gives)) in parts.iter_mut().zip(takes.iter().zip(&gives)) {
            part.first = first;
            first += part.n_nodes();
            for &name in takes {
                if constant(name) {
                    part.constants.push(name.to_owned());
                } else {
                    part.inputs.push(port(name)?);
                }
            }
            let constant_outputs = part.constant_outputs.iter().map(String::as_str);
            let gives = gives.iter().copied().chain(constant_outputs);
            part.outputs = gives.map(port).collect::<Result<_, _>>()?;
        }
        let ports = |list: &[ValueInfoProto]| {
            let names = list.iter().filter_map(|v| v.name.as_deref());
            names.map(port).collect::<Result<Vec<_>, _>>()
        };
        let mut inputs = ports(&graph.input)?;
        inputs.retain(|p| !constant(&p.name));
        let outputs = ports(&graph.output)?;
        (self.parts, self.inputs, self.outputs) = (parts, inputs, outputs);
        self.n_nodes = first;
        Ok(())
    }

    /// The names of the nodes of part `part`, as the file has them, in order.
    pub fn node_names(&self, part: usize) -> Vec<String> {
        let graph = self.model.graph.iter();
        let nodes = graph.flat_map(|g| self.parts[part].nodes.iter().map(|&n| &g.node[n]));
        nodes.map(display).collect()
    }

    /// Writes part `part` to `out` as a model called `name`; returns its size. Weights go from where
    /// they are mapped to `out`, and are never in memory together.
    ///
    /// # Errors
    /// When it is too large, or `out` refuses.
    pub fn write(
        &self,
        part: usize,
        name: &str,
        out: &mut impl io::Write,
    ) -> Result<u64, ChildError> {
        let child = &self.parts[part];
        let none = GraphProto::default();
        let graph = self.model.graph.as_ref().unwrap_or(&none);
        let content =
            |name: &String| -> Option<&Tensor> { self.outline.values.get(name)?.1.as_ref() };
        let kept = child.constants.iter();
        let given = child.constant_outputs.iter();
        let initializers = kept
            .filter_map(|name| Some((name.clone(), content(name)?)))
            .chain(
                given
                    .clone()
                    .filter_map(|name| Some((held(name), content(name)?))),
            )
            .collect();
        let copies: Vec<NodeProto> = given
            .map(|name| NodeProto {
                op_type: Some("Identity".into()),
                name: Some(held(name)),
                input: vec![held(name)],
                output: vec![name.clone()],
                ..NodeProto::default()
            })
            .collect();
        let nodes = child.nodes.iter().map(|&n| &graph.node[n]);
        let parts = Parts {
            model: &self.model,
            nodes: nodes.chain(&copies).collect(),
            name,
            inputs: &child.inputs,
            outputs: &child.outputs,
            initializers,
        };
        let bytes = parts.n_bytes();
        if bytes > MAX_BYTES {
            return Err(ChildError::TooLarge { part, bytes });
        }
        parts.write(out)?;
        Ok(bytes)
    }
}

/// The name of the constant behind an output of a model that is one.
fn held(output: &str) -> String {
    format!("{output}/constant")
}

/// The name of a node for people, as [`Origin`](ir::Origin) has it.
fn display(node: &NodeProto) -> String {
    let op = node.op_type.as_deref().unwrap_or_default();
    match node.name.as_deref() {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => match results(node).next() {
            Some(result) => format!("{op}({result})"),
            None => op.to_owned(),
        },
    }
}

/// Operands that are there.
fn operands(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.input
        .iter()
        .map(String::as_str)
        .filter(|n| !n.is_empty())
}

/// Results that are wanted.
fn results(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.output
        .iter()
        .map(String::as_str)
        .filter(|n| !n.is_empty())
}
