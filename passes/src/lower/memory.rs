//! Offsets of buffers in an arena, so that buffers alive at once never overlap.

/// A buffer to place: its size and the first and last step that touches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lifetime {
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
}

/// Up to this many buffers every pair is compared; beyond, one sweep over time places them.
const MAX_PAIRWISE: usize = 3000;

/// An offset for each buffer, multiples of `align`, and the size of the arena.
///
/// Greatest buffers choose first, each the lowest gap among those alive with it (Pisarchyk and Lee,
/// "Efficient Memory Management for Deep Neural Net Inference", 2020: greedy by size).
pub(super) fn place(lifetimes: &[Lifetime], align: u64) -> (Vec<u64>, u64) {
    let size = |i: usize| lifetimes[i].bytes.next_multiple_of(align);
    let offsets = if lifetimes.len() <= MAX_PAIRWISE {
        by_size(lifetimes, size)
    } else {
        sweep(lifetimes, size)
    };
    let total = (0..lifetimes.len())
        .map(|i| offsets[i] + size(i))
        .max()
        .unwrap_or(0);
    (offsets, total)
}

fn by_size(lifetimes: &[Lifetime], size: impl Fn(usize) -> u64) -> Vec<u64> {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(size(i)), lifetimes[i].first));
    let mut offsets = vec![0; lifetimes.len()];
    // Placed buffers by offset.
    let mut placed: Vec<usize> = vec![];
    for i in order {
        let alive = |j: &&usize| {
            lifetimes[**j].first <= lifetimes[i].last && lifetimes[i].first <= lifetimes[**j].last
        };
        let mut at = 0;
        for &j in placed.iter().filter(alive) {
            if at + size(i) <= offsets[j] {
                break;
            }
            at = at.max(offsets[j] + size(j));
        }
        offsets[i] = at;
        let rank = placed.partition_point(|&j| offsets[j] <= at);
        placed.insert(rank, i);
    }
    offsets
}

/// In the order of their first use, each buffer takes the smallest gap that holds it.
fn sweep(lifetimes: &[Lifetime], size: impl Fn(usize) -> u64) -> Vec<u64> {
    use std::collections::{BTreeMap, BTreeSet};
    let mut starts: Vec<usize> = (0..lifetimes.len()).collect();
    starts.sort_by_key(|&i| (lifetimes[i].first, std::cmp::Reverse(size(i))));
    let mut ends: BTreeSet<(usize, usize)> = BTreeSet::new();
    // Gaps by offset, and by size.
    let mut gaps: BTreeMap<u64, u64> = BTreeMap::new();
    let mut by_size: BTreeSet<(u64, u64)> = BTreeSet::new();
    let mut top = 0;
    let mut offsets = vec![0; lifetimes.len()];
    for i in starts {
        while let Some(&(last, j)) = ends.first()
            && last < lifetimes[i].first
        {
            ends.pop_first();
            let (mut at, mut len) = (offsets[j], size(j));
            if let Some((&before, &n)) = gaps.range(..at).next_back()
                && before + n == at
            {
                gaps.remove(&before);
                by_size.remove(&(n, before));
                (at, len) = (before, len + n);
            }
            if let Some(n) = gaps.remove(&(at + len)) {
                by_size.remove(&(n, at + len));
                len += n;
            }
            if at + len == top {
                top = at;
            } else {
                gaps.insert(at, len);
                by_size.insert((len, at));
            }
        }
        let want = size(i);
        let fit = by_size.range((want, 0)..).next().copied();
        offsets[i] = match fit {
            Some((len, at)) => {
                gaps.remove(&at);
                by_size.remove(&(len, at));
                if len > want {
                    gaps.insert(at + want, len - want);
                    by_size.insert((len - want, at + want));
                }
                at
            }
            None => {
                top += want;
                top - want
            }
        };
        ends.insert((lifetimes[i].last, i));
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lifetimes: &[Lifetime], offsets: &[u64], total: u64) {
        for (i, a) in lifetimes.iter().enumerate() {
            assert!(offsets[i] + a.bytes <= total);
            assert_eq!(offsets[i] % 64, 0);
            for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                let at_once = a.first <= b.last && b.first <= a.last;
                let overlap =
                    offsets[i] < offsets[j] + b.bytes && offsets[j] < offsets[i] + a.bytes;
                assert!(!(at_once && overlap), "{i} and {j} overlap");
            }
        }
    }

    #[test]
    fn buffers_alive_at_once_never_overlap() {
        let mut seed = 7u64;
        let mut random = |n: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for n in [1usize, 5, 60, 400] {
            let lifetimes: Vec<Lifetime> = (0..n)
                .map(|_| {
                    let first = random(50) as usize;
                    Lifetime {
                        bytes: 1 + random(5000),
                        first,
                        last: first + random(9) as usize,
                    }
                })
                .collect();
            let size = |i: usize| lifetimes[i].bytes.next_multiple_of(64);
            let (offsets, total) = place(&lifetimes, 64);
            check(&lifetimes, &offsets, total);
            let swept = sweep(&lifetimes, size);
            let top = (0..n).map(|i| swept[i] + size(i)).max().unwrap_or(0);
            check(&lifetimes, &swept, top);
        }
    }

    #[test]
    fn a_chain_needs_room_for_two() {
        let lifetimes: Vec<Lifetime> = (0..10)
            .map(|i| Lifetime {
                bytes: 64,
                first: i,
                last: i + 1,
            })
            .collect();
        assert_eq!(place(&lifetimes, 64).1, 128);
    }
}
