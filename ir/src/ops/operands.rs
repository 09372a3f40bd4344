//! What inference and reference evaluation read of operands, shared by operators of all classes.

use super::OpError;
use crate::DType;
use crate::infer::InferCx;
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;

/// What reference evaluation computes in: `f64` for floating-point numbers, `i128` for integers and bools.
///
/// Integers wrap to their type when they are stored, so that 64-bit sums and products are exact.
pub(crate) trait Number: Copy + PartialOrd + 'static {
    /// 0.
    const ZERO: Self;
    /// The sum; integers wrap.
    fn plus(self, other: Self) -> Self;
    /// The product; integers wrap.
    fn times(self, other: Self) -> Self;
    /// The elements of `t`.
    fn read(t: &Tensor) -> Result<Vec<Self>, OpError>;
    /// A tensor of `dtype` with these elements.
    fn write(dtype: DType, dims: &[usize], values: &[Self]) -> Tensor;
}

fn not_real(t: &Tensor) -> OpError {
    OpError::Type(format!(
        "elements of type {} are no real numbers",
        t.dtype()
    ))
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    fn plus(self, other: Self) -> Self {
        self + other
    }
    fn times(self, other: Self) -> Self {
        self * other
    }
    fn read(t: &Tensor) -> Result<Vec<Self>, OpError> {
        t.to_f64().ok_or_else(|| not_real(t))
    }
    fn write(dtype: DType, dims: &[usize], values: &[Self]) -> Tensor {
        Tensor::from_f64(dtype, dims, values)
    }
}

impl Number for i128 {
    const ZERO: Self = 0;
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
    fn read(t: &Tensor) -> Result<Vec<Self>, OpError> {
        let values = t.to_i64().ok_or_else(|| {
            OpError::Type(format!("elements of type {} are no integers", t.dtype()))
        })?;
        let unsigned = t.dtype() == DType::U64;
        let widen = |v: i64| {
            if unsigned {
                i128::from(v as u64)
            } else {
                i128::from(v)
            }
        };
        Ok(values.into_iter().map(widen).collect())
    }
    fn write(dtype: DType, dims: &[usize], values: &[Self]) -> Tensor {
        let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
        Tensor::from_i64(dtype, dims, &values)
    }
}

/// The smallest and the largest number of an integer type or of bool.
pub(crate) fn integer_range(dtype: DType) -> (i128, i128) {
    let bits = 8 * dtype.size() as u32;
    match dtype.kind() {
        crate::dtype::Kind::Bool => (0, 1),
        crate::dtype::Kind::Unsigned => (0, (1 << bits) - 1),
        _ => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
    }
}

/// Operand `i`, which must be there.
pub(crate) fn operand<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Result<&'a Tensor, OpError> {
    optional(inputs, i).ok_or(OpError::MissingInput(i))
}

/// Operand `i`, if it is there.
pub(crate) fn optional<'a>(inputs: &[Option<&'a Tensor>], i: usize) -> Option<&'a Tensor> {
    inputs.get(i).copied().flatten()
}

/// The elements of operand `i`, which must be there.
pub(crate) fn read<T: Number>(inputs: &[Option<&Tensor>], i: usize) -> Result<Vec<T>, OpError> {
    T::read(operand(inputs, i)?)
}

/// The elements of operand `i`, if it is there.
pub(crate) fn read_optional<T: Number>(
    inputs: &[Option<&Tensor>],
    i: usize,
) -> Result<Option<Vec<T>>, OpError> {
    optional(inputs, i).map(T::read).transpose()
}

/// The dimensions of a type in evaluation, where all are known.
pub(crate) fn known_dims(ty: &TensorType) -> Result<Vec<usize>, OpError> {
    ty.shape
        .dims()
        .ok_or_else(|| OpError::Shape(format!("{ty} has unknown dimensions")))
}

/// Runs `f` with an inference context over concrete operands.
pub(crate) fn with_cx<R>(
    inputs: &[Option<&Tensor>],
    n_outputs: usize,
    f: impl FnOnce(&InferCx<'_>) -> R,
) -> R {
    let types: Vec<_> = inputs.iter().map(|t| t.map(Tensor::ty)).collect();
    let types: Vec<_> = types.iter().map(Option::as_ref).collect();
    f(&InferCx::new(&types, inputs, n_outputs))
}

/// Whether two dimensions can be the same size: symbols may be anything.
pub(crate) fn may_equal(a: &Dim, b: &Dim) -> bool {
    !matches!((a.known(), b.known()), (Some(a), Some(b)) if a != b)
}

/// The type of operand `i`, of a floating-point type.
pub(crate) fn float_operand<'a>(cx: &InferCx<'a>, i: usize) -> Result<&'a TensorType, OpError> {
    let ty = cx.input(i)?;
    if ty.dtype.is_float() {
        return Ok(ty);
    }
    Err(OpError::Type(format!(
        "input {i} of type {}, expected a floating-point number",
        ty.dtype
    )))
}

/// Refuses operand `i`, if it is there, unless it has this type with dimensions that may equal `dims`.
pub(crate) fn expect_type(
    cx: &InferCx<'_>,
    i: usize,
    name: &str,
    dtype: DType,
    dims: &[Dim],
) -> Result<(), OpError> {
    let Some(ty) = cx.optional(i) else {
        return Ok(());
    };
    let fits =
        ty.shape.rank() == dims.len() && ty.shape.0.iter().zip(dims).all(|(a, b)| may_equal(a, b));
    if ty.dtype == dtype && fits {
        return Ok(());
    }
    let expected = TensorType::new(dtype, dims.iter().cloned().collect());
    Err(OpError::Shape(format!(
        "`{name}` is {ty}, expected {expected}"
    )))
}

/// The one type of operands `0..n` that are there, of which operand 0 must be; `allowed` holds for it.
pub(crate) fn one_type(
    cx: &InferCx<'_>,
    n: usize,
    allowed: impl Fn(DType) -> bool,
    expected: &str,
) -> Result<DType, OpError> {
    let dtype = cx.dtype(0)?;
    let dtypes: Vec<_> = (0..n).map(|i| cx.optional(i).map(|t| t.dtype)).collect();
    super::map::same_type(&dtypes, allowed, expected)?;
    Ok(dtype)
}

/// The number of elements of operand `i`; 0 if it is not there or not known.
pub(crate) fn n_elements(inputs: &[Option<&TensorType>], i: usize) -> u64 {
    let n = inputs
        .get(i)
        .copied()
        .flatten()
        .and_then(|t| t.shape.n_elements());
    n.unwrap_or(0) as u64
}

/// `each` operations for each element of operand `i`.
pub(crate) fn flops(each: u64, inputs: &[Option<&TensorType>], i: usize) -> u64 {
    each.saturating_mul(n_elements(inputs, i))
}

/// Whether an operand of shape `operand` broadcasts to `dims`, aligned at the back.
pub(crate) fn broadcasts_to(operand: &Shape, dims: &[Dim]) -> bool {
    let lead = dims.len().checked_sub(operand.rank());
    lead.is_some_and(|lead| {
        let mut pairs = operand.0.iter().zip(&dims[lead..]);
        pairs.all(|(d, to)| *d == Dim::Known(1) || may_equal(d, to))
    })
}

/// Refuses an operand of shape `operand` that does not broadcast to `x`.
pub(crate) fn expect_broadcast_to(x: &Shape, operand: &Shape, name: &str) -> Result<(), OpError> {
    if broadcasts_to(operand, &x.0) {
        return Ok(());
    }
    Err(OpError::Shape(format!(
        "`{name}` of shape {operand} does not broadcast to {x}"
    )))
}
