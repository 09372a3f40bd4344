//! Sum along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The sum of the elements along the axes in operand 1; of all of them without it.
    ReduceSum, "ReduceSum", [1, 11, 13], Fold::Sum
}
