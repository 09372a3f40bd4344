//! Computes at compile time what does not depend on inputs.

use super::contents::{Contents, Element, LIMIT, Operands, follow};
use crate::manager::{Cause, Changed, PassCx, PassError};
use crate::pattern::{Sweep, sweep};
use bytes::Bytes;
use ir::infer::InferCx;
use ir::ops::Reshape;
use ir::patch::infer_node;
use ir::{Class, NodeId, Op, Program, Shape, Tensor, TensorType, ValueId};

/// Results of more elements than this are computed only if they take no more room than what they
/// are computed from.
pub(super) const GROWTH_LIMIT: usize = 1 << 20;

/// Views of constants of more elements than this stay: they cost nothing at run time, and a copy
/// would be made here and written to the plan.
const VIEW_LIMIT: usize = 1 << 24;

/// Nodes of more operations than this are left to run time: reference evaluation is slow.
const WORK_LIMIT: u64 = 1 << 31;

/// Nodes whose operands are constant become constants, and so do shapes, and arithmetic on shapes,
/// where dimensions are known, and results without elements; types are inferred anew on the way, so
/// that what becomes known spreads.
///
/// Before: `%1 = Shape(%0)`, `%2 = Gather(%1, w0)`, `%3 = Concat(w1, %2)`, `%4 = Reshape(%0, %3)`.
/// After: `%4 = Reshape(%0, w2)`; a dimension that is not known is 0 or -1 in `w2`.
///
/// Refused: a result that is far bigger than what it is computed from, and views of big constants.
pub fn fold_constants(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let mut contents = Contents::new();
    sweep(program, cx, |s, node| fold(s, node, &mut contents))
}

fn fold(s: &mut Sweep<'_, '_, '_>, node: NodeId, contents: &mut Contents) -> Result<(), Cause> {
    reshape_by_known_elements(s, node, contents)?;
    let inputs = s.inputs(node);
    let n_outputs = s.outputs(node).len();
    let op = s.op(node).clone();
    let types = infer_node(s.graph(), s.weights(), &op, &inputs, n_outputs)?;
    let outputs = s.outputs(node).to_vec();
    for (&v, ty) in outputs.iter().zip(&types) {
        s.refine(v, ty)?;
    }
    if let Some(tensor) = metadata(s, &op, &inputs) {
        return become_constant(s, node, &[tensor]);
    }
    if let Some(results) = empty(&types) {
        return become_constant(s, node, &results);
    }
    let operands: Option<Vec<Option<Tensor>>> = inputs
        .iter()
        .map(|v| match v {
            None => Some(None),
            Some(v) => s.constant(*v).cloned().map(Some),
        })
        .collect();
    if let Some(operands) = operands {
        return evaluate(s, node, &op, &operands, &types);
    }
    let around = Around {
        sweep: s,
        inputs: &inputs,
        contents,
    };
    if n_outputs != 1 || types[0].shape.rank() > 1 {
        return Ok(());
    }
    let Some(elements) = follow(&op, types[0].dtype, inputs.len(), &around) else {
        return Ok(());
    };
    let known: Option<Vec<i64>> = elements.iter().map(Element::known).collect();
    match (known, types[0].shape.dims()) {
        (Some(values), Some(dims)) if values.len() == dims.iter().product::<usize>() => {
            let tensor = Tensor::from_i64(types[0].dtype, &dims, &values);
            become_constant(s, node, &[tensor])
        }
        _ => {
            contents.insert((s.graph_id(), s.output(node)), elements);
            Ok(())
        }
    }
}

/// What depends only on the types of the operands.
fn metadata(s: &Sweep<'_, '_, '_>, op: &Op, inputs: &[Option<ValueId>]) -> Option<Tensor> {
    let types: Vec<_> = inputs.iter().map(|v| v.map(|v| s.ty(v))).collect();
    op.metadata(&InferCx::new(&types, &[], 1))
}

/// The results, where none of them has elements.
fn empty(types: &[TensorType]) -> Option<Vec<Tensor>> {
    let empty = |t: &TensorType| {
        let dims = t.shape.dims().filter(|d| d.contains(&0))?;
        Tensor::new(t.dtype, &dims, Bytes::new()).ok()
    };
    types.iter().map(empty).collect()
}

/// Evaluates a node whose operands are all constant.
fn evaluate(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    op: &Op,
    operands: &[Option<Tensor>],
    types: &[TensorType],
) -> Result<(), Cause> {
    if let Some(reason) = too_big(s, node, types) {
        s.refuse(node, || reason);
        return Ok(());
    }
    let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
    match op.eval(&operands, types.len()) {
        Ok(results) => become_constant(s, node, &results),
        Err(why) => {
            s.refuse(node, || format!("it cannot be evaluated: {why}"));
            Ok(())
        }
    }
}

