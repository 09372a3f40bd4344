//! `bnst`: one request at a time, whole, in order of response ratios.

use super::token::token_policy;

token_policy!(
    /// Requests are put where they add least to response ratios, and never interrupted.
    Bnst,
    by_ratio: true,
    in_blocks: |_, _| false
);
