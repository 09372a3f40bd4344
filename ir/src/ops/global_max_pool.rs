//! Maximum over all spatial positions.

use super::global_pool::global_pool;
use super::reduce::Fold;
use crate::attributes;

attributes! {
    /// The greatest element of each channel of x `[N, C, D1 … Dn]`: a result `[N, C, 1 … 1]`.
    GlobalMaxPool {}
}

global_pool! { GlobalMaxPool, "GlobalMaxPool", [1, 22], |_op, lane| Fold::Max.apply(lane) }
