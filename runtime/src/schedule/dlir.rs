//! `dlir`: one block at a time, in order of response ratios; whole when the system is saturated.

use super::core::{Core, Slot};
use super::token::token_policy;

token_policy!(
    /// As `oyst`, but who takes the token first while every other model has a request runs whole:
    /// then cutting costs more than it gains.
    Dlir,
    by_ratio: true,
    in_blocks: in_blocks
);

/// Whether some other model has no request. Who has run in blocks stays so: it is not asked again.
fn in_blocks(core: &Core, slot: Slot) -> bool {
    let live = core.get(slot);
    let mut others = core.n_live.iter().enumerate();
    live.n_blocks > 1 && others.any(|(model, &n)| model != live.model && n == 0)
}
