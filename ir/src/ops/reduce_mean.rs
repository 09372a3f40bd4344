//! Mean along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The mean; integers truncate along the axes in operand 1; along all of them without it.
    ReduceMean, "ReduceMean", [1, 11, 13, 18], Fold::Mean
}
