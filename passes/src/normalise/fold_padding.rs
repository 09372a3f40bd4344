//! Padding as part of the window that reads it.

use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use ir::infer::InferCx;
use ir::ops::{AutoPad, PadMode};
use ir::patch::infer_node;
use ir::{DType, NodeId, Op, Program, ValueId};

/// Zeros around the spatial dimensions become padding of the convolution or pooling that reads them;
/// padding by nothing goes.
///
/// Before: `%1 = Pad(%0, [0, 0, 1, 1, 0, 0, 1, 1])`, `%2 = Conv(%1, w0)`. After:
/// `%2 = Conv(%0, w0) {pads = [1, 1, 1, 1]}`.
///
/// Average pooling counts the padding then; max pooling takes zeros only around what is not
/// negative. Refused: padding that is not constant, negative, of another kind or value, or around
/// batch or channels.
pub fn fold_padding(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node).clone() {
        Op::Pad(_) => nothing(s, node),
        Op::Conv(_) | Op::AveragePool(_) | Op::MaxPool(_) => fold(s, node),
        _ => Ok(()),
    })
}

/// What a `Pad` does: begins and ends by axis, and with what.
struct Padding {
    pads: Vec<(i64, i64)>,
    mode: PadMode,
    value: f64,
}

fn padding(s: &Sweep<'_, '_, '_>, node: NodeId) -> Option<Padding> {
    let Op::Pad(op) = s.op(node) else { return None };
    let inputs = s.inputs(node);
    let types: Vec<_> = inputs.iter().map(|v| v.map(|v| s.ty(v))).collect();
    let constants: Vec<_> = inputs
        .iter()
        .map(|v| v.and_then(|v| s.constant(v)))
        .collect();
    let pads = op.pads(&InferCx::new(&types, &constants, 1)).ok()??;
    let value = match s.input(node, 2) {
        Some(v) => s.scalar(v)?,
        None => 0.0,
    };
    Some(Padding {
        pads,
        mode: op.mode,
        value,
    })
}

fn nothing(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    match (s.input(node, 0), padding(s, node)) {
        (Some(x), Some(p)) if p.pads.iter().all(|&pad| pad == (0, 0)) => s.rewrite(node, |_| Ok(x)),
        _ => Ok(()),
    }
}

fn fold(s: &mut Sweep<'_, '_, '_>, node: NodeId) -> Result<(), Cause> {
    let Some(pad) = s
        .input(node, 0)
        .and_then(|v| s.def(v))
        .filter(|&n| matches!(s.op(n), Op::Pad(_)))
    else {
        return Ok(());
    };
    let (Some(padding), Some(x)) = (padding(s, pad), s.input(pad, 0)) else {
        s.refuse(node, || "the padding is not constant".into());
        return Ok(());
    };
    if padding.mode != PadMode::Constant {
        s.refuse(node, || {
            format!("the padding is no constant but {:?}", padding.mode)
        });
        return Ok(());
    }
    let (around, spatial) = padding.pads.split_at(2.min(padding.pads.len()));
    if around.iter().any(|&p| p != (0, 0)) || spatial.iter().any(|p| p.0 < 0 || p.1 < 0) {
        s.refuse(node, || {
            "batch or channels are padded, or something is cut off".into()
        });
        return Ok(());
    }
    let op = match padded(s, node, x, &padding, spatial) {
        Ok(op) => op,
        Err(reason) => {
            s.refuse(node, || reason.into());
            return Ok(());
        }
    };
    let mut inputs = s.inputs(node);
    inputs[0] = Some(x);
    let types = infer_node(s.graph(), s.weights(), &op, &inputs, 1);
    if !types.is_ok_and(|t| t[0] == *s.ty(s.output(node))) {
        s.refuse(node, || "the window does not take so much padding".into());
        return Ok(());
    }
    s.rewrite_pattern(&[pad, node], s.output(node), |s| s.node_with(op, &inputs))
}

/// The window operator of `node` with padding of its own, or why not.
fn padded(
    s: &Sweep<'_, '_, '_>,
    node: NodeId,
    x: ValueId,
    padding: &Padding,
    spatial: &[(i64, i64)],
) -> Result<Op, &'static str> {
    let sum = |own: &[i64]| -> Vec<i64> {
        let more = spatial
            .iter()
            .map(|p| p.0)
            .chain(spatial.iter().map(|p| p.1));
        more.enumerate()
            .map(|(i, p)| p + own.get(i).copied().unwrap_or(0))
            .collect()
    };
    let explicit = |auto_pad| match auto_pad {
        AutoPad::NotSet | AutoPad::Valid => Ok(AutoPad::NotSet),
        AutoPad::SameUpper | AutoPad::SameLower => Err("the window chooses its own padding"),
    };
    match s.op(node).clone() {
        Op::Conv(mut op) => {
            if padding.value != 0.0 {
                return Err("the padding is not 0");
            }
            op.auto_pad = explicit(op.auto_pad)?;
            op.pads = sum(&op.pads);
            Ok(op.into())
        }
        Op::AveragePool(mut op) => {
            let own = op.pads.iter().any(|&p| p != 0);
            if padding.value != 0.0 || op.ceil_mode || (own && !op.count_include_pad) {
                return Err("the padding would not count as it does now");
            }
            op.auto_pad = explicit(op.auto_pad)?;
            op.pads = sum(&op.pads);
            op.count_include_pad = true;
            Ok(op.into())
        }
        Op::MaxPool(mut op) => {
            let least = padding.value == f64::NEG_INFINITY
                || padding.value == 0.0 && (is_not_negative(s, x) || s.dtype(x) == DType::U8);
            if !least || op.ceil_mode || s.outputs(node).len() > 1 {
                return Err("the padding may be greater than what it surrounds");
            }
            op.auto_pad = explicit(op.auto_pad)?;
            op.pads = sum(&op.pads);
            Ok(op.into())
        }
        _ => Err("not a window"),
    }
}

/// Whether no element of `x` is negative, by the operator that makes it.
fn is_not_negative(s: &Sweep<'_, '_, '_>, x: ValueId) -> bool {
    s.def(x).is_some_and(|n| match s.op(n) {
        Op::Relu(_)
        | Op::Sigmoid(_)
        | Op::Exp(_)
        | Op::Abs(_)
        | Op::Softmax(_)
        | Op::Softplus(_) => true,
        Op::Clip(_) => s
            .input(n, 1)
            .and_then(|low| s.scalar(low))
            .is_some_and(|low| low >= 0.0),
        _ => false,
    })
}
