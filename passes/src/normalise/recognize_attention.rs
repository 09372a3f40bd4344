//! Scaled dot-product attention written out.

use super::broadcast::{Batches, over_batches};
use super::scores::{Scores, scores, unscaled};
use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::{Add, Attention, Mul};
use ir::patch::PatchError;
use ir::{DType, NodeId, Op, Program, ValueId};

/// A softmax of masked and scaled products of queries and keys, times values, is an attention.
///
/// Before: `%3 = Transpose(%1)`, `%4 = MatMul(%0, %3)`, `%5 = Mul(%4, 0.125)`, `%6 = Add(%5, w0)`,
/// `%7 = Softmax(%6)`, `%8 = MatMul(%7, %2)`. After: `%8 = Attention(%0, %1, %2, w0) {scale = 0.125}`.
///
/// The scale may be on queries, keys or scores, before or after their views; the mask added, or
/// chosen by a condition; one that only hides later positions becomes `is_causal`. Scores may be
/// reshaped between their masks, as for windows of images, and have any number of batch dimensions.
/// A row whose every score is masked may have weights of zero, as those of an attention are.
/// Refused: weights that something else reads, batches that broadcast.
pub fn recognize_attention(
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::MatMul(_) => attention(s, node),
        _ => Ok(()),
    })
}

/// A cast's operand, or the value itself.
fn uncast(s: &Sweep<'_, '_, '_>, v: ValueId) -> ValueId {
    s.operand(v, |op| matches!(op, Op::Cast(_)))
        .unwrap_or(s.resolve(v))
}

/// p where `v` is `Where(IsNaN(p), 0, p)`.
fn zero_for_nan(s: &Sweep<'_, '_, '_>, v: ValueId) -> Option<ValueId> {
    let [is_nan, zero, p] = s.operands(v, |op| matches!(op, Op::Where(_)))?;
    let of = s.operand(is_nan, |op| matches!(op, Op::IsNaN(_)))?;
    (of == p && s.scalar(zero) == Some(0.0)).then_some(p)
}

