//! Sizes known only at run time: where a node makes one that is bounded, values get room for the
//! bound, and the size is a value beside them.
//!
//! What lies beyond the size is computed like the rest and means nothing. So a node may read such a
//! value only if no element within the size of a result depends on one beyond that of an operand.

use super::plan::LowerError;
use ir::infer::{InferCx, normalize_axis};
use ir::{
    Class, DType, Def, Dim, Graph, NodeId, Op, StorageOrder, Symbol, TensorType, Value, ValueId,
    Weights,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A graph whose bounded sizes are replaced by their bounds.
pub(super) struct Bounded<'a> {
    /// The graph. Nodes that make sizes have one more result, the size: i64, of rank 0.
    pub graph: Cow<'a, Graph>,
    /// For each output, which of its dimensions has its size at run time, and the value of the size.
    pub sizes: Vec<Option<(usize, ValueId)>>,
}

/// The sizes known only at run time so far, each with the value that says it.
type Sizes = BTreeMap<Symbol, ValueId>;

/// Bounds the sizes in `graph`.
///
/// # Errors
/// A node that reads a value of such a size and is not known to be indifferent to what lies beyond.
pub(super) fn bound<'a>(graph: &'a Graph, weights: &Weights) -> Result<Bounded<'a>, LowerError> {
    let is_open = |v: &ValueId| graph.ty(*v).shape.dims().is_none();
    let makes_one = |&n: &NodeId| graph.nodes[n].outputs.iter().any(is_open);
    if graph.inputs.iter().any(is_open) || !graph.order.iter().any(makes_one) {
        return Ok(Bounded {
            graph: Cow::Borrowed(graph),
            sizes: vec![None; graph.outputs.len()],
        });
    }
    let mut sizes = Sizes::new();
    let mut bounded = graph.clone();
    for &n in &graph.order {
        let fail = |why: String| {
            let node = &graph.nodes[n];
            LowerError::Build {
                model: graph.name.clone(),
                node: node.origin.names().collect::<Vec<_>>().join(", "),
                operator: node.op.name(),
                why,
            }
        };
        read(graph, weights, n, &sizes).map_err(fail)?;
        let Some((symbol, bound)) = made(&bounded, weights, n) else {
            let mut outputs = graph.nodes[n].outputs.iter();
            if let Some(&v) = outputs.find(|v| is_open(v) && is_unbounded(graph.ty(**v), &sizes)) {
                return Err(fail(format!(
                    "its result, {}, has a size that is known only at run time; only \
                     NonMaxSuppression's is given a bound",
                    graph.ty(v)
                )));
            }
            continue;
        };
        if sizes.contains_key(&symbol) {
            return Err(fail(format!(
                "its result has the size {}, which another node makes too",
                symbol.as_str()
            )));
        }
        let value = bounded.values.push(Value {
            name: None,
            ty: TensorType::known(DType::I64, &[]),
            def: Def::Node {
                node: n,
                output: bounded.nodes[n].outputs.len() as u32,
            },
            storage: StorageOrder::RowMajor,
        });
        bounded.nodes[n].outputs.push(value);
        for (_, value) in bounded.values.iter_mut() {
            for dim in &mut value.ty.shape.0 {
                if matches!(dim, Dim::Symbol(s) if *s == symbol) {
                    *dim = Dim::Known(bound);
                }
            }
        }
        sizes.insert(symbol, value);
    }
    let mut of_outputs = vec![];
    for (name, v) in &graph.outputs {
        let open = open_dims(graph.ty(*v), &sizes);
        if let [_, (_, symbol), ..] = open[..] {
            return Err(LowerError::UnknownShape {
                model: graph.name.clone(),
                value: format!("{name} (with {} beside another size)", symbol.as_str()),
                shape: graph.ty(*v).shape.to_string(),
            });
        }
        of_outputs.push(open.first().map(|&(axis, s)| (axis, sizes[s])));
    }
    Ok(Bounded {
        graph: Cow::Owned(bounded),
        sizes: of_outputs,
    })
}

/// The size that node `n` makes, and its bound, which what it reads must have as known sizes.
fn made(bounded: &Graph, weights: &Weights, n: NodeId) -> Option<(Symbol, usize)> {
    let node = &bounded.nodes[n];
    let ty = bounded.ty(node.outputs[0]);
    let dims = |i: usize| bounded.ty(node.inputs.get(i).copied()??).shape.dims();
    match (&node.op, &ty.shape.0[..]) {
        (Op::NonMaxSuppression(op), [Dim::Symbol(s), _]) => {
            let (boxes, scores) = (dims(0)?, dims(1)?);
            let limits = infer(bounded, weights, n, |cx| op.limits(cx).ok())?;
            let (instances, n_boxes, classes) = (boxes[0], boxes[1], scores[1]);
            let rows = limits.boxes.min(n_boxes).checked_mul(instances)?;
            Some((s.clone(), rows.checked_mul(classes)?))
        }
        _ => None,
    }
}

