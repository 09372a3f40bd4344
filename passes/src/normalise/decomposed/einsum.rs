//! Sums of products by an equation.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::ops::{Einsum, MatMul, ReduceSum};
use ir::patch::PatchError;
use ir::{NodeId, ValueId};

/// An operand and the index of each of its dimensions.
struct Term {
    value: ValueId,
    indices: Vec<usize>,
}

/// Two operands: sums over what only one of them has, then a batch of matrix products over what
/// both have and the result lacks. One operand: a sum and a transpose.
pub(crate) fn decompose(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Einsum) -> Result<(), Cause> {
    let inputs: Vec<ValueId> = s.inputs(node).into_iter().flatten().collect();
    let ranks: Vec<usize> = inputs.iter().map(|&v| s.rank(v)).collect();
    let subscripts = op.subscripts(&ranks)?;
    let twice = |o: &Vec<usize>| o.iter().enumerate().any(|(i, x)| o[..i].contains(x));
    if subscripts.operands.iter().any(twice) {
        s.refuse(node, || "an index stands twice in one operand".into());
        return Ok(());
    }
    let mut sizes = vec![None; subscripts.n_indices];
    for (&v, indices) in inputs.iter().zip(&subscripts.operands) {
        let Some(dims) = s.dims(v) else {
            s.refuse(node, || "a dimension is not known".into());
            return Ok(());
        };
        for (&i, d) in indices.iter().zip(dims) {
            if sizes[i].replace(d).is_some_and(|old| old != d) {
                s.refuse(node, || "dimensions of one index broadcast".into());
                return Ok(());
            }
        }
    }
    let sizes: Vec<usize> = sizes.into_iter().map(Option::unwrap_or_default).collect();
    let mut terms = inputs
        .into_iter()
        .zip(subscripts.operands)
        .map(|(value, indices)| Term { value, indices });
    let n_result = subscripts.n_result;
    match (terms.next(), terms.next(), terms.next()) {
        (Some(x), None, None) => s.rewrite(node, |s| {
            let x = summed(s, x, |i| i >= n_result)?;
            permuted(s, &x, &(0..n_result).collect::<Vec<_>>())
        }),
        (Some(a), Some(b), None) => s.rewrite(node, |s| product(s, a, b, n_result, &sizes)),
        _ => {
            s.refuse(node, || "there are more than two operands".into());
            Ok(())
        }
    }
}

/// `x` summed over the indices that `out` holds for.
fn summed(
    s: &mut Sweep<'_, '_, '_>,
    x: Term,
    out: impl Fn(usize) -> bool,
) -> Result<Term, PatchError> {
    let axes: Vec<i64> = (0..x.indices.len())
        .filter(|&d| out(x.indices[d]))
        .map(|d| d as i64)
        .collect();
    if axes.is_empty() {
        return Ok(x);
    }
    let axes = s.list(&axes);
    let op = ReduceSum {
        keepdims: false,
        noop_with_empty_axes: false,
    };
    let value = s.node(op, &[x.value, axes])?;
    let indices = x.indices.into_iter().filter(|&i| !out(i)).collect();
    Ok(Term { value, indices })
}

/// `x` with its dimensions in the order of `indices`.
fn permuted(s: &mut Sweep<'_, '_, '_>, x: &Term, indices: &[usize]) -> Result<ValueId, PatchError> {
    let at = |i: &usize| x.indices.iter().position(|j| j == i);
    let perm: Vec<usize> = indices.iter().filter_map(at).collect();
    s.transposed(x.value, &perm)
}

fn product(
    s: &mut Sweep<'_, '_, '_>,
    a: Term,
    b: Term,
    n_result: usize,
    sizes: &[usize],
) -> Result<ValueId, PatchError> {
    let in_a = a.indices.clone();
    let in_b = b.indices.clone();
    let a = summed(s, a, |i| i >= n_result && !in_b.contains(&i))?;
    let b = summed(s, b, |i| i >= n_result && !in_a.contains(&i))?;
    let pick = |of: &[usize], keep: &dyn Fn(usize) -> bool| -> Vec<usize> {
        let mut indices: Vec<usize> = of.iter().copied().filter(|&i| keep(i)).collect();
        indices.sort_unstable();
        indices
    };
    let batch = pick(&a.indices, &|i| i < n_result && b.indices.contains(&i));
    let inner = pick(&a.indices, &|i| i >= n_result);
    let rows = pick(&a.indices, &|i| i < n_result && !batch.contains(&i));
    let columns = pick(&b.indices, &|i| i < n_result && !batch.contains(&i));
    let size = |of: &[usize]| of.iter().map(|&i| sizes[i]).product::<usize>();
    let batch_dims: Vec<usize> = batch.iter().map(|&i| sizes[i]).collect();
    let mut matrices = |x: &Term, first: &[usize], second: &[usize]| {
        let moved = permuted(s, x, &[&batch[..], first, second].concat())?;
        let dims = [&batch_dims[..], &[size(first), size(second)]].concat();
        s.reshaped(moved, &dims)
    };
    let left = matrices(&a, &rows, &inner)?;
    let right = matrices(&b, &inner, &columns)?;
    let y = s.node(MatMul {}, &[left, right])?;
    let indices = [batch, rows, columns].concat();
    let dims: Vec<usize> = indices.iter().map(|&i| sizes[i]).collect();
    let value = s.reshaped(y, &dims)?;
    permuted(
        s,
        &Term { value, indices },
        &(0..n_result).collect::<Vec<_>>(),
    )
}
