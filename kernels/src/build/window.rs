//! Pooling, depthwise convolution and local response normalisation.

use super::contract::{epilogue, window};
use super::{BuildError, KernelArg, KernelCall, RegionCx};
use crate::layout::Layout;
use crate::tape::TapeBuilder;
use ir::ops::WindowGeometry;
use ir::{Class, NodeId, Op};
use plans::spec::{Epilogue, MaxIndices, Operand, Window, WindowFold, WindowSpec};
use plans::tape::{BinaryFn, Reg, Tape, TapeOp, UnaryFn};
use plans::{DType, KernelSpec};

/// The region's window operator, and everything else in it as the epilogue.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let node = cx.anchor(|op| matches!(op, Op::Conv(_)) || op.class() == Class::Window)?;
    let x = cx.operand(node, 0)?;
    let ty = cx.graph.ty(x);
    let dtype = cx.dtype(x);
    let geometry = |g: Result<WindowGeometry, ir::OpError>| g.map_err(|e| cx.error(node, e));
    match &cx.graph.nodes[node].op {
        Op::Conv(conv) => {
            let w = cx.operand(node, 1)?;
            let g = geometry(conv.geometry(ty, cx.graph.ty(w)))?;
            let mut weight = (cx.layout)(w);
            weight.strides.remove(1);
            let weight = (
                cx.position(w),
                Operand {
                    dtype,
                    strides: weight.strides,
                },
            );
            pooled(
                cx,
                node,
                &g,
                Tape::identity(dtype),
                WindowFold::Sum,
                Some(weight),
                Finish::Bias,
            )
        }
        Op::MaxPool(p) => {
            let g = geometry(p.geometry(ty))?;
            let finish = Finish::Indices {
                column_major: p.storage_order,
            };
            pooled(
                cx,
                node,
                &g,
                Tape::identity(dtype),
                WindowFold::Max,
                None,
                finish,
            )
        }
        Op::AveragePool(p) => {
            let g = geometry(p.geometry(ty))?;
            let fold = if p.count_include_pad {
                let pads_end = g.pads_end.iter().map(|&p| p as u64).collect();
                WindowFold::AveragePadded { pads_end }
            } else {
                WindowFold::Average
            };
            pooled(
                cx,
                node,
                &g,
                Tape::identity(dtype),
                fold,
                None,
                Finish::Plain,
            )
        }
        Op::LpPool(p) => {
            let g = geometry(p.geometry(ty))?;
            let power = f64::from(p.p.get());
            let prologue = tape(dtype, |b, x| {
                let x = b.push(TapeOp::Unary(UnaryFn::Abs, x), dtype);
                let k = b.constant(power, dtype);
                b.push(TapeOp::Binary(BinaryFn::Pow, x, k), dtype)
            });
            pooled(
                cx,
                node,
                &g,
                prologue,
                WindowFold::Sum,
                None,
                Finish::Root(power),
            )
        }
        Op::LRN(n) => lrn(
            cx,
            node,
            n.size as u64,
            f64::from(n.alpha),
            f64::from(n.beta),
            f64::from(n.bias),
        ),
        op => Err(cx.error(node, format!("no window kernel for {}", op.name()))),
    }
}

/// What is special about the results of a window.
enum Finish {
    Plain,
    /// Operand 2 is added along the channels.
    Bias,
    /// The second result, if there is one, holds positions.
    Indices {
        column_major: bool,
    },
    /// The root of this degree is taken.
    Root(f64),
}

fn tape(dtype: DType, f: impl FnOnce(&mut TapeBuilder, Reg) -> Reg) -> Tape {
    let mut b = TapeBuilder::new();
    let x = b.input(0, dtype);
    let result = f(&mut b, x);
    b.finish(vec![result])
}

