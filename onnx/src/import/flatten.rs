//! Functions inlined: one list of nodes whose values have ids instead of names.

use super::order::Definer;
use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
};
use std::collections::BTreeMap;

/// Calls inside calls.
const MAX_DEPTH: usize = 64;

/// What a model may grow to, in nodes, operands and attributes, whatever its size...
const BASE_SIZE: usize = 1_000_000;

/// ...and for each of those in its file.
const GROWTH: usize = 8;

/// A value of the flat graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Name(u32);

impl Name {
    /// The position in lists with one entry a name.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A call that nodes were inlined from.
#[derive(Clone, Copy, Debug)]
struct Call<'a> {
    caller: Option<u32>,
    node: &'a str,
}

/// A node whose operator is no function of the model.
#[derive(Clone, Debug)]
pub(crate) struct FlatNode<'a> {
    /// The operator.
    pub(crate) op: &'a str,
    /// Its namespace; empty for ONNX's own.
    pub(crate) domain: &'a str,
    /// The version of the namespace that the node was written for, if it is declared.
    pub(crate) opset: Option<i64>,
    /// The name of the node, as far as it has one.
    name: &'a str,
    call: Option<u32>,
    /// Operands.
    pub(crate) inputs: Vec<Option<Name>>,
    /// Results.
    pub(crate) outputs: Vec<Option<Name>>,
    /// Attributes by name, those given by a caller included.
    pub(crate) attributes: Vec<(&'a str, &'a AttributeProto)>,
}

/// A model's graph without calls.
#[derive(Debug, Default)]
pub(crate) struct FlatGraph<'a> {
    /// The nodes, in the file's order.
    pub(crate) nodes: Vec<FlatNode<'a>>,
    /// For each node of the file's graph, the number of nodes up to and with those it became.
    pub(crate) ends: Vec<usize>,
    names: Vec<(&'a str, Option<u32>)>,
    calls: Vec<Call<'a>>,
    by_name: BTreeMap<&'a str, Name>,
}

/// Why calls can't be inlined.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the fields carry the values that the messages show"
)]
pub enum InlineError {
    /// A function that calls itself, perhaps through others.
    #[error("function {function:?} calls itself")]
    Recursion { function: String },
    /// Too many calls inside calls.
    #[error("calls nest deeper than the limit of {MAX_DEPTH}, at node {node:?}")]
    TooDeep { node: String },
    /// Too many nodes in all.
    #[error("the model would have more than {limit} nodes, operands and attributes without calls")]
    TooLarge { limit: usize },
    /// Two functions of one name.
    #[error("function {function:?} is defined twice")]
    Duplicate { function: String },
    /// More operands or results than the function has.
    #[error("node {node:?} gives function {function:?} more operands or results than it has")]
    Arity { node: String, function: String },
}

impl<'a> FlatGraph<'a> {
    /// The name of a value for people: that of the file, behind the calls it came from.
    pub(crate) fn display(&self, name: Name) -> String {
        let (text, call) = self.names[name.index()];
        self.scoped(call, text)
    }

    /// The name of a node for people: its own, or operator and result if it has none.
    pub(crate) fn display_node(&self, node: &FlatNode<'_>) -> String {
        if !node.name.is_empty() {
            return self.scoped(node.call, node.name);
        }
        match node.outputs.iter().flatten().next() {
            Some(&output) => format!("{}({})", node.op, self.display(output)),
            None => node.op.to_owned(),
        }
    }

    /// The id of the main graph's value `name`, made if there is none.
    pub(crate) fn intern(&mut self, name: &'a str) -> Name {
        if let Some(&id) = self.by_name.get(name) {
            return id;
        }
        let id = self.fresh(name, None);
        self.by_name.insert(name, id);
        id
    }