/// What `f` says of the operands of node `n`.
fn infer<T>(graph: &Graph, weights: &Weights, n: NodeId, f: impl FnOnce(&InferCx<'_>) -> T) -> T {
    let node = &graph.nodes[n];
    let types: Vec<_> = node.inputs.iter().map(|v| v.map(|v| graph.ty(v))).collect();
    let constants: Vec<_> = node
        .inputs
        .iter()
        .map(|v| v.and_then(|v| weights.get(graph.weight(v)?)))
        .collect();
    f(&InferCx::new(&types, &constants, node.outputs.len()))
}

/// The dimensions of a type that have one of the sizes.
fn open_dims<'t>(ty: &'t TensorType, sizes: &Sizes) -> Vec<(usize, &'t Symbol)> {
    let dims = ty.shape.0.iter().enumerate();
    dims.filter_map(|(axis, dim)| match dim {
        Dim::Symbol(s) if sizes.contains_key(s) => Some((axis, s)),
        _ => None,
    })
    .collect()
}

/// Checks that node `n` may read operands of sizes known only at run time; else says why not.
fn read(graph: &Graph, weights: &Weights, n: NodeId, sizes: &Sizes) -> Result<(), String> {
    let node = &graph.nodes[n];
    for (i, v) in node.inputs.iter().enumerate() {
        let Some(v) = *v else { continue };
        let open = open_dims(graph.ty(v), sizes);
        if open.is_empty() {
            continue;
        }
        let result = graph.ty(node.outputs[0]);
        for &(axis, symbol) in &open {
            let suits = match &node.op {
                op if op.class() == Class::Map => {
                    let back = graph.ty(v).shape.rank() - axis;
                    has(result, result.shape.rank().checked_sub(back), symbol)
                }
                Op::Identity(_) => true,
                Op::Transpose(op) => {
                    let order = op.permutation(graph.ty(v).shape.rank()).ok();
                    let to = order.and_then(|order| order.iter().position(|&d| d == axis));
                    has(result, to, symbol)
                }
                Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                    i == 0 && keeps_rows(graph.ty(v), result, axis, symbol)
                }
                // A size stays the same where all is taken, in order or from the end.
                Op::Slice(_) => {
                    i == 0
                        && has(result, Some(axis), symbol)
                        && !infer(graph, weights, n, |cx| turns(cx, axis))
                }
                Op::Split(op) => {
                    let rank = graph.ty(v).shape.rank();
                    i == 0 && normalize_axis(op.axis, rank).is_ok_and(|along| along != axis)
                }
                Op::Concat(op) => {
                    let along = normalize_axis(op.axis, result.shape.rank());
                    let mut operands = node.inputs.iter().flatten();
                    along.is_ok_and(|along| along != axis)
                        && operands.all(|&v| has(graph.ty(v), Some(axis), symbol))
                }
                Op::Gather(op) => {
                    let data = node.inputs[0].map_or(0, |v| graph.ty(v).shape.rank());
                    // Positions beyond the size are made as those within it are, of zeros.
                    normalize_axis(op.axis, data).is_ok_and(|along| i == 1 || along != axis)
                }
                Op::GatherND(op) => {
                    let last = graph.ty(v).shape.rank() - 1;
                    i == 1 && op.batch_dims == 0 && axis < last
                }
                _ => false,
            };
            if !suits {
                return Err(format!(
                    "its operand {i}, {}, has a size that is known only at run time; \
                     such a value may be an output of the model, and be read by elementwise \
                     operators, by Gather as positions, and by views, concatenations and Gather \
                     along other dimensions",
                    graph.ty(v)
                ));
            }
        }
    }
    Ok(())
}

/// Whether a type has a symbol that is none of the sizes.
fn is_unbounded(ty: &TensorType, sizes: &Sizes) -> bool {
    let mut dims = ty.shape.0.iter();
    dims.any(|d| matches!(d, Dim::Symbol(s) if !sizes.contains_key(s)))
}

/// Whether dimension `axis` of a type has the size `symbol`.
fn has(ty: &TensorType, axis: Option<usize>, symbol: &Symbol) -> bool {
    axis.and_then(|axis| ty.shape.0.get(axis))
        .is_some_and(|d| matches!(d, Dim::Symbol(s) if s == symbol))
}

/// Whether a reshape from `from` to `to` leaves dimension `axis` between as many elements.
fn keeps_rows(from: &TensorType, to: &TensorType, axis: usize, symbol: &Symbol) -> bool {
    let product = |dims: &[Dim]| {
        dims.iter()
            .try_fold(1usize, |n, d| n.checked_mul(d.known()?))
    };
    let around =
        |dims: &[Dim], axis: usize| Some((product(&dims[..axis])?, product(&dims[axis + 1..])?));
    let is_it = |d: &Dim| matches!(d, Dim::Symbol(s) if s == symbol);
    let Some(there) = to.shape.0.iter().position(is_it) else {
        return false;
    };
    let before = around(&from.shape.0, axis);
    before.is_some() && before == around(&to.shape.0, there)
}

/// Whether a slice turns dimension `axis` around, or may.
fn turns(cx: &InferCx<'_>, axis: usize) -> bool {
    let Some(steps) = cx.optional(4).map(|_| cx.ints(4)) else {
        return false;
    };
    let rank = cx.shape(0).map_or(0, ir::Shape::rank);
    let axes = match cx.optional(3) {
        Some(_) => cx.ints(3),
        None => Some((0..rank as i64).collect()),
    };
    let (Some(steps), Some(axes)) = (steps, axes) else {
        return true;
    };
    let this = |a: i64| normalize_axis(a, rank).is_ok_and(|a| a == axis);
    axes.iter()
        .zip(&steps)
        .any(|(&a, &step)| this(a) && step != 1)
}
