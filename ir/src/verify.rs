//! The verifier: every rule that the rest of the compiler relies on, every violation reported.

use crate::graph::{Def, Graph, Node, NodeId, RegionId, ValueId};
use crate::id::EntityId;
use crate::infer::InferCx;
use crate::program::{GraphId, Program, Weights};
use crate::shape::TensorType;
use std::collections::BTreeSet;
use std::fmt;

/// What must hold of a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// Every id names an item of its arena.
    InBounds,
    /// A node stands in the order at most once.
    NodeOnce,
    /// A value that is read is an input, a constant, or the result of an earlier node.
    DefinedBeforeUse,
    /// A value and the input list or the node that defines it name each other.
    Definition,
    /// A node has as many operands and results as its operator takes.
    Arity,
    /// Stored types agree with inference.
    Type,
    /// A constant has the type of its weight.
    WeightType,
    /// Inputs have names, and no two the same.
    InputName,
    /// Outputs have names, and no two the same.
    OutputName,
    /// Models have names, and no two the same.
    ModelName,
    /// The nodes of a region stand side by side.
    RegionContiguous,
    /// Once one node is in a region, all are.
    RegionComplete,
}

impl Rule {
    /// The rule in a few words.
    pub const fn text(self) -> &'static str {
        match self {
            Rule::InBounds => "ids are in bounds",
            Rule::NodeOnce => "a node stands in the order once",
            Rule::DefinedBeforeUse => "values are defined before they are used",
            Rule::Definition => "values and their definitions name each other",
            Rule::Arity => "nodes have as many operands and results as their operator takes",
            Rule::Type => "types agree with inference",
            Rule::WeightType => "constants have the types of their weights",
            Rule::InputName => "inputs have different names",
            Rule::OutputName => "outputs have different names",
            Rule::ModelName => "models have different names",
            Rule::RegionContiguous => "the nodes of a region stand side by side",
            Rule::RegionComplete => "all nodes are in regions, or none",
        }
    }
}

/// A rule that does not hold, and where.
#[derive(Clone, PartialEq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The graph.
    pub graph: GraphId,
    /// The graph's name.
    pub model: String,
    /// The node, if one is at fault.
    pub node: Option<NodeId>,
    /// The value, if one is at fault.
    pub value: Option<ValueId>,
    /// What is there, and what should be.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model {}", self.model)?;
        if let Some(node) = self.node {
            write!(f, ", node {node}")?;
        }
        if let Some(value) = self.value {
            write!(f, ", value {value}")?;
        }
        write!(f, ": {} (rule: {})", self.detail, self.rule.text())
    }
}

impl std::error::Error for Violation {}

/// Checks `program` against every [`Rule`]; the violations, in the order of the graphs' nodes.
pub fn program(program: &Program) -> Result<(), Vec<Violation>> {
    let mut violations = vec![];
    let mut names = BTreeSet::new();
    for (id, graph) in program.graphs.iter() {
        let mut check = Check {
            id,
            graph,
            weights: &program.weights,
            violations: &mut violations,
        };
        if graph.name.is_empty() {
            check.report(Rule::ModelName, None, None, "the model has no name");
        } else if !names.insert(graph.name.as_str()) {
            check.report(Rule::ModelName, None, None, "two models have this name");
        }
        check.run();
    }
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations)
    }
}

struct Check<'a> {
    id: GraphId,
    graph: &'a Graph,
    weights: &'a Weights,
    violations: &'a mut Vec<Violation>,
}

