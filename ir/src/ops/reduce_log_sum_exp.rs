//! Logarithm of the sum of exponentials along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The logarithm of the sum of the exponentials along the axes in operand 1; along all of them without it.
    ReduceLogSumExp, "ReduceLogSumExp", [1, 11, 13, 18], Fold::LogSumExp
}
