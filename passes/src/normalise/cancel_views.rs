//! Takes views together that undo one another.

use super::attention_operands;
use super::canonical::views::sliced;
use super::view_chain::{Chain, Rearrangement};
use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::infer::normalize_axis;
use ir::patch::{PatchError, infer_node};
use ir::{Class, NodeId, Op, Program, ValueId};

/// Most views that are looked at together; longer chains shrink as the sweep goes along them.
const CHAIN_LIMIT: usize = 8;

/// A chain of reshapes and transposes becomes the shortest one that does the same, and what
/// broadcasting does anyway is not done before.
///
/// Before: `%1 = Transpose(%0)`, `%2 = Reshape(%1, w0)`, `%3 = Transpose(%2)`, where the reshape only
/// adds a dimension of size 1. After: `%3 = Reshape(%0, w1)`.
///
/// An attention reads heads that are repeated once, and its mask as it is before an expansion.
///
/// A slice that leaves nothing for the transpose before it to move is taken before it.
///
/// A view that others read too stays for them; the chain behind it is only skipped if that costs no
/// transpose.
pub fn cancel_views(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node) {
        Op::Reshape(_) | Op::Transpose(_) => rearrangement(s, node),
        Op::Expand(_) => expansion(s, node),
        Op::Slice(_) => slice_of_transpose(s, node),
        Op::Attention(op) => {
            let op = op.clone();
            attention_operands::unexpanded(s, node, &op)
        }
        op if op.class() == Class::Map || matches!(op, Op::MatMul(_)) => broadcast(s, node),
        _ => Ok(()),
    })
}

fn rearrangement(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    if nothing(s, node, x) {
        return s.rewrite(node, |_| Ok(x));
    }
    let chain = chain_to(s, node);
    let dying = 1 + chain
        .iter()
        .skip(1)
        .take_while(|&&n| s.n_readers(s.output(n)) == 1)
        .count();
    let n_transposes = |nodes: &[NodeId]| {
        let transposes = nodes
            .iter()
            .filter(|&&n| matches!(s.op(n), Op::Transpose(_)));
        transposes.count()
    };
    for n in (1..=chain.len()).rev() {
        let nodes = &chain[..n];
        let Some(short) = shortest(s, nodes) else {
            continue;
        };
        let dying = &nodes[..dying.min(n)];
        let (new, old) = (usize::from(short.perm.is_some()), n_transposes(dying));
        let better = new < old || short.len() < n;
        let no_worse = new <= old && short.len() <= dying.len();
        if !(short.len() == 0 || better && no_worse) {
            continue;
        }
        let (nodes, first) = (nodes.to_vec(), nodes[n - 1]);
        let Some(source) = s.input(first, 0) else {
            continue;
        };
        return s.rewrite_pattern(&nodes, s.output(node), |s| build(s, source, &short));
    }
    unknown_dims(s, node, &chain)
}

/// Whether `node` gives its operand `x` as it is.
fn nothing(s: &Sweep<'_, '_, '_>, node: NodeId, x: ValueId) -> bool {
    let same_type = s.ty(x) == s.ty(s.output(node));
    match s.op(node) {
        Op::Transpose(op) => op
            .permutation(s.rank(x))
            .is_ok_and(|perm| perm.iter().enumerate().all(|(i, &p)| i == p)),
        _ => same_type,
    }
}

/// `node` and the reshapes and transposes before it, last first.
fn chain_to(s: &Sweep<'_, '_, '_>, node: NodeId) -> Vec<NodeId> {
    let mut chain = vec![node];
    while chain.len() < CHAIN_LIMIT {
        let first = chain[chain.len() - 1];
        let before = s.input(first, 0).and_then(|v| s.def(v));
        match before.filter(|&n| matches!(s.op(n), Op::Reshape(_) | Op::Transpose(_))) {
            Some(n) => chain.push(n),
            None => break,
        }
    }
    chain
}

/// The shortest chain that does what `nodes`, last first, do; `None` where a dimension is not known
/// or is cut unevenly.
fn shortest(s: &Sweep<'_, '_, '_>, nodes: &[NodeId]) -> Option<Chain> {
    let first = *nodes.last()?;
    let mut all = Rearrangement::identity(&s.dims(s.input(first, 0)?)?)?;
    for &n in nodes.iter().rev() {
        match s.op(n) {
            Op::Transpose(op) => {
                let perm = op.permutation(s.rank(s.output(n))).ok()?;
                all.transpose(&perm);
            }
            _ => all.reshape(&s.dims(s.output(n))?)?,
        }
    }
    Some(all.chain())
}

fn build(s: &mut Sweep<'_, '_, '_>, source: ValueId, chain: &Chain) -> Result<ValueId, PatchError> {
    let mut y = source;
    if let Some(dims) = &chain.split {
        y = s.reshaped(y, dims)?;
    }
    if let Some(perm) = &chain.perm {
        y = s.transposed(y, perm)?;
    }
    if let Some(dims) = &chain.join {
        y = s.reshaped(y, dims)?;
    }
    Ok(y)
}