    /// All values.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + use<> {
        (0..self.names.len() as u32).map(Name)
    }

    /// The number of values.
    pub(crate) fn n_names(&self) -> usize {
        self.names.len()
    }

    /// The values of the main graph, with their names in the file.
    pub(crate) fn main_values(&self) -> impl Iterator<Item = (&'a str, Name)> + '_ {
        self.by_name.iter().map(|(&text, &name)| (text, name))
    }

    /// The main graph's value `name`, if it is mentioned anywhere.
    pub(crate) fn find(&self, name: &str) -> Option<Name> {
        self.by_name.get(name).copied()
    }

    fn scoped(&self, mut call: Option<u32>, text: &str) -> String {
        let mut path = text.to_owned();
        while let Some(at) = call {
            let Call { caller, node } = self.calls[at as usize];
            path = format!("{node}/{path}");
            // Long enough for people; hostile names are longer.
            if path.len() > 400 {
                break;
            }
            call = caller;
        }
        path
    }

    fn fresh(&mut self, text: &'a str, call: Option<u32>) -> Name {
        self.names.push((text, call));
        Name((self.names.len() - 1) as u32)
    }

    /// The node that defines each value, by [`Name::index`].
    pub(crate) fn definers(&self) -> Vec<Vec<Definer>> {
        let mut definers = vec![Vec::new(); self.names.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for output in node.outputs.iter().flatten() {
                definers[output.index()].push(Definer::Node(i));
            }
        }
        definers
    }
}

/// Inlines every call in `graph` of a function of `model`.
pub(crate) fn flatten<'a>(
    model: &'a ModelProto,
    graph: &'a GraphProto,
) -> Result<FlatGraph<'a>, InlineError> {
    let mut functions = BTreeMap::new();
    for f in &model.functions {
        let key = (
            domain_of(f.domain.as_deref()),
            text(&f.name),
            text(&f.overload),
        );
        if functions.insert(key, f).is_some() {
            return Err(InlineError::Duplicate {
                function: text(&f.name).to_owned(),
            });
        }
    }
    let in_file: usize = model
        .functions
        .iter()
        .map(|f| f.node.as_slice())
        .chain([&graph.node[..]])
        .flatten()
        .map(size)
        .sum();
    let mut inliner = Inliner {
        functions,
        active: Vec::new(),
        flat: FlatGraph::default(),
        size: 0,
        limit: BASE_SIZE + GROWTH * in_file,
    };
    let mut scope = Scope {
        call: None,
        values: BTreeMap::new(),
        attributes: None,
        opsets: opsets(&model.opset_import),
    };
    for node in &graph.node {
        inliner.node(node, &mut scope)?;
        inliner.flat.ends.push(inliner.flat.nodes.len());
    }
    Ok(inliner.flat)
}

/// The namespace for a field that may be empty, absent, or ONNX's own name spelt out.
pub(crate) fn domain_of(domain: Option<&str>) -> &str {
    match domain {
        None | Some("ai.onnx") => "",
        Some(domain) => domain,
    }
}

fn text(s: &Option<String>) -> &str {
    s.as_deref().unwrap_or_default()
}

fn size(node: &NodeProto) -> usize {
    1 + node.input.len() + node.output.len() + node.attribute.len()
}

fn opsets(imports: &[OperatorSetIdProto]) -> BTreeMap<&str, i64> {
    let import = |o: &'_ OperatorSetIdProto| o.version.unwrap_or_default();
    imports
        .iter()
        .map(|o| (domain_of(o.domain.as_deref()), import(o)))
        .collect()
}

/// What names mean in a graph or in one call of a function.
struct Scope<'a> {
    call: Option<u32>,
    /// Values of a call; those of the main graph are the flat graph's own.
    values: BTreeMap<&'a str, Option<Name>>,
    /// Attributes of a call, by name.
    attributes: Option<BTreeMap<&'a str, &'a AttributeProto>>,
    opsets: BTreeMap<&'a str, i64>,
}

struct Inliner<'a> {
    functions: BTreeMap<(&'a str, &'a str, &'a str), &'a FunctionProto>,
    active: Vec<&'a FunctionProto>,
    flat: FlatGraph<'a>,
    size: usize,
    limit: usize,
}

