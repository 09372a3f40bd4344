//! Computes once what is computed twice.

use crate::manager::{Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::{GraphId, NodeId, Op, Program, StorageOrder, ValueId, WeightId};
use std::collections::BTreeMap;

/// An operand, the same for constants of the same weight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operand {
    Absent,
    Weight(WeightId, StorageOrder),
    Value(ValueId),
}

/// Nodes of the same operator on the same operands become one.
///
/// Before: `%1 = Exp(%0)`, `%2 = Exp(%0)`, `%3 = Add(%1, %2)`. After: `%1 = Exp(%0)`,
/// `%3 = Add(%1, %1)`.
///
/// Operands of commutative operators may stand in either order; constants are the same where their
/// weight is. No operator draws random numbers.
pub fn merge_common(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let mut seen: BTreeMap<(GraphId, &'static str, Vec<Operand>), Vec<NodeId>> = BTreeMap::new();
    sweep(program, cx, |s, node| {
        let op = s.op(node);
        let mut operands: Vec<Operand> = s.inputs(node).into_iter().map(|v| key(s, v)).collect();
        if commutes(op) {
            operands.sort_unstable();
        }
        let same = seen.entry((s.graph_id(), op.name(), operands)).or_default();
        let n_outputs = s.outputs(node).len();
        let twin = same
            .iter()
            .copied()
            .find(|&n| s.op(n) == op && s.outputs(n).len() == n_outputs);
        let Some(twin) = twin else {
            same.push(node);
            return Ok(());
        };
        if s.may_change(&[node, twin]) {
            let pairs: Vec<_> = s
                .outputs(node)
                .iter()
                .copied()
                .zip(s.outputs(twin).to_vec())
                .collect();
            for (old, new) in pairs {
                s.replace(old, new);
            }
        }
        Ok(())
    })
}

fn key(s: &Sweep<'_, '_, '_>, v: Option<ValueId>) -> Operand {
    let Some(v) = v else { return Operand::Absent };
    match s.weight(v) {
        Some(w) => Operand::Weight(w, s.graph().values[v].storage),
        None => Operand::Value(v),
    }
}

/// Whether the two operands of `op` may change places.
fn commutes(op: &Op) -> bool {
    matches!(
        op,
        Op::Add(_)
            | Op::Mul(_)
            | Op::Max(_)
            | Op::Min(_)
            | Op::And(_)
            | Op::Or(_)
            | Op::Xor(_)
            | Op::Equal(_)
            | Op::BitwiseAnd(_)
            | Op::BitwiseOr(_)
            | Op::BitwiseXor(_)
    )
}
