//! Interpolation between elements, which resizing and grid sampling share.

use super::OpError;
use super::map::is_real;
use crate::eval::copy;
use crate::tensor::Tensor;

/// The weight of an element at distance `d` in linear interpolation.
pub(super) fn triangle(d: f64) -> f64 {
    (1.0 - d.abs()).max(0.0)
}

/// The weight of an element at distance `d` in cubic convolution with parameter `a` (Keys 1981, equation 4).
pub(super) fn cubic(d: f64, a: f64) -> f64 {
    let d = d.abs();
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        a * (((d - 5.0) * d + 8.0) * d - 4.0)
    } else {
        0.0
    }
}

/// How each position along one axis of the result of a [`Resize`](super::Resize) is made.
#[derive(Clone, PartialEq, Debug)]
pub struct AxisSampling {
    /// The axis.
    pub axis: usize,
    /// For each position the positions in the operand that it is the weighted sum of; `None`
    /// where the result is the extrapolation value.
    pub taps: Vec<Option<Vec<(usize, f64)>>>,
}

/// `x` with the element that each position's one tap names; `value` where there is none.
pub(super) fn pick(x: &Tensor, samplings: &[AxisSampling], value: f64) -> Result<Tensor, OpError> {
    let whole = |&n: &usize| (0..n).map(Some).collect();
    let mut sources: Vec<Vec<Option<usize>>> = x.dims().iter().map(whole).collect();
    for s in samplings {
        let first = |taps: &Option<Vec<(usize, f64)>>| taps.as_ref().map(|t| t[0].0);
        sources[s.axis] = s.taps.iter().map(first).collect();
    }
    if is_real(x.dtype()) {
        let fill = Tensor::from_f64(x.dtype(), &[], &[value]);
        return copy::picked(x, &sources, fill.bytes());
    }
    if sources.iter().flatten().any(Option::is_none) {
        return Err(OpError::Type("extrapolation of complex numbers".into()));
    }
    copy::picked(x, &sources, &vec![0; x.dtype().size()])
}

/// `x` of `dims` sampled along one axis; `dims` becomes the result's. Extrapolated positions are 0.
pub(super) fn weigh(x: &[f64], dims: &mut [usize], sampling: &AxisSampling) -> Vec<f64> {
    let n = dims[sampling.axis];
    let outer: usize = dims[..sampling.axis].iter().product();
    let inner: usize = dims[sampling.axis + 1..].iter().product();
    dims[sampling.axis] = sampling.taps.len();
    let mut y = vec![0.0; outer * sampling.taps.len() * inner];
    let mut rows = y.chunks_exact_mut(inner.max(1));
    for o in 0..outer {
        for (taps, row) in sampling.taps.iter().zip(&mut rows) {
            for &(source, weight) in taps.iter().flatten() {
                let from = &x[(o * n + source) * inner..][..inner];
                row.iter_mut().zip(from).for_each(|(y, x)| *y += x * weight);
            }
        }
    }
    y
}

/// Sets the positions along one axis that have no taps to `value`.
pub(super) fn extrapolate(x: &mut [f64], dims: &[usize], sampling: &AxisSampling, value: f64) {
    let inner: usize = dims[sampling.axis + 1..].iter().product();
    for (i, row) in x.chunks_exact_mut(inner.max(1)).enumerate() {
        if sampling.taps[i % sampling.taps.len()].is_none() {
            row.fill(value);
        }
    }
}

/// A tensor of `x`'s type; integers are rounded, halves to even, and limited to their type.
pub(super) fn store(x: &Tensor, dims: &[usize], values: Vec<f64>) -> Tensor {
    if x.dtype().is_float() {
        return Tensor::from_f64(x.dtype(), dims, &values);
    }
    let (least, most) = super::operands::integer_range(x.dtype());
    let whole = |v: f64| (v.round_ties_even() as i128).clamp(least, most);
    let values: Vec<i64> = values.into_iter().map(|v| whole(v) as i64).collect();
    Tensor::from_i64(x.dtype(), dims, &values)
}
