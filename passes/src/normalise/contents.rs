//! What is known of the contents of small integer tensors that are computed from shapes.
//!
//! Exporters compute shapes at run time: `Shape`, then `Gather`, arithmetic and `Concat`. Where a
//! dimension is a symbol, the tensors on the way are not constant, but most of their elements are.

use ir::infer::normalize_axis;
use ir::{DType, Dim, GraphId, Op, Symbol, Tensor, ValueId};

/// One element of an integer tensor.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Element {
    /// A number.
    Known(i64),
    /// The size of a dimension.
    Size(Symbol),
    /// Anything.
    Unknown,
}

impl Element {
    fn of(dim: &Dim) -> Self {
        match dim {
            Dim::Known(n) => i64::try_from(*n).map_or(Element::Unknown, Element::Known),
            Dim::Symbol(s) => Element::Size(s.clone()),
        }
    }

    /// The number, if it is known.
    pub(super) fn known(&self) -> Option<i64> {
        match self {
            Element::Known(n) => Some(*n),
            Element::Size(_) | Element::Unknown => None,
        }
    }
}

/// Most elements of a tensor that is followed element by element.
pub(super) const LIMIT: usize = 256;

/// What a node's operands are to [`follow`]: types, constants, and contents found earlier.
pub(super) trait Operands {
    /// The shape of operand `i`.
    fn shape(&self, i: usize) -> Option<&ir::Shape>;
    /// The elements of operand `i`, of rank 0 or 1, as far as they are known.
    fn elements(&self, i: usize) -> Option<Vec<Element>>;
}

/// The elements of the result of `op`, of rank 0 or 1, in order, if anything is known of them.
///
/// `dtype` is the type of the result, and `n_inputs` the number of operands.
pub(super) fn follow(
    op: &Op,
    dtype: DType,
    n_inputs: usize,
    operands: &impl Operands,
) -> Option<Vec<Element>> {
    if !dtype.is_integer() {
        return None;
    }
    let elements = match op {
        Op::Shape(shape) => shape
            .of(operands.shape(0)?)
            .iter()
            .map(Element::of)
            .collect(),
        Op::Size(_) => match operands.shape(0)?.0.as_slice() {
            [] => vec![Element::Known(1)],
            [one] => vec![Element::of(one)],
            _ => return None,
        },
        // Only the rank changes.
        Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Identity(_) | Op::Reshape(_) | Op::Flatten(_) => {
            operands.elements(0)?
        }
        Op::Cast(_) => {
            let wraps = |e: &Element| match e {
                Element::Known(n) => Tensor::from_i64(dtype, &[], &[*n]).to_i64() != Some(vec![*n]),
                Element::Size(_) => !matches!(dtype, DType::I32 | DType::I64),
                Element::Unknown => false,
            };
            let elements = operands.elements(0)?;
            if elements.iter().any(wraps) {
                return None;
            }
            elements
        }
        Op::Gather(_) => {
            let data = operands.elements(0)?;
            let at = |e: &Element| Some(data[normalize_axis(e.known()?, data.len()).ok()?].clone());
            let indices = operands.elements(1)?;
            indices.iter().map(at).collect::<Option<Vec<_>>>()?
        }
        Op::Concat(_) => {
            let parts: Option<Vec<_>> = (0..n_inputs).map(|i| operands.elements(i)).collect();
            parts?.concat()
        }
        Op::Slice(_) => slice(operands, n_inputs)?,
        Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) => arithmetic(op, operands)?,
        _ => return None,
    };
    (elements.len() <= LIMIT).then_some(elements)
}

/// A slice of a list, forward.
fn slice(operands: &impl Operands, n_inputs: usize) -> Option<Vec<Element>> {
    let data = operands.elements(0)?;
    let number = |i: usize| match operands.elements(i)?.as_slice() {
        [one] => one.known(),
        _ => None,
    };
    let step = if n_inputs > 4 { number(4)? } else { 1 };
    let n = data.len() as i64;
    let limit = |i: i64| {
        if i < 0 {
            (i.saturating_add(n)).max(0)
        } else {
            i.min(n)
        }
    };
    let (start, end) = (limit(number(1)?), limit(number(2)?));
    let step = usize::try_from(step).ok().filter(|&s| s > 0)?;
    let taken = data.get(start as usize..end.max(start) as usize)?;
    Some(taken.iter().step_by(step).cloned().collect())
}

fn arithmetic(op: &Op, operands: &impl Operands) -> Option<Vec<Element>> {
    let (a, b) = (operands.elements(0)?, operands.elements(1)?);
    let n = match (a.len(), b.len()) {
        (x, y) if x == y => x,
        (1, n) | (n, 1) => n,
        _ => return None,
    };
    let at = |list: &[Element], i: usize| list[if list.len() == 1 { 0 } else { i }].clone();
    let apply = |i: usize| match (op, at(&a, i), at(&b, i)) {
        (Op::Add(_), x, Element::Known(0)) | (Op::Add(_), Element::Known(0), x) => x,
        (Op::Sub(_), x, Element::Known(0)) => x,
        (Op::Mul(_), x, Element::Known(1)) | (Op::Mul(_), Element::Known(1), x) => x,
        (Op::Mul(_), Element::Known(0), _) | (Op::Mul(_), _, Element::Known(0)) => {
            Element::Known(0)
        }
        (Op::Div(_), x, Element::Known(1)) => x,
        (op, Element::Known(x), Element::Known(y)) => {
            let result = match op {
                Op::Add(_) => x.checked_add(y),
                Op::Sub(_) => x.checked_sub(y),
                Op::Mul(_) => x.checked_mul(y),
                _ => x.checked_div(y),
            };
            result.map_or(Element::Unknown, Element::Known)
        }
        _ => Element::Unknown,
    };
    Some((0..n).map(apply).collect())
}

/// Elements by graph and value, for values whose contents are partly known.
pub(super) type Contents = std::collections::BTreeMap<(GraphId, ValueId), Vec<Element>>;
