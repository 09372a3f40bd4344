//! Matrix products and convolutions with their epilogues.

use super::elements::Elements;
use super::{BuildError, KernelArg, KernelCall, RegionCx};
use crate::layout::Layout;
use ir::ops::WindowGeometry;
use ir::{Class, NodeId, Op, ValueId};
use plans::spec::{ContractSpec, Epilogue, Operand, Problem, Window};
use plans::tape::BinaryFn;
use plans::tape::TapeOp;
use plans::{DType, KernelSpec};

/// The region's contraction, and everything else in it as the epilogue.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let node = cx.anchor(|op| op.class() == Class::Contract)?;
    let (x, w) = (cx.operand(node, 0)?, cx.operand(node, 1)?);
    let (problem, domain): (Problem, Vec<u64>) = match &cx.graph.nodes[node].op {
        Op::MatMul(_) => matmul(cx, node, x, w)?,
        Op::Conv(conv) => {
            let geometry = conv.geometry(cx.graph.ty(x), cx.graph.ty(w));
            let geometry = geometry.map_err(|e| cx.error(node, e))?;
            let groups = conv.groups().map_err(|e| cx.error(node, e))? as u64;
            convolution(cx, node, (x, w), window(&geometry), groups, false)?
        }
        Op::ConvTranspose(conv) => {
            let geometry = conv.geometry(cx.graph.ty(x), cx.graph.ty(w));
            let geometry = geometry.map_err(|e| cx.error(node, e))?;
            let groups = conv.groups().map_err(|e| cx.error(node, e))? as u64;
            // The geometry is that of the convolution whose transpose this is.
            let mut window = window(&geometry);
            std::mem::swap(&mut window.input, &mut window.output);
            convolution(cx, node, (x, w), window, groups, true)?
        }
        op => return Err(cx.error(node, format!("{} is no contraction", op.name()))),
    };
    let sum = cx.graph.nodes[node].outputs[0];
    let (mut epilogue, mut tail) = epilogue(cx, domain, sum, cx.optional(node, 2), node)?;
    if let Problem::MatMul { batch, .. } = &problem {
        // A vector as left operand has no rows in the result, one as right operand no columns.
        let rank_of = |v: ValueId| cx.graph.ty(v).shape.rank();
        for o in epilogue.inputs.iter_mut().chain(&mut epilogue.outputs) {
            if rank_of(x) == 1 {
                o.strides.insert(batch.len(), 0);
            }
            if rank_of(w) == 1 {
                o.strides.push(0);
            }
        }
    }
    let mut args = vec![cx.position(x), cx.position(w)];
    args.append(&mut tail);
    let mut spec = ContractSpec { problem, epilogue };
    merge_batch(&mut spec);
    Ok(vec![KernelCall {
        spec: KernelSpec::Contract(spec),
        args,
    }])
}

/// The geometry as the plan has it.
pub(super) fn window(g: &WindowGeometry) -> Window {
    let list = |v: &[usize]| v.iter().map(|&x| x as u64).collect();
    Window {
        input: list(&g.input),
        output: list(&g.output),
        kernel: list(&g.kernel),
        strides: list(&g.strides),
        dilations: list(&g.dilations),
        pads_begin: list(&g.pads_begin),
    }
}

/// The epilogue over `domain` of a kernel whose own result is `sum`, plus a bias along dimension 1,
/// with the arguments for its inputs and outputs.
pub(super) fn epilogue(
    cx: &RegionCx<'_>,
    domain: Vec<u64>,
    sum: ValueId,
    bias: Option<ValueId>,
    anchor: NodeId,
) -> Result<(Epilogue, Vec<KernelArg>), BuildError> {
    let mut elements = Elements::new(cx, domain, 1);
    let dtype = cx.dtype(sum);
    let mut acc = elements.tape.input(0, dtype);
    if let Some(bias) = bias {
        let layout = (cx.layout)(bias);
        let mut strides = vec![0; elements.domain.len()];
        strides[1] = layout.strides[0];
        let arg = KernelArg {
            value: bias,
            offset: layout.offset,
        };
        let operand = Operand { dtype, strides };
        let input = elements.push_input(super::elements::Input {
            arg,
            operand,
            gather: vec![],
        });
        let b = elements.tape.input(input, dtype);
        acc = elements
            .tape
            .push(TapeOp::Binary(BinaryFn::Add, acc, b), dtype);
    }
    elements.define(sum, acc);
    for &node in cx.nodes.iter().filter(|&&n| n != anchor) {
        elements.apply(node)?;
    }
    let results = cx
        .outputs
        .iter()
        .map(|&v| elements.reg(v, anchor))
        .collect::<Result<Vec<_>, _>>()?;
    let tape = std::mem::take(&mut elements.tape).finish(results);
    let mut args: Vec<KernelArg> = elements.inputs.iter().map(|i| i.arg).collect();
    args.extend(cx.outputs.iter().map(|&v| cx.position(v)));
    let outputs = cx
        .outputs
        .iter()
        .map(|&v| elements.operand_of(v, &(cx.layout)(v), anchor))
        .collect::<Result<_, _>>()?;
    let inputs = elements.inputs.into_iter().map(|i| i.operand).collect();
    Ok((
        Epilogue {
            inputs,
            tape,
            outputs,
        },
        args,
    ))
}

