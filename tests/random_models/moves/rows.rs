//! Folds, normalisations, windows and selections.

use super::super::Move;
use super::super::draft::{Draft, attrs};
use super::{axis_of, one_of};
use ir::{DType, ValueId};

/// The greatest, the mean or the norm of windows.
pub(super) fn pool(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let spatial = d.dims(x).len().checked_sub(2).filter(|&n| n > 0)?;
    let kernel = 2 + usize::from(m.p[0] % 2);
    let op = one_of(&["MaxPool", "AveragePool", "LpPool"], m.p[1]);
    let mut attrs = attrs! {
        kernel_shape: vec![kernel as i64; spatial],
        strides: vec![1 + i64::from(m.p[2] % 2); spatial],
        pads: vec![i64::from(m.p[2] & 4 != 0); 2 * spatial],
        ceil_mode: m.p[2] & 8 != 0,
    };
    if op == "AveragePool" {
        attrs.extend(attrs! { count_include_pad: m.p[2] & 16 != 0 });
    }
    let y = d.node(op, attrs, &[x])?;
    d.keep(y)
}

/// The same over whole images.
pub(super) fn global_pool(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let op = one_of(
        &["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"],
        m.p[0],
    );
    let y = d.node(op, attrs! {}, &[x])?;
    d.keep(y)
}

/// A fold along some axes.
pub(super) fn reduce(d: &mut Draft, m: Move) -> Option<ValueId> {
    const OPS: [&str; 10] = [
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceProd",
        "ReduceSumSquare",
        "ReduceLogSumExp",
        "ReduceMean",
    ];
    let x = d.pick(m.a)?;
    let rank = d.dims(x).len();
    let axes: Vec<i64> = (0..rank)
        .filter(|i| m.p[1] >> i & 1 != 0)
        .map(|i| i as i64)
        .collect();
    let signed: Vec<i64> = axes
        .iter()
        .map(|&a| if m.p[2] & 1 != 0 { a - rank as i64 } else { a })
        .collect();
    let axes = d.ints(&signed);
    let attrs = attrs! { keepdims: m.p[2] & 2 != 0 };
    let y = d.node(one_of(&OPS, m.p[0]), attrs, &[x, axes])?;
    d.keep(y)
}

/// Softmax or its logarithm along an axis.
pub(super) fn softmax(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let axis = axis_of(d.dims(x).len(), m.p[0])?;
    let op = one_of(&["Softmax", "Softmax", "LogSoftmax"], m.p[1]);
    let y = d.node(op, attrs! { axis: axis }, &[x])?;
    d.keep(y)
}

/// Softmax as exporters write it.
pub(super) fn softmax_by_parts(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let axis = axis_of(d.dims(x).len(), m.p[0])?;
    let axes = d.ints(&[axis as i64]);
    let greatest = d.node("ReduceMax", attrs! { keepdims: true }, &[x, axes])?;
    let less = d.node("Sub", attrs! {}, &[x, greatest])?;
    let exp = d.node("Exp", attrs! {}, &[less])?;
    let sum = d.node("ReduceSum", attrs! { keepdims: true }, &[exp, axes])?;
    let y = d.node("Div", attrs! {}, &[exp, sum])?;
    d.keep(y)
}

/// One of the normalisations.
pub(super) fn normalization(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let axis = axis_of(dims.len(), m.p[1])?;
    let inner = &dims[axis..];
    let y = match m.p[0] % 5 {
        0 => {
            let (scale, bias) = (d.weight(x, inner), d.weight(x, inner));
            d.node(
                "LayerNormalization",
                attrs! { axis: axis },
                &[x, scale, bias],
            )?
        }
        1 => {
            let scale = d.weight(x, inner);
            d.node("RMSNormalization", attrs! { axis: axis }, &[x, scale])?
        }
        2 => {
            let channels = *dims.get(1)?;
            let (scale, bias) = (d.weight(x, &[channels]), d.weight(x, &[channels]));
            d.node("InstanceNormalization", attrs! {}, &[x, scale, bias])?
        }
        3 => {
            let channels = *dims.get(1)?;
            let (scale, bias) = (d.weight(x, &[channels]), d.weight(x, &[channels]));
            let groups = if channels % 2 == 0 { 2usize } else { 1 };
            d.node(
                "GroupNormalization",
                attrs! { num_groups: groups },
                &[x, scale, bias],
            )?
        }
        _ => d.node(
            "LpNormalization",
            attrs! { axis: axis, p: 1 + i64::from(m.p[2] % 2) },
            &[x],
        )?,
    };
    d.keep(y)
}

