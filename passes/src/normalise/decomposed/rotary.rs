//! Rotary position embedding.

use crate::manager::Cause;
use crate::normalise::canonical::views::sliced;
use crate::pattern::Sweep;
use ir::ops::{Add, Concat, Gather, Mul, RotaryEmbedding, Sub};
use ir::patch::PatchError;
use ir::{Dim, NodeId, ValueId};

/// Slices, products and sums of the pairs' two elements, put together again.
pub(crate) fn rotary(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &RotaryEmbedding,
) -> Result<(), Cause> {
    let operands = [s.input(node, 0), s.input(node, 1), s.input(node, 2)];
    let [Some(x), Some(cos), Some(sin)] = operands else {
        return Ok(());
    };
    let Some(dims) = s.dims(x) else {
        s.refuse(node, || "a dimension is not known".into());
        return Ok(());
    };
    // Heads beside positions: [N, length, heads, size] as they lie in a tensor of rank 3.
    let by_head = match dims[..] {
        [_, _, _, _] => dims.clone(),
        [n, length, hidden] => {
            let heads = op
                .num_heads
                .and_then(|h| usize::try_from(h).ok())
                .unwrap_or(1)
                .max(1);
            vec![n, length, heads, hidden / heads]
        }
        _ => return Ok(()),
    };
    let (heads_axis, length) = if dims.len() == 4 {
        (1, dims[2])
    } else {
        (2, dims[1])
    };
    let pairs = op.pairs(&Dim::Known(by_head[3]))?;
    let positions = s.input(node, 3);
    let interleaved = op.interleaved;
    s.rewrite(node, |s| {
        let mut table_dims = vec![dims[0], length, pairs];
        table_dims.insert(heads_axis, 1);
        let table = |s: &mut Sweep<'_, '_, '_>, table: ValueId| {
            let rows = match positions {
                Some(positions) => s.node(Gather { axis: 0 }, &[table, positions])?,
                None => table,
            };
            s.reshaped(rows, &table_dims)
        };
        let (cos, sin) = (table(s, cos)?, table(s, sin)?);
        let y = s.reshaped(x, &by_head)?;
        let (n, size) = (pairs as i64, by_head[3] as i64);
        let (a, b) = if interleaved {
            ((3, 0, 2 * n, 2), (3, 1, 2 * n, 2))
        } else {
            ((3, 0, n, 1), (3, n, 2 * n, 1))
        };
        let (a, b) = (sliced(s, y, &[a])?, sliced(s, y, &[b])?);
        let turned = turn(s, [a, b], [cos, sin])?;
        let mut parts = if interleaved {
            vec![interleave(s, turned, &by_head, pairs)?]
        } else {
            turned.to_vec()
        };
        if 2 * n < size {
            parts.push(sliced(s, y, &[(3, 2 * n, size, 1)])?);
        }
        let y = if let [one] = parts[..] {
            one
        } else {
            s.node(Concat { axis: 3 }, &parts)?
        };
        s.reshaped(y, &dims)
    })
}

/// `(cos a - sin b, sin a + cos b)`.
fn turn(
    s: &mut Sweep<'_, '_, '_>,
    [a, b]: [ValueId; 2],
    [cos, sin]: [ValueId; 2],
) -> Result<[ValueId; 2], PatchError> {
    let mut product = |x, y| s.node(Mul {}, &[x, y]);
    let (cos_a, sin_b) = (product(cos, a)?, product(sin, b)?);
    let (sin_a, cos_b) = (product(sin, a)?, product(cos, b)?);
    Ok([
        s.node(Sub {}, &[cos_a, sin_b])?,
        s.node(Add {}, &[sin_a, cos_b])?,
    ])
}

/// The elements of both in turn, along the last of the dimensions `by_head`.
fn interleave(
    s: &mut Sweep<'_, '_, '_>,
    parts: [ValueId; 2],
    by_head: &[usize],
    pairs: usize,
) -> Result<ValueId, PatchError> {
    let lead = &by_head[..3];
    let mut column = |v| s.reshaped(v, &[lead, &[pairs, 1]].concat());
    let columns = [column(parts[0])?, column(parts[1])?];
    let y = s.node(Concat { axis: 4 }, &columns)?;
    s.reshaped(y, &[lead, &[2 * pairs]].concat())
}
