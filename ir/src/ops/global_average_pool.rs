//! Mean over all spatial positions.

use super::global_pool::global_pool;
use super::reduce::Fold;
use crate::attributes;

attributes! {
    /// The mean of each channel of x `[N, C, D1 … Dn]`: a result `[N, C, 1 … 1]`.
    GlobalAveragePool {}
}

global_pool! { GlobalAveragePool, "GlobalAveragePool", [1, 22], |_op, lane| Fold::Mean.apply(lane) }
