//! What sums of products share.

use super::OpError;
use super::operands::{Number, may_equal, read_optional};
use crate::DType;
use crate::shape::Dim;
use crate::tensor::Tensor;

/// `c[m, n] += sum over k of a[m, k] * b[k, n]`, all row-major.
pub(crate) fn multiply<T: Number>(a: &[T], b: &[T], c: &mut [T], k: usize, n: usize) {
    if k == 0 || n == 0 {
        return;
    }
    for (row, out) in a.chunks_exact(k).zip(c.chunks_exact_mut(n)) {
        for (&factor, terms) in row.iter().zip(b.chunks_exact(n)) {
            for (sum, &term) in out.iter_mut().zip(terms) {
                *sum = sum.plus(factor.times(term));
            }
        }
    }
}

/// The transpose of a row-major matrix of `columns`.
pub(crate) fn transposed<T: Number>(matrix: &[T], columns: usize) -> Vec<T> {
    (0..columns)
        .flat_map(|column| matrix.iter().skip(column).step_by(columns).copied())
        .collect()
}

/// `planes` planes of `size` elements, each filled with operand 2's number for its channel, or with 0.
pub(crate) fn biased_planes(
    inputs: &[Option<&Tensor>],
    planes: usize,
    size: usize,
) -> Result<Vec<f64>, OpError> {
    let Some(bias) = read_optional::<f64>(inputs, 2)? else {
        return Ok(vec![0.0; planes * size]);
    };
    let planes = (0..planes).map(|plane| bias[plane % bias.len()]);
    Ok(planes.flat_map(|b| std::iter::repeat_n(b, size)).collect())
}

/// Refuses different numbers of elements along a dimension that two operands are summed over.
pub(crate) fn expect_same_depth(a: &Dim, b: &Dim) -> Result<(), OpError> {
    if may_equal(a, b) {
        return Ok(());
    }
    Err(OpError::Shape(format!(
        "a sum of products over {a} elements of one operand and {b} of the other"
    )))
}

/// The attribute `group`; an error if it is not positive.
pub(crate) fn n_groups(group: i64) -> Result<usize, OpError> {
    let groups = i32::try_from(group).ok().filter(|&g| g > 0);
    let groups =
        groups.ok_or_else(|| OpError::Shape(format!("`group` is {group}, expected at least 1")));
    Ok(groups? as usize)
}

/// Runs one evaluation in `f64` for floating-point numbers, another in `i128` for integers.
pub(crate) fn by_kind(
    dtype: DType,
    float: impl FnOnce() -> Result<Tensor, OpError>,
    integer: impl FnOnce() -> Result<Tensor, OpError>,
) -> Result<Vec<Tensor>, OpError> {
    Ok(vec![if dtype.is_float() {
        float()?
    } else {
        integer()?
    }])
}
