//! Sum of absolute values along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The sum of the absolute values along the axes in operand 1; along all of them without it.
    ReduceL1, "ReduceL1", [1, 11, 13, 18], Fold::L1
}
