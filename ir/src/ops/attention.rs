//! Scaled dot-product attention.

use super::contract::{expect_same_depth, multiply, transposed};
use super::operands::{
    Number, broadcasts_to, expect_type, float_operand, known_dims, may_equal, operand, optional,
    with_cx,
};
use super::softmax::softmax;
use super::{Class, OpError, Operator};
use crate::attrs::attrs_by_macro;
use crate::eval::broadcast_offsets;
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use crate::{DType, attributes};
use std::ops::RangeInclusive;

attributes! {
    /// `softmax(softcap(scale * q k^T) + mask) v`, for each instance and head.
    ///
    /// Operands: q, k, v, either `[N, heads, length, size]` or `[N, length, heads * size]`; optional
    /// mask, which broadcasts to `[N, q heads, q length, total length]` (bool: what takes part;
    /// otherwise added); optional past keys and values `[N, heads, past length, size]`, which go
    /// before k and v. Each head of k and v serves as many heads of q as there are more of those.
    /// Results: y like q, and optionally all keys and values `[N, heads, total length, size]`, and the
    /// scores `[N, q heads, q length, total length]`. A query that the mask and `is_causal` hide every
    /// position from, with minus infinity, has weights and results of zero.
    Attention {
        /// Whether position i sees only the past and positions up to i.
        is_causal: bool = false,
        /// Heads of k and v; required where they have rank 3.
        kv_num_heads: Option<i64> = None,
        /// Heads of q; required where it has rank 3.
        q_num_heads: Option<i64> = None,
        /// Which scores are a result: 0 the scaled products, 1 after `softcap`, 2 with the mask, 3 after softmax.
        qk_matmul_output_mode: i64 = 0,
        /// Factor of the products; 1 over the square root of the size if left out.
        scale: Option<f32> = None,
        /// Bound c of the scores, as `c * tanh(score / c)`; 0 for none.
        softcap: f32 = 0.0,
        /// The type that softmax is computed in, by its ONNX number.
        softmax_precision: Option<i64> = None,
    }
}

/// The sizes of an attention.
#[derive(Clone, PartialEq, Debug)]
pub struct AttentionShape {
    /// Instances.
    pub batch: Dim,
    /// Heads of q.
    pub q_heads: Dim,
    /// Heads of k and v.
    pub kv_heads: Dim,
    /// Positions of q.
    pub q_length: Dim,
    /// Positions of k and v.
    pub kv_length: Dim,
    /// Positions of the past keys and values.
    pub past_length: Dim,
    /// Positions of the past, k and v together.
    pub total_length: Dim,
    /// Elements of one head of q and k.
    pub size: Dim,
    /// Elements of one head of v.
    pub v_size: Dim,
}

/// Instances, heads, positions and elements of a head of q, k or v.
pub(crate) fn heads(shape: &Shape, n_heads: Option<i64>, name: &str) -> Result<[Dim; 4], OpError> {
    let wrong = |why: &str| OpError::Shape(format!("`{name}` of shape {shape}: {why}"));
    match shape.0.as_slice() {
        [batch, heads, length, size] => {
            Ok([batch.clone(), heads.clone(), length.clone(), size.clone()])
        }
        [batch, length, hidden] => {
            let n = n_heads
                .and_then(|n| usize::try_from(n).ok())
                .filter(|&n| n > 0);
            let n = n.ok_or_else(|| wrong("expected a positive number of heads as attribute"))?;
            let hidden = hidden.known().filter(|h| h % n == 0);
            let size =
                hidden.ok_or_else(|| wrong(&format!("expected a multiple of {n} heads")))? / n;
            Ok([batch.clone(), n.into(), length.clone(), size.into()])
        }
        _ => Err(wrong("expected rank 3 or 4")),
    }
}

impl Attention {
    /// The sizes, from the operands' types.
    pub fn shape(&self, cx: &InferCx<'_>) -> Result<AttentionShape, OpError> {
        let [batch, q_heads, q_length, size] = heads(cx.shape(0)?, self.q_num_heads, "Q")?;
        let [k_batch, kv_heads, kv_length, k_size] = heads(cx.shape(1)?, self.kv_num_heads, "K")?;
        let [v_batch, v_heads, v_length, v_size] = heads(cx.shape(2)?, self.kv_num_heads, "V")?;
        expect_same_depth(&size, &k_size)?;
        expect_same_depth(&kv_length, &v_length)?;
        if !(may_equal(&batch, &k_batch)
            && may_equal(&batch, &v_batch)
            && may_equal(&kv_heads, &v_heads))
        {
            return Err(OpError::Shape(format!(
                "Q {}, K {} and V {} of different numbers of instances or heads",
                cx.shape(0)?,
                cx.shape(1)?,
                cx.shape(2)?
            )));
        }
        if let (Some(q), Some(kv)) = (q_heads.known(), kv_heads.known())
            && (kv == 0 || q % kv != 0)
        {
            return Err(OpError::Shape(format!(
                "{q} heads of Q for {kv} heads of K and V"
            )));
        }
        let past_length = match (cx.optional(4), cx.optional(5)) {
            (None, None) => Dim::Known(0),
            (Some(key), Some(_)) if key.shape.rank() == 4 => key.shape.dim(2).clone(),
            (Some(key), Some(_)) => {
                return Err(OpError::Shape(format!(
                    "`past_key` is {key}, expected rank 4"
                )));
            }
            _ => return Err(OpError::Arity("only one of past_key and past_value".into())),
        };
        let total_length = match (past_length.known(), kv_length.known()) {
            (Some(past), Some(kv)) => Dim::Known(past.saturating_add(kv)),
            (Some(0), None) => kv_length.clone(),
            _ => cx.fresh_dim(),
        };
        Ok(AttentionShape {
            batch,
            q_heads,
            kv_heads,
            q_length,
            kv_length,
            past_length,
            total_length,
            size,
            v_size,
        })
    }

