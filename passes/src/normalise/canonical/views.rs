//! Views and selections: fewer operators, explicit shapes.

use super::axes::{read, same_operands, with_attr};
use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::attrs::Attr;
use ir::infer::normalize_axis;
use ir::ops::{Concat, Expand, Gather, GatherND, Reshape, Slice, Split, Transpose};
use ir::{Dim, NodeId, Op, Shape, Tensor, ValueId};

/// `Identity(%0)` is `%0`, and so is `Dropout`, whose mask is true everywhere.
pub(crate) fn identity(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let mask = s
        .outputs(node)
        .get(1)
        .copied()
        .filter(|&m| s.n_readers(m) > 0);
    let Some(mask) = mask else {
        return s.rewrite(node, |_| Ok(x));
    };
    let Some(dims) = s.dims(x) else {
        s.refuse(node, || "its mask is read, and of unknown shape".into());
        return Ok(());
    };
    if s.may_change(&[node]) {
        let dims: Vec<i64> = dims.into_iter().map(|d| d as i64).collect();
        let (one, dims) = (s.constant_value(Tensor::scalar(true)), s.list(&dims));
        let everywhere = s.node(Expand {}, &[one, dims])?;
        s.replace(mask, everywhere);
        s.replace(s.output(node), x);
    }
    Ok(())
}

/// `Squeeze(%0)` is `Reshape(%0, w0)`.
pub(crate) fn reshape(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let Some((target, allowzero)) = reshape_target(&s.ty(x).shape, &s.ty(s.output(node)).shape)
    else {
        s.refuse(node, || {
            "more than one dimension of the result is not known".into()
        });
        return Ok(());
    };
    s.rewrite(node, |s| {
        let target = s.list(&target);
        s.node(Reshape { allowzero }, &[x, target])
    })
}

/// The shape operand of a reshape from `x` to `y`, and its `allowzero`, if one can say it.
fn reshape_target(x: &Shape, y: &Shape) -> Option<(Vec<i64>, bool)> {
    let allowzero = y.0.contains(&Dim::Known(0));
    let mut rest = false;
    let number = |(i, d): (usize, &Dim)| match d {
        Dim::Known(n) => i64::try_from(*n).ok(),
        same if !allowzero && x.0.get(i) == Some(same) => Some(0),
        _ => (!std::mem::replace(&mut rest, true)).then_some(-1),
    };
    let target: Option<Vec<i64>> = y.0.iter().enumerate().map(number).collect();
    Some((target?, allowzero))
}

/// `Reshape(%0, [0, -1])` is `Reshape(%0, [2, 12])`.
pub(crate) fn target(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Reshape) -> Result<(), Cause> {
    let (Some(x), Some(shape)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let Some(given) = s.ints(shape) else {
        return Ok(());
    };
    let Some((target, allowzero)) = reshape_target(&s.ty(x).shape, &s.ty(s.output(node)).shape)
    else {
        return Ok(());
    };
    if target == given && allowzero == op.allowzero {
        return Ok(());
    }
    s.rewrite(node, |s| {
        let target = s.list(&target);
        s.node(Reshape { allowzero }, &[x, target])
    })
}

/// `Transpose(%0)` is `Transpose(%0) {perm = [1, 0]}`.
pub(crate) fn permutation(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &Transpose,
) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let perm = op.permutation(s.rank(x))?;
    same_operands(s, node, Transpose::by(&perm).into())
}

