//! What the checks of all classes share: bounds of extents, strides and offsets, element types.

use super::{Operand, SpecError};
use crate::DType;

/// The most dimensions that a domain or a tensor may have.
pub const MAX_RANK: usize = 32;

/// What every count of elements stays below: extents, their products, window positions, strides.
///
/// Offsets then stay below 2^48 elements and 2^52 bytes, so that kernels can compute them in i64
/// without a check.
pub const MAX_ELEMENTS: u64 = 1 << 40;

const MAX_OFFSET: i64 = 1 << 48;

/// What the arithmetic of one kernel stays below, in multiply-adds.
const MAX_OPERATIONS: u64 = 1 << 62;

pub(super) fn require(holds: bool, message: impl FnOnce() -> String) -> Result<(), SpecError> {
    if holds {
        Ok(())
    } else {
        Err(SpecError(message()))
    }
}

pub(super) fn fail<T>(message: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError(message.into()))
}

/// Extents whose product, zeros left out, stays below [`MAX_ELEMENTS`].
pub(super) fn extents(what: &str, dims: &[u64]) -> Result<(), SpecError> {
    require(dims.len() <= MAX_RANK, || {
        format!(
            "{what} has {} dimensions; the most is {MAX_RANK}",
            dims.len()
        )
    })?;
    let product = dims
        .iter()
        .try_fold(1u64, |product, &n| product.checked_mul(n.max(1)));
    require(product.is_some_and(|p| p < MAX_ELEMENTS), || {
        format!("{what} has 2^40 elements or more: {dims:?}")
    })
}

/// A count that stays below [`MAX_ELEMENTS`].
pub(super) fn count(what: &str, n: u64) -> Result<(), SpecError> {
    require(n < MAX_ELEMENTS, || format!("{what} is 2^40 or more: {n}"))
}

/// An operand with one bounded stride for each dimension of a bounded domain.
pub(super) fn operand(what: &str, o: &Operand, domain: &[u64]) -> Result<(), SpecError> {
    extents(what, domain)?;
    require(o.strides.len() == domain.len(), || {
        format!(
            "{what} has {} strides for a domain of {} dimensions",
            o.strides.len(),
            domain.len()
        )
    })?;
    strides(what, o.strides.iter().copied())?;
    if !domain.contains(&0) {
        offsets(what, o.reach(domain))?;
    }
    Ok(())
}

/// Strides that stay below [`MAX_ELEMENTS`].
pub(super) fn strides(what: &str, strides: impl IntoIterator<Item = i64>) -> Result<(), SpecError> {
    strides.into_iter().try_for_each(|s| {
        require(s.unsigned_abs() < MAX_ELEMENTS, || {
            format!("{what} has a stride of 2^40 or more: {s}")
        })
    })
}

/// Offsets that stay below [`MAX_OFFSET`].
pub(super) fn offsets(what: &str, reach: Option<(i64, i64)>) -> Result<(), SpecError> {
    let bounded = reach.is_some_and(|(low, high)| low > -MAX_OFFSET && high < MAX_OFFSET);
    require(bounded, || format!("{what} reaches 2^48 elements or more"))
}

/// An operand that is written: as [`operand`], and no two elements of the domain share a place, so
/// that the order in which they are computed does not matter.
pub(super) fn output(what: &str, o: &Operand, domain: &[u64]) -> Result<(), SpecError> {
    operand(what, o, domain)?;
    if domain.contains(&0) {
        return Ok(());
    }
    let mut dims: Vec<(u64, u64)> = domain
        .iter()
        .zip(&o.strides)
        .filter(|&(&n, _)| n > 1)
        .map(|(&n, &s)| (s.unsigned_abs(), n))
        .collect();
    dims.sort_unstable();
    let mut reached = 0u64;
    for (stride, n) in dims {
        require(stride > reached, || {
            format!(
                "{what} writes places more than once: extents {domain:?}, strides {:?}",
                o.strides
            )
        })?;
        // Below 2^40 * 2^40 only in u128; but `operand` has bounded the sum by 2^48 already.
        reached = reached.saturating_add(stride.saturating_mul(n - 1));
    }
    Ok(())
}

/// An operand of a given type.
pub(super) fn typed(what: &str, o: &Operand, dtype: DType) -> Result<(), SpecError> {
    require(o.dtype == dtype, || {
        format!("{what} is of type {} where {dtype} belongs", o.dtype)
    })
}

/// An operand of positions.
pub(super) fn positions(what: &str, o: &Operand) -> Result<(), SpecError> {
    require(matches!(o.dtype, DType::I32 | DType::I64), || {
        format!(
            "{what} holds positions and is of type {}, not i32 or i64",
            o.dtype
        )
    })
}

/// A floating-point operand.
pub(super) fn float(what: &str, dtype: DType) -> Result<(), SpecError> {
    require(dtype.is_float(), || {
        format!("{what} is of type {dtype} where floating-point numbers belong")
    })
}

/// An operand of numbers that have an order.
pub(super) fn real(what: &str, dtype: DType) -> Result<(), SpecError> {
    require(dtype.is_float() || dtype.is_integer(), || {
        format!("{what} is of type {dtype} where real numbers belong")
    })
}

/// A number of multiply-adds that fits 64 bits with room for a factor of 2.
pub(super) fn operations(factors: impl IntoIterator<Item = u64>) -> Result<(), SpecError> {
    let product = factors
        .into_iter()
        .try_fold(1u64, |product, n| product.checked_mul(n.max(1)));
    require(product.is_some_and(|p| p < MAX_OPERATIONS), || {
        "the kernel has 2^62 operations or more".to_owned()
    })
}