    /// The factor of the products, for heads of `size` elements.
    pub fn factor(&self, size: usize) -> f64 {
        self.scale.map_or(1.0 / (size as f64).sqrt(), f64::from)
    }
}

impl Operator for Attention {
    const NAME: &'static str = "Attention";
    const VERSIONS: &'static [u32] = &[23];
    const INPUTS: RangeInclusive<usize> = 3..=6;
    const OUTPUTS: RangeInclusive<usize> = 1..=4;
    const CLASS: Class = Class::Contract;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let (q, k, v) = (
            float_operand(cx, 0)?,
            float_operand(cx, 1)?,
            float_operand(cx, 2)?,
        );
        if q.dtype != k.dtype
            || q.shape.rank() != k.shape.rank()
            || q.shape.rank() != v.shape.rank()
        {
            return Err(OpError::Type(format!(
                "Q {q}, K {k} and V {v} of different types or ranks"
            )));
        }
        if !(0..=3).contains(&self.qk_matmul_output_mode) {
            return Err(OpError::Shape(format!(
                "`qk_matmul_output_mode` is {}, expected 0 to 3",
                self.qk_matmul_output_mode
            )));
        }
        let s = self.shape(cx)?;
        let cache = |length: &Dim, size: &Dim| {
            [
                s.batch.clone(),
                s.kv_heads.clone(),
                length.clone(),
                size.clone(),
            ]
        };
        expect_type(cx, 4, "past_key", q.dtype, &cache(&s.past_length, &s.size))?;
        expect_type(
            cx,
            5,
            "past_value",
            v.dtype,
            &cache(&s.past_length, &s.v_size),
        )?;
        let scores = [&s.batch, &s.q_heads, &s.q_length, &s.total_length].map(Dim::clone);
        if let Some(mask) = cx.optional(3)
            && !(broadcasts_to(&mask.shape, &scores)
                && (mask.dtype == DType::Bool || mask.dtype == q.dtype))
        {
            let expected = TensorType::new(q.dtype, scores.iter().cloned().collect());
            return Err(OpError::Shape(format!(
                "`attn_mask` is {mask}, expected bool or what broadcasts to {expected}"
            )));
        }
        let y = match (q.shape.rank(), s.q_heads.known(), s.v_size.known()) {
            (3, Some(heads), Some(size)) => {
                vec![
                    s.batch.clone(),
                    s.q_length.clone(),
                    heads.saturating_mul(size).into(),
                ]
            }
            _ => vec![
                s.batch.clone(),
                s.q_heads.clone(),
                s.q_length.clone(),
                s.v_size.clone(),
            ],
        };
        let results = [
            TensorType::new(q.dtype, Shape(y)),
            TensorType::new(
                q.dtype,
                cache(&s.total_length, &s.size).into_iter().collect(),
            ),
            TensorType::new(
                v.dtype,
                cache(&s.total_length, &s.v_size).into_iter().collect(),
            ),
            TensorType::new(q.dtype, scores.into_iter().collect()),
        ];
        Ok(results.into_iter().take(cx.n_outputs()).collect())
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let s = with_cx(inputs, types.len(), |cx| self.shape(cx))?;
        let sizes = [
            s.batch,
            s.q_heads,
            s.kv_heads,
            s.q_length,
            s.total_length,
            s.size,
            s.v_size,
        ];
        let [n, q_heads, kv_heads, rows, total, size, v_size] =
            sizes.map(|d| d.known().unwrap_or(0));
        let q = by_head(operand(inputs, 0)?, q_heads)?;
        let keys = joined(
            optional(inputs, 4),
            operand(inputs, 1)?,
            kv_heads,
            size,
            total,
        )?;
        let values = joined(
            optional(inputs, 5),
            operand(inputs, 2)?,
            kv_heads,
            v_size,
            total,
        )?;
        let mask = optional(inputs, 3);
        let mask = mask
            .map(|m| Mask::new(m, &[n, q_heads, rows, total]))
            .transpose()?;
        let past = s.past_length.known().unwrap_or(0);
        let mut y = vec![0.0; n * q_heads * rows * v_size];
        let mut shown = Vec::with_capacity(n * q_heads * rows * total);
        for head in 0..n * q_heads {
            let kv_head = head / q_heads * kv_heads + head % q_heads / (q_heads / kv_heads);
            let part = |all: &[f64], i: usize, len: usize| all[i * len..(i + 1) * len].to_vec();
            let k = transposed(&part(&keys, kv_head, total * size), size);
            let mut scores = vec![0.0; rows * total];
            multiply(&part(&q, head, rows * size), &k, &mut scores, size, total);
            let mut show = |mode: i64, scores: &[f64]| {
                if self.qk_matmul_output_mode == mode {
                    shown.extend_from_slice(scores);
                }
            };
            let factor = self.factor(size);
            scores.iter_mut().for_each(|v| *v *= factor);
            show(0, &scores);
            let cap = f64::from(self.softcap);
            if cap > 0.0 {
                scores.iter_mut().for_each(|v| *v = cap * (*v / cap).tanh());
            }
            show(1, &scores);
            let mut sees = vec![false; rows];
            for (i, v) in scores.iter_mut().enumerate() {
                let bias = if self.is_causal && i % total > past + i / total {
                    f64::NEG_INFINITY
                } else {
                    mask.as_ref().map_or(0.0, |m| m.at(head * rows * total + i))
                };
                *v += bias;
                sees[i / total] |= bias != f64::NEG_INFINITY;
            }
            show(2, &scores);
            for (row, sees) in scores.chunks_exact_mut(total.max(1)).zip(sees) {
                if sees {
                    softmax(row);
                } else {
                    row.fill(0.0);
                }
            }
            show(3, &scores);
            let out = &mut y[head * rows * v_size..][..rows * v_size];
            multiply(
                &scores,
                &part(&values, kv_head, total * v_size),
                out,
                total,
                v_size,
            );
        }
        if types[0].shape.rank() == 3 {
            y = swap_middle(&y, q_heads, rows, v_size);
        }
        let results = types.iter().zip([y, keys, values, shown]);
        results
            .map(|(ty, v)| Ok(f64::write(ty.dtype, &known_dims(ty)?, &v)))
            .collect()
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        let Ok(s) = self.shape(&InferCx::new(inputs, &[], 1)) else {
            return 0;
        };
        let size = |d: &Dim| d.known().unwrap_or(0) as u64;
        let scores = [&s.batch, &s.q_heads, &s.q_length, &s.total_length].map(size);
        let each = size(&s.size)
            .saturating_add(size(&s.v_size))
            .saturating_mul(2)
            .saturating_add(5);
        scores.into_iter().fold(each, u64::saturating_mul)
    }
}

