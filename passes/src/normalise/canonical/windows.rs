//! Convolutions and pooling.

use super::axes::{read, same_operands};
use crate::manager::Cause;
use crate::pattern::Sweep;
use ir::attrs::{Attr, Attrs};
use ir::ops::{ReduceMax, ReduceMean, WindowGeometry};
use ir::{NodeId, Op, OpError};

/// Pads are explicit, and attributes that say the default are left out.
pub(crate) fn window(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let op = s.op(node).clone();
    let (Some(x), w) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let x = s.ty(x);
    let geometry = match (&op, w) {
        (Op::Conv(op), Some(w)) => op.geometry(x, s.ty(w)),
        (Op::MaxPool(op), _) => op.geometry(x),
        (Op::AveragePool(op), _) => op.geometry(x),
        (Op::LpPool(op), _) => op.geometry(x),
        _ => Err(OpError::Unsupported("not a window of the operand".into())),
    };
    let mut attrs = op.attrs();
    if let Ok(geometry) = geometry {
        explicit(&mut attrs, &geometry, &op);
    }
    if matches!(op, Op::Conv(_) | Op::ConvTranspose(_)) {
        attrs.remove("kernel_shape");
    }
    for (name, default) in [
        ("dilations", 1),
        ("strides", 1),
        ("pads", 0),
        ("output_padding", 0),
    ] {
        if matches!(attrs.get(name), Some(Attr::Ints(v)) if v.iter().all(|&n| n == default)) {
            attrs.remove(name);
        }
    }
    same_operands(s, node, read(&op, &attrs)?)
}

fn explicit(attrs: &mut Attrs, geometry: &WindowGeometry, op: &Op) {
    let pads = geometry.pads_begin.iter().chain(&geometry.pads_end);
    if attrs.remove("auto_pad").is_some() {
        attrs.insert("pads".into(), Attr::Ints(pads.map(|&p| p as i64).collect()));
    }
    // Rounding up makes no difference where windows end with the input.
    if !matches!(op, Op::Conv(_)) && attrs.contains_key("ceil_mode") {
        let even = (0..geometry.input.len()).all(|i| {
            let padded = geometry.input[i] + geometry.pads_begin[i] + geometry.pads_end[i];
            let extent = (geometry.kernel[i] - 1) * geometry.dilations[i] + 1;
            (padded - extent.min(padded)).is_multiple_of(geometry.strides[i])
        });
        if even {
            attrs.remove("ceil_mode");
        }
    }
}

/// `GlobalAveragePool(%0)` is `ReduceMean(%0, [2, 3])`.
pub(crate) fn global(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(x) = s.input(node, 0) else {
        return Ok(());
    };
    let axes: Vec<i64> = (2..s.rank(x) as i64).collect();
    if axes.is_empty() {
        return Ok(());
    }
    let fold: Op = match s.op(node) {
        Op::GlobalAveragePool(_) => ReduceMean {
            keepdims: true,
            noop_with_empty_axes: false,
        }
        .into(),
        _ => ReduceMax {
            keepdims: true,
            noop_with_empty_axes: false,
        }
        .into(),
    };
    s.rewrite(node, |s| {
        let axes = s.list(&axes);
        s.node(fold, &[x, axes])
    })
}