fn too_big(s: &Sweep<'_, '_, '_>, node: NodeId, types: &[TensorType]) -> Option<String> {
    let inputs = s.inputs(node);
    let operand_types: Vec<_> = inputs.iter().map(|v| v.map(|v| s.ty(v))).collect();
    let work = s.op(node).work(&operand_types, types);
    if work.flop > WORK_LIMIT {
        return Some(format!("it takes {} operations", work.flop));
    }
    let n_elements: usize = types.iter().filter_map(|t| t.shape.n_elements()).sum();
    if n_elements > VIEW_LIMIT && s.op(node).class() == Class::View {
        return Some(format!(
            "a view of {n_elements} elements costs nothing at run time"
        ));
    }
    let freed: usize = inputs
        .iter()
        .flatten()
        .filter(|&&v| s.n_weight_readers(v) <= 1)
        .filter_map(|&v| s.ty(v).n_bytes())
        .sum();
    let taken: usize = types.iter().filter_map(TensorType::n_bytes).sum();
    (n_elements > GROWTH_LIMIT && taken > freed)
        .then(|| format!("its {taken} bytes would replace {freed} bytes of constants"))
}

fn become_constant(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    results: &[Tensor],
) -> Result<(), Cause> {
    if !s.may_change(&[node]) {
        return Ok(());
    }
    for (v, tensor) in s.outputs(node).to_vec().into_iter().zip(results) {
        let constant = s.constant_value(tensor.clone());
        s.replace(v, constant);
    }
    Ok(())
}

/// Gives a reshape whose shape operand is known but for dimensions of its own operand, or but for
/// one element, a constant shape operand.
fn reshape_by_known_elements(
    s: &mut Sweep<'_, '_, '_>,
    node: NodeId,
    contents: &Contents,
) -> Result<(), Cause> {
    let Op::Reshape(op) = s.op(node).clone() else {
        return Ok(());
    };
    let (Some(x), Some(shape)) = (s.input(node, 0), s.input(node, 1)) else {
        return Ok(());
    };
    let Some(elements) = contents.get(&(s.graph_id(), shape)) else {
        return Ok(());
    };
    let Some(target) = target(elements, &s.ty(x).shape, op.allowzero) else {
        s.refuse(node, || {
            "more than one dimension of the shape is not known".into()
        });
        return Ok(());
    };
    if !s.may_change(&[node]) {
        return Ok(());
    }
    let target = s.list(&target);
    let reshaped = s.node(Reshape { allowzero: false }, &[x, target])?;
    s.replace(s.output(node), reshaped);
    Ok(())
}

/// `elements` as numbers: 0 for the dimension that the operand has in that place, -1 for one other.
fn target(elements: &[Element], x: &Shape, allowzero: bool) -> Option<Vec<i64>> {
    let mut rest = false;
    let number = |(i, e): (usize, &Element)| match e {
        Element::Known(0) if allowzero => None,
        Element::Known(n) => {
            rest |= *n == -1;
            Some(*n)
        }
        Element::Size(symbol) if x.0.get(i) == Some(&ir::Dim::Symbol(symbol.clone())) => Some(0),
        Element::Size(_) | Element::Unknown => (!std::mem::replace(&mut rest, true)).then_some(-1),
    };
    let target: Option<Vec<i64>> = elements.iter().enumerate().map(number).collect();
    target.filter(|t| t.iter().filter(|&&n| n == -1).count() <= 1)
}

/// A node's operands with what is known of their contents.
struct Around<'a, 'b, 'p, 'c, 'o> {
    sweep: &'a Sweep<'p, 'c, 'o>,
    inputs: &'b [Option<ValueId>],
    contents: &'b Contents,
}

impl Operands for Around<'_, '_, '_, '_, '_> {
    fn shape(&self, i: usize) -> Option<&Shape> {
        let v = self.inputs.get(i).copied().flatten()?;
        Some(&self.sweep.ty(v).shape)
    }

    fn elements(&self, i: usize) -> Option<Vec<Element>> {
        let v = self.inputs.get(i).copied().flatten()?;
        if self.sweep.rank(v) > 1 {
            return None;
        }
        if let Some(known) = self.contents.get(&(self.sweep.graph_id(), v)) {
            return Some(known.clone());
        }
        let tensor = self.sweep.constant(v).filter(|t| t.n_elements() <= LIMIT)?;
        Some(tensor.to_i64()?.into_iter().map(Element::Known).collect())
    }
}
