//! Minimum along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The least of the elements along the axes in operand 1, NaN if one is; along all of them without it.
    ReduceMin, "ReduceMin", [1, 11, 12, 13, 18, 20], Fold::Min
}
