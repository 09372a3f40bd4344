//! Constants that vary along one dimension only.

use crate::algebra::term::Terms;
use egg::Id;
use ir::Shape;

/// A constant that varies along one dimension of what it is combined with, or along none.
#[derive(Clone, Copy)]
pub(super) struct Along {
    /// The constant, of any rank.
    pub constant: Id,
    /// How many elements it has: 1, or those of the dimension.
    pub n: usize,
}

impl Along {
    /// The constant `c`, if broadcasting it to `shape` repeats it along all dimensions but `axis`.
    pub(super) fn new(t: &Terms<'_>, c: Id, shape: &Shape, axis: usize) -> Option<Self> {
        let dims = t.dims(c)?;
        if !t.is_constant(c) || dims.len() > shape.rank() || axis >= shape.rank() {
            return None;
        }
        let lead = shape.rank() - dims.len();
        let elsewhere = dims
            .iter()
            .enumerate()
            .any(|(i, &d)| d != 1 && i + lead != axis);
        let n = dims.iter().product();
        (!elsewhere && (n == 1 || shape.dim(axis).known() == Some(n)))
            .then_some(Self { constant: c, n })
    }

    /// Its elements along dimension `axis` of `rank`.
    pub(super) fn at(self, t: &mut Terms<'_>, axis: usize, rank: usize) -> Option<Id> {
        let mut dims = vec![1; rank];
        if self.n > 1 {
            *dims.get_mut(axis)? = self.n;
        }
        t.reshaped(self.constant, &dims)
    }

    /// Its elements as a vector of `n`.
    pub(super) fn vector(self, t: &mut Terms<'_>, n: usize) -> Option<Id> {
        let vector = t.reshaped(self.constant, &[self.n])?;
        if self.n == n {
            return Some(vector);
        }
        let shape = t.integers(&[n]);
        t.add(ir::ops::Expand {}, &[vector, shape])
    }
}

/// `weight`, times the elements of `scale` along its dimension `axis`, which is divided into
/// `groups` blocks: the weight's dimension 0 runs through the groups, `axis` within one.
pub(super) fn scale_grouped(
    t: &mut Terms<'_>,
    weight: Id,
    scale: Along,
    axis: usize,
    groups: usize,
) -> Option<Id> {
    let dims = t.dims(weight)?;
    if groups == 1 || scale.n == 1 {
        let scale = scale.at(t, axis, dims.len())?;
        return t.add(ir::ops::Mul {}, &[weight, scale]);
    }
    let mut split = vec![groups, dims[0].checked_div(groups)?];
    split.extend(&dims[1..]);
    let mut along = vec![1; split.len()];
    along[0] = groups;
    along[axis + 1] = scale.n / groups;
    let weight = t.reshaped(weight, &split)?;
    let scale = t.reshaped(scale.constant, &along)?;
    let scaled = t.add(ir::ops::Mul {}, &[weight, scale])?;
    t.reshaped(scaled, &dims)
}