/// Layer normalisation as exporters write it.
pub(super) fn layer_norm_by_parts(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let n = *d.dims(x).last()?;
    let axes = d.ints(&[-1]);
    let mean = d.node("ReduceMean", attrs! { keepdims: true }, &[x, axes])?;
    let centred = d.node("Sub", attrs! {}, &[x, mean])?;
    let square = if m.p[0].is_multiple_of(2) {
        let two = d.scalar(x, 2.0);
        d.node("Pow", attrs! {}, &[centred, two])?
    } else {
        d.node("Mul", attrs! {}, &[centred, centred])?
    };
    let variance = d.node("ReduceMean", attrs! { keepdims: true }, &[square, axes])?;
    let epsilon = d.scalar(x, 1e-5);
    let sum = d.node("Add", attrs! {}, &[variance, epsilon])?;
    let deviation = d.node("Sqrt", attrs! {}, &[sum])?;
    let mut y = d.node("Div", attrs! {}, &[centred, deviation])?;
    if m.p[1].is_multiple_of(2) {
        let (scale, bias) = (d.weight(x, &[n]), d.weight(x, &[n]));
        y = d.node("Mul", attrs! {}, &[y, scale])?;
        y = d.node("Add", attrs! {}, &[y, bias])?;
    }
    d.keep(y)
}

/// Root-mean-square normalisation as exporters write it.
pub(super) fn rms_norm_by_parts(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let n = *d.dims(x).last()?;
    let axes = d.ints(&[-1]);
    let square = d.node("Mul", attrs! {}, &[x, x])?;
    let mean = d.node("ReduceMean", attrs! { keepdims: true }, &[square, axes])?;
    let epsilon = d.scalar(x, 1e-5);
    let sum = d.node("Add", attrs! {}, &[mean, epsilon])?;
    let root = d.node("Sqrt", attrs! {}, &[sum])?;
    let scaled = if m.p[0].is_multiple_of(2) {
        d.node("Div", attrs! {}, &[x, root])?
    } else {
        let inverse = d.node("Reciprocal", attrs! {}, &[root])?;
        d.node("Mul", attrs! {}, &[x, inverse])?
    };
    let scale = d.weight(x, &[n]);
    let y = d.node("Mul", attrs! {}, &[scaled, scale])?;
    d.keep(y)
}

/// Where the greatest or least element is, as a number.
pub(super) fn arg_reduce(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let axis = axis_of(d.dims(x).len(), m.p[0])?;
    let op = one_of(&["ArgMax", "ArgMin"], m.p[1]);
    let at = d.node(
        op,
        attrs! { axis: axis, keepdims: m.p[2].is_multiple_of(2) },
        &[x],
    )?;
    let y = d.node("Cast", attrs! { to: DType::F32 }, &[at])?;
    d.keep(y)
}

/// The first elements by size.
pub(super) fn top_k(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let axis = axis_of(dims.len(), m.p[0])?;
    let k = d.ints(&[1 + i64::from(m.p[1]) % dims[axis] as i64]);
    let attrs = attrs! { axis: axis, largest: m.p[2].is_multiple_of(2) };
    let results = d.nodes("TopK", attrs, &[Some(x), Some(k)], 2)?;
    if m.p[2] & 2 != 0 {
        let at = d.node("Cast", attrs! { to: DType::F32 }, &[results[1]])?;
        d.keep(at)?;
    }
    d.keep(results[0])
}

/// Sums of all elements so far.
pub(super) fn cum_sum(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let axis = axis_of(d.dims(x).len(), m.p[0])?;
    let axis = d.constant(ir::Tensor::scalar(axis as i64));
    let attrs = attrs! { exclusive: m.p[1] & 1 != 0, reverse: m.p[1] & 2 != 0 };
    let y = d.node("CumSum", attrs, &[x, axis])?;
    d.keep(y)
}
