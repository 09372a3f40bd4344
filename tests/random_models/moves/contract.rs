//! Sums of products.

use super::super::Move;
use super::super::draft::{Draft, attrs};
use super::one_of;
use ir::ValueId;

/// Times a weight, with bias and activation now and then.
pub(super) fn matmul(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let depth = *d.dims(x).last()?;
    let y = project(d, x, depth, 1 + usize::from(m.p[0] % 17), m.p[1])?;
    d.keep(y)
}

/// `x W`, and as `more` says a bias and an activation.
fn project(d: &mut Draft, x: ValueId, from: usize, to: usize, more: u8) -> Option<ValueId> {
    let w = d.weight(x, &[from, to]);
    let mut y = d.node("MatMul", attrs! {}, &[x, w])?;
    if more & 1 != 0 {
        let bias = d.weight(x, &[to]);
        y = d.node(
            "Add",
            attrs! {},
            &if more & 2 != 0 { [y, bias] } else { [bias, y] },
        )?;
    }
    if more & 4 != 0 {
        y = d.node(
            one_of(&["Relu", "Sigmoid", "Tanh", "Gelu"], more >> 4),
            attrs! {},
            &[y],
        )?;
    }
    Some(y)
}

/// A weight times the value.
pub(super) fn matmul_left(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let rank = dims.len();
    let depth = *dims.get(rank.checked_sub(2)?)?;
    let mut shape = vec![1 + usize::from(m.p[0] % 9), depth];
    if m.p[1].is_multiple_of(2) && rank == 3 {
        shape.insert(0, dims[0]);
    }
    let w = d.weight(x, &shape);
    let y = d.node("MatMul", attrs! {}, &[w, x])?;
    d.keep(y)
}

/// Two values, the second transposed where that makes them fit.
pub(super) fn matmul_pool(d: &mut Draft, m: Move) -> Option<ValueId> {
    let (a, b) = (d.pick(m.a)?, d.pick(m.b)?);
    let mut y = d.node("MatMul", attrs! {}, &[a, b]);
    if y.is_none() {
        let rank = d.dims(b).len();
        let mut perm: Vec<i64> = (0..rank as i64).collect();
        perm.swap(rank.checked_sub(2)?, rank - 1);
        let turned = d.node("Transpose", attrs! { perm: perm }, &[b])?;
        y = d.node("MatMul", attrs! {}, &[a, turned]);
    }
    d.keep(y?)
}

/// Gemm with all that it has.
pub(super) fn gemm(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let [rows, columns] = d.dims(x)[..] else {
        return None;
    };
    let (trans_a, trans_b) = (m.p[0] & 1 != 0, m.p[0] & 2 != 0);
    let (rows, depth) = if trans_a {
        (columns, rows)
    } else {
        (rows, columns)
    };
    let n = 1 + usize::from(m.p[1] % 12);
    let w = d.weight(x, &if trans_b { [n, depth] } else { [depth, n] });
    let mut operands = vec![x, w];
    match m.p[2] % 5 {
        0 => {}
        1 => operands.push(d.weight(x, &[])),
        2 => operands.push(d.weight(x, &[n])),
        3 => operands.push(d.weight(x, &[rows, 1])),
        _ => operands.push(d.weight(x, &[rows, n])),
    }
    let attrs = attrs! {
        transA: trans_a,
        transB: trans_b,
        alpha: one_of(&[1.0f32, 0.5, -2.0], m.p[3]),
        beta: one_of(&[1.0f32, 0.25, 0.0], m.p[3] >> 2),
    };
    let y = d.node("Gemm", attrs, &operands)?;
    d.keep(y)
}

/// A convolution of any geometry over one to three spatial dimensions.
pub(super) fn conv(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let y = convolve(d, x, m.p)?;
    d.keep(y)
}

fn convolve(d: &mut Draft, x: ValueId, p: [u8; 4]) -> Option<ValueId> {
    let dims = d.dims(x);
    let spatial = dims.get(2..).filter(|s| !s.is_empty())?.len();
    let channels = dims[1];
    let group = match p[0] % 4 {
        0 => channels,
        1 if channels.is_multiple_of(2) => 2,
        _ => 1,
    };
    let out = match p[1] % 5 {
        0 => channels,
        n => group * usize::from(n),
    };
    let digit = |at: u32, n: u8| usize::from(p[2].rotate_right(at) % n);
    let mut kernel: Vec<usize> = (0..spatial).map(|i| 1 + digit(i as u32, 3)).collect();
    if p[3].is_multiple_of(4) {
        kernel = vec![3; spatial];
    }
    let as_ints =
        |f: &dyn Fn(usize) -> usize| (0..spatial).map(|i| f(i) as i64).collect::<Vec<_>>();
    let pad_end = as_ints(&|i| digit(1 + i as u32, 2) * (kernel[i] - 1));
    let mut pads = as_ints(&|i| if p[3] & 16 != 0 { kernel[i] / 2 } else { 0 });
    pads.extend(pad_end);
    let attrs = attrs! {
        group: group,
        pads: pads,
        strides: as_ints(&|_| 1 + usize::from(p[3] & 32 != 0)),
        dilations: as_ints(&|_| 1 + usize::from(p[3] & 192 == 192)),
    };
    let shape: Vec<usize> = [out, channels / group].into_iter().chain(kernel).collect();
    let w = d.weight(x, &shape);
    let mut operands = vec![x, w];
    if p[3] & 8 != 0 {
        operands.push(d.weight(x, &[out]));
    }
    d.node("Conv", attrs, &operands)
}