/// What is added to the scores.
struct Mask {
    terms: Vec<f64>,
    at: Vec<usize>,
}

impl Mask {
    fn new(mask: &Tensor, scores: &[usize]) -> Result<Self, OpError> {
        let mut terms = f64::read(mask)?;
        if mask.dtype() == DType::Bool {
            terms
                .iter_mut()
                .for_each(|v| *v = if *v == 0.0 { f64::NEG_INFINITY } else { 0.0 });
        }
        Ok(Self {
            terms,
            at: broadcast_offsets(scores, mask.dims()),
        })
    }

    fn at(&self, score: usize) -> f64 {
        self.terms[self.at[score]]
    }
}

/// The elements of `[N, a, b, size]` in the order `[N, b, a, size]`.
pub(crate) fn swap_middle(x: &[f64], a: usize, b: usize, size: usize) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for instance in x.chunks_exact((a * b * size).max(1)) {
        for (j, i) in (0..b).flat_map(|j| (0..a).map(move |i| (j, i))) {
            y.extend_from_slice(&instance[(i * b + j) * size..][..size]);
        }
    }
    y
}

/// The elements of q, k or v in the order instances, heads, positions.
pub(crate) fn by_head(t: &Tensor, heads: usize) -> Result<Vec<f64>, OpError> {
    let values = f64::read(t)?;
    Ok(match t.dims()[..] {
        [_, length, hidden] => swap_middle(&values, length, heads, hidden / heads),
        _ => values,
    })
}

/// `past` and then `new`, for each instance and head; `total` positions together.
fn joined(
    past: Option<&Tensor>,
    new: &Tensor,
    heads: usize,
    size: usize,
    total: usize,
) -> Result<Vec<f64>, OpError> {
    let new = by_head(new, heads)?;
    let Some(past) = past else { return Ok(new) };
    let old = past.dims()[2] * size;
    let past = f64::read(past)?;
    let n_heads = (past.len() + new.len())
        .checked_div(total * size)
        .unwrap_or(0);
    let both = |i: usize| {
        let added = total * size - old;
        past[i * old..(i + 1) * old]
            .iter()
            .chain(&new[i * added..(i + 1) * added])
            .copied()
    };
    Ok((0..n_heads).flat_map(both).collect())
}
