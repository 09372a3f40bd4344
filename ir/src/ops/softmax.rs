//! Softmax along an axis.

use super::normalize::axis_operator;

axis_operator! {
    /// `exp(x) / sum(exp(x))` along `axis`.
    Softmax, "Softmax", [1, 11, 13], 5,
    |lane| softmax(lane)
}

/// `exp(x) / sum(exp(x))` in place, without overflow.
pub(crate) fn softmax(lane: &mut [f64]) {
    let max = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lane.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f64 = lane.iter().sum();
    lane.iter_mut().for_each(|v| *v /= sum);
}
