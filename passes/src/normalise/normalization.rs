//! What the recognisers of normalisations share.

use crate::pattern::Sweep;
use ir::infer::normalize_axis;
use ir::{DType, Op, Tensor, ValueId};

/// d, what `statistic(d, m)` says, and e, where `y` is `d / sqrt(m + e)`: a quotient, or a product
/// with the inverse root, however that is spelt.
pub(super) fn inverse_root<T>(
    s: &Sweep<'_, '_, '_>,
    y: ValueId,
    statistic: impl Fn(&Sweep<'_, '_, '_>, ValueId, ValueId) -> Option<T>,
) -> Option<(ValueId, T, f64)> {
    let found = |d: ValueId, shifted: ValueId| {
        let (mean, epsilon) = s.plus(shifted).unwrap_or((shifted, 0.0));
        Some((d, statistic(s, d, s.resolve(mean))?, epsilon))
    };
    if let Some([d, root]) = s.operands(y, |op| matches!(op, Op::Div(_))) {
        return found(d, s.operand(root, |op| matches!(op, Op::Sqrt(_)))?);
    }
    s.either_order(y, |op| matches!(op, Op::Mul(_)))
        .find_map(|[d, inverse]| found(d, inverse_root_of(s, inverse)?))
}

/// v where `inverse` is `1 / sqrt(v)`.
fn inverse_root_of(s: &Sweep<'_, '_, '_>, inverse: ValueId) -> Option<ValueId> {
    let def = s.def(inverse)?;
    let root = |v: ValueId| s.operand(v, |op| matches!(op, Op::Sqrt(_)));
    match s.op(def) {
        Op::Reciprocal(_) => root(s.input(def, 0)?),
        Op::Div(_) if s.scalar(s.input(def, 0)?) == Some(1.0) => root(s.input(def, 1)?),
        Op::Sqrt(_) => s.operand(s.input(def, 0)?, |op| matches!(op, Op::Reciprocal(_))),
        Op::Pow(_) if s.scalar(s.input(def, 1)?) == Some(-0.5) => s.input(def, 0),
        _ => None,
    }
}

/// x and the axes where `d` is x less its mean along these axes.
pub(super) fn deviation(s: &Sweep<'_, '_, '_>, d: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let [x, mean] = s.operands(d, |op| matches!(op, Op::Sub(_)))?;
    let (of, axes, keeps) = s.reduction(mean, |op| matches!(op, Op::ReduceMean(_)))?;
    (of == x && keeps).then_some((x, axes))
}

/// The first of `axes` and their dimensions, if they are the last axes of `x` and known.
pub(super) fn trailing(
    s: &Sweep<'_, '_, '_>,
    x: ValueId,
    axes: &[usize],
) -> Option<(usize, Vec<usize>)> {
    let first = *axes.first()?;
    if !axes.iter().copied().eq(first..s.rank(x)) {
        return None;
    }
    let dims = s.ty(x).shape.0[first..].iter().map(|d| d.known());
    Some((first, dims.collect::<Option<_>>()?))
}

/// A constant of ones.
pub(super) fn ones(s: &mut Sweep<'_, '_, '_>, dtype: DType, dims: &[usize]) -> ValueId {
    let n = dims.iter().product();
    s.constant_value(Tensor::from_f64(dtype, dims, &vec![1.0; n]))
}

/// The constant `c` with the dimensions of `x` from `axis` on, if it is the same along all earlier
/// ones.
pub(super) fn onto(s: &Sweep<'_, '_, '_>, x: ValueId, axis: i64, c: ValueId) -> Option<Tensor> {
    let tensor = s.constant(c)?;
    if tensor.dtype() != s.dtype(x) {
        return None;
    }
    let axis = normalize_axis(axis, s.rank(x)).ok()?;
    let dims = s.ty(x).shape.0[axis..].iter().map(|d| d.known());
    let dims: Vec<usize> = dims.collect::<Option<_>>()?;
    let n: usize = dims.iter().product();
    if tensor.n_elements() == 1 {
        let number = *tensor.to_f64()?.first()?;
        return Some(Tensor::from_f64(tensor.dtype(), &dims, &vec![number; n]));
    }
    let given = tensor.dims();
    let lead = given.iter().take_while(|&&d| d == 1).count();
    let (given, wanted) = (&given[lead..], dims.iter().skip_while(|&&d| d == 1));
    (tensor.n_elements() == n && given.iter().eq(wanted))
        .then(|| tensor.reshaped(&dims).ok())
        .flatten()
}
