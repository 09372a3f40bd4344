//! Position of the greatest element along an axis.

use super::arg_reduce::arg_operator;
use std::cmp::Ordering;

arg_operator! {
    /// The position along `axis` of the greatest element, as i64.
    ArgMax, "ArgMax", [1, 11, 12, 13], Ordering::Greater
}
