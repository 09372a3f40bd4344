//! The language of the e-graph: applications of operators to classes of equal values.

use super::facts::{Facts, Known};
use egg::{Id, Language};
use ir::id::EntityId;
use ir::infer::InferCx;
use ir::{DType, Op, OpError, Shape, Tensor, TensorType, ValueId, WeightId, entity_id};
use std::collections::BTreeMap;

/// The e-graph of one region.
pub(super) type EGraph = egg::EGraph<Term, Facts>;

entity_id!(
    /// An operator with its attributes and its number of results, in an [`Operators`] table.
    OpId, "op"
);
entity_id!(
    /// A constant that a rule wrote down, in [`Facts`].
    LiteralId, "c"
);
entity_id!(
    /// A [`Join`], in [`Facts`].
    JoinId, "j"
);

/// What a term is, apart from its operands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Head {
    /// A value that the region reads; it costs nothing.
    Leaf(ValueId),
    /// A constant of the program.
    Weight(WeightId),
    /// A constant that a rule wrote down.
    Literal(LiteralId),
    /// An optional operand that is left out.
    Absent,
    /// An operator; a class of several results holds all of them.
    Op(OpId),
    /// Result `n` of operand 0, an operator of several results.
    Part(u32),
    /// A contraction and the elementwise operators that its kernel applies to its result.
    Joined(JoinId),
}

/// A node of the e-graph.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Term {
    pub head: Head,
    pub operands: Box<[Id]>,
}

impl Language for Term {
    type Discriminant = Head;

    fn discriminant(&self) -> Head {
        self.head
    }

    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.operands.len() == other.operands.len()
    }

    fn children(&self) -> &[Id] {
        &self.operands
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.operands
    }
}

/// Operators by id, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Operators {
    entries: Vec<(Op, usize)>,
    ids: BTreeMap<(&'static str, usize, String), OpId>,
}

impl Operators {
    /// The id of `op` with `n_outputs` results.
    pub(super) fn id(&mut self, op: &Op, n_outputs: usize) -> OpId {
        let attrs = op.attrs();
        let text = if attrs.is_empty() {
            String::new()
        } else {
            format!("{attrs:?}")
        };
        *self
            .ids
            .entry((op.name(), n_outputs, text))
            .or_insert_with(|| {
                self.entries.push((op.clone(), n_outputs));
                OpId::from_index(self.entries.len() - 1)
            })
    }

    /// The operator of `id`.
    pub(super) fn op(&self, id: OpId) -> &Op {
        &self.entries[id.index()].0
    }

    /// How many results `id` has.
    pub(super) fn n_outputs(&self, id: OpId) -> usize {
        self.entries[id.index()].1
    }
}

/// An elementwise operator that joins the kernel before it.
///
/// The operands of a joined term are those of the kernel, then those of the operator but `slot`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Join {
    /// The kernel: [`Head::Op`] of a contraction, or another [`Head::Joined`].
    pub kernel: Head,
    /// How many operands the kernel has.
    pub n_kernel: usize,
    /// How many operators joined, this one included.
    pub depth: usize,
    /// The operator that joins.
    pub op: OpId,
    /// Which of its operands is the kernel's result.
    pub slot: usize,
    /// The element type of the kernel's result; its shape is that of the operator's.
    pub dtype: DType,
}

/// An operator of one result in a class, with its operands.
#[derive(Clone, Debug)]
pub(super) struct Application {
    /// The class that holds it.
    pub class: Id,
    /// The operator.
    pub op: Op,
    /// Operands; those at the end that are left out are not listed.
    pub operands: Vec<Option<Id>>,
}

/// The e-graph as rules see it: classes are asked about, terms are built.
pub(super) struct Terms<'a> {
    pub egraph: &'a mut EGraph,
    /// The rule at work, for what it refuses.
    pub rule: &'static str,
}

