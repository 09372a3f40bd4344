//! Graphs: an arena of values in static single assignment and of nodes that define them.

use crate::entity_id;
use crate::id::Arena;
use crate::ops::Op;
use crate::program::WeightId;
use crate::shape::{Dim, Symbol, TensorType};
use std::collections::BTreeMap;

entity_id!(
    /// A value of a [`Graph`].
    ValueId, "%"
);
entity_id!(
    /// A node of a [`Graph`].
    NodeId, "n"
);
entity_id!(
    /// A region of a [`Graph`]: nodes that one kernel computes.
    RegionId, "r"
);

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Def {
    /// The `n`-th input of the graph.
    Input(u32),
    /// A constant.
    Weight(WeightId),
    /// The `output`-th result of `node`.
    Node {
        /// The node.
        node: NodeId,
        /// Which of its results.
        output: u32,
    },
}

/// In which order the dimensions of a value lie in memory, if it gets memory of its own.
///
/// Shapes are always written the way ONNX does; this says only which dimension is innermost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum StorageOrder {
    /// The last dimension is innermost.
    #[default]
    RowMajor,
    /// Dimension 1 is innermost: N, spatial dimensions, C.
    ChannelsLast,
}

/// A tensor that flows through a graph.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// The name that the model gave, if it did; inputs and outputs always have one.
    pub name: Option<Box<str>>,
    /// Element type and shape.
    pub ty: TensorType,
    /// Where it comes from.
    pub def: Def,
    /// How it lies in memory; chosen by the layout phase.
    pub storage: StorageOrder,
}

/// The nodes of the user's model that a node stands for: names, sorted, no duplicates.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin(Vec<Box<str>>);

impl Origin {
    /// The single node called `name`.
    pub fn node(name: &str) -> Self {
        Self(vec![name.into()])
    }

    /// Adds the nodes of `other`.
    pub fn merge(&mut self, other: &Origin) {
        self.0.extend(other.0.iter().cloned());
        self.0.sort();
        self.0.dedup();
    }

    /// The names.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|n| &**n)
    }
}

impl<S: Into<Box<str>>> FromIterator<S> for Origin {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        Self(names)
    }
}

/// An application of an operator.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Operands; `None` is an optional operand that is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// The user's nodes that this one stands for.
    pub origin: Origin,
    /// The region that computes it; none before the fuse phase.
    pub region: Option<RegionId>,
}

/// Which class of kernel computes a region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(
    missing_docs,
    reason = "the variants are named after the kernel classes of the plan"
)]
pub enum RegionKind {
    Map,
    RowReduce,
    Contract,
    Attention,
    Window,
    Movement,
    Recurrent,
    Library,
    /// No kernel: the results are other views of the operands' memory.
    View,
}

/// Nodes that one kernel computes. They stand side by side in the graph's order.
#[derive(Clone, PartialEq, Debug)]
pub struct Region {
    /// The class of kernel.
    pub kind: RegionKind,
}

