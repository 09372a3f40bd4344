//! Codes with one element on.

use crate::manager::Cause;
use crate::normalise::canonical::views::sliced;
use crate::pattern::Sweep;
use ir::infer::normalize_axis;
use ir::ops::{Add, ArgMax, Cast, Equal, Hardmax, Less, OneHot, Unsqueeze, Where};
use ir::patch::PatchError;
use ir::{DType, NodeId, Tensor, ValueId};

/// `index`, of size 1 along `axis`, compared with every position along it.
fn is_position(
    s: &mut Sweep<'_, '_, '_>,
    index: ValueId,
    axis: usize,
    n: usize,
) -> Result<ValueId, PatchError> {
    let mut dims = vec![1; s.rank(index)];
    dims[axis] = n;
    let positions: Vec<i64> = (0..n as i64).collect();
    let positions = s.constant_value(Tensor::from_slice(&dims, &positions));
    s.node(Equal {}, &[index, positions])
}

/// 1 at the first maximum along the axis.
pub(crate) fn hardmax(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Hardmax) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let axis = normalize_axis(op.axis, s.rank(x))?;
    let Some(n) = s.ty(x).shape.dim(axis).known() else {
        s.refuse(node, || "a dimension is not known".into());
        return Ok(());
    };
    let dtype = s.dtype(x);
    s.rewrite(node, |s| {
        let greatest = ArgMax {
            axis: axis as i64,
            keepdims: true,
            select_last_index: false,
        };
        let index = s.node(greatest, &[x])?;
        let is_greatest = is_position(s, index, axis, n)?;
        s.node(Cast::to(dtype), &[is_greatest])
    })
}

/// "on" where the position is the index, "off" elsewhere.
pub(crate) fn one_hot(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &OneHot) -> Result<(), Cause> {
    let (Some(indices), Some(values)) = (s.input(node, 0), s.input(node, 2)) else {
        return Ok(());
    };
    let result = &s.ty(s.output(node)).shape;
    let axis = normalize_axis(op.axis, result.rank())?;
    let Some(depth) = result.dim(axis).known() else {
        s.refuse(node, || "the depth is not known".into());
        return Ok(());
    };
    let is_i64 = s.dtype(indices) == DType::I64;
    s.rewrite(node, |s| {
        let mut index = indices;
        if !is_i64 {
            index = s.node(Cast::to(DType::I64), &[index])?;
        }
        let axes = s.list(&[axis as i64]);
        let index = s.node(Unsqueeze {}, &[index, axes])?;
        let (zero, n) = (
            s.number(DType::I64, 0.0),
            s.number(DType::I64, depth as f64),
        );
        let is_negative = s.node(Less {}, &[index, zero])?;
        let from_back = s.node(Add {}, &[index, n])?;
        let index = s.node(Where {}, &[is_negative, from_back, index])?;
        let is_on = is_position(s, index, axis, depth)?;
        let off = sliced(s, values, &[(0, 0, 1, 1)])?;
        let on = sliced(s, values, &[(0, 1, 2, 1)])?;
        s.node(Where {}, &[is_on, on, off])
    })
}
