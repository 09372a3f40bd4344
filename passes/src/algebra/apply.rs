//! From chosen terms back to nodes.

use super::AlgebraError;
use super::constants::{Constants, Value};
use super::term::{EGraph, Head, Term};
use egg::Id;
use ir::id::EntityId;
use ir::{Def, NodeId, Patch, ValueId, WeightId};
use std::collections::{BTreeMap, BTreeSet};

/// The nodes of a region, by what they became in the e-graph.
#[derive(Default)]
pub(super) struct Nodes {
    /// Each node, its term, and the classes of its results, in the graph's order.
    pub nodes: Vec<(NodeId, Term, Vec<Id>)>,
    /// A value for each weight that the region reads.
    pub weights: BTreeMap<WeightId, ValueId>,
}

/// Puts `chosen` in the place of the region's nodes. Nodes whose term was chosen stay as they are.
/// Returns how many nodes are new.
pub(super) fn apply(
    patch: &mut Patch<'_>,
    egraph: &EGraph,
    nodes: &Nodes,
    chosen: &[(Id, Term)],
) -> Result<usize, AlgebraError> {
    let chosen = plain(egraph, chosen);
    let mut constants = Constants::new(egraph);
    let mut kept: BTreeMap<Term, NodeId> = BTreeMap::new();
    for (node, term, _) in &nodes.nodes {
        kept.entry(super::extract::canonical(egraph, term))
            .or_insert(*node);
    }
    let origins = origins(patch, egraph, nodes, &chosen, &kept);
    let mut values: BTreeMap<Id, Vec<ValueId>> = BTreeMap::new();
    let mut literals: BTreeMap<Id, ValueId> = BTreeMap::new();
    let mut n_new = 0;
    for (class, term) in &chosen {
        let results = match term.head {
            Head::Leaf(v) => vec![v],
            Head::Part(n) => vec![values[&term.operands[0]][n as usize]],
            Head::Op(id) => match kept.get(term) {
                Some(&node) => patch.graph().nodes[node].outputs.clone(),
                None => {
                    let mut operands = vec![];
                    for &operand in &term.operands {
                        operands.push(if constants.contains(operand) {
                            let value = match literals.get(&operand) {
                                Some(&value) => value,
                                None => constant(patch, nodes, constants.value(operand)?),
                            };
                            literals.insert(operand, value);
                            Some(value)
                        } else {
                            values.get(&operand).and_then(|v| v.first().copied())
                        });
                    }
                    let operators = &egraph.analysis.operators;
                    patch.stands_for(origins.get(class).map_or(&[], |o| o));
                    n_new += 1;
                    patch.node_with(operators.op(id).clone(), operands, operators.n_outputs(id))?
                }
            },
            Head::Weight(_) | Head::Literal(_) | Head::Absent | Head::Joined(_) => continue,
        };
        values.insert(*class, results);
    }
    for (node, _, classes) in &nodes.nodes {
        let old = patch.graph().nodes[*node].outputs.clone();
        for (old, class) in old.into_iter().zip(classes) {
            if let Some(&[new]) = values.get(&egraph.find(*class)).map(Vec::as_slice)
                && new != old
            {
                patch.replace(old, new);
            }
        }
    }
    Ok(n_new)
}

fn constant(patch: &mut Patch<'_>, nodes: &Nodes, value: Value) -> ValueId {
    match value {
        Value::New(tensor) => patch.constant(tensor),
        Value::Weight(w) => match nodes.weights.get(&w) {
            Some(&value) => value,
            None => patch.constant(patch.weights()[w].clone()),
        },
    }
}

/// The chosen terms with every joined one as the operators that it is made of.
fn plain(egraph: &EGraph, chosen: &[(Id, Term)]) -> Vec<(Id, Term)> {
    let mut plain = vec![];
    let mut seen = BTreeSet::new();
    for (class, term) in chosen {
        unfold(egraph, *class, term, &mut seen, &mut plain);
    }
    plain
}

fn unfold(
    egraph: &EGraph,
    class: Id,
    term: &Term,
    seen: &mut BTreeSet<Id>,
    plain: &mut Vec<(Id, Term)>,
) {
    if seen.contains(&class) {
        return;
    }
    let term = match term.head {
        Head::Joined(id) => {
            let join = egraph.analysis.joins[id.index()];
            let (kernel, others) = term.operands.split_at(join.n_kernel);
            let kernel = Term {
                head: join.kernel,
                operands: kernel.into(),
            };
            let inner = egraph
                .lookup(kernel.clone())
                .expect("what others join is in the e-graph");
            unfold(egraph, inner, &kernel, seen, plain);
            let mut operands = others.to_vec();
            operands.insert(join.slot, inner);
            // Terms do not list operands at the end that are left out.
            while operands
                .last()
                .is_some_and(|c| egraph[*c].data.types.is_empty())
            {
                operands.pop();
            }
            Term {
                head: Head::Op(join.op),
                operands: operands.into(),
            }
        }
        _ => term.clone(),
    };
    seen.insert(class);
    plain.push((class, term));
}

/// For each chosen term that is no old node, the old nodes that it stands for: those of its class,
/// and those before them whose results are no longer computed.
fn origins(
    patch: &Patch<'_>,
    egraph: &EGraph,
    nodes: &Nodes,
    chosen: &[(Id, Term)],
    kept: &BTreeMap<Term, NodeId>,
) -> BTreeMap<Id, Vec<NodeId>> {
    let computed: BTreeSet<Id> = chosen.iter().map(|(class, _)| *class).collect();
    let mut by_class: BTreeMap<Id, Vec<NodeId>> = BTreeMap::new();
    let mut class_of: BTreeMap<ValueId, Id> = BTreeMap::new();
    for (node, _, classes) in &nodes.nodes {
        for (&value, &class) in patch.graph().nodes[*node].outputs.iter().zip(classes) {
            let class = egraph.find(class);
            class_of.insert(value, class);
            by_class.entry(class).or_default().push(*node);
        }
    }
    let mut origins: BTreeMap<Id, Vec<NodeId>> = BTreeMap::new();
    for (class, term) in chosen.iter().rev() {
        if matches!(term.head, Head::Leaf(_)) || kept.contains_key(term) {
            continue;
        }
        let mut covered: BTreeSet<NodeId> =
            by_class.get(class).into_iter().flatten().copied().collect();
        covered.extend(origins.remove(class).unwrap_or_default());
        let mut open: Vec<NodeId> = covered.iter().copied().collect();
        while let Some(node) = open.pop() {
            for &operand in patch.graph().nodes[node].inputs.iter().flatten() {
                let Some(of_operand) = class_of.get(&operand) else {
                    continue;
                };
                if let Def::Node { node: before, .. } = patch.graph().values[operand].def
                    && !computed.contains(of_operand)
                    && covered.insert(before)
                {
                    open.push(before);
                }
            }
        }
        for &operand in &term.operands {
            if computed.contains(&operand) && !by_class.contains_key(&operand) {
                origins.entry(operand).or_default().extend(&covered);
            }
        }
        origins.insert(*class, covered.into_iter().collect());
    }
    origins
}
