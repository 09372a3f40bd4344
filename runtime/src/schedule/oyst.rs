//! `oyst`: one block at a time, in order of response ratios.

use super::token::token_policy;

token_policy!(
    /// Requests are put where they add least to response ratios, and interrupted at every block.
    Oyst,
    by_ratio: true,
    in_blocks: |core, slot| core.get(slot).n_blocks > 1
);
