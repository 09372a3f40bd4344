//! What an attention need not be given in full: repeated heads, and masks along what they repeat.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::ops::Attention;
use ir::patch::PatchError;
use ir::{NodeId, Op, ValueId};

/// Most operators of a mask that are looked at.
const DEPTH: usize = 6;

/// Keys and values that are repeated for groups of heads are read once, and masks unexpanded.
pub(super) fn unexpanded(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &Attention,
) -> Result<(), Cause> {
    let mut inputs = s.inputs(node);
    let [Some(_), Some(k), Some(v), others @ ..] = &inputs[..] else {
        return Ok(());
    };
    let (k, v) = (*k, *v);
    let mask = others.first().copied().flatten();
    let has_past = others.iter().skip(1).any(Option::is_some);
    if has_past || s.outputs(node).len() > 1 {
        return Ok(());
    }
    let heads = match (repeated(s, k), repeated(s, v)) {
        (Some(k), Some(v)) if k.dims[1] == v.dims[1] => Some([k, v]),
        _ => None,
    };
    let small = mask.filter(|&m| is_expanded(s, m, DEPTH));
    if heads.is_none() && small.is_none() || !s.may_change(&[node]) {
        return Ok(());
    }
    if let Some([k, v]) = heads {
        inputs[1] = Some(s.reshaped(k.x, &k.dims)?);
        inputs[2] = Some(s.reshaped(v.x, &v.dims)?);
    }
    if let Some(mask) = small {
        inputs[3] = Some(narrowed(s, mask, DEPTH)?);
    }
    let new = s.node_with(op.clone(), &inputs)?;
    s.replace(s.output(node), new);
    Ok(())
}

/// Keys or values each of whose heads stands for several.
struct Repeated {
    x: ValueId,
    /// Instances, heads that differ, positions, elements.
    dims: [usize; 4],
}

/// `v` as heads that are repeated side by side, by an expansion of a dimension of size 1.
fn repeated(s: &Sweep<'_, '_, '_>, v: ValueId) -> Option<Repeated> {
    let [batch, n, length, size] = s.dims(v)?.try_into().ok()?;
    let reshaped = s.operands::<2>(v, |op| matches!(op, Op::Reshape(_)));
    let expanded = reshaped.map_or(v, |[x, _]| x);
    let [x, _] = s.operands(expanded, |op| matches!(op, Op::Expand(_)))?;
    let heads = match (&s.dims(x)?[..], &s.dims(expanded)?[..]) {
        (&[b, heads, 1, l, e], &[_, _, m, _, _])
            if [b, heads * m, l, e] == [batch, n, length, size] =>
        {
            heads
        }
        (&[b, 1, l, e], &[_, m, _, _]) if [b, m, l, e] == [batch, n, length, size] => 1,
        _ => return None,
    };
    (heads < n).then_some(Repeated {
        x,
        dims: [batch, heads, length, size],
    })
}

/// The elementwise operators that masks are made with.
fn makes_masks(op: &Op) -> bool {
    matches!(
        op,
        Op::Add(_)
            | Op::And(_)
            | Op::Cast(_)
            | Op::Mul(_)
            | Op::Not(_)
            | Op::Or(_)
            | Op::Sub(_)
            | Op::Where(_)
    )
}

/// Whether something among what `v` is made of is expanded to its shape, so that [`narrowed`] gives
/// fewer elements.
fn is_expanded(s: &Sweep<'_, '_, '_>, v: ValueId, depth: usize) -> bool {
    let Some(node) = s.def(v) else { return false };
    let narrows =
        |x: &ValueId| depth > 0 && s.ty(*x).shape == s.ty(v).shape && is_expanded(s, *x, depth - 1);
    match s.op(node) {
        Op::Expand(_) => s.dims(v).is_some(),
        op if makes_masks(op) => {
            let inputs: Vec<ValueId> = s.inputs(node).into_iter().flatten().collect();
            let widest = |x: &&ValueId| s.ty(**x).shape == s.ty(v).shape;
            inputs.iter().any(|x| widest(&x)) && inputs.iter().filter(widest).all(narrows)
        }
        _ => false,
    }
}

/// `v` with as few elements as broadcast to all of it.
fn narrowed(s: &mut Sweep<'_, '_, '_>, v: ValueId, depth: usize) -> Result<ValueId, PatchError> {
    let Some(node) = s.def(v) else { return Ok(v) };
    if !is_expanded(s, v, depth) {
        return Ok(v);
    }
    let mut inputs = s.inputs(node);
    if matches!(s.op(node), Op::Expand(_)) {
        return match inputs[0] {
            Some(x) => narrowed(s, x, depth.saturating_sub(1)),
            None => Ok(v),
        };
    }
    for input in inputs.iter_mut().flatten() {
        *input = narrowed(s, *input, depth.saturating_sub(1))?;
    }
    let op = s.op(node).clone();
    s.node_with(op, &inputs)
}
