//! Normalisations and norms without a kernel of their own.

use crate::manager::Cause;
use crate::normalise::normalization::ones;
use crate::pattern::Sweep;
use ir::infer::{normalize_axes, normalize_axis};
use ir::ops::{
    Add, BatchNormalization, Div, Equal, GlobalLpPool, GroupNormalization, InstanceNormalization,
    LpNormalization, MeanVarianceNormalization, Mul, ReduceL1, ReduceL2, ReduceMean, Sqrt, Sub,
    Where,
};
use ir::patch::PatchError;
use ir::{DType, NodeId, Op, Tensor, ValueId};

/// `v`, one number a channel, such that it broadcasts to a tensor N, C, D1, …, Dn of `rank`.
fn per_channel(s: &mut Sweep<'_, '_, '_>, v: ValueId, rank: usize) -> Result<ValueId, PatchError> {
    let mut target = vec![1; rank - 1];
    target[0] = -1;
    let target = s.list(&target);
    s.node(ir::ops::Reshape { allowzero: false }, &[v, target])
}

/// Statistics from operands: `(x - mean) / sqrt(variance + epsilon) * scale + bias`.
pub(crate) fn batch(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &BatchNormalization,
) -> Result<(), Cause> {
    let operands: Option<Vec<ValueId>> = s.inputs(node).into_iter().collect();
    let Some(&[x, scale, bias, mean, variance]) = operands.as_deref() else {
        return Ok(());
    };
    let constant = [scale, bias, mean, variance]
        .iter()
        .all(|&v| s.is_constant(v));
    let types = [scale, bias, mean, variance].map(|v| s.dtype(v));
    if constant || s.outputs(node).len() > 1 || types != [s.dtype(x); 4] {
        return Ok(());
    }
    let (rank, dtype) = (s.rank(x), s.dtype(x));
    s.rewrite(node, |s| {
        let epsilon = s.number(dtype, op.epsilon.into());
        let shifted = s.node(Add {}, &[variance, epsilon])?;
        let root = s.node(Sqrt {}, &[shifted])?;
        let factor = s.node(Div {}, &[scale, root])?;
        let [mean, factor, bias] = [
            per_channel(s, mean, rank)?,
            per_channel(s, factor, rank)?,
            per_channel(s, bias, rank)?,
        ];
        let deviation = s.node(Sub {}, &[x, mean])?;
        let scaled = s.node(Mul {}, &[deviation, factor])?;
        s.node(Add {}, &[scaled, bias])
    })
}

/// Each group as one channel, then scale and bias by channel.
pub(crate) fn group(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &GroupNormalization,
) -> Result<(), Cause> {
    let operands: Option<Vec<ValueId>> = s.inputs(node).into_iter().collect();
    let Some(&[x, scale, bias]) = operands.as_deref() else {
        return Ok(());
    };
    let (Some(dims), Ok(n_groups)) = (s.dims(x), usize::try_from(op.num_groups)) else {
        s.refuse(node, || "a dimension is not known".into());
        return Ok(());
    };
    if n_groups == 0 || dims.contains(&0) {
        return Ok(());
    }
    let dtype = s.dtype(x);
    s.rewrite(node, |s| {
        let rest = dims[1..].iter().product::<usize>() / n_groups;
        let groups = s.reshaped(x, &[dims[0], n_groups, rest])?;
        let one = ones(s, dtype, &[n_groups]);
        let zero = s.constant_value(Tensor::from_f64(dtype, &[n_groups], &vec![0.0; n_groups]));
        let normal = InstanceNormalization {
            epsilon: op.epsilon,
        };
        let y = s.node(normal, &[groups, one, zero])?;
        let y = s.reshaped(y, &dims)?;
        let scale = per_channel(s, scale, dims.len())?;
        let bias = per_channel(s, bias, dims.len())?;
        let scaled = s.node(Mul {}, &[y, scale])?;
        s.node(Add {}, &[scaled, bias])
    })
}

/// The norm of order 1 or 2.
fn norm(order: u32) -> Option<Op> {
    let (keepdims, noop_with_empty_axes) = (true, false);
    match order {
        1 => Some(
            ReduceL1 {
                keepdims,
                noop_with_empty_axes,
            }
            .into(),
        ),
        2 => Some(
            ReduceL2 {
                keepdims,
                noop_with_empty_axes,
            }
            .into(),
        ),
        _ => None,
    }
}

/// x over its norm; the norm 1 where it is 0.
pub(crate) fn lp(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &LpNormalization,
) -> Result<(), Cause> {
    let (Some(x), Some(norm)) = (s.input(node, 0), norm(op.p.get())) else {
        s.refuse(node, || format!("its norm is of order {}", op.p.get()));
        return Ok(());
    };
    let axis = normalize_axis(op.axis, s.rank(x))? as i64;
    let dtype = s.dtype(x);
    s.rewrite(node, |s| {
        let axes = s.list(&[axis]);
        let size = s.node(norm, &[x, axes])?;
        let (zero, one) = (s.number(dtype, 0.0), s.number(dtype, 1.0));
        let is_zero = s.node(Equal {}, &[size, zero])?;
        let divisor = s.node(Where {}, &[is_zero, one, size])?;
        s.node(Div {}, &[x, divisor])
    })
}

/// The norm over all spatial dimensions.
pub(crate) fn global_lp(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &GlobalLpPool,
) -> Result<(), Cause> {
    let (Some(x), Some(norm)) = (s.input(node, 0), norm(op.p.get())) else {
        s.refuse(node, || format!("its norm is of order {}", op.p.get()));
        return Ok(());
    };
    let axes: Vec<i64> = (2..s.rank(x) as i64).collect();
    if axes.is_empty() {
        return Ok(());
    }
    s.rewrite(node, |s| {
        let axes = s.list(&axes);
        s.node(norm, &[x, axes])
    })
}

/// `(x - mean) / (sqrt(variance) + 1e-9)`.
pub(crate) fn mean_variance(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &MeanVarianceNormalization,
) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let axes = normalize_axes(&op.axes, s.rank(x))?;
    let axes: Vec<i64> = axes.into_iter().map(|a| a as i64).collect();
    let dtype = s.dtype(x);
    if axes.is_empty() || matches!(dtype, DType::F16 | DType::BF16) {
        s.refuse(node, || "its least deviation is 0 in its type".into());
        return Ok(());
    }
    let mean_of = |s: &mut Sweep<'_, '_, '_>, v: ValueId| {
        let axes = s.list(&axes);
        let op = ReduceMean {
            keepdims: true,
            noop_with_empty_axes: false,
        };
        s.node(op, &[v, axes])
    };
    s.rewrite(node, |s| {
        let mean = mean_of(s, x)?;
        let deviation = s.node(Sub {}, &[x, mean])?;
        let square = s.node(Mul {}, &[deviation, deviation])?;
        let variance = mean_of(s, square)?;
        let root = s.node(Sqrt {}, &[variance])?;
        let least = s.number(dtype, 1e-9);
        let divisor = s.node(Add {}, &[root, least])?;
        s.node(Div {}, &[deviation, divisor])
    })
}
