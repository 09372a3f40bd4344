//! Recurrences.

use super::{BuildError, KernelArg, KernelCall, RegionCx};
use crate::layout::Layout;
use ir::ops::{self, ViewStep};
use ir::{NodeId, Op, TensorType, ValueId};
use plans::KernelSpec;
use plans::spec::{Activation, Cell, Direction, Operand, RecurrentSpec};

/// The region's only node.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let node = cx.nodes[0];
    macro_rules! built {
        ($op:expr, $cell:expr) => {{
            let r: &TensorType = cx.graph.ty(cx.operand(node, 2)?);
            let cells = $op.cells().map_err(|e| cx.error(node, e))?;
            let hidden = $op.hidden(r).map_err(|e| cx.error(node, e))?;
            let common = Common {
                cell: $cell,
                direction: $op.direction,
                activations: cells.into_iter().flatten().map(activation).collect(),
                clip: $op.clip,
                batch_first: $op.layout,
                hidden: hidden as u64,
            };
            recurrence(cx, node, common)
        }};
    }
    match &cx.graph.nodes[node].op {
        Op::LSTM(op) => built!(
            op,
            Cell::Lstm {
                input_forget: op.input_forget
            }
        ),
        Op::GRU(op) => built!(
            op,
            Cell::Gru {
                linear_before_reset: op.linear_before_reset
            }
        ),
        Op::RNN(op) => built!(op, Cell::Rnn),
        op => Err(cx.error(node, format!("no recurrent kernel for {}", op.name()))),
    }
}

struct Common {
    cell: Cell,
    direction: ops::Direction,
    activations: Vec<Activation>,
    clip: Option<f32>,
    batch_first: bool,
    hidden: u64,
}

fn activation(a: ops::Activation) -> Activation {
    use ops::Activation as From;
    match a {
        From::Relu => Activation::Relu,
        From::Tanh => Activation::Tanh,
        From::Sigmoid => Activation::Sigmoid,
        From::Affine { alpha, beta } => Activation::Affine(alpha, beta),
        From::LeakyRelu { alpha } => Activation::LeakyRelu(alpha),
        From::ThresholdedRelu { alpha } => Activation::ThresholdedRelu(alpha),
        From::ScaledTanh { alpha, beta } => Activation::ScaledTanh(alpha, beta),
        From::HardSigmoid { alpha, beta } => Activation::HardSigmoid(alpha, beta),
        From::Elu { alpha } => Activation::Elu(alpha),
        From::Softsign => Activation::Softsign,
        From::Softplus => Activation::Softplus,
    }
}

fn recurrence(cx: &RegionCx<'_>, node: NodeId, c: Common) -> Result<Vec<KernelCall>, BuildError> {
    let n = &cx.graph.nodes[node];
    let mut args: Vec<KernelArg> = vec![];
    // An operand or result, its dimensions brought to the order in which the kernel counts them.
    let mut take = |value: Option<ValueId>, batch_first: &[usize]| -> Option<Operand> {
        let value = value?;
        let mut layout: Layout = (cx.layout)(value);
        if c.batch_first && !batch_first.is_empty() {
            layout = layout.view(&ViewStep::Permute(batch_first.to_vec()))?;
        }
        args.push(KernelArg {
            value,
            offset: layout.offset,
        });
        Some(layout.operand(cx.dtype(value)))
    };
    let input = |i: usize| cx.optional(node, i);
    let missing = |i: usize| cx.error(node, ir::OpError::MissingInput(i));
    let x_dims = cx.dims(cx.operand(node, 0)?)?;
    let (time, batch) = if c.batch_first {
        (x_dims[1], x_dims[0])
    } else {
        (x_dims[0], x_dims[1])
    };
    let x = take(input(0), &[1, 0, 2]).ok_or_else(|| missing(0))?;
    let w = take(input(1), &[]).ok_or_else(|| missing(1))?;
    let r = take(input(2), &[]).ok_or_else(|| missing(2))?;
    let bias = take(input(3), &[]);
    let lengths = take(input(4), &[]);
    let initial_h = take(input(5), &[1, 0, 2]);
    let memory = matches!(c.cell, Cell::Lstm { .. });
    let initial_c = if memory {
        take(input(6), &[1, 0, 2])
    } else {
        None
    };
    let peepholes = if memory { take(input(7), &[]) } else { None };
    let stored = |i: usize| n.outputs.get(i).copied().filter(|v| cx.outputs.contains(v));
    let y = take(stored(0), &[1, 2, 0, 3]);
    let y_h = take(stored(1), &[1, 0, 2]);
    let y_c = if memory {
        take(stored(2), &[1, 0, 2])
    } else {
        None
    };
    let spec = RecurrentSpec {
        cell: c.cell,
        direction: match c.direction {
            ops::Direction::Forward => Direction::Forward,
            ops::Direction::Reverse => Direction::Reverse,
            ops::Direction::Bidirectional => Direction::Bidirectional,
        },
        time,
        batch,
        input_size: x_dims[2],
        hidden_size: c.hidden,
        activations: c.activations,
        clip: c.clip,
        x,
        w,
        r,
        bias,
        lengths,
        initial_h,
        initial_c,
        peepholes,
        y,
        y_h,
        y_c,
    };
    Ok(vec![KernelCall {
        spec: KernelSpec::Recurrent(spec),
        args,
    }])
}
