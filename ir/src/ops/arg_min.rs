//! Position of the least element along an axis.

use super::arg_reduce::arg_operator;
use std::cmp::Ordering;

arg_operator! {
    /// The position along `axis` of the least element, as i64.
    ArgMin, "ArgMin", [1, 11, 12, 13], Ordering::Less
}