/// Convolution, batch normalisation, activation, and a sum with what went in where that fits.
pub(super) fn conv_block(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let keeps_size = [m.p[0], 0, m.p[2], 4 | 16 | (m.p[3] & 8)];
    let p = if m.b.is_multiple_of(2) {
        keeps_size
    } else {
        m.p
    };
    let conv = convolve(d, x, p)?;
    let channels = d.dims(conv)[1];
    let mut y = conv;
    if m.b & 4 == 0 {
        let scale = d.positive(x, &[channels]);
        let (bias, mean) = (d.weight(x, &[channels]), d.weight(x, &[channels]));
        let variance = d.positive(x, &[channels]);
        y = d.node(
            "BatchNormalization",
            attrs! {},
            &[conv, scale, bias, mean, variance],
        )?;
    }
    if m.b & 8 == 0
        && let Some(sum) = d.node("Add", attrs! {}, &[y, x])
    {
        y = sum;
    }
    if m.b & 16 == 0 {
        y = d.node("Relu", attrs! {}, &[y])?;
    }
    d.keep(y)
}

/// A transposed convolution.
pub(super) fn conv_transpose(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let spatial = dims.get(2..).filter(|s| !s.is_empty())?.len();
    let channels = dims[1];
    let group = if m.p[0].is_multiple_of(3) && channels.is_multiple_of(2) {
        2
    } else {
        1
    };
    let kernel = 1 + usize::from(m.p[1] % 3);
    let mut shape = vec![channels, 1 + usize::from(m.p[2] % 4)];
    shape.extend(vec![kernel; spatial]);
    let w = d.weight(x, &shape);
    let stride = 1 + usize::from(m.p[3] % 2);
    let attrs = attrs! {
        group: group,
        strides: vec![stride as i64; spatial],
        pads: vec![i64::from(kernel > 1 && m.p[3] & 4 != 0); 2 * spatial],
        output_padding: vec![i64::from(stride > 1 && m.p[3] & 8 != 0); spatial],
    };
    let mut operands = vec![x, w];
    if m.p[3] & 16 != 0 {
        operands.push(d.weight(x, &[shape[1] * group]));
    }
    let y = d.node("ConvTranspose", attrs, &operands)?;
    d.keep(y)
}

/// Several products of one value: kept apart, or a gate and what passes it.
pub(super) fn siblings(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let depth = *d.dims(x).last()?;
    let n = 2 + usize::from(m.p[0] % 7);
    let a = project(d, x, depth, n, m.p[1])?;
    let b = project(d, x, depth, n, m.p[1])?;
    if m.p[2].is_multiple_of(2) {
        d.keep(a)?;
        return d.keep(b);
    }
    let gate = d.node("Sigmoid", attrs! {}, &[b])?;
    let y = d.node("Mul", attrs! {}, &[a, gate])?;
    d.keep(y)
}

/// A value and a function of it, summed.
pub(super) fn residual(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let depth = *d.dims(x).last()?;
    let inner = project(d, x, depth, 2 * depth, 5 | m.p[0] << 4)?;
    let y = project(d, inner, 2 * depth, depth, m.p[1] & 3)?;
    let y = d.node(
        "Add",
        attrs! {},
        &if m.p[2].is_multiple_of(2) {
            [x, y]
        } else {
            [y, x]
        },
    )?;
    d.keep(y)
}

/// Sums over named dimensions.
pub(super) fn einsum(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let n = 1 + usize::from(m.p[1] % 6);
    let (equation, shape) = match (&dims[..], m.p[0] % 2) {
        (&[_, b], 0) => ("ab,bc->ac", vec![b, n]),
        (&[a, _], _) => ("ab,ca->cb", vec![n, a]),
        (&[a, _, c], 0) => ("abc,acd->abd", vec![a, c, n]),
        (&[_, _, c], _) => ("abc,dc->adb", vec![n, c]),
        (&[_, b, _, e], 0) => ("abce,bde->abcd", vec![b, n, e]),
        (&[a, b, _, e], _) => ("abce,abde->abcd", vec![a, b, n, e]),
        _ => return None,
    };
    let w = d.weight(x, &shape);
    let y = d.node("Einsum", attrs! { equation: equation }, &[x, w])?;
    d.keep(y)
}
