//! Which elementwise operators the kernel of a contraction computes besides.

use crate::algebra::term::{Application, Head, Join, Term, Terms};
use egg::Id;
use ir::Class;

/// How many operators may join one kernel.
const MOST: usize = 8;

/// For each operand that is a contraction's result, or a joined one's, of the operator's own shape:
/// the kernel of both.
pub(super) fn join_kernel(t: &mut Terms<'_>, m: &Application) -> Vec<Id> {
    let Some(ty) = t.ty(m.class).cloned() else {
        return vec![];
    };
    let mut joined = vec![];
    for (slot, operand) in m.operands.iter().enumerate() {
        let Some(y) = *operand else { continue };
        let again = m.operands.iter().filter(|o| **o == Some(y)).count() > 1;
        let Some(dtype) = t.ty(y).filter(|y| y.shape == ty.shape).map(|y| y.dtype) else {
            continue;
        };
        if again || t.is_constant(y) {
            continue;
        }
        for kernel in kernels(t, y) {
            let depth = match kernel.head {
                Head::Joined(id) => t.egraph.analysis.joins[index(id)].depth + 1,
                _ => 1,
            };
            if depth > MOST {
                continue;
            }
            let op = t.egraph.analysis.operators.id(&m.op, 1);
            let n_kernel = kernel.operands.len();
            let join = Join {
                kernel: kernel.head,
                n_kernel,
                depth,
                op,
                slot,
                dtype,
            };
            let head = Head::Joined(t.egraph.analysis.join(join));
            let mut operands = kernel.operands.to_vec();
            let others = m.operands.iter().enumerate().filter(|&(i, _)| i != slot);
            // An operand that is left out stands for itself.
            for (_, other) in others {
                operands.push(match *other {
                    Some(other) => other,
                    None => t.absent(),
                });
            }
            joined.push(t.insert(head, operands.into(), vec![ty.clone()]));
        }
    }
    joined
}

fn index(id: crate::algebra::term::JoinId) -> usize {
    ir::id::EntityId::index(id)
}

/// The terms of `class` that other operators can join.
fn kernels(t: &Terms<'_>, class: Id) -> Vec<Term> {
    let facts = &t.egraph.analysis;
    let is_kernel = |term: &&Term| match term.head {
        Head::Op(id) => {
            facts.operators.op(id).class() == Class::Contract && facts.operators.n_outputs(id) == 1
        }
        Head::Joined(_) => true,
        _ => false,
    };
    t.egraph[class]
        .nodes
        .iter()
        .filter(is_kernel)
        .cloned()
        .collect()
}
