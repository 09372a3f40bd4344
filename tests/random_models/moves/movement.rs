//! The same elements elsewhere.

use super::super::Move;
use super::super::draft::{Draft, attrs};
use super::{axis_of, one_of};
use ir::{Tensor, ValueId};

/// The dimensions in another order.
pub(super) fn transpose(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let rank = d.dims(x).len();
    let mut perm: Vec<i64> = (0..rank as i64).collect();
    for (i, &p) in m.p.iter().enumerate().take(rank.saturating_sub(1)) {
        perm.swap(i, i + usize::from(p) % (rank - i));
    }
    let y = d.node("Transpose", attrs! { perm: perm }, &[x])?;
    d.keep(y)
}

/// Dimensions merged, split, or all as one.
pub(super) fn reshape(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let axis = axis_of(dims.len(), m.p[0])?;
    let mut to: Vec<i64> = dims.iter().map(|&n| n as i64).collect();
    match m.p[1] % 5 {
        0 if axis + 1 < dims.len() => {
            let next = to.remove(axis + 1);
            to[axis] *= next;
        }
        1 | 2 => {
            let divisors: Vec<i64> = (1..=to[axis]).filter(|n| to[axis] % n == 0).collect();
            let n = one_of(&divisors, m.p[2]);
            to[axis] /= n;
            to.insert(axis + usize::from(m.p[3] % 2), n);
        }
        3 => to = vec![to[..axis].iter().product(), -1],
        _ => to = vec![-1],
    }
    let to = d.ints(&to);
    let y = d.node("Reshape", attrs! {}, &[x, to])?;
    d.keep(y)
}

/// Dimensions of 1 added or dropped.
pub(super) fn squeeze(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    if let Some(axis) = dims.iter().position(|&n| n == 1)
        && m.p[0].is_multiple_of(2)
    {
        let axes = d.ints(&[axis as i64]);
        let y = d.node("Squeeze", attrs! {}, &[x, axes])?;
        return d.keep(y);
    }
    let axes = d.ints(&[(usize::from(m.p[1]) % (dims.len() + 1)) as i64]);
    let y = d.node("Unsqueeze", attrs! {}, &[x, axes])?;
    d.keep(y)
}

/// A part along one axis or two, with a step, backwards too.
pub(super) fn slice(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let axis = axis_of(dims.len(), m.p[0])?;
    let n = dims[axis] as i64;
    let step = one_of(&[1, 1, 2, -1, -2, 3], m.p[1]);
    let low = i64::from(m.p[2]) % n;
    let high = low + 1 + i64::from(m.p[3]) % (n - low);
    let (start, end) = if step > 0 {
        (low, high)
    } else {
        (high - 1, low - 1 - n)
    };
    let lists = [[start], [end], [axis as i64], [step]].map(|l| d.ints(&l));
    let y = d.node("Slice", attrs! {}, &[&[x], &lists[..]].concat())?;
    d.keep(y)
}

/// Two or three parts, all of which are kept.
pub(super) fn split(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let axis = axis_of(dims.len(), m.p[0])?;
    let n = dims[axis] as i64;
    let first = 1 + i64::from(m.p[1]) % n;
    let mut sizes = vec![first, n - first];
    if m.p[2].is_multiple_of(2) && n - first > 1 {
        sizes = vec![first, 1, n - first - 1];
    }
    sizes.retain(|&s| s > 0);
    let n_parts = sizes.len();
    let sizes = d.ints(&sizes);
    let parts = d.nodes(
        "Split",
        attrs! { axis: axis },
        &[Some(x), Some(sizes)],
        n_parts,
    )?;
    parts.into_iter().fold(None, |_, part| d.keep(part))
}

/// Values one after another; of one value, it and a function of it.
pub(super) fn concat(d: &mut Draft, m: Move) -> Option<ValueId> {
    let (a, b) = (d.pick(m.a)?, d.pick(m.b)?);
    let axis = axis_of(d.dims(a).len(), m.p[0])?;
    let attrs = || attrs! { axis: axis };
    if a != b
        && let Some(y) = d.node("Concat", attrs(), &[a, b])
    {
        return d.keep(y);
    }
    let other = d.node(one_of(&["Relu", "Tanh", "Neg"], m.p[1]), attrs! {}, &[a])?;
    let operands = match m.p[2] % 3 {
        0 => vec![a, other],
        1 => vec![other, a, other],
        _ => {
            let w = d.dims(a);
            vec![other, d.weight(a, &w)]
        }
    };
    let y = d.node("Concat", attrs(), &operands)?;
    d.keep(y)
}

/// Repeated along dimensions of 1, and along new ones.
pub(super) fn expand(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let repeat = 1 + i64::from(m.p[0] % 3);
    let mut to: Vec<i64> = d
        .dims(x)
        .iter()
        .map(|&n| if n == 1 { repeat } else { n as i64 })
        .collect();
    if m.p[1].is_multiple_of(2) {
        to.insert(0, 1 + i64::from(m.p[2] % 3));
    }
    let to = d.ints(&to);
    let y = d.node("Expand", attrs! {}, &[x, to])?;
    d.keep(y)
}

