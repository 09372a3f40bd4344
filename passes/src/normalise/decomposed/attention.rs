//! Attention with a cache, or whose scores are asked for.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::infer::InferCx;
use ir::ops::{Add, And, Attention, Concat, Div, IsNaN, MatMul, Mul, Softmax, Tanh, Where};
use ir::patch::PatchError;
use ir::{DType, Dim, NodeId, Tensor, ValueId};

/// Sizes of an attention, all known.
struct Sizes {
    batch: usize,
    q_heads: usize,
    kv_heads: usize,
    q_length: usize,
    past_length: usize,
    total_length: usize,
    size: usize,
    v_size: usize,
}

/// Past and new keys and values are concatenated; scores that are results are computed by matrix
/// products beside the attention.
pub(crate) fn attention(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &Attention,
) -> Result<(), Cause> {
    let inputs = s.inputs(node);
    let [Some(q), Some(k), Some(v)] = inputs[..3] else {
        return Ok(());
    };
    let optional = |i: usize| inputs.get(i).copied().flatten();
    let (mask, past) = (optional(3), optional(4).zip(optional(5)));
    let outputs = s.outputs(node).to_vec();
    if past.is_none() && outputs.len() == 1 {
        return Ok(());
    }
    let Some(sizes) = sizes(s, &inputs, op) else {
        s.refuse(node, || "a dimension is not known".into());
        return Ok(());
    };
    if !s.may_change(&[node]) {
        return Ok(());
    }
    let rank = s.rank(q);
    let q = by_head(s, q, sizes.q_heads, sizes.size)?;
    let mut keys = by_head(s, k, sizes.kv_heads, sizes.size)?;
    let mut values = by_head(s, v, sizes.kv_heads, sizes.v_size)?;
    if let Some((past_keys, past_values)) = past {
        keys = s.node(Concat { axis: 2 }, &[past_keys, keys])?;
        values = s.node(Concat { axis: 2 }, &[past_values, values])?;
    }
    let mask = if op.is_causal {
        Some(causal(s, &sizes, mask)?)
    } else {
        mask
    };
    let plain = Attention {
        is_causal: false,
        q_num_heads: None,
        kv_num_heads: None,
        qk_matmul_output_mode: 0,
        ..op.clone()
    };
    let operands = [q, keys, values].into_iter().chain(mask);
    let mut y = s.node(plain, &operands.collect::<Vec<_>>())?;
    if rank == 3 {
        y = s.transposed(y, &[0, 2, 1, 3])?;
        y = s.reshaped(
            y,
            &[sizes.batch, sizes.q_length, sizes.q_heads * sizes.v_size],
        )?;
    }
    let mut results = vec![y, keys, values];
    if outputs.len() > 3 {
        results.push(scores(s, op, &sizes, q, keys, mask)?);
    }
    for (old, new) in outputs.into_iter().zip(results) {
        s.replace(old, new);
    }
    Ok(())
}

fn sizes(s: &Sweep<'_, '_, '_>, inputs: &[Option<ValueId>], op: &Attention) -> Option<Sizes> {
    let types: Vec<_> = inputs.iter().map(|v| v.map(|v| s.ty(v))).collect();
    let shape = op.shape(&InferCx::new(&types, &[], 1)).ok()?;
    let known = |d: &Dim| d.known();
    Some(Sizes {
        batch: known(&shape.batch)?,
        q_heads: known(&shape.q_heads)?,
        kv_heads: known(&shape.kv_heads)?,
        q_length: known(&shape.q_length)?,
        past_length: known(&shape.past_length)?,
        total_length: known(&shape.total_length)?,
        size: known(&shape.size)?,
        v_size: known(&shape.v_size)?,
    })
}

/// `[N, length, heads * size]` as `[N, heads, length, size]`; what has rank 4 is so already.
fn by_head(
    s: &mut Sweep<'_, '_, '_>,
    x: ValueId,
    heads: usize,
    size: usize,
) -> Result<ValueId, PatchError> {
    let Some(&[n, length, _]) = s.dims(x).as_deref() else {
        return Ok(x);
    };
    let x = s.reshaped(x, &[n, length, heads, size])?;
    s.transposed(x, &[0, 2, 1, 3])
}

/// The mask, and that position i sees only the past and positions up to i.
fn causal(
    s: &mut Sweep<'_, '_, '_>,
    sizes: &Sizes,
    mask: Option<ValueId>,
) -> Result<ValueId, PatchError> {
    let (rows, total) = (sizes.q_length, sizes.total_length);
    let seen = (0..rows * total).map(|i| i % total <= sizes.past_length + i / total);
    let seen = Tensor::from_slice(&[rows, total], &seen.collect::<Vec<bool>>());
    let seen = s.constant_value(seen);
    match mask {
        None => Ok(seen),
        Some(mask) if s.dtype(mask) == DType::Bool => s.node(And {}, &[seen, mask]),
        Some(mask) => {
            let never = s.number(s.dtype(mask), f64::NEG_INFINITY);
            s.node(Where {}, &[seen, mask, never])
        }
    }
}

/// The scores as far as the mode says: products, capped, masked, or after softmax.
fn scores(
    s: &mut Sweep<'_, '_, '_>,
    op: &Attention,
    sizes: &Sizes,
    q: ValueId,
    keys: ValueId,
    mask: Option<ValueId>,
) -> Result<ValueId, PatchError> {
    let dtype = s.dtype(q);
    let &Sizes {
        batch,
        q_heads,
        kv_heads,
        q_length,
        total_length,
        size,
        ..
    } = sizes;
    // Heads of q that share one of the keys are more rows of it.
    let rows = q_heads / kv_heads * q_length;
    let q = s.reshaped(q, &[batch, kv_heads, rows, size])?;
    let keys = s.transposed(keys, &[0, 1, 3, 2])?;
    let products = s.node(MatMul {}, &[q, keys])?;
    let factor = s.number(dtype, op.factor(size));
    let scaled = s.node(Mul {}, &[products, factor])?;
    let mut scores = s.reshaped(scaled, &[batch, q_heads, q_length, total_length])?;
    let mode = op.qk_matmul_output_mode;
    if mode >= 1 && op.softcap > 0.0 {
        let cap = s.number(dtype, op.softcap.into());
        let part = s.node(Div {}, &[scores, cap])?;
        let bounded = s.node(Tanh {}, &[part])?;
        scores = s.node(Mul {}, &[bounded, cap])?;
    }
    if let Some(mask) = mask.filter(|_| mode >= 2) {
        scores = if s.dtype(mask) == DType::Bool {
            let never = s.number(dtype, f64::NEG_INFINITY);
            s.node(Where {}, &[mask, scores, never])?
        } else {
            s.node(Add {}, &[scores, mask])?
        };
    }
    if mode >= 3 {
        scores = s.node(Softmax { axis: 3 }, &[scores])?;
        if mask.is_some() {
            // A query that sees nothing has weights of zero.
            let (none, zero) = (s.node(IsNaN {}, &[scores])?, s.number(dtype, 0.0));
            scores = s.node(Where {}, &[none, zero, scores])?;
        }
    }
    Ok(scores)
}
