//! Product along axes.

use super::reduce::{Fold, reduce_operator};

reduce_operator! {
    /// The product of the elements along the axes in operand 1; along all of them without it.
    ReduceProd, "ReduceProd", [1, 11, 13, 18], Fold::Prod
}
