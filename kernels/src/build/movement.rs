//! Scatters, borders and interpolation.

use super::{BuildError, KernelArg, KernelCall, RegionCx};
use crate::layout::Layout;
use ir::infer::{InferCx, normalize_axis};
use ir::ops::{AxisSampling, PadMode as IrPadMode, ScatterReduction};
use ir::{NodeId, Op};
use plans::KernelSpec;
use plans::spec::{
    GatherAxis, Interpolation, MovementSpec, Operand, PadMode, PadSpec, Reduction, ResizeSpec,
    ScatterSpec,
};

/// The region's only node.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let node = cx.nodes[0];
    match &cx.graph.nodes[node].op {
        Op::ScatterElements(s) => {
            let rank = cx.dims(cx.operand(node, 0)?)?.len();
            let axis = normalize_axis(s.axis, rank).map_err(|e| cx.error(node, e))?;
            scatter_elements(cx, node, axis, s.reduction)
        }
        Op::ScatterND(s) => scatter_nd(cx, node, s.reduction),
        Op::Pad(p) => {
            let pads = cx.infer(node, |i| p.pads(i))?;
            let pads = pads.ok_or_else(|| cx.error(node, "pads are computed at run time"))?;
            pad(cx, node, p.mode, &pads)
        }
        Op::Resize(r) => {
            let samplings = cx.infer(node, |i| r.samplings(i))?;
            resize(cx, node, samplings, r.extrapolation_value)
        }
        op => Err(cx.error(node, format!("no movement kernel for {}", op.name()))),
    }
}

impl RegionCx<'_> {
    /// What `f` finds of a node's types and constants.
    pub(super) fn infer<T>(
        &self,
        node: NodeId,
        f: impl FnOnce(&InferCx<'_>) -> Result<T, ir::OpError>,
    ) -> Result<T, BuildError> {
        let n = &self.graph.nodes[node];
        let types: Vec<_> = n
            .inputs
            .iter()
            .map(|v| v.map(|v| self.graph.ty(v)))
            .collect();
        let constants: Vec<_> = n
            .inputs
            .iter()
            .map(|v| v.and_then(|v| self.constant(v)))
            .collect();
        f(&InferCx::new(&types, &constants, n.outputs.len())).map_err(|e| self.error(node, e))
    }
}

fn reduction(r: ScatterReduction) -> Reduction {
    match r {
        ScatterReduction::None => Reduction::Replace,
        ScatterReduction::Add => Reduction::Add,
        ScatterReduction::Mul => Reduction::Mul,
        ScatterReduction::Min => Reduction::Min,
        ScatterReduction::Max => Reduction::Max,
    }
}

/// A copy of the data to the output, then the updates on it.
fn copy_then(
    cx: &RegionCx<'_>,
    node: NodeId,
    spec: ScatterSpec,
    mut args: Vec<KernelArg>,
) -> Result<Vec<KernelCall>, BuildError> {
    let data = cx.operand(node, 0)?;
    let out = cx.graph.nodes[node].outputs[0];
    let (from, to) = ((cx.layout)(data), (cx.layout)(out));
    args.push(cx.position(out));
    let scatter = KernelCall {
        spec: KernelSpec::Movement(MovementSpec::Scatter(spec)),
        args,
    };
    Ok(vec![
        super::copy(cx.dtype(out), (data, &from), (out, &to)),
        scatter,
    ])
}

fn scatter_elements(
    cx: &RegionCx<'_>,
    node: NodeId,
    axis: usize,
    r: ScatterReduction,
) -> Result<Vec<KernelCall>, BuildError> {
    let (index, updates) = (cx.operand(node, 1)?, cx.operand(node, 2)?);
    let out_layout = (cx.layout)(cx.graph.nodes[node].outputs[0]);
    let (i, u) = ((cx.layout)(index), (cx.layout)(updates));
    let mut out = out_layout.operand(cx.dtype(updates));
    out.strides[axis] = 0;
    let spec = ScatterSpec {
        domain: i.dims.clone(),
        updates: u.operand(cx.dtype(updates)),
        indices: vec![i.operand(cx.dtype(index))],
        axes: vec![GatherAxis {
            index: 0,
            len: out_layout.dims[axis],
            stride: out_layout.strides[axis],
        }],
        out,
        reduction: reduction(r),
    };
    copy_then(
        cx,
        node,
        spec,
        vec![cx.position(updates), cx.position(index)],
    )
}

