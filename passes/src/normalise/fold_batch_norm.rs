//! Batch normalisation as part of what comes before it.

use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::ops::{Add, BatchNormalization, Mul};
use ir::{DType, NodeId, Op, Program, Tensor, ValueId};

/// A batch normalisation with constant statistics becomes part of the convolution or matrix product
/// before it, if nothing else reads that; else a product and a sum with constants.
///
/// Before: `%1 = Conv(%0, w0)`, `%2 = BatchNormalization(%1, w1, w2, w3, w4)`. After:
/// `%2 = Conv(%0, w5, w6)`; where `%1` has other readers, `%2 = Mul(%1, w7)`, `%3 = Add(%2, w8)`.
///
/// Refused: statistics, scale or bias that are not constant.
pub fn fold_batch_norm(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node).clone() {
        Op::BatchNormalization(op) => fold(s, node, &op),
        _ => Ok(()),
    })
}

/// `y = x * factor + offset`, one number a channel.
struct Affine {
    factor: Vec<f64>,
    offset: Vec<f64>,
}

fn fold(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &BatchNormalization) -> Result<(), Cause> {
    if op.training_mode || s.outputs(node).len() > 1 {
        s.refuse(node, || "it trains".into());
        return Ok(());
    }
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let Some(affine) = affine(s, node, op) else {
        s.refuse(node, || {
            "its scale, bias, mean or variance is not constant".into()
        });
        return Ok(());
    };
    if let Some((before, weight)) = producer(s, x)
        && into_weights(s, node, before, weight, &affine)?
    {
        return Ok(());
    }
    let rank = s.rank(x);
    let dtype = s.dtype(x);
    s.rewrite(node, |s| {
        let mut dims = vec![1; rank - 1];
        dims[0] = affine.factor.len();
        let factor = s.constant_value(Tensor::from_f64(dtype, &dims, &affine.factor));
        let offset = s.constant_value(Tensor::from_f64(dtype, &dims, &affine.offset));
        let scaled = s.node(Mul {}, &[x, factor])?;
        s.node(Add {}, &[scaled, offset])
    })
}

fn affine(s: &Sweep<'_, '_, '_>, node: NodeId, op: &BatchNormalization) -> Option<Affine> {
    let operand = |i: usize| s.constant(s.input(node, i)?)?.to_f64();
    let (scale, bias, mean, variance) = (operand(1)?, operand(2)?, operand(3)?, operand(4)?);
    let epsilon = f64::from(op.epsilon);
    let factor: Vec<f64> = (0..scale.len())
        .map(|c| scale[c] / (variance[c] + epsilon).sqrt())
        .collect();
    let offset = (0..scale.len())
        .map(|c| bias[c] - mean[c] * factor[c])
        .collect();
    Some(Affine { factor, offset })
}

/// The contraction that gives `x` to this reader only, and its constant weight.
fn producer(s: &Sweep<'_, '_, '_>, x: ValueId) -> Option<(NodeId, ValueId)> {
    let node = s.def(x)?;
    let contraction = match s.op(node) {
        Op::Conv(_) | Op::ConvTranspose(_) => true,
        // The channels of a matrix are its columns.
        Op::MatMul(_) => s.rank(x) == 2,
        _ => false,
    };
    let weight = s.input(node, 1)?;
    let constant = |i: usize| s.input(node, i).is_none_or(|v| s.is_constant(v));
    let fits = contraction && s.n_readers(x) == 1 && s.is_constant(weight) && constant(2);
    (fits && s.is_float(weight)).then_some((node, weight))
}

/// Multiplies the factors into the weight of `before`; whether it could be done.
fn into_weights(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    before: NodeId,
    weight: ValueId,
    affine: &Affine,
) -> Result<bool, Cause> {
    let op = s.op(before).clone();
    let Some(w) = s.constant(weight).cloned() else {
        return Ok(false);
    };
    // Which channel the elements of each run belong to.
    let dims = w.dims();
    if dims.len() < 2 {
        return Ok(false);
    }
    let inner = |from: usize| dims[from..].iter().product::<usize>().max(1);
    let (run, n_channels, first_channel): (usize, usize, fn(usize, usize) -> usize) = match &op {
        Op::Conv(_) => (inner(1), dims[0], |_, _| 0),
        Op::ConvTranspose(_) => (inner(2), dims[1], |group, n| group * n),
        _ => (1, dims[1], |_, _| 0),
    };
    let n_groups = match &op {
        Op::ConvTranspose(op) => usize::try_from(op.group).unwrap_or(1).max(1),
        _ => 1,
    };
    if n_channels * n_groups != affine.factor.len() {
        return Ok(false);
    }
    let n_runs = w.n_elements() / run;
    let runs_per_group = n_runs.div_ceil(n_groups).max(1);
    let channel = |r: usize| first_channel(r / runs_per_group, n_channels) + r % n_channels;
    let Some(scaled) = scale_runs(&w, run, |r| affine.factor[channel(r)]) else {
        return Ok(false);
    };
    let x = s.input(before, 0);
    let bias = s.input(before, 2).and_then(|b| s.constant(b)?.to_f64());
    let bias: Vec<f64> = match bias {
        Some(b) => (0..b.len())
            .map(|c| b[c] * affine.factor[c] + affine.offset[c])
            .collect(),
        None => affine.offset.clone(),
    };
    let dtype = w.dtype();
    s.rewrite_pattern(&[before, node], s.output(node), |s| {
        let scaled = s.constant_value(scaled);
        let bias = s.constant_value(Tensor::from_f64(dtype, &[bias.len()], &bias));
        if matches!(op, Op::MatMul(_)) {
            let y = s.node_with(op, &[x, Some(scaled)])?;
            return s.node(Add {}, &[y, bias]);
        }
        s.node_with(op, &[x, Some(scaled), Some(bias)])
    })?;
    Ok(true)
}

/// `w` with its `r`-th run of `run` elements multiplied by `factor(r)`.
fn scale_runs(w: &Tensor, run: usize, factor: impl Fn(usize) -> f64) -> Option<Tensor> {
    if w.dtype() == DType::F32 {
        let mut data = Vec::with_capacity(w.bytes().len());
        for (r, bytes) in w.bytes().chunks_exact(4 * run).enumerate() {
            let f = factor(r);
            for b in bytes.chunks_exact(4) {
                let v = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                data.extend_from_slice(&((f64::from(v) * f) as f32).to_le_bytes());
            }
        }
        return Tensor::new(w.dtype(), w.dims(), data.into()).ok();
    }
    let mut values = w.to_f64()?;
    for (r, chunk) in values.chunks_exact_mut(run).enumerate() {
        let f = factor(r);
        chunk.iter_mut().for_each(|v| *v *= f);
    }
    Some(Tensor::from_f64(w.dtype(), w.dims(), &values))
}
