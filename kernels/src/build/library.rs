//! Operators with a kernel of their own.

use super::{BuildError, KernelCall, RegionCx};
use crate::layout::Layout;
use ir::infer::normalize_axis;
use ir::ops;
use ir::{NodeId, Op};
use plans::DType;
use plans::KernelSpec;
use plans::spec::{
    CumSumSpec, GridSampleSpec, LibrarySpec, NonMaxSuppressionSpec, Operand, SampleMode,
    SamplePadding, TopKSpec,
};

/// The region's only node.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let node = cx.nodes[0];
    match &cx.graph.nodes[node].op {
        Op::TopK(t) => top_k(cx, node, t),
        Op::CumSum(c) => cum_sum(cx, node, c),
        Op::GridSample(g) => grid_sample(cx, node, g),
        Op::NonMaxSuppression(n) => non_max_suppression(cx, node, n),
        op => Err(cx.error(node, format!("no kernel for {}", op.name()))),
    }
}

/// Extents and strides of `layout` with `axis` last.
fn axis_last(layout: &Layout, axis: usize, dtype: DType) -> (Vec<u64>, Operand) {
    let order = (0..layout.dims.len()).filter(|&d| d != axis).chain([axis]);
    let (dims, strides) = order.map(|d| (layout.dims[d], layout.strides[d])).unzip();
    (dims, Operand { dtype, strides })
}

fn top_k(cx: &RegionCx<'_>, node: NodeId, t: &ops::TopK) -> Result<Vec<KernelCall>, BuildError> {
    let x = cx.operand(node, 0)?;
    let n = &cx.graph.nodes[node];
    let layout = (cx.layout)(x);
    let axis = normalize_axis(t.axis, layout.dims.len()).map_err(|e| cx.error(node, e))?;
    let k = cx.infer(node, |i| t.k(i))? as u64;
    let (domain, operand) = axis_last(&layout, axis, cx.dtype(x));
    let mut args = vec![cx.position(x)];
    let mut result = |i: usize| {
        let v = n.outputs[i];
        args.push(cx.position(v));
        axis_last(&(cx.layout)(v), axis, cx.dtype(v)).1
    };
    let (values, indices) = (result(0), result(1));
    let spec = TopKSpec {
        domain,
        k,
        largest: t.largest,
        x: operand,
        values,
        indices,
    };
    Ok(vec![KernelCall {
        spec: KernelSpec::Library(LibrarySpec::TopK(spec)),
        args,
    }])
}

fn cum_sum(
    cx: &RegionCx<'_>,
    node: NodeId,
    c: &ops::CumSum,
) -> Result<Vec<KernelCall>, BuildError> {
    let x = cx.operand(node, 0)?;
    let out = cx.graph.nodes[node].outputs[0];
    let axis = cx.infer(node, |i| c.axis(i))?;
    let (domain, operand) = axis_last(&(cx.layout)(x), axis, cx.dtype(x));
    let spec = CumSumSpec {
        domain,
        exclusive: c.exclusive,
        reverse: c.reverse,
        x: operand,
        out: axis_last(&(cx.layout)(out), axis, cx.dtype(out)).1,
    };
    let args = vec![cx.position(x), cx.position(out)];
    Ok(vec![KernelCall {
        spec: KernelSpec::Library(LibrarySpec::CumSum(spec)),
        args,
    }])
}

fn grid_sample(
    cx: &RegionCx<'_>,
    node: NodeId,
    g: &ops::GridSample,
) -> Result<Vec<KernelCall>, BuildError> {
    let (x, grid) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
    let out = cx.graph.nodes[node].outputs[0];
    let (x_layout, out_layout) = ((cx.layout)(x), (cx.layout)(out));
    let spec = GridSampleSpec {
        batch: x_layout.dims[0],
        channels: x_layout.dims[1],
        input: x_layout.dims[2..].to_vec(),
        output: out_layout.dims[2..].to_vec(),
        mode: match g.mode {
            ops::SampleMode::Linear => SampleMode::Linear,
            ops::SampleMode::Nearest => SampleMode::Nearest,
            ops::SampleMode::Cubic => SampleMode::Cubic,
        },
        padding: match g.padding_mode {
            ops::SamplePadding::Zeros => SamplePadding::Zeros,
            ops::SamplePadding::Border => SamplePadding::Border,
            ops::SamplePadding::Reflection => SamplePadding::Reflection,
        },
        align_corners: g.align_corners,
        x: x_layout.operand(cx.dtype(x)),
        grid: (cx.layout)(grid).operand(cx.dtype(grid)),
        out: out_layout.operand(cx.dtype(out)),
    };
    let args = vec![cx.position(x), cx.position(grid), cx.position(out)];
    Ok(vec![KernelCall {
        spec: KernelSpec::Library(LibrarySpec::GridSample(spec)),
        args,
    }])
}

/// The node's second result is how many boxes are picked.
fn non_max_suppression(
    cx: &RegionCx<'_>,
    node: NodeId,
    n: &ops::NonMaxSuppression,
) -> Result<Vec<KernelCall>, BuildError> {
    let (boxes, scores) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
    let &[out, count] = &cx.graph.nodes[node].outputs[..] else {
        return Err(cx.error(node, "the number of its results is known only at run time"));
    };
    let limits = cx.infer(node, |i| n.limits(i))?;
    let (boxes_layout, scores_layout) = ((cx.layout)(boxes), (cx.layout)(scores));
    let n_boxes = boxes_layout.dims[1];
    let spec = NonMaxSuppressionSpec {
        batch: boxes_layout.dims[0],
        classes: scores_layout.dims[1],
        boxes: n_boxes,
        max_output: n_boxes.min(limits.boxes as u64),
        iou_threshold: limits.overlap,
        score_threshold: limits.score,
        center_point: n.center_point_box,
        boxes_in: boxes_layout.operand(cx.dtype(boxes)),
        scores: scores_layout.operand(cx.dtype(scores)),
        out: (cx.layout)(out).operand(cx.dtype(out)),
    };
    Ok(vec![KernelCall {
        spec: KernelSpec::Library(LibrarySpec::NonMaxSuppression(spec)),
        args: [boxes, scores, out, count].map(|v| cx.position(v)).to_vec(),
    }])
}
