//! Sum of squares along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The sum of the squares along the axes in operand 1; along all of them without it.
    ReduceSumSquare, "ReduceSumSquare", [1, 11, 13, 18], Fold::SumSquare
}
