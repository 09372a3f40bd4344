//! Builds a concatenation on an earlier one of its first operands.

use crate::{Changed, PassCx, PassError};
use ir::ops::Concat;
use ir::{Op, Patch, Program, ValueId};
use std::collections::BTreeMap;

/// The longest operand list that is searched for a shared beginning.
const MAX_OPERANDS: usize = 256;

/// Before: `Concat(a, b)`, `Concat(a, b, c)`. After: `%1 = Concat(a, b)`, `Concat(%1, c)`.
///
/// In a densely connected block every layer concatenates all that came before; each such list is
/// then a part of the next one's memory, and nothing is copied.
pub fn share_concat_prefixes(
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    let Program { graphs, weights } = program;
    let mut changed = 0;
    for (_, graph) in graphs.iter_mut() {
        // Operand lists seen so far, with the axis, and what they make.
        let mut seen: BTreeMap<(i64, Vec<Option<ValueId>>), ValueId> = BTreeMap::new();
        let mut found = vec![];
        for &node in &graph.order {
            let n = &graph.nodes[node];
            let Op::Concat(concat) = &n.op else { continue };
            if n.inputs.len() > MAX_OPERANDS {
                continue;
            }
            let mut key = (concat.axis, n.inputs.clone());
            let mut tail = vec![];
            while key.1.len() > 2 {
                tail.extend(key.1.pop());
                if let Some(&head) = seen.get(&key) {
                    found.push((node, head, tail.into_iter().rev().collect::<Vec<_>>()));
                    break;
                }
            }
            seen.insert((concat.axis, n.inputs.clone()), n.outputs[0]);
        }
        let mut patch = Patch::new(graph, weights);
        for (node, head, tail) in found {
            if !cx.may_change() {
                break;
            }
            let Op::Concat(Concat { axis }) = patch.graph().nodes[node].op else {
                continue;
            };
            let old = patch.graph().nodes[node].outputs[0];
            let inputs = std::iter::once(Some(head)).chain(tail).collect();
            patch.stands_for(&[node]);
            let new = patch.node_with(Concat { axis }, inputs, 1);
            match new {
                Ok(new) => patch.replace(old, new[0]),
                Err(why) => return Err(cx.error(patch.graph(), Some(node), why)),
            }
            changed += 1;
        }
        if let Err(why) = patch.apply() {
            return Err(cx.error(graph, None, why));
        }
    }
    Ok(Changed(changed))
}