fn scatter_nd(
    cx: &RegionCx<'_>,
    node: NodeId,
    r: ScatterReduction,
) -> Result<Vec<KernelCall>, BuildError> {
    let (index, updates) = (cx.operand(node, 1)?, cx.operand(node, 2)?);
    let out_layout = (cx.layout)(cx.graph.nodes[node].outputs[0]);
    let (i, u) = ((cx.layout)(index), (cx.layout)(updates));
    let last = i.dims.len() - 1;
    let depth = i.dims[last] as usize;
    // The updates' dimensions are those of the index tuples, then those of a slice.
    let mut over_index = i.strides[..last].to_vec();
    over_index.resize(u.dims.len(), 0);
    let mut strides = vec![0; last];
    strides.extend(&out_layout.strides[depth..]);
    let mut args = vec![cx.position(updates)];
    let mut axes = vec![];
    for d in 0..depth {
        args.push(KernelArg {
            value: index,
            offset: i.offset + d as i64 * i.strides[last],
        });
        axes.push(GatherAxis {
            index: d as u16,
            len: out_layout.dims[d],
            stride: out_layout.strides[d],
        });
    }
    let index_operand = Operand {
        dtype: cx.dtype(index),
        strides: over_index,
    };
    let spec = ScatterSpec {
        domain: u.dims.clone(),
        updates: u.operand(cx.dtype(updates)),
        indices: vec![index_operand; depth],
        axes,
        out: Operand {
            dtype: cx.dtype(updates),
            strides,
        },
        reduction: reduction(r),
    };
    copy_then(cx, node, spec, args)
}

fn pad(
    cx: &RegionCx<'_>,
    node: NodeId,
    mode: IrPadMode,
    pads: &[(i64, i64)],
) -> Result<Vec<KernelCall>, BuildError> {
    let x = cx.operand(node, 0)?;
    let out = cx.graph.nodes[node].outputs[0];
    let (from, to): (Layout, Layout) = ((cx.layout)(x), (cx.layout)(out));
    let dtype = cx.dtype(x);
    let mode = match mode {
        IrPadMode::Constant => PadMode::Constant,
        IrPadMode::Reflect => PadMode::Reflect,
        IrPadMode::Edge => PadMode::Edge,
        IrPadMode::Wrap => PadMode::Wrap,
    };
    let mut args = vec![cx.position(x)];
    if mode == PadMode::Constant {
        let value = cx.optional(node, 2);
        let value = value.ok_or_else(|| cx.error(node, "the border's value is not given"))?;
        args.push(cx.position(value));
    }
    args.push(cx.position(out));
    let spec = PadSpec {
        input: from.dims.clone(),
        output: to.dims.clone(),
        begin: pads.iter().map(|p| p.0).collect(),
        mode,
        x: from.operand(dtype),
        out: to.operand(dtype),
    };
    Ok(vec![KernelCall {
        spec: KernelSpec::Movement(MovementSpec::Pad(spec)),
        args,
    }])
}

fn resize(
    cx: &RegionCx<'_>,
    node: NodeId,
    samplings: Vec<AxisSampling>,
    outside: f32,
) -> Result<Vec<KernelCall>, BuildError> {
    let x = cx.operand(node, 0)?;
    let out = cx.graph.nodes[node].outputs[0];
    let (from, to) = ((cx.layout)(x), (cx.layout)(out));
    let mut axes: Vec<Interpolation> = from.dims.iter().map(|&n| unchanged(n)).collect();
    for s in samplings {
        let taps = s
            .taps
            .iter()
            .flatten()
            .map(Vec::len)
            .max()
            .unwrap_or(1)
            .max(1);
        let (mut positions, mut factors) = (vec![], vec![]);
        for tap in &s.taps {
            let tap: &[(usize, f64)] = tap.as_deref().unwrap_or(&[]);
            let outside = tap.is_empty();
            for i in 0..taps {
                let (at, factor) = tap.get(i).copied().unwrap_or((0, 0.0));
                // A position outside the operand counts once, with the whole weight.
                positions.push(if outside { -1 } else { at as i32 });
                factors.push(if outside && i == 0 {
                    1.0
                } else {
                    factor as f32
                });
            }
        }
        let output = s.taps.len() as u64;
        axes[s.axis] = Interpolation {
            output,
            taps: taps as u32,
            positions,
            factors,
        };
    }
    let spec = ResizeSpec {
        input: from.dims.clone(),
        axes,
        outside,
        x: from.operand(cx.dtype(x)),
        out: to.operand(cx.dtype(out)),
    };
    let args = vec![cx.position(x), cx.position(out)];
    Ok(vec![KernelCall {
        spec: KernelSpec::Movement(MovementSpec::Resize(spec)),
        args,
    }])
}

/// Every position from itself.
fn unchanged(n: u64) -> Interpolation {
    Interpolation {
        output: n,
        taps: 1,
        positions: (0..n as i32).collect(),
        factors: vec![1.0; n as usize],
    }
}