/// Two views of one kind, where dimensions are not known.
fn unknown_dims(s: &mut Sweep<'_, '_, '_>, node: NodeId, chain: &[NodeId]) -> Result<(), Cause> {
    let Some(&before) = chain.get(1) else {
        return Ok(());
    };
    let Some(x) = s.input(before, 0) else {
        return Ok(());
    };
    if s.dims(x).is_some() {
        return Ok(());
    }
    match (s.op(before).clone(), s.op(node).clone()) {
        (Op::Transpose(first), Op::Transpose(second)) => {
            let rank = s.rank(x);
            let (first, second) = (first.permutation(rank)?, second.permutation(rank)?);
            let perm: Vec<usize> = second.iter().map(|&p| first[p]).collect();
            s.rewrite_pattern(&[before, node], s.output(node), |s| s.transposed(x, &perm))
        }
        (Op::Reshape(_), Op::Reshape(op)) => {
            // A 0 would be a dimension of the first reshape's result.
            let Some(target) = s.input(node, 1) else {
                return Ok(());
            };
            if s.ints(target).is_none_or(|t| t.contains(&0)) {
                return Ok(());
            }
            s.rewrite_pattern(&[before, node], s.output(node), |s| {
                s.node(op, &[x, target])
            })
        }
        _ => Ok(()),
    }
}

/// `Slice(Transpose(x))` where all dimensions that the transpose moves are left with one element.
fn slice_of_transpose(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(transpose) = s.input(node, 0).and_then(|v| s.def(v)) else {
        return Ok(());
    };
    let (Op::Transpose(op), Some(x)) = (s.op(transpose).clone(), s.input(transpose, 0)) else {
        return Ok(());
    };
    let perm = op.permutation(s.rank(x))?;
    let Some(result) = s.dims(s.output(node)) else {
        return Ok(());
    };
    let moved: Vec<usize> = (0..perm.len())
        .filter(|&i| result[i] != 1)
        .map(|i| perm[i])
        .collect();
    let lists: Option<Vec<Vec<i64>>> = (1..4).map(|i| s.ints(s.input(node, i)?)).collect();
    let (Some(lists), true) = (lists, moved.is_sorted()) else {
        return Ok(());
    };
    let [starts, ends, axes] = &lists[..] else {
        return Ok(());
    };
    let steps = match s.input(node, 4) {
        Some(v) => s.ints(v),
        None => Some(vec![1; axes.len()]),
    };
    let Some(steps) = steps else {
        return Ok(());
    };
    let cut = |i: usize| {
        let axis = normalize_axis(axes[i], perm.len())?;
        Ok((perm[axis], starts[i], ends[i], steps[i]))
    };
    let mut cuts = (0..axes.len())
        .map(cut)
        .collect::<Result<Vec<_>, ir::OpError>>()?;
    cuts.sort_unstable();
    s.rewrite_pattern(&[transpose, node], s.output(node), |s| {
        let y = sliced(s, x, &cuts)?;
        s.reshaped(y, &result)
    })
}

/// An expansion to what is there already is nothing; two are one.
fn expansion(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let (Some(x), Some(shape)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    if s.ty(x) == s.ty(s.output(node)) && s.dims(x).is_some() {
        return s.rewrite(node, |_| Ok(x));
    }
    let Some(before) = s.def(x).filter(|&n| matches!(s.op(n), Op::Expand(_))) else {
        return Ok(());
    };
    let (Some(x), true) = (s.input(before, 0), s.dims(s.output(node)).is_some()) else {
        return Ok(());
    };
    if s.ints(shape).map(|t| t.len()) != Some(s.rank(s.output(node))) {
        return Ok(());
    }
    let op = s.op(node).clone();
    let full: Vec<i64> = s
        .dims(s.output(node))
        .into_iter()
        .flatten()
        .map(|d| d as i64)
        .collect();
    s.rewrite_pattern(&[before, node], s.output(node), |s| {
        let full = s.list(&full);
        s.node(op, &[x, full])
    })
}

/// Operands that broadcasting brings to the same shape anyway are read unexpanded.
fn broadcast(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let mut inputs = s.inputs(node);
    if inputs.len() < 2 {
        return Ok(());
    }
    let op = s.op(node).clone();
    let mut nodes = vec![node];
    for i in 0..inputs.len() {
        let expand = inputs[i]
            .and_then(|v| s.def(v))
            .filter(|&n| matches!(s.op(n), Op::Expand(_)));
        let Some(expand) = expand else { continue };
        let mut fewer = inputs.clone();
        fewer[i] = s.input(expand, 0);
        let types = infer_node(s.graph(), s.weights(), &op, &fewer, 1);
        if types.is_ok_and(|t| t[0] == *s.ty(s.output(node)) && t[0].shape.dims().is_some()) {
            inputs = fewer;
            nodes.push(expand);
        }
    }
    if nodes.len() == 1 {
        return Ok(());
    }
    s.rewrite_pattern(&nodes, s.output(node), |s| s.node_with(op, &inputs))
}