fn pooled(
    cx: &RegionCx<'_>,
    node: NodeId,
    geometry: &WindowGeometry,
    prologue: Tape,
    fold: WindowFold,
    weight: Option<(KernelArg, Operand)>,
    finish: Finish,
) -> Result<Vec<KernelCall>, BuildError> {
    let n = &cx.graph.nodes[node];
    let x = cx.operand(node, 0)?;
    let dims = cx.dims(x)?;
    let window = window(geometry);
    let domain: Vec<u64> = dims[..2].iter().chain(&window.output).copied().collect();
    let bias = if let Finish::Bias = finish {
        cx.optional(node, 2)
    } else {
        None
    };
    let result = n.outputs[0];
    let indices = n.outputs.get(1).copied().filter(|v| cx.outputs.contains(v));
    let stored: Vec<_> = cx
        .outputs
        .iter()
        .copied()
        .filter(|&v| Some(v) != indices)
        .collect();
    let inner = RegionCx {
        outputs: &stored,
        ..*cx
    };
    let (mut epilogue, mut tail) = epilogue(&inner, domain, result, bias, node)?;
    if let Finish::Root(degree) = finish {
        epilogue = rooted(epilogue, cx.dtype(result), degree);
    }
    let mut args = vec![cx.position(x)];
    args.extend(weight.iter().map(|(arg, _)| *arg));
    args.append(&mut tail);
    let indices = match (indices, finish) {
        (Some(v), Finish::Indices { column_major }) => {
            args.push(cx.position(v));
            Some(MaxIndices {
                out: (cx.layout)(v).operand(DType::I64),
                column_major,
            })
        }
        _ => None,
    };
    let spec = WindowSpec {
        batch: dims[0],
        channels: dims[1],
        window,
        x: (cx.layout)(x).operand(cx.dtype(x)),
        prologue,
        weight: weight.map(|(_, operand)| operand),
        fold,
        epilogue,
        indices,
    };
    Ok(vec![KernelCall {
        spec: KernelSpec::Window(spec),
        args,
    }])
}

/// The epilogue after the root of `degree` is taken of the window's sum.
fn rooted(epilogue: Epilogue, dtype: DType, degree: f64) -> Epilogue {
    let mut b = TapeBuilder::new();
    let sum = b.input(0, dtype);
    let k = b.constant(1.0 / degree, dtype);
    let root = b.push(TapeOp::Binary(BinaryFn::Pow, sum, k), dtype);
    let tape = b.append(&epilogue.tape, root);
    Epilogue { tape, ..epilogue }
}

/// `x * (bias + alpha / size * sum of squares over neighbouring channels) ^ -beta`: a window over
/// the channels, with x itself as an operand of the epilogue.
fn lrn(
    cx: &RegionCx<'_>,
    node: NodeId,
    size: u64,
    alpha: f64,
    beta: f64,
    bias: f64,
) -> Result<Vec<KernelCall>, BuildError> {
    let x = cx.operand(node, 0)?;
    let dtype = cx.dtype(x);
    let out = cx.graph.nodes[node].outputs[0];
    if cx.nodes.len() != 1 {
        return Err(cx.error(
            node,
            "work after a window over channels needs a kernel of its own",
        ));
    }
    // Batch, all positions as one dimension where they lie so, and the channels as positions.
    let flat = |layout: &Layout| -> Option<Vec<i64>> {
        let n = layout.dims[0] as usize;
        let c = layout.dims[1] as usize;
        let positions = layout.dims[2..].iter().product::<u64>() as usize;
        let l = layout.view(&ir::ops::ViewStep::Reshape(vec![n, c, positions]))?;
        Some(vec![l.strides[0], l.strides[2], l.strides[1]])
    };
    let (x_layout, out_layout) = ((cx.layout)(x), (cx.layout)(out));
    let strided = || cx.error(node, "positions do not lie side by side");
    let x_operand = Operand {
        dtype,
        strides: flat(&x_layout).ok_or_else(strided)?,
    };
    let out_operand = Operand {
        dtype,
        strides: flat(&out_layout).ok_or_else(strided)?,
    };
    let prologue = tape(dtype, |b, x| {
        b.push(TapeOp::Binary(BinaryFn::Mul, x, x), dtype)
    });
    let mut b = TapeBuilder::new();
    let (sum, value) = (b.input(0, dtype), b.input(1, dtype));
    let (scale, offset, power) = (
        b.constant(alpha / size as f64, dtype),
        b.constant(bias, dtype),
        b.constant(-beta, dtype),
    );
    let scaled = b.push(TapeOp::Binary(BinaryFn::Mul, sum, scale), dtype);
    let base = b.push(TapeOp::Binary(BinaryFn::Add, scaled, offset), dtype);
    let factor = b.push(TapeOp::Binary(BinaryFn::Pow, base, power), dtype);
    let y = b.push(TapeOp::Binary(BinaryFn::Mul, value, factor), dtype);
    let channels = x_layout.dims[1];
    let spec = WindowSpec {
        batch: x_layout.dims[0],
        channels: x_layout.dims[2..].iter().product(),
        window: Window {
            input: vec![channels],
            output: vec![channels],
            kernel: vec![size],
            strides: vec![1],
            dilations: vec![1],
            pads_begin: vec![(size - 1) / 2],
        },
        x: x_operand.clone(),
        prologue,
        weight: None,
        fold: WindowFold::Sum,
        epilogue: Epilogue {
            inputs: vec![x_operand],
            tape: b.finish(vec![y]),
            outputs: vec![out_operand],
        },
        indices: None,
    };
    let args = vec![cx.position(x), cx.position(x), cx.position(out)];
    Ok(vec![KernelCall {
        spec: KernelSpec::Window(spec),
        args,
    }])
}
