//! Logarithm of the softmax along an axis.

use super::normalize::axis_operator;
use super::reduce::Fold;

axis_operator! {
    /// `x - log(sum(exp(x)))` along `axis`.
    LogSoftmax, "LogSoftmax", [1, 11, 13], 5,
    |lane| {
        let log_sum = Fold::LogSumExp.apply(lane);
        lane.iter_mut().for_each(|v| *v -= log_sum);
    }
}
