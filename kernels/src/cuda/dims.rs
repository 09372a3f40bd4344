//! Dimensions of a domain that operands are walked over, put into as few as possible.

/// A dimension: its extent, and the stride of each operand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Dim {
    pub(super) extent: u64,
    pub(super) strides: Vec<i64>,
    /// Which dimension of the domain it is, if its position is asked for; such ones stay apart.
    pub(super) index: Option<usize>,
}

/// The dimensions of `domain` with the strides of `operands` over it; `is_asked` says of which the
/// position is needed. Dimensions of one element are left out unless asked for.
pub(super) fn dims(
    domain: &[u64],
    operands: &[&[i64]],
    is_asked: &dyn Fn(usize) -> bool,
) -> Vec<Dim> {
    let of = |d: usize| Dim {
        extent: domain[d],
        strides: operands.iter().map(|strides| strides[d]).collect(),
        index: is_asked(d).then_some(d),
    };
    let kept = |d: &usize| domain[*d] != 1 || is_asked(*d);
    (0..domain.len()).filter(kept).map(of).collect()
}

/// Sorts dimensions by the stride of operand `by`, greatest first, so that the last one is where its
/// neighbours in memory are; dimensions that it repeats along come first.
pub(super) fn sort(dims: &mut [Dim], by: usize) {
    let key = |dim: &Dim| match dim.strides[by].unsigned_abs() {
        0 => u64::MAX,
        stride => stride,
    };
    dims.sort_by_key(|dim| std::cmp::Reverse(key(dim)));
}

/// Joins neighbours that all operands walk through as if they were one.
pub(super) fn merged(dims: &[Dim]) -> Vec<Dim> {
    let mut merged: Vec<Dim> = Vec::with_capacity(dims.len());
    for dim in dims {
        let inner = i64::try_from(dim.extent).unwrap_or(i64::MAX);
        if let Some(outer) = merged.last_mut()
            && outer.index.is_none()
            && dim.index.is_none()
            && outer
                .strides
                .iter()
                .zip(&dim.strides)
                .all(|(o, i)| Some(*o) == i.checked_mul(inner))
        {
            outer.extent *= dim.extent;
            outer.strides.clone_from(&dim.strides);
        } else {
            merged.push(dim.clone());
        }
    }
    merged
}

/// The extents.
pub(super) fn extents(dims: &[Dim]) -> Vec<u64> {
    dims.iter().map(|dim| dim.extent).collect()
}

/// Whether operand `of` lies row-major and without gaps.
pub(super) fn is_dense(dims: &[Dim], of: usize) -> bool {
    let mut distance = 1;
    dims.iter().rev().all(|dim| {
        let dense = dim.extent == 1 || dim.strides[of] == distance;
        distance *= dim.extent as i64;
        dense
    })
}
