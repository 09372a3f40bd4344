//! Elements moved in ways that have no kernel of their own.

use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::infer::normalize_axis;
use ir::ops::{CenterCropPad, Compress, Gather, GatherND, Pad, PadMode, ReverseSequence};
use ir::{DType, NodeId, Tensor};

/// A border whose value is left out is of zeros.
pub(crate) fn pad(s: &mut Sweep<'_, '_, '_>, node: NodeId, op: &Pad) -> Result<(), Cause> {
    let (Some(x), Some(pads)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let dtype = s.dtype(x);
    if op.mode != PadMode::Constant || s.input(node, 2).is_some() {
        return Ok(());
    }
    let (axes, op) = (s.input(node, 3), op.clone());
    s.rewrite(node, |s| {
        let zero = s.constant_value(zero(dtype));
        let operands = [x, pads, zero].into_iter().chain(axes);
        s.node(op, &operands.collect::<Vec<_>>())
    })
}

fn zero(dtype: DType) -> Tensor {
    let data = vec![0; dtype.size()].into();
    Tensor::new(dtype, &[], data).expect("one element has its type's size")
}

/// A border on both sides, which cuts off where it is negative.
pub(crate) fn center(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    _op: &CenterCropPad,
) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let (Some(from), Some(to)) = (s.dims(x), s.dims(s.output(node))) else {
        s.refuse(node, || "a dimension is not known".into());
        return Ok(());
    };
    let growth = from
        .iter()
        .zip(&to)
        .map(|(&from, &to)| to as i64 - from as i64);
    // Division cuts toward 0: the smaller half comes first, whether added or cut off.
    let begins: Vec<i64> = growth.clone().map(|more| more / 2).collect();
    let ends: Vec<i64> = growth.map(|more| more - more / 2).collect();
    let dtype = s.dtype(x);
    s.rewrite(node, |s| {
        let pads = s.list(&[begins, ends].concat());
        let zero = s.constant_value(zero(dtype));
        let op = Pad {
            mode: PadMode::Constant,
        };
        s.node(op, &[x, pads, zero])
    })
}

/// Slices chosen by a constant list are slices at constant positions.
pub(crate) fn compress(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &Compress,
) -> Result<(), Cause> {
    let (Some(x), Some(condition)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let (Some(condition), Some(dims)) = (s.ints(condition), s.dims(x)) else {
        s.refuse(node, || "which slices are chosen is not known".into());
        return Ok(());
    };
    let axis = op
        .axis
        .map(|axis| normalize_axis(axis, dims.len()))
        .transpose()?;
    let chosen: Vec<i64> = (0..)
        .zip(condition)
        .filter(|(_, c)| *c != 0)
        .map(|(i, _)| i)
        .collect();
    s.rewrite(node, |s| {
        let from = match axis {
            Some(_) => x,
            None => s.reshaped(x, &[dims.iter().product()])?,
        };
        let positions = s.list(&chosen);
        let op = Gather {
            axis: axis.unwrap_or(0) as i64,
        };
        s.node(op, &[from, positions])
    })
}

/// Steps at constant positions, where the lengths are constant.
pub(crate) fn reverse_sequence(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &ReverseSequence,
) -> Result<(), Cause> {
    let (Some(x), Some(lengths)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let (Some(lengths), Some(dims)) = (s.ints(lengths), s.dims(x)) else {
        s.refuse(node, || "the sequences' lengths are not known".into());
        return Ok(());
    };
    let time_first = op.time_axis == 0;
    let mut places = Vec::with_capacity(2 * dims[0] * dims[1]);
    for i in 0..dims[0] as i64 {
        for j in 0..dims[1] as i64 {
            let (step, sequence) = if time_first { (i, j) } else { (j, i) };
            let length = lengths[sequence as usize];
            let step = if step < length {
                length - 1 - step
            } else {
                step
            };
            places.extend(if time_first {
                [step, sequence]
            } else {
                [sequence, step]
            });
        }
    }
    s.rewrite(node, |s| {
        let places = Tensor::from_slice(&[dims[0], dims[1], 2], &places);
        let places = s.constant_value(places);
        s.node(GatherND { batch_dims: 0 }, &[x, places])
    })
}
