//! Attention and recurrences.

use super::super::Move;
use super::super::draft::{Draft, attrs};
use super::one_of;
use ir::{Tensor, ValueId};

/// A sequence `[instances, positions, features]` of the pool, and its sizes.
fn sequence(d: &Draft, m: Move) -> Option<(ValueId, [usize; 3])> {
    let x = d.pick(m.a)?;
    let [n, length, size] = d.dims(x)[..] else {
        return None;
    };
    Some((x, [n, length, size]))
}

fn project(d: &mut Draft, x: ValueId, from: usize, to: usize, bias: bool) -> Option<ValueId> {
    let w = d.weight(x, &[from, to]);
    let y = d.node("MatMul", attrs! {}, &[x, w])?;
    if !bias {
        return Some(y);
    }
    let bias = d.weight(x, &[to]);
    d.node("Add", attrs! {}, &[y, bias])
}

/// Attention over heads, as exporters write it.
pub(super) fn attention_by_parts(d: &mut Draft, m: Move) -> Option<ValueId> {
    let (x, [n, length, size]) = sequence(d, m)?;
    let heads = 1 + usize::from(m.p[0] % 3);
    let head = 1 + usize::from(m.p[1] % 4);
    let bias = m.p[2] & 1 != 0;
    let shape = [n, length, heads, head].map(|v| v as i64);
    let mut parts = vec![];
    for part in 0..3 {
        let y = project(d, x, size, heads * head, bias)?;
        let shape = d.ints(&shape);
        let y = d.node("Reshape", attrs! {}, &[y, shape])?;
        let perm = if part == 1 {
            vec![0, 2, 3, 1]
        } else {
            vec![0, 2, 1, 3]
        };
        parts.push(d.node("Transpose", attrs! { perm: perm }, &[y])?);
    }
    let mut scores = d.node("MatMul", attrs! {}, &[parts[0], parts[1]])?;
    let root = (head as f64).sqrt();
    scores = if m.p[2] & 2 != 0 {
        let root = d.scalar(x, root);
        d.node("Div", attrs! {}, &[scores, root])?
    } else {
        let factor = d.scalar(x, 1.0 / root);
        d.node("Mul", attrs! {}, &[scores, factor])?
    };
    match m.p[3] % 4 {
        0 => {}
        1 => {
            let mask = d.weight(x, &[length, length]);
            scores = d.node("Add", attrs! {}, &[scores, mask])?;
        }
        2 => {
            let mask = d.weight(x, &[n, 1, 1, length]);
            scores = d.node("Add", attrs! {}, &[scores, mask])?;
        }
        _ => {
            let causal: Vec<bool> = (0..length * length)
                .map(|i| i % length <= i / length)
                .collect();
            let causal = d.constant(Tensor::from_slice(&[length, length], &causal));
            let low = d.scalar(x, -1e3);
            scores = d.node("Where", attrs! {}, &[causal, scores, low])?;
        }
    }
    let weights = d.node("Softmax", attrs! { axis: -1i64 }, &[scores])?;
    let mixed = d.node("MatMul", attrs! {}, &[weights, parts[2]])?;
    let mixed = d.node("Transpose", attrs! { perm: vec![0, 2, 1, 3] }, &[mixed])?;
    let flat = d.ints(&[n as i64, length as i64, -1]);
    let mixed = d.node("Reshape", attrs! {}, &[mixed, flat])?;
    let mut y = project(d, mixed, heads * head, size, bias)?;
    if m.p[2] & 4 != 0 {
        y = d.node("Add", attrs! {}, &[x, y])?;
    }
    d.keep(y)
}

/// Attention as one operator, with fewer heads of keys now and then.
pub(super) fn attention(d: &mut Draft, m: Move) -> Option<ValueId> {
    let (x, [_, length, size]) = sequence(d, m)?;
    let kv_heads = 1 + usize::from(m.p[0] % 2);
    let heads = kv_heads * (1 + usize::from(m.p[1] % 2));
    let head = 1 + usize::from(m.p[2] % 4);
    let q = project(d, x, size, heads * head, false)?;
    let k = project(d, x, size, kv_heads * head, false)?;
    let v = project(d, x, size, kv_heads * head, true)?;
    let mask = (m.p[3] & 1 != 0).then(|| d.weight(x, &[length, length]));
    let attrs = attrs! {
        q_num_heads: heads,
        kv_num_heads: kv_heads,
        is_causal: m.p[3] & 2 != 0,
        softcap: if m.p[3] & 12 == 12 { 3.0f32 } else { 0.0 },
    };
    let y = d.nodes("Attention", attrs, &[Some(q), Some(k), Some(v), mask], 1)?[0];
    d.keep(y)
}

/// A recurrence in one direction or both.
pub(super) fn recurrent(d: &mut Draft, m: Move) -> Option<ValueId> {
    let (x, [_, _, size]) = sequence(d, m)?;
    let (op, gates) = one_of(&[("LSTM", 4), ("GRU", 3), ("RNN", 1)], m.p[0]);
    let direction = one_of(&["forward", "reverse", "bidirectional"], m.p[1]);
    let n_directions = 1 + usize::from(direction == "bidirectional");
    let hidden = 1 + usize::from(m.p[2] % 6);
    let w = d.weight(x, &[n_directions, gates * hidden, size]);
    let r = d.weight(x, &[n_directions, gates * hidden, hidden]);
    let b = (m.p[3] & 1 != 0).then(|| d.weight(x, &[n_directions, 2 * gates * hidden]));
    let mut attrs = attrs! { hidden_size: hidden, direction: direction };
    if op == "GRU" {
        attrs.extend(attrs! { linear_before_reset: m.p[3] & 2 != 0 });
    }
    let results = d.nodes(op, attrs, &[Some(x), Some(w), Some(r), b], 2)?;
    if m.p[3] & 4 != 0 {
        d.keep(results[1])?;
    }
    d.keep(results[0])
}
