//! Norm of all spatial positions.

use super::global_pool::global_pool;
use super::norm::NormOrder;
use crate::attributes;

attributes! {
    /// The p-norm of each channel of x `[N, C, D1 … Dn]`: a result `[N, C, 1 … 1]`.
    GlobalLpPool {
        /// The order of the norm.
        p: NormOrder = NormOrder::TWO,
    }
}

global_pool! { GlobalLpPool, "GlobalLpPool", [1, 2, 22], |op, lane| op.p.of(lane) }
