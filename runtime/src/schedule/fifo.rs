//! `fifo`: one request at a time, whole, in order of arrival.

use super::token::token_policy;

token_policy!(
    /// Whoever comes first runs first, to its end.
    Fifo,
    by_ratio: false,
    in_blocks: |_, _| false
);
