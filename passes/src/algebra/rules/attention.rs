//! Scales of what attention reads become its own scale.

use super::arithmetic::{is_mul, with_constant};
use crate::algebra::term::{Application, Terms};
use egg::Id;
use ir::Op;
use ir::ops::Attention;

pub(super) fn is_attention(op: &Op) -> bool {
    matches!(op, Op::Attention(_))
}

/// Queries, and keys where no past ones stand before them, may be scaled by one number.
pub(super) fn scale_into_attention(t: &mut Terms<'_>, m: &Application) -> Option<Vec<Id>> {
    let Op::Attention(attention) = &m.op else {
        return None;
    };
    let q = m.operands.first().copied()??;
    let size = match (t.dims(q)?[..].to_vec().as_slice(), attention.q_num_heads) {
        ([_, _, _, size], _) => *size,
        ([_, _, hidden], Some(heads)) if heads > 0 => hidden / heads as usize,
        _ => return None,
    };
    let old = attention
        .scale
        .map_or(1.0 / (size as f64).sqrt(), f64::from);
    let has_past = m.operands.get(4).copied().flatten().is_some();
    let mut equal = vec![];
    for operand in 0..if has_past { 1 } else { 2 } {
        let Some(read) = m.operands.get(operand).copied().flatten() else {
            continue;
        };
        for scaled in t.applications(read, is_mul) {
            let Some((x, c)) = with_constant(t, &scaled) else {
                continue;
            };
            if t.shape(x) != t.shape(read) {
                continue;
            }
            let Some(factor) = t.splat(c) else {
                t.refuse(m.class, "what the operand is scaled by is not one number");
                continue;
            };
            let op = Attention {
                scale: Some((old * factor) as f32),
                ..attention.clone()
            };
            let mut operands = m.operands.clone();
            operands[operand] = Some(x);
            equal.extend(t.add_with(op, &operands, 1));
        }
    }
    Some(equal)
}