impl<'a> Inliner<'a> {
    fn node(&mut self, node: &'a NodeProto, scope: &mut Scope<'a>) -> Result<(), InlineError> {
        self.size += size(node);
        if self.size > self.limit {
            return Err(InlineError::TooLarge { limit: self.limit });
        }
        let domain = domain_of(node.domain.as_deref());
        let flat = FlatNode {
            op: text(&node.op_type),
            domain,
            opset: scope.opsets.get(domain).copied(),
            name: text(&node.name),
            call: scope.call,
            inputs: node.input.iter().map(|n| self.value(n, scope)).collect(),
            outputs: node.output.iter().map(|n| self.value(n, scope)).collect(),
            attributes: node
                .attribute
                .iter()
                .filter_map(|a| resolve(a, scope))
                .collect(),
        };
        match self.functions.get(&(domain, flat.op, text(&node.overload))) {
            Some(&function) => self.call(flat, function),
            None => {
                self.flat.nodes.push(flat);
                Ok(())
            }
        }
    }

    fn call(&mut self, node: FlatNode<'a>, function: &'a FunctionProto) -> Result<(), InlineError> {
        let name = || text(&function.name).to_owned();
        if self.active.iter().any(|&f| std::ptr::eq(f, function)) {
            return Err(InlineError::Recursion { function: name() });
        }
        if self.active.len() == MAX_DEPTH {
            return Err(InlineError::TooDeep {
                node: self.flat.display_node(&node),
            });
        }
        if node.inputs.len() > function.input.len() || node.outputs.len() > function.output.len() {
            let node = self.flat.display_node(&node);
            return Err(InlineError::Arity {
                node,
                function: name(),
            });
        }
        // The name of a nameless call is its operator's.
        let called = if node.name.is_empty() {
            node.op
        } else {
            node.name
        };
        self.flat.calls.push(Call {
            caller: node.call,
            node: called,
        });
        let call = Some((self.flat.calls.len() - 1) as u32);
        let mut attributes: BTreeMap<_, _> = function
            .attribute_proto
            .iter()
            .map(|a| (text(&a.name), a))
            .collect();
        attributes.extend(node.attributes.iter().copied());
        let mut scope = Scope {
            call,
            values: BTreeMap::new(),
            attributes: Some(attributes),
            opsets: opsets(&function.opset_import),
        };
        let given = node.inputs.iter().copied().chain(std::iter::repeat(None));
        scope
            .values
            .extend(function.input.iter().map(String::as_str).zip(given));
        let mut copies = Vec::new();
        for (formal, result) in function.output.iter().zip(&node.outputs) {
            let Some(result) = *result else { continue };
            match scope.values.get(formal.as_str()) {
                // A result that is an operand, or an earlier result, as it is.
                Some(&source) => copies.push((source, result)),
                None => {
                    scope.values.insert(formal, Some(result));
                }
            }
        }
        self.active.push(function);
        for inner in &function.node {
            self.node(inner, &mut scope)?;
        }
        self.active.pop();
        for (source, result) in copies {
            self.flat.nodes.push(FlatNode {
                op: "Identity",
                domain: "",
                opset: scope.opsets.get("").copied().or(Some(1)),
                name: "",
                call,
                inputs: vec![source],
                outputs: vec![Some(result)],
                attributes: Vec::new(),
            });
        }
        Ok(())
    }

    /// The value that `name` means in `scope`; an empty name means none.
    fn value(&mut self, name: &'a str, scope: &mut Scope<'a>) -> Option<Name> {
        if name.is_empty() {
            return None;
        }
        if scope.call.is_none() {
            return Some(self.flat.intern(name));
        }
        *scope
            .values
            .entry(name)
            .or_insert_with(|| Some(self.flat.fresh(name, scope.call)))
    }
}

/// The attribute under its own name, with the value that the caller gives if it refers to one;
/// none if the caller doesn't give it and it has no default.
fn resolve<'a>(
    attribute: &'a AttributeProto,
    scope: &Scope<'a>,
) -> Option<(&'a str, &'a AttributeProto)> {
    let name = text(&attribute.name);
    match (attribute.ref_attr_name.as_deref(), &scope.attributes) {
        (None | Some(""), _) | (_, None) => Some((name, attribute)),
        (Some(referred), Some(given)) => given.get(referred).map(|&value| (name, value)),
    }
}
