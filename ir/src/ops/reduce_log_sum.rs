//! Logarithm of the sum along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The logarithm of the sum along the axes in operand 1; along all of them without it.
    ReduceLogSum, "ReduceLogSum", [1, 11, 13, 18], Fold::LogSum
}