fn convolution(
    cx: &RegionCx<'_>,
    node: NodeId,
    (x, w): (ValueId, ValueId),
    window: Window,
    groups: u64,
    transposed: bool,
) -> Result<(Problem, Vec<u64>), BuildError> {
    let (x_dims, w_dims) = (cx.dims(x)?, cx.dims(w)?);
    let (batch, in_channels) = (x_dims[0], x_dims[1] / groups);
    let out_channels = if transposed {
        w_dims[1]
    } else {
        w_dims[0] / groups
    };
    let x = (cx.layout)(x).operand(cx.dtype(x));
    let w = (cx.layout)(w).operand(cx.dtype(w));
    let problem = if transposed {
        Problem::ConvTranspose {
            batch,
            groups,
            in_channels,
            out_channels,
            window,
            x,
            w,
        }
    } else {
        Problem::Conv {
            batch,
            groups,
            in_channels,
            out_channels,
            window,
            x,
            w,
        }
    };
    let domain = problem.domain();
    let out = cx.dims(cx.graph.nodes[node].outputs[0])?;
    if domain != out {
        return Err(cx.error(node, format!("a result of {domain:?} typed as {out:?}")));
    }
    Ok((problem, domain))
}

/// A product of matrices; vectors count as matrices of one row or column.
fn matmul(
    cx: &RegionCx<'_>,
    node: NodeId,
    a: ValueId,
    b: ValueId,
) -> Result<(Problem, Vec<u64>), BuildError> {
    let promote = |value: ValueId, vector_is_row: bool| {
        let mut layout = (cx.layout)(value);
        if layout.dims.len() == 1 {
            let at = if vector_is_row { 0 } else { 1 };
            layout.dims.insert(at, 1);
            layout.strides.insert(at, 0);
        }
        layout
    };
    let (la, lb) = (promote(a, true), promote(b, false));
    let (ra, rb) = (la.dims.len(), lb.dims.len());
    let (m, k, n) = (la.dims[ra - 2], la.dims[ra - 1], lb.dims[rb - 1]);
    let rank = ra.max(rb) - 2;
    let extent = |l: &Layout, d: usize| {
        (d + l.dims.len() - 2)
            .checked_sub(rank)
            .map_or(1, |own| l.dims[own])
    };
    let batch: Vec<u64> = (0..rank)
        .map(|d| {
            if extent(&la, d) == 1 {
                extent(&lb, d)
            } else {
                extent(&la, d)
            }
        })
        .collect();
    let over = |l: &Layout, last: [u64; 2], dtype: DType| {
        let domain: Vec<u64> = batch.iter().copied().chain(last).collect();
        l.operand_over(&domain, dtype).ok_or_else(|| {
            cx.error(
                node,
                format!("{:?} does not broadcast to {domain:?}", l.dims),
            )
        })
    };
    let a = over(&la, [m, k], cx.dtype(a))?;
    let b = over(&lb, [k, n], cx.dtype(b))?;
    let problem = Problem::MatMul {
        batch,
        m,
        n,
        k,
        a,
        b,
    };
    let domain = problem.domain();
    let out = cx.dims(cx.graph.nodes[node].outputs[0])?;
    if !domain
        .iter()
        .filter(|&&d| d != 1)
        .eq(out.iter().filter(|&&d| d != 1))
    {
        return Err(cx.error(node, format!("a product of {domain:?} typed as {out:?}")));
    }
    Ok((problem, out))
}

/// Batch dimensions of a matrix product along which the right operand repeats become rows, where
/// every other operand allows it; those of extent 1 go.
fn merge_batch(spec: &mut ContractSpec) {
    let Problem::MatMul { batch, m, a, b, .. } = &mut spec.problem else {
        return;
    };
    let epilogue = &mut spec.epilogue;
    for d in (0..batch.len()).rev() {
        let row = batch.len();
        let mut others: Vec<&mut Operand> = vec![&mut *a];
        others.extend(epilogue.inputs.iter_mut());
        others.extend(epilogue.outputs.iter_mut());
        let extent = batch[d];
        let rows = *m as i64;
        let next_to_rows = d + 1 == row;
        let merges = next_to_rows
            && b.strides[d] == 0
            && others
                .iter()
                .all(|o| *m == 1 || o.strides[d] == o.strides[row] * rows);
        if extent != 1 && !merges {
            continue;
        }
        for o in &mut others {
            if extent != 1 && *m == 1 {
                o.strides[row] = o.strides[d];
            }
            o.strides.remove(d);
        }
        b.strides.remove(d);
        batch.remove(d);
        *m *= extent;
    }
}
