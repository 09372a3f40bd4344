//! What is known of each class of equal values: types, and whether it is constant.

use super::term::{EGraph, Head, Join, JoinId, LiteralId, Operators, Term};
use egg::{Analysis, DidMerge, Id};
use ir::id::EntityId;
use ir::program::ContentHash;
use ir::{Class, Tensor, TensorType, WeightId};
use std::collections::{BTreeMap, BTreeSet};

/// Constants of at most this many elements are computed as soon as they appear, so that rules can
/// look at them; larger ones only if they are chosen in the end.
pub(super) const SMALL: usize = 4096;

/// The constant nature of a class.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    /// The content, of a weight or of a small result.
    pub content: Option<Tensor>,
    /// Whether it is a large weight that other nodes read too.
    pub shared: bool,
}

/// What is known of a class.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The types of its results; none for an operand that is left out.
    pub types: Vec<TensorType>,
    /// Set if nothing in it waits for run time.
    pub constant: Option<Constant>,
}

/// The tables that terms refer to, and the analysis of classes.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub operators: Operators,
    pub literals: Vec<Tensor>,
    literal_ids: BTreeMap<ContentHash, LiteralId>,
    /// The weights that the region reads, and whether each is large and has other readers.
    pub weights: BTreeMap<WeightId, (Tensor, bool)>,
    pub joins: Vec<Join>,
    join_ids: BTreeMap<Join, JoinId>,
    /// The types of the term that is about to be added.
    pub pending: Option<Vec<TensorType>>,
    /// What rules looked at and left alone: rule, class, reason.
    pub refused: BTreeSet<(&'static str, Id, String)>,
    /// Classes of contractions that rules made of several.
    pub wide: BTreeSet<Id>,
    /// Rules add nothing to an e-graph that holds this many terms.
    pub most_terms: usize,
}

impl Facts {
    /// The id of a constant.
    pub(super) fn literal(&mut self, tensor: Tensor) -> LiteralId {
        *self
            .literal_ids
            .entry(ContentHash::of(&tensor))
            .or_insert_with(|| {
                self.literals.push(tensor);
                LiteralId::from_index(self.literals.len() - 1)
            })
    }

    /// The id of a join.
    pub(super) fn join(&mut self, join: Join) -> JoinId {
        *self.join_ids.entry(join).or_insert_with(|| {
            self.joins.push(join);
            JoinId::from_index(self.joins.len() - 1)
        })
    }

    fn constant(egraph: &EGraph, term: &Term, types: &[TensorType]) -> Option<Constant> {
        let facts = &egraph.analysis;
        match term.head {
            Head::Leaf(_) | Head::Absent | Head::Part(_) | Head::Joined(_) => None,
            Head::Weight(w) => {
                let (tensor, shared) = facts.weights.get(&w)?;
                Some(Constant {
                    content: Some(tensor.clone()),
                    shared: *shared,
                })
            }
            Head::Literal(l) => Some(Constant {
                content: Some(facts.literals[l.index()].clone()),
                shared: false,
            }),
            Head::Op(id) => {
                let given = |c: &&Id| !egraph[**c].data.types.is_empty();
                let mut given_operands = term.operands.iter().filter(given).peekable();
                given_operands.peek()?;
                let constants: Option<Vec<&Constant>> = given_operands
                    .map(|&c| egraph[c].data.constant.as_ref())
                    .collect();
                let constants = constants?;
                let [ty] = types else { return None };
                let op = facts.operators.op(id);
                if op.class() == Class::Library || ty.shape.dims().is_none() {
                    return None;
                }
                let small =
                    |c: &Constant| c.content.as_ref().is_some_and(|t| t.n_elements() <= SMALL);
                let content = (constants.iter().all(|&c| small(c))
                    && ty.shape.n_elements().is_some_and(|n| n <= SMALL))
                .then(|| {
                    let operands: Vec<Option<&Tensor>> = term
                        .operands
                        .iter()
                        .map(|&c| egraph[c].data.constant.as_ref()?.content.as_ref())
                        .collect();
                    op.eval(&operands, 1).ok()?.pop()
                })
                .flatten();
                Some(Constant {
                    content,
                    shared: false,
                })
            }
        }
    }
}

impl Analysis<Term> for Facts {
    type Data = Known;

    fn make(egraph: &mut EGraph, term: &Term, _: Id) -> Known {
        let types = egraph.analysis.pending.clone().unwrap_or_default();
        let constant = Self::constant(egraph, term, &types);
        Known { types, constant }
    }

    fn remake(egraph: &mut EGraph, term: &Term, class: Id) -> Known {
        let types = egraph[class].data.types.clone();
        let constant = Self::constant(egraph, term, &types);
        Known { types, constant }
    }

    fn merge(&mut self, a: &mut Known, b: Known) -> DidMerge {
        let rank = |c: &Option<Constant>| match c {
            None => 0,
            Some(Constant { content: None, .. }) => 1,
            Some(_) => 2,
        };
        let (ours, theirs) = (rank(&a.constant), rank(&b.constant));
        if theirs > ours {
            a.constant = b.constant;
        }
        DidMerge(theirs > ours, ours > theirs)
    }

    /// Small constants of the same content are one class, however they came about: otherwise rules
    /// that undo each other would write down ever longer names of one number.
    fn modify(egraph: &mut EGraph, class: Id) {
        let Some(constant) = &egraph[class].data.constant else {
            return;
        };
        let Some(content) = constant.content.clone().filter(|t| t.n_elements() <= SMALL) else {
            return;
        };
        let is_literal = |t: &Term| matches!(t.head, Head::Literal(_));
        if egraph[class].nodes.iter().any(is_literal) {
            return;
        }
        let types = vec![content.ty()];
        let head = Head::Literal(egraph.analysis.literal(content));
        let outer = egraph.analysis.pending.replace(types);
        let literal = egraph.add(Term {
            head,
            operands: Box::new([]),
        });
        egraph.analysis.pending = outer;
        egraph.union(class, literal);
    }
}