impl Check<'_> {
    fn report(
        &mut self,
        rule: Rule,
        node: Option<NodeId>,
        value: Option<ValueId>,
        detail: impl Into<String>,
    ) {
        self.violations.push(Violation {
            rule,
            graph: self.id,
            model: self.graph.name.clone(),
            node,
            value,
            detail: detail.into(),
        });
    }

    fn run(&mut self) {
        self.inputs();
        let mut defined: Vec<bool> = self
            .graph
            .values
            .iter()
            .map(|(id, value)| match value.def {
                Def::Weight(_) => true,
                Def::Input(n) => self.graph.inputs.get(n as usize) == Some(&id),
                Def::Node { .. } => false,
            })
            .collect();
        let mut seen = vec![false; self.graph.nodes.len()];
        let mut constants_checked = BTreeSet::new();
        for &n in &self.graph.order {
            let Some(node) = self.graph.nodes.get(n) else {
                self.report(Rule::InBounds, Some(n), None, "there is no such node");
                continue;
            };
            if std::mem::replace(&mut seen[n.index()], true) {
                self.report(Rule::NodeOnce, Some(n), None, "the node stands here again");
                continue;
            }
            let mut sound = true;
            for &v in node.inputs.iter().flatten() {
                sound &= self.operand(Some(n), v, &defined, &mut constants_checked);
            }
            sound &= self.results(n, node, &mut defined);
            sound &= self.arity(n, node);
            if sound {
                self.types(n, node);
            }
        }
        self.outputs(&defined, &mut constants_checked);
        self.regions();
    }

    fn inputs(&mut self) {
        let graph = self.graph;
        let mut names = BTreeSet::new();
        for (i, &v) in graph.inputs.iter().enumerate() {
            let Some(value) = graph.values.get(v) else {
                self.report(
                    Rule::InBounds,
                    None,
                    Some(v),
                    format!("input {i} does not exist"),
                );
                continue;
            };
            if value.def != Def::Input(i as u32) {
                let detail = format!("input {i} is defined as {:?}", value.def);
                self.report(Rule::Definition, None, Some(v), detail);
            }
            match value.name.as_deref() {
                None | Some("") => {
                    self.report(
                        Rule::InputName,
                        None,
                        Some(v),
                        format!("input {i} has no name"),
                    );
                }
                Some(name) if !names.insert(name) => {
                    let detail = format!("a second input is called `{name}`");
                    self.report(Rule::InputName, None, Some(v), detail);
                }
                Some(_) => {}
            }
        }
    }

    /// Whether `v`, read by `node` or as an output, is there and defined.
    fn operand(
        &mut self,
        node: Option<NodeId>,
        v: ValueId,
        defined: &[bool],
        constants_checked: &mut BTreeSet<ValueId>,
    ) -> bool {
        let graph = self.graph;
        let Some(value) = graph.values.get(v) else {
            self.report(Rule::InBounds, node, Some(v), "there is no such value");
            return false;
        };
        if !defined[v.index()] {
            let detail = match value.def {
                Def::Node { node, .. } => format!("it is the result of {node}, which comes later"),
                Def::Input(n) => format!("it says it is input {n}, which is another value"),
                Def::Weight(_) => "it is a constant".into(),
            };
            self.report(Rule::DefinedBeforeUse, node, Some(v), detail);
            return false;
        }
        if let Def::Weight(w) = value.def
            && constants_checked.insert(v)
        {
            match self.weights.get(w) {
                None => {
                    let detail = format!("there is no weight {w}");
                    self.report(Rule::InBounds, node, Some(v), detail);
                    return false;
                }
                Some(tensor) if tensor.ty() != value.ty => {
                    let detail = format!("{} for a weight of {}", value.ty, tensor.ty());
                    self.report(Rule::WeightType, node, Some(v), detail);
                }
                Some(_) => {}
            }
        }
        true
    }

    /// Whether the results of `node` are there; they count as defined from here on.
    fn results(&mut self, n: NodeId, node: &Node, defined: &mut [bool]) -> bool {
        let graph = self.graph;
        let mut sound = true;
        for (i, &v) in node.outputs.iter().enumerate() {
            let Some(value) = graph.values.get(v) else {
                self.report(
                    Rule::InBounds,
                    Some(n),
                    Some(v),
                    format!("result {i} does not exist"),
                );
                sound = false;
                continue;
            };
            let def = Def::Node {
                node: n,
                output: i as u32,
            };
            if value.def != def {
                let detail = format!("result {i} is defined as {:?}", value.def);
                self.report(Rule::Definition, Some(n), Some(v), detail);
                sound = false;
            } else {
                defined[v.index()] = true;
            }
        }
        sound
    }

    fn arity(&mut self, n: NodeId, node: &Node) -> bool {
        let mut sound = true;
        for (what, count, allowed) in [
            ("operands", node.inputs.len(), node.op.arity()),
            ("results", node.outputs.len(), node.op.results()),
        ] {
            if !allowed.contains(&count) {
                let detail = format!("{} with {count} {what}, not {allowed:?}", node.op.name());
                self.report(Rule::Arity, Some(n), None, detail);
                sound = false;
            }
        }
        sound
    }

    fn types(&mut self, n: NodeId, node: &Node) {
        let graph = self.graph;
        let types: Vec<_> = node.inputs.iter().map(|v| v.map(|v| graph.ty(v))).collect();
        let constants: Vec<_> = node
            .inputs
            .iter()
            .map(|v| v.and_then(|v| self.weights.get(graph.weight(v)?)))
            .collect();
        let cx = InferCx::new(&types, &constants, node.outputs.len());
        match node.op.infer(&cx) {
            Err(why) => {
                let detail = format!("{}: {why}", node.op.name());
                self.report(Rule::Type, Some(n), None, detail);
            }
            Ok(inferred) if inferred.len() != node.outputs.len() => {
                let detail = format!(
                    "{}: inference gives {} results, the node has {}",
                    node.op.name(),
                    inferred.len(),
                    node.outputs.len()
                );
                self.report(Rule::Type, Some(n), None, detail);
            }
            Ok(inferred) => {
                for (&v, ty) in node.outputs.iter().zip(inferred) {
                    let stored = graph.ty(v);
                    if !agrees(stored, &ty) {
                        let detail = format!("{} is {ty}, not {stored}", node.op.name());
                        self.report(Rule::Type, Some(n), Some(v), detail);
                    }
                }
            }
        }
    }

    fn outputs(&mut self, defined: &[bool], constants_checked: &mut BTreeSet<ValueId>) {
        let mut names = BTreeSet::new();
        for (name, v) in &self.graph.outputs {
            self.operand(None, *v, defined, constants_checked);
            if name.is_empty() {
                self.report(Rule::OutputName, None, Some(*v), "an output has no name");
            } else if !names.insert(name) {
                let detail = format!("a second output is called `{name}`");
                self.report(Rule::OutputName, None, Some(*v), detail);
            }
        }
    }

    fn regions(&mut self) {
        let graph = self.graph;
        let nodes = |n: &NodeId| graph.nodes.get(*n).map(|node| (*n, node.region));
        let placed: Vec<(NodeId, Option<RegionId>)> =
            graph.order.iter().filter_map(nodes).collect();
        if placed.iter().all(|(_, region)| region.is_none()) {
            return;
        }
        let mut closed = BTreeSet::new();
        let mut open = None;
        for (n, region) in placed {
            match region {
                None => {
                    let detail = "the node is in no region, others are";
                    self.report(Rule::RegionComplete, Some(n), None, detail);
                }
                Some(r) if graph.regions.get(r).is_none() => {
                    let detail = format!("there is no region {r}");
                    self.report(Rule::InBounds, Some(n), None, detail);
                }
                Some(_) => {}
            }
            if region != open {
                closed.extend(open);
                open = region;
                if let Some(r) = region
                    && closed.contains(&r)
                {
                    let detail = format!("region {r} goes on after other nodes");
                    self.report(Rule::RegionContiguous, Some(n), None, detail);
                }
            }
        }
    }
}

/// Same element type, same rank, and no two known dimensions that differ.
pub fn agrees(a: &TensorType, b: &TensorType) -> bool {
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
