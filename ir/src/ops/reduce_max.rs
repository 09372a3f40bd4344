//! Maximum along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The greatest of the elements along the axes in operand 1, NaN if one is; along all of them without it.
    ReduceMax, "ReduceMax", [1, 11, 12, 13, 18, 20], Fold::Max
}