/// Repeated as a whole.
pub(super) fn tile(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let repeats: Vec<i64> = (0..d.dims(x).len())
        .map(|i| 1 + i64::from(m.p[i % 4].is_multiple_of(3)))
        .collect();
    let repeats = d.ints(&repeats);
    let y = d.node("Tile", attrs! {}, &[x, repeats])?;
    d.keep(y)
}

/// Elements by constant positions along an axis.
pub(super) fn gather(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let axis = axis_of(dims.len(), m.p[0])?;
    let n = dims[axis] as i64;
    let at = |p: u8| i64::from(p) % (2 * n) - n;
    let indices = match m.p[1] % 3 {
        0 => Tensor::scalar(at(m.p[2])),
        1 => Tensor::from_slice(&[3], &[at(m.p[1]), at(m.p[2]), at(m.p[3])]),
        _ => Tensor::from_slice(&[2, 1], &[at(m.p[2]), at(m.p[3])]),
    };
    let indices = d.constant(indices);
    let y = d.node("Gather", attrs! { axis: axis }, &[x, indices])?;
    d.keep(y)
}

/// Rows of a table, by an input.
pub(super) fn embed(d: &mut Draft, m: Move) -> Option<ValueId> {
    let like = d.pick(m.a)?;
    let rows = 2 + usize::from(m.p[0] % 9);
    let table = d.weight(like, &[rows, 1 + usize::from(m.p[1] % 8)]);
    let shape = [1 + usize::from(m.p[2] % 2), 1 + usize::from(m.p[3] % 5)];
    let indices = d.index_input(&shape, rows);
    let y = d.node("Gather", attrs! {}, &[table, indices])?;
    d.keep(y)
}

/// A border.
pub(super) fn pad(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let rank = d.dims(x).len();
    let mode = one_of(&["constant", "constant", "reflect", "edge", "wrap"], m.p[0]);
    let width = |i: usize| i64::from(m.p[1] >> (i % 8) & 1) - i64::from(m.p[2] & 63 == i as u8);
    let pads: Vec<i64> = (0..2 * rank).map(width).collect();
    let pads = d.ints(&pads);
    let mut operands = vec![x, pads];
    if mode == "constant" && m.p[3].is_multiple_of(2) {
        operands.push(d.scalar(x, 0.75));
    }
    let y = d.node("Pad", attrs! { mode: mode }, &operands)?;
    d.keep(y)
}

/// Images of another size.
pub(super) fn resize(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let rank = d.dims(x).len();
    if rank < 3 {
        return None;
    }
    let mut scales = vec![1.0f32; rank];
    for (i, scale) in scales.iter_mut().enumerate().skip(2) {
        *scale = one_of(&[2.0, 1.0, 0.5, 1.5], m.p[0] >> (2 * (i % 3)));
    }
    let mode = one_of(&["nearest", "linear", "cubic"], m.p[1]);
    let coordinates = one_of(&["half_pixel", "asymmetric", "align_corners"], m.p[2]);
    let are_factors_exact = coordinates != "align_corners" && !scales.contains(&1.5);
    if d.dtype(x).is_integer() && mode != "nearest" && !are_factors_exact {
        // Which way a half goes depends on how the factors were rounded.
        return None;
    }
    let scales = d.constant(Tensor::from_slice(&[rank], &scales));
    let attrs = attrs! { mode: mode, coordinate_transformation_mode: coordinates };
    let y = d.nodes("Resize", attrs, &[Some(x), None, Some(scales)], 1)?[0];
    d.keep(y)
}

/// Channels to pixels, or back.
pub(super) fn depth_space(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let y = match m.p[0] % 3 {
        0 => d.node("SpaceToDepth", attrs! { blocksize: 2i64 }, &[x])?,
        1 => d.node("DepthToSpace", attrs! { blocksize: 2i64 }, &[x])?,
        _ => d.node(
            "DepthToSpace",
            attrs! { blocksize: 2i64, mode: "CRD" },
            &[x],
        )?,
    };
    d.keep(y)
}

/// Rows put into a value, or added to it.
pub(super) fn scatter(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let dims = d.dims(x);
    let n = *dims.first()? as i64;
    let row = i64::from(m.p[0]) % n;
    let mut shape = dims.clone();
    shape[0] = 1;
    let update = d.weight(x, &shape);
    let reduction = one_of(&["none", "add", "max"], m.p[1]);
    let y = if m.p[2].is_multiple_of(2) {
        let indices = d.constant(Tensor::from_slice(&[1, 1], &[row]));
        d.node(
            "ScatterND",
            attrs! { reduction: reduction },
            &[x, indices, update],
        )?
    } else {
        let count = shape.iter().product();
        let indices = d.constant(Tensor::from_slice(&shape, &vec![row; count]));
        d.node(
            "ScatterElements",
            attrs! { reduction: reduction },
            &[x, indices, update],
        )?
    };
    d.keep(y)
}

/// A triangle.
pub(super) fn trilu(d: &mut Draft, m: Move) -> Option<ValueId> {
    let x = d.pick(m.a)?;
    let k = d.constant(Tensor::scalar(i64::from(m.p[0] % 4) - 2));
    let y = d.node("Trilu", attrs! { upper: m.p[1].is_multiple_of(2) }, &[x, k])?;
    d.keep(y)
}