impl Terms<'_> {
    /// The type of the one result of `class`.
    pub(super) fn ty(&self, class: Id) -> Option<&TensorType> {
        match &self.egraph[class].data.types[..] {
            [ty] => Some(ty),
            _ => None,
        }
    }

    /// The shape of the one result of `class`.
    pub(super) fn shape(&self, class: Id) -> Option<&Shape> {
        self.ty(class).map(|t| &t.shape)
    }

    /// The dimensions of the one result of `class`, if all are known.
    pub(super) fn dims(&self, class: Id) -> Option<Vec<usize>> {
        self.shape(class)?.dims()
    }

    /// Whether `class` has no operand that is known only at run time.
    pub(super) fn is_constant(&self, class: Id) -> bool {
        self.egraph[class].data.constant.is_some()
    }

    /// The content of `class`, if it is a constant that has been looked at: a weight, or a small result.
    pub(super) fn content(&self, class: Id) -> Option<&Tensor> {
        self.egraph[class].data.constant.as_ref()?.content.as_ref()
    }

    /// The elements of a small constant.
    pub(super) fn numbers(&self, class: Id) -> Option<Vec<f64>> {
        let content = self.content(class)?;
        (content.n_elements() <= super::facts::SMALL).then(|| content.to_f64())?
    }

    /// The one number that all elements of a small constant are.
    pub(super) fn splat(&self, class: Id) -> Option<f64> {
        let numbers = self.numbers(class)?;
        let first = *numbers.first()?;
        numbers.iter().all(|&v| v == first).then_some(first)
    }

    /// Whether `class` holds single or double precision numbers: the types in which arithmetic
    /// may be reordered within the accuracy that compiled models promise.
    pub(super) fn is_real(&self, class: Id) -> bool {
        self.ty(class)
            .is_some_and(|t| matches!(t.dtype, ir::DType::F32 | ir::DType::F64))
    }

    /// Says why the rule leaves `class` alone.
    pub(super) fn refuse(&mut self, class: Id, reason: &str) {
        let class = self.egraph.find(class);
        let key = (self.rule, class, reason.to_owned());
        self.egraph.analysis.refused.insert(key);
    }

    /// Whether folding arithmetic into `weight` would leave a second copy of a large weight behind.
    pub(super) fn keeps_weight(&mut self, weight: Id, class: Id) -> bool {
        let shared = self.egraph[weight]
            .data
            .constant
            .as_ref()
            .is_some_and(|c| c.shared);
        if shared {
            self.refuse(class, "the weight is large and has other readers");
        }
        shared
    }

    /// The operators of one result that `class` holds and `wanted` takes.
    pub(super) fn applications(&self, class: Id, wanted: impl Fn(&Op) -> bool) -> Vec<Application> {
        let class = self.egraph.find(class);
        let terms = self.egraph[class].nodes.iter();
        terms
            .filter_map(|t| self.application(class, t, &wanted))
            .collect()
    }

    /// `term` of `class` as an operator of one result that `wanted` takes.
    pub(super) fn application(
        &self,
        class: Id,
        term: &Term,
        wanted: impl Fn(&Op) -> bool,
    ) -> Option<Application> {
        let Head::Op(id) = term.head else { return None };
        let facts = &self.egraph.analysis;
        let op = facts.operators.op(id);
        if facts.operators.n_outputs(id) != 1 || !wanted(op) {
            return None;
        }
        Some(Application {
            class,
            op: op.clone(),
            operands: term.operands.iter().map(|&c| self.given(c)).collect(),
        })
    }

    fn given(&self, class: Id) -> Option<Id> {
        let class = self.egraph.find(class);
        let absent = self.egraph[class]
            .nodes
            .iter()
            .any(|t| t.head == Head::Absent);
        (!absent).then_some(class)
    }

    /// The class of an operator with one result; `None` where it does not type.
    pub(super) fn add(&mut self, op: impl Into<Op>, operands: &[Id]) -> Option<Id> {
        let operands: Vec<_> = operands.iter().copied().map(Some).collect();
        self.add_with(op, &operands, 1)
    }

    /// The class of an operator with `n_outputs` results; `None` where it does not type.
    pub(super) fn add_with(
        &mut self,
        op: impl Into<Op>,
        operands: &[Option<Id>],
        n_outputs: usize,
    ) -> Option<Id> {
        let op = op.into();
        let types = self.infer(&op, operands, n_outputs).ok()?;
        Some(self.add_typed(&op, operands, types))
    }

    /// The class of an operator whose results have these types.
    pub(super) fn add_typed(
        &mut self,
        op: &Op,
        operands: &[Option<Id>],
        types: Vec<TensorType>,
    ) -> Id {
        let term = self.term(op, operands, types.len());
        self.insert(term.head, term.operands, types)
    }

    /// An operator's term.
    pub(super) fn term(&mut self, op: &Op, operands: &[Option<Id>], n_outputs: usize) -> Term {
        let n_given = operands
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |i| i + 1);
        let operands = operands[..n_given]
            .iter()
            .map(|o| o.unwrap_or_else(|| self.absent()))
            .collect();
        Term {
            head: Head::Op(self.egraph.analysis.operators.id(op, n_outputs)),
            operands,
        }
    }

    /// The class of a term whose results have these types.
    pub(super) fn insert(&mut self, head: Head, operands: Box<[Id]>, types: Vec<TensorType>) -> Id {
        self.egraph.analysis.pending = Some(types);
        let id = self.egraph.add(Term { head, operands });
        self.egraph.analysis.pending = None;
        id
    }

    /// The class of an operand that is left out.
    pub(super) fn absent(&mut self) -> Id {
        self.insert(Head::Absent, Box::new([]), vec![])
    }

    fn infer(
        &self,
        op: &Op,
        operands: &[Option<Id>],
        n_outputs: usize,
    ) -> Result<Vec<TensorType>, OpError> {
        let types: Vec<_> = operands
            .iter()
            .map(|o| o.and_then(|o| self.ty(o)))
            .collect();
        let constants: Vec<_> = operands
            .iter()
            .map(|o| o.and_then(|o| self.content(o)))
            .collect();
        op.infer(&InferCx::new(&types, &constants, n_outputs))
    }

    /// Result `n` of `class`.
    pub(super) fn part(&mut self, class: Id, n: usize) -> Option<Id> {
        let ty = self.egraph[class].data.types.get(n)?.clone();
        Some(self.insert(Head::Part(n as u32), Box::new([class]), vec![ty]))
    }

    /// The class of a constant.
    pub(super) fn literal(&mut self, tensor: Tensor) -> Id {
        let ty = tensor.ty();
        let head = Head::Literal(self.egraph.analysis.literal(tensor));
        self.insert(head, Box::new([]), vec![ty])
    }

    /// A list of integers.
    pub(super) fn integers(&mut self, values: &[usize]) -> Id {
        let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
        self.literal(Tensor::from_slice(&[values.len()], &values))
    }

    /// The number `value` in the type of `class`'s elements.
    pub(super) fn scalar_like(&mut self, class: Id, value: f64) -> Option<Id> {
        let dtype = self.ty(class)?.dtype;
        Some(self.literal(Tensor::from_f64(dtype, &[], &[value])))
    }

    /// The elements of `class` under other known dimensions.
    pub(super) fn reshaped(&mut self, class: Id, dims: &[usize]) -> Option<Id> {
        if self.dims(class)? == dims {
            return Some(class);
        }
        let shape = self.integers(dims);
        self.add(ir::ops::Reshape { allowzero: true }, &[class, shape])
    }

    /// The class of `term`'s operator as a view of operand 0 by one step.
    pub(super) fn view(&self, view: &Application) -> Option<ir::ops::ViewStep> {
        if view.op.class() != ir::Class::View {
            return None;
        }
        let types: Vec<_> = view
            .operands
            .iter()
            .map(|o| o.and_then(|o| self.ty(o)))
            .collect();
        let constants: Vec<_> = view
            .operands
            .iter()
            .map(|o| o.and_then(|o| self.content(o)))
            .collect();
        let steps = view.op.view(&InferCx::new(&types, &constants, 1), 0)?;
        match &steps[..] {
            [] => Some(ir::ops::ViewStep::Reshape(self.dims(view.operands[0]?)?)),
            [step] => Some(step.clone()),
            _ => None,
        }
    }

    /// Whether the e-graph holds as many terms as it may. `egg` looks at its own limit only between
    /// rounds, and a round may square the number of terms.
    pub(super) fn is_full(&self) -> bool {
        self.egraph.total_size() >= self.egraph.analysis.most_terms
    }

    /// What is known of `class`.
    pub(super) fn known(&self, class: Id) -> &Known {
        &self.egraph[class].data
    }
}
