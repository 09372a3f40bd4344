//! Views: results that are elements of the operand under another index.

use crate::infer::InferCx;
use crate::ops::OpError;
use crate::shape::{Dim, Shape};

/// How a view indexes its operand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ViewStep {
    /// Dimension `i` of the result is dimension `perm[i]` of the operand.
    Permute(Vec<usize>),
    /// The same elements in row-major order under these dimensions.
    Reshape(Vec<usize>),
    /// Along each dimension `i`: `dims[i]` elements from `starts[i]`, `steps[i]` apart (negative: backward).
    Slice {
        /// The first element along each dimension.
        starts: Vec<usize>,
        /// The distance between elements along each dimension; not 0.
        steps: Vec<i64>,
        /// The result's dimensions.
        dims: Vec<usize>,
    },
    /// Broadcast to these dimensions, aligned at the back; dimensions of size 1 repeat.
    Broadcast(Vec<usize>),
}

/// The most dimensions that a shape computed at run time may have.
const MAX_RANK: usize = 64;

/// How many integers operand `i`, a list with one for each dimension, holds.
pub(crate) fn list_length(
    cx: &InferCx<'_>,
    i: usize,
    name: &'static str,
) -> Result<usize, OpError> {
    let ty = cx.input(i)?;
    if ty.shape.rank() != 1 || !ty.dtype.is_integer() {
        return Err(OpError::Type(format!(
            "`{name}` of type {ty}, expected a list of integers"
        )));
    }
    match ty.shape.dim(0).known() {
        Some(n @ ..=MAX_RANK) => Ok(n),
        Some(n) => Err(OpError::Unsupported(format!(
            "`{name}` holds {n} numbers; tensors have at most {MAX_RANK} dimensions"
        ))),
        None => Err(OpError::NotConstant(name)),
    }
}

/// The shape that operand `i`, a list of dimensions, spells out; dimensions known only at run
/// time where it is computed then.
pub(crate) fn shape_operand(
    cx: &InferCx<'_>,
    i: usize,
    name: &'static str,
) -> Result<Shape, OpError> {
    let rank = list_length(cx, i, name)?;
    let Some(dims) = cx.ints(i) else {
        return Ok((0..rank).map(|_| cx.fresh_dim()).collect());
    };
    let dim = |&d: &i64| {
        let known = usize::try_from(d).map(Dim::Known);
        known.map_err(|_| OpError::Shape(format!("`{name}` holds the dimension {d}")))
    };
    dims.iter().map(dim).collect()
}

/// The number of elements under `dims`: a symbol where the others are 1, else fresh if one is not known.
pub(crate) fn product(dims: &[Dim], cx: &InferCx<'_>) -> Result<Dim, OpError> {
    dims.iter().try_fold(Dim::Known(1), |n, d| times(&n, d, cx))
}

/// The product of two dimensions; fresh if it has no name.
pub(crate) fn times(a: &Dim, b: &Dim, cx: &InferCx<'_>) -> Result<Dim, OpError> {
    Ok(match (a, b) {
        (Dim::Known(0), _) | (_, Dim::Known(0)) => Dim::Known(0),
        (Dim::Known(1), d) | (d, Dim::Known(1)) => d.clone(),
        (Dim::Known(a), Dim::Known(b)) => Dim::Known(
            a.checked_mul(*b)
                .ok_or_else(|| OpError::Shape(format!("a dimension of {a} times {b} elements")))?,
        ),
        _ => cx.fresh_dim(),
    })
}

/// `dim / by`, which must leave no remainder; fresh if `dim` is not known.
pub(crate) fn over(dim: &Dim, by: usize, cx: &InferCx<'_>) -> Result<Dim, OpError> {
    match dim {
        d if by == 1 => Ok(d.clone()),
        Dim::Known(n) if n % by == 0 => Ok(Dim::Known(n / by)),
        Dim::Known(n) => Err(OpError::Shape(format!("{n} is no multiple of {by}"))),
        Dim::Symbol(_) => Ok(cx.fresh_dim()),
    }
}
