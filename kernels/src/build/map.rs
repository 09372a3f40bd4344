//! Elementwise regions.

use super::domain::canonical;
use super::elements::Elements;
use super::{BuildError, KernelArg, KernelCall, RegionCx};
use crate::layout::Layout;
use ir::ValueId;
use plans::KernelSpec;
use plans::spec::{MapInput, MapSpec, Operand};
use plans::tape::{Tape, TapeOp};

/// One kernel over the shape of one of the region's values: the first over which all operands are affine.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let mut shapes: Vec<Vec<u64>> = vec![];
    for &node in cx.nodes.iter().rev() {
        let dims = cx.dims(cx.graph.nodes[node].outputs[0])?;
        if !shapes.contains(&dims) {
            shapes.push(dims);
        }
    }
    let mut tried = shapes.into_iter().map(|domain| build_over(cx, domain));
    let first = tried
        .next()
        .unwrap_or_else(|| Err(cx.error(cx.nodes[0], "an empty region")));
    first.or_else(|why| tried.find_map(Result::ok).ok_or(why))
}

fn build_over(cx: &RegionCx<'_>, domain: Vec<u64>) -> Result<Vec<KernelCall>, BuildError> {
    let mut elements = Elements::new(cx, domain, 0);
    for &node in cx.nodes {
        elements.apply(node)?;
    }
    let node = cx.nodes[0];
    let mut results = vec![];
    let mut outputs = vec![];
    for &v in cx.outputs {
        results.push(elements.reg(v, node)?);
        outputs.push(elements.operand_of(v, &(cx.layout)(v), node)?);
    }
    let tape = std::mem::take(&mut elements.tape).finish(results);
    let mut args: Vec<KernelArg> = elements.inputs.iter().map(|i| i.arg).collect();
    args.extend(cx.outputs.iter().map(|&v| cx.position(v)));
    let inputs = elements
        .inputs
        .into_iter()
        .map(|i| MapInput {
            operand: i.operand,
            gather: i.gather,
        })
        .collect();
    Ok(vec![KernelCall {
        spec: spec(elements.domain, inputs, tape, outputs),
        args,
    }])
}

/// The canonical spec.
fn spec(
    mut domain: Vec<u64>,
    mut inputs: Vec<MapInput>,
    mut tape: Tape,
    mut outputs: Vec<Operand>,
) -> KernelSpec {
    let pinned: Vec<usize> = tape
        .steps
        .iter()
        .filter_map(|s| match s.op {
            TapeOp::Index(d) => Some(d as usize),
            _ => None,
        })
        .collect();
    let mut strides: Vec<&mut Vec<i64>> = outputs.iter_mut().map(|o| &mut o.strides).collect();
    strides.extend(inputs.iter_mut().map(|i| &mut i.operand.strides));
    let went = canonical(&mut domain, &mut strides, &pinned);
    for step in &mut tape.steps {
        if let TapeOp::Index(d) = &mut step.op {
            *d = went[*d as usize].expect("pinned dimensions stay") as u16;
        }
    }
    KernelSpec::Map(MapSpec {
        domain,
        inputs,
        tape,
        outputs,
    })
}

/// A copy from one layout to another of the same dimensions.
pub(super) fn copy(
    dtype: plans::DType,
    from: (ValueId, &Layout),
    to: (ValueId, &Layout),
) -> KernelCall {
    let spec = spec(
        to.1.dims.clone(),
        vec![MapInput::affine(from.1.operand(dtype))],
        Tape::identity(dtype),
        vec![to.1.operand(dtype)],
    );
    let args = [from, to].map(|(value, layout)| KernelArg {
        value,
        offset: layout.offset,
    });
    KernelCall {
        spec,
        args: args.to_vec(),
    }
}