fn attention(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let y = s.output(node);
    let (Some(weights), Some(v)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let (safe, cast_weights) = match zero_for_nan(s, uncast(s, weights)) {
        Some(inner) => (true, uncast(s, inner)),
        None => (false, uncast(s, weights)),
    };
    let Some(softmax) = s.def(cast_weights) else {
        return Ok(());
    };
    let (Op::Softmax(op), Some(z)) = (s.op(softmax), s.input(softmax, 0)) else {
        return Ok(());
    };
    if op.axis != -1 && op.axis != s.rank(z) as i64 - 1 {
        s.refuse(node, || "the softmax is not along the last axis".into());
        return Ok(());
    }
    // The test for NaN and the choice are two readers.
    if s.n_readers(weights) > 1 || s.n_readers(cast_weights) > 1 + u32::from(safe) {
        s.refuse(node, || "something else reads the weights".into());
        return Ok(());
    }
    let wide = s.dtype(z);
    let found = match scores(s, uncast(s, z)) {
        Ok(found) => found,
        Err(reason) => {
            s.refuse(node, || reason.into());
            return Ok(());
        }
    };
    let dtype = s.dtype(v);
    if s.dtype(found.q) != dtype || !s.is_float(v) {
        s.refuse(node, || {
            "queries, keys and values have different types".into()
        });
        return Ok(());
    }
    if let Some(reason) = batches_differ(s, &found, v) {
        s.refuse(node, || reason);
        return Ok(());
    }
    let op = Attention {
        is_causal: found.causal,
        kv_num_heads: None,
        q_num_heads: None,
        qk_matmul_output_mode: 0,
        scale: None,
        softcap: found.softcap as f32,
        softmax_precision: (wide != dtype).then(|| onnx_number(wide)).flatten(),
    };
    let mut ends = vec![found.q, found.k_transposed, v];
    ends.extend(found.masks.iter().map(|m| m.operand()));
    ends.extend(found.factors.iter().map(|f| f.value));
    let nodes = s.between(&[y], &ends);
    if !s.may_change(&nodes) {
        return Ok(());
    }
    let new = build(s, op, found, v, y)?;
    s.replace(y, new);
    Ok(())
}

/// ONNX's number of a type that softmax may be computed in.
fn onnx_number(dtype: DType) -> Option<i64> {
    match dtype {
        DType::F32 => Some(1),
        DType::F16 => Some(10),
        DType::F64 => Some(11),
        DType::BF16 => Some(16),
        _ => None,
    }
}

/// Why queries, keys and values are not batches of the same matrices.
fn batches_differ(s: &Sweep<'_, '_, '_>, found: &Scores, v: ValueId) -> Option<String> {
    let (q, k, v) = (s.ty(found.q), s.ty(found.k_transposed), s.ty(v));
    let rank = q.shape.rank();
    let known = [q, k, v].iter().all(|t| t.shape.dims().is_some());
    if rank < 2 || (rank > 4 && !known) || k.shape.rank() != rank || v.shape.rank() != rank {
        return Some(format!("operands of types {q}, {k} and {v}"));
    }
    let batch = |t: &ir::TensorType| t.shape.0[..rank - 2].to_vec();
    (batch(q) != batch(k) || batch(q) != batch(v))
        .then(|| format!("batches of {q}, {k} and {v} broadcast"))
}

/// The instances and heads that `q` of another rank than 4, or masks for another shape of the scores,
/// are brought to; `None` where nothing has to move.
fn batches(s: &Sweep<'_, '_, '_>, found: &Scores) -> Option<Batches> {
    let dims = s.dims(found.q)?;
    let own = &dims[..dims.len() - 2];
    let masks = found.masks.iter().map(|m| &m.within);
    let within: Vec<_> = masks
        .chain(found.factors.iter().map(|f| &f.within))
        .filter_map(|shape| shape.dims())
        .collect();
    if own.len() <= 2 && within.iter().all(|d| d[..d.len() - 2] == *own) {
        return None;
    }
    match own {
        [n, heads] => Some([*n, *heads]),
        _ => within
            .iter()
            .find_map(|d| <[usize; 4]>::try_from(d.as_slice()).ok())
            .map(|[n, heads, ..]| [n, heads])
            .or_else(|| {
                let (heads, outer) = own.split_last()?;
                Some([outer.iter().product(), *heads])
            }),
    }
}

fn build(
    s: &mut Sweep<'_, '_, '_>,
    mut op: Attention,
    found: Scores,
    v: ValueId,
    y: ValueId,
) -> Result<ValueId, PatchError> {
    let to = batches(s, &found);
    let (q, on_q) = unscaled(s, found.q)?;
    let (k, on_k) = unscaled(s, found.k_transposed)?;
    op.scale = Some((found.scale * on_q * on_k) as f32);
    let k = matrices_transposed(s, k)?;
    let mut mask: Option<ValueId> = None;
    for m in found.masks {
        let m = m.build(s, to)?;
        mask = Some(match mask {
            Some(sum) => s.node(Add {}, &[sum, m])?,
            None => m,
        });
    }
    let mut q = with_batches(s, q, to)?;
    for factor in found.factors {
        let factor = over_batches(s, factor.value, &factor.within, to)?;
        q = s.node(Mul {}, &[q, factor])?;
    }
    let [k, v] = [with_batches(s, k, to)?, with_batches(s, v, to)?];
    let mut inputs = vec![Some(q), Some(k), Some(v)];
    inputs.extend(mask.map(Some));
    let result = s.node_with(op, &inputs)?;
    match s.dims(y) {
        Some(dims) => s.reshaped(result, &dims),
        None => Ok(result),
    }
}

/// `x` with rows and columns of its matrices exchanged.
fn matrices_transposed(s: &mut Sweep<'_, '_, '_>, x: ValueId) -> Result<ValueId, PatchError> {
    let rank = s.rank(x);
    let mut swap: Vec<usize> = (0..rank).collect();
    swap.swap(rank - 2, rank - 1);
    let before = s.def(x).and_then(|n| match s.op(n) {
        Op::Transpose(op) if op.permutation(rank).ok()? == swap => s.input(n, 0),
        _ => None,
    });
    match before {
        Some(before) => Ok(before),
        None => s.transposed(x, &swap),
    }
}

/// `x` under the batch dimensions `to`, or with dimensions of size 1 before its own, up to rank 4.
fn with_batches(
    s: &mut Sweep<'_, '_, '_>,
    x: ValueId,
    to: Option<Batches>,
) -> Result<ValueId, PatchError> {
    if let (Some([n, heads]), Some(&[.., rows, columns])) = (to, s.dims(x).as_deref()) {
        return s.reshaped(x, &[n, heads, rows, columns]);
    }
    let missing = 4 - s.rank(x).min(4);
    if missing == 0 {
        return Ok(x);
    }
    let axes: Vec<i64> = (0..missing as i64).collect();
    let axes = s.list(&axes);
    s.node(ir::ops::Unsqueeze {}, &[x, axes])
}
