//! When two tensors are the same.

use ir::{DType, Tensor};

/// Relative and absolute tolerance of floating-point numbers; others must be equal.
const TOLERANCE: (f64, f64) = (1e-3, 1e-7);

/// What is wrong with `found`, if anything is.
pub(super) fn difference(found: &Tensor, expected: &Tensor) -> Option<String> {
    if found.ty() != expected.ty() {
        return Some(format!("is {}, expected {}", found.ty(), expected.ty()));
    }
    let (found, expected) = (numbers(found), numbers(expected));
    let pairs = || found.iter().zip(&expected);
    let wrong = pairs().filter(|(f, e)| !is_close(**f, **e)).count();
    let (i, (f, e)) = pairs()
        .enumerate()
        .find(|(_, (f, e))| !is_close(**f, **e))?;
    Some(format!(
        "{wrong} of {} elements differ: element {i} is {f}, expected {e}",
        found.len()
    ))
}

fn is_close(found: f64, expected: f64) -> bool {
    let (relative, absolute) = TOLERANCE;
    found == expected
        || (found.is_nan() && expected.is_nan())
        || (found - expected).abs() <= absolute + relative * expected.abs()
}

/// The elements, of complex ones both parts. Integers beyond 2^53 lose their last bits.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let part = match tensor.dtype() {
        DType::C64 => DType::F32,
        DType::C128 => DType::F64,
        _ => return tensor.to_f64().unwrap(),
    };
    let n = tensor.bytes().len() / part.size();
    Tensor::new(part, &[n], tensor.bytes().clone())
        .unwrap()
        .to_f64()
        .unwrap()
}
