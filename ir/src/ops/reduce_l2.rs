//! Euclidean norm along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The square root of the sum of the squares along the axes in operand 1; along all of them without it.
    ReduceL2, "ReduceL2", [1, 11, 13, 18], Fold::L2
}
