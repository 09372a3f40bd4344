//! Greedy splits, and those that choose nothing.

use super::chain::Chain;

/// The starts of at most `n` blocks: steps are taken one after the other until their time reaches the
/// whole's share of one block, the cost of cuts left out; and of those that are forced.
pub(super) fn equal_times(chain: &Chain, n: usize) -> Vec<usize> {
    let end = chain.n_steps();
    let share = chain.done(end).div_ceil(n.max(1) as u64).max(1);
    let forced = chain.forced();
    let mut starts = vec![];
    for b in 0..end {
        let full = |&a: &usize| chain.done(b) - chain.done(a) >= share;
        if forced.binary_search(&b).is_ok() || (starts.len() < n && starts.last().is_some_and(full))
        {
            starts.push(b);
        }
    }
    starts
}

/// The starts of blocks that take steps one after the other as long as the block takes at most
/// `max_ns`.
pub(super) fn filled(chain: &Chain, max_ns: u64) -> Vec<usize> {
    let forced = chain.forced();
    let mut starts = vec![];
    for b in 0..chain.n_steps() {
        let full = |&a: &usize| chain.block_ns(a..b + 1) > max_ns;
        if forced.binary_search(&b).is_ok() || starts.last().is_some_and(full) {
            starts.push(b);
        }
    }
    starts
}

/// The starts of blocks of one step each.
pub(super) fn every(chain: &Chain) -> Vec<usize> {
    (0..chain.n_steps()).collect()
}

/// The starts of blocks between boundaries at which less than two tensors are alive, and forced ones.
pub(super) fn converge(chain: &Chain) -> Vec<usize> {
    let forced = chain.forced();
    let converges = |&b: &usize| forced.binary_search(&b).is_ok() || chain.live(b).converges();
    (0..chain.n_steps()).filter(converges).collect()
}