/// `Gather(%0, 2)` is the slice from 2 to 3 without its axis, `Gather(%0, [1, 2])` the slice from 1
/// to 3, and with `[[1], [2]]` a reshape of that.
pub(crate) fn gather(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Gather) -> Result<(), Cause> {
    let (Some(x), Some(indices)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let axis = normalize_axis(op.axis, s.rank(x))?;
    let run = s
        .ty(x)
        .shape
        .dim(axis)
        .known()
        .and_then(|n| run_of(&s.ints(indices)?, n));
    let Some((first, n)) = run else {
        return super::axes::axis(s, node);
    };
    let result = s.ty(s.output(node)).shape.clone();
    let list = s.rank(indices) == 1;
    let Some((target, allowzero)) = reshape_target(&slice_shape(s, x, axis, n), &result) else {
        return Ok(());
    };
    s.rewrite(node, |s| {
        let y = sliced(s, x, &[(axis, first as i64, (first + n) as i64, 1)])?;
        if list {
            return Ok(y);
        }
        let target = s.list(&target);
        s.node(Reshape { allowzero }, &[y, target])
    })
}

/// `GatherND(%0, [[0, 0], [0, 1]])` is a slice of a reshape where the elements that are asked for
/// follow one another.
pub(crate) fn gather_nd(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &GatherND,
) -> Result<(), Cause> {
    let (Some(x), Some(indices)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let (Some(dims), Some(result), 0) = (s.dims(x), s.dims(s.output(node)), op.batch_dims) else {
        return Ok(());
    };
    let Some(&size) = s.dims(indices).as_deref().and_then(<[usize]>::last) else {
        return Ok(());
    };
    let (Some(positions), true) = (s.ints(indices), (1..=dims.len()).contains(&size)) else {
        return Ok(());
    };
    let (leading, rest) = dims.split_at(size);
    let place = |tuple: &[i64]| {
        tuple.iter().zip(leading).try_fold(0, |at, (&p, &n)| {
            Some(at * n as i64 + normalize_axis(p, n).ok()? as i64)
        })
    };
    let places: Option<Vec<i64>> = positions.chunks_exact(size).map(place).collect();
    let n = leading.iter().product();
    let Some((first, count)) = places.and_then(|places| run_of(&places, n)) else {
        return Ok(());
    };
    s.rewrite(node, |s| {
        let flat = s.reshaped(x, &[&[n], rest].concat())?;
        let part = sliced(s, flat, &[(0, first as i64, (first + count) as i64, 1)])?;
        s.reshaped(part, &result)
    })
}

fn slice_shape(s: &Sweep<'_, '_, '_>, x: ValueId, axis: usize, n: usize) -> Shape {
    let mut shape = s.ty(x).shape.clone();
    shape.0[axis] = Dim::Known(n);
    shape
}

/// The first index and the number of `indices` that follow one another upward, within `0..n`.
fn run_of(indices: &[i64], n: usize) -> Option<(usize, usize)> {
    let at = |&i: &i64| normalize_axis(i, n).ok();
    let indices: Vec<usize> = indices.iter().map(at).collect::<Option<_>>()?;
    let first = *indices.first()?;
    let runs = indices.iter().enumerate().all(|(k, &i)| i == first + k);
    runs.then_some((first, indices.len()))
}

/// `x` cut along axes: axis, start, end, step each.
pub(in crate::normalise) fn sliced(
    s: &mut Sweep<'_, '_, '_>,
    x: ValueId,
    cuts: &[(usize, i64, i64, i64)],
) -> Result<ValueId, ir::patch::PatchError> {
    let list = |f: fn(&(usize, i64, i64, i64)) -> i64| cuts.iter().map(f).collect::<Vec<_>>();
    let (starts, ends) = (s.list(&list(|c| c.1)), s.list(&list(|c| c.2)));
    let axes = s.list(&list(|c| c.0 as i64));
    let mut inputs = vec![x, starts, ends, axes];
    if cuts.iter().any(|c| c.3 != 1) {
        inputs.push(s.list(&list(|c| c.3)));
    }
    s.node(Slice {}, &inputs)
}

/// `Slice(%0, [-2], [1000])` is `Slice(%0, [6], [8], [0])`: cut axes only, ascending, from the front.
pub(crate) fn slice(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let lists: Vec<_> = (1..5)
        .map(|i| s.input(node, i).map(|v| s.ints(v)))
        .collect();
    let [Some(Some(starts)), Some(Some(ends)), axes, steps] = lists.as_slice() else {
        return Ok(());
    };
    if axes == &Some(None) || steps == &Some(None) {
        return Ok(());
    }
    let numbers = 0..starts.len() as i64;
    let given_axes = axes.clone().flatten().unwrap_or(numbers.collect());
    let given_steps = steps.clone().flatten().unwrap_or(vec![1; starts.len()]);
    let mut cuts = vec![];
    for (i, &axis) in given_axes.iter().enumerate() {
        let axis = normalize_axis(axis, s.rank(x))?;
        let (Some(n), step @ 1..) = (s.ty(x).shape.dim(axis).known(), given_steps[i]) else {
            return Ok(());
        };
        let n = n as i64;
        let limit = |k: i64| {
            if k < 0 {
                k.saturating_add(n).max(0)
            } else {
                k.min(n)
            }
        };
        let (start, end) = (limit(starts[i]), limit(ends[i]));
        let end = end.max(start);
        if (start, end, step) != (0, n, 1) {
            cuts.push((axis, start, end, step));
        }
    }
    cuts.sort_unstable();
    if cuts.is_empty() {
        return s.rewrite(node, |_| Ok(x));
    }
    let column = |f: fn(&(usize, i64, i64, i64)) -> i64| cuts.iter().map(f).collect::<Vec<_>>();
    let canonical = *starts == column(|c| c.1)
        && *ends == column(|c| c.2)
        && axes.clone().flatten() == Some(column(|c| c.0 as i64))
        && steps.is_some() == cuts.iter().any(|c| c.3 != 1);
    if canonical {
        return Ok(());
    }
    s.rewrite(node, |s| sliced(s, x, &cuts))
}

/// `Split(%0) {num_outputs = 2}` is `Split(%0, [3, 3])`; one part is the operand.
pub(crate) fn split(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Split) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let axis = normalize_axis(op.axis, s.rank(x))?;
    let outputs = s.outputs(node).to_vec();
    if outputs.len() == 1 {
        return s.rewrite(node, |_| Ok(x));
    }
    let size = |&v: &ValueId| s.ty(v).shape.dim(axis).known().map(|n| n as i64);
    let sizes: Option<Vec<i64>> = outputs.iter().map(size).collect();
    let Some(sizes) = sizes else {
        return super::axes::axis(s, node);
    };
    let given = s.input(node, 1).and_then(|v| s.ints(v));
    let canonical = Split {
        axis: axis as i64,
        num_outputs: None,
    };
    if (given.as_ref() == Some(&sizes) && *op == canonical) || !s.may_change(&[node]) {
        return Ok(());
    }
    let sizes = s.list(&sizes);
    let parts = s.node_results(canonical, &[Some(x), Some(sizes)], outputs.len())?;
    for (old, new) in outputs.into_iter().zip(parts) {
        s.replace(old, new);
    }
    Ok(())
}

/// `Expand(%0, [1, 4])` is `Expand(%0, [3, 4])` where the result is `[3, 4]`.
pub(crate) fn expand(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let (Some(x), Some(shape)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let (Some(given), Some(dims)) = (s.ints(shape), s.dims(s.output(node))) else {
        return Ok(());
    };
    let dims: Vec<i64> = dims.into_iter().map(|d| d as i64).collect();
    if given == dims {
        return Ok(());
    }
    s.rewrite(node, |s| {
        let dims = s.list(&dims);
        s.node(ir::ops::Expand {}, &[x, dims])
    })
}

/// `Concat(%0)` is `%0`.
pub(crate) fn concat(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Concat) -> Result<(), Cause> {
    let inputs: Vec<ValueId> = s.inputs(node).into_iter().flatten().collect();
    if let [only] = inputs[..] {
        return s.rewrite(node, |_| Ok(only));
    }
    let Some(&x) = inputs.first() else {
        return Ok(());
    };
    let axis = normalize_axis(op.axis, s.rank(x))?;
    let op = with_attr(&Op::Concat(op.clone()), "axis", Attr::Int(axis as i64))?;
    let op = read(&op, &op.attrs())?;
    same_operands(s, node, op)
}