/// One model: values, and nodes in an order in which every value is defined before it is used.
///
/// Nodes and values that nothing refers to any more stay in their arenas until
/// [`compact`](Graph::compact); only nodes in [`order`](Graph::order) belong to the graph.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// All values.
    pub values: Arena<ValueId, Value>,
    /// All nodes.
    pub nodes: Arena<NodeId, Node>,
    /// The live nodes, in topological order.
    pub order: Vec<NodeId>,
    /// Inputs, in order.
    pub inputs: Vec<ValueId>,
    /// Outputs, in order, each with the name that the user knows it by.
    pub outputs: Vec<(Box<str>, ValueId)>,
    /// Regions, once the fuse phase has made them.
    pub regions: Arena<RegionId, Region>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds an input.
    pub fn add_input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let def = Def::Input(self.inputs.len() as u32);
        let id = self.values.push(Value {
            name: Some(name.into()),
            ty,
            def,
            storage: StorageOrder::RowMajor,
        });
        self.inputs.push(id);
        id
    }

    /// Adds a constant of type `ty`, the type of `weight`.
    pub fn add_weight(&mut self, name: Option<&str>, ty: TensorType, weight: WeightId) -> ValueId {
        self.values.push(Value {
            name: name.map(Into::into),
            ty,
            def: Def::Weight(weight),
            storage: StorageOrder::RowMajor,
        })
    }

    /// Adds a node at the end of the order, with fresh values of types `outputs`.
    pub fn add_node(
        &mut self,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<TensorType>,
        origin: Origin,
    ) -> NodeId {
        let node = self.push_node(op, inputs, outputs, origin);
        self.order.push(node);
        node
    }

    /// Adds a node that is not in the order yet; the caller places it.
    pub(crate) fn push_node(
        &mut self,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<TensorType>,
        origin: Origin,
    ) -> NodeId {
        let node = self.nodes.next_id();
        let outputs = outputs
            .into_iter()
            .enumerate()
            .map(|(output, ty)| {
                let def = Def::Node {
                    node,
                    output: output as u32,
                };
                self.values.push(Value {
                    name: None,
                    ty,
                    def,
                    storage: StorageOrder::RowMajor,
                })
            })
            .collect();
        self.nodes.push(Node {
            op,
            inputs,
            outputs,
            origin,
            region: None,
        })
    }

    /// The type of `value`.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        &self.values[value].ty
    }

    /// The node that defines `value`, if one does.
    pub fn def_node(&self, value: ValueId) -> Option<NodeId> {
        match self.values[value].def {
            Def::Node { node, .. } => Some(node),
            Def::Input(_) | Def::Weight(_) => None,
        }
    }

    /// The weight behind `value`, if it is a constant.
    pub fn weight(&self, value: ValueId) -> Option<WeightId> {
        match self.values[value].def {
            Def::Weight(w) => Some(w),
            Def::Input(_) | Def::Node { .. } => None,
        }
    }

    /// For each value, the live nodes that read it, in order, once per operand.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        use crate::id::EntityId;
        let mut users = vec![Vec::new(); self.values.len()];
        for &n in &self.order {
            for &v in self.nodes[n].inputs.iter().flatten() {
                users[v.index()].push(n);
            }
        }
        users
    }

    /// Whether `value` is one of the outputs.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.outputs.iter().any(|&(_, v)| v == value)
    }

    /// Drops nodes outside the order and values and regions that no live node, input or output
    /// refers to, makes one value of those that stand for the same weight under the same name, and
    /// renumbers the rest in the order in which the text form prints them. Sizes known only at run
    /// time are named after the first value that has them.
    pub fn compact(&mut self) {
        use crate::id::EntityId;
        let mut renumber = Renumber {
            old: &self.values,
            new_ids: vec![None; self.values.len()],
            weights: BTreeMap::new(),
            symbols: BTreeMap::new(),
            values: Arena::new(),
        };
        let mut nodes: Arena<NodeId, Node> = Arena::new();
        let mut regions: Arena<RegionId, Region> = Arena::new();
        let mut new_regions: Vec<Option<RegionId>> = vec![None; self.regions.len()];
        for v in &mut self.inputs {
            *v = renumber.value(*v);
        }
        for &n in &self.order {
            let mut node = self.nodes[n].clone();
            for v in node.inputs.iter_mut().flatten() {
                *v = renumber.value(*v);
            }
            for (output, v) in node.outputs.iter_mut().enumerate() {
                *v = renumber.value(*v);
                renumber.values[*v].def = Def::Node {
                    node: nodes.next_id(),
                    output: output as u32,
                };
            }
            if let Some(r) = &mut node.region {
                *r = *new_regions[r.index()]
                    .get_or_insert_with(|| regions.push(self.regions[*r].clone()));
            }
            nodes.push(node);
        }
        for (_, v) in &mut self.outputs {
            *v = renumber.value(*v);
        }
        self.values = renumber.values;
        self.order = nodes.ids().collect();
        self.nodes = nodes;
        self.regions = regions;
    }
}

/// The values of a graph on their way to new numbers.
struct Renumber<'a> {
    old: &'a Arena<ValueId, Value>,
    new_ids: Vec<Option<ValueId>>,
    weights: BTreeMap<(WeightId, StorageOrder, Option<&'a str>), ValueId>,
    symbols: BTreeMap<&'a Symbol, Symbol>,
    values: Arena<ValueId, Value>,
}

impl Renumber<'_> {
    fn value(&mut self, v: ValueId) -> ValueId {
        use crate::id::EntityId;
        if let Some(known) = self.new_ids[v.index()] {
            return known;
        }
        let old = &self.old[v];
        let next = self.values.next_id();
        let id = match old.def {
            Def::Weight(w) => *self
                .weights
                .entry((w, old.storage, old.name.as_deref()))
                .or_insert(next),
            Def::Input(_) | Def::Node { .. } => next,
        };
        self.new_ids[v.index()] = Some(id);
        if id == next {
            let mut value = old.clone();
            for (k, (dim, old)) in value.ty.shape.0.iter_mut().zip(&old.ty.shape.0).enumerate() {
                if let Dim::Symbol(symbol) = old
                    && symbol.is_fresh()
                {
                    let name = self.symbols.entry(symbol);
                    *dim = Dim::Symbol(
                        name.or_insert_with(|| Symbol::fresh(next.index(), k))
                            .clone(),
                    );
                }
            }
            self.values.push(value);
        }
        id
    }
}
