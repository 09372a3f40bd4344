//! Offsets of buffers in an arena, so that buffers alive at once never overlap.

use super::order::Clocks;

/// A buffer to place: its size, and when steps touch it.
///
/// Two buffers may share bytes if all steps that touch the one have surely finished when the first
/// step that touches the other starts. Steps of one lane finish in the order of the list; for those of several,
/// clocks tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lifetime {
    bytes: u64,
    /// The first step that touches it.
    first: usize,
    /// The last step of the list that need not come after all those that touch it: with one lane,
    /// the last of these.
    last: usize,
    /// With several lanes, for each of them, one more than the last step of it that touches the
    /// buffer, or 0.
    ends: Vec<u32>,
    /// With several lanes, for each of them, how far it has surely come when any step touches the buffer.
    begins: Vec<u32>,
}

impl Lifetime {
    /// Of a buffer of `bytes` that the steps `touched` touch, in order. `latest` is of `clocks`.
    pub(super) fn new(
        bytes: u64,
        touched: &[usize],
        clocks: &Clocks,
        latest: &[Vec<usize>],
    ) -> Self {
        let mut lifetime = Self {
            bytes,
            first: touched.first().copied().unwrap_or(0),
            last: touched.last().copied().unwrap_or(0),
            ends: vec![],
            begins: vec![],
        };
        if clocks.n_lanes() > 1 {
            lifetime.ends = vec![0; clocks.n_lanes()];
            lifetime.begins = vec![u32::MAX; clocks.n_lanes()];
            for &step in touched {
                let end = &mut lifetime.ends[clocks.lane(step)];
                *end = (*end).max(step as u32 + 1);
                for (begin, clock) in lifetime.begins.iter_mut().zip(clocks.at(step)) {
                    *begin = (*begin).min(*clock);
                }
            }
            for (&end, latest) in lifetime
                .ends
                .iter()
                .zip(latest)
                .filter(|(end, _)| **end > 0)
            {
                lifetime.last = lifetime.last.max(latest[end as usize]);
            }
        }
        lifetime
    }

    /// Whether nothing touches it any more when anything touches `other`.
    fn is_before(&self, other: &Lifetime) -> bool {
        match self.ends[..] {
            [] => self.last < other.first,
            _ => self
                .ends
                .iter()
                .zip(&other.begins)
                .all(|(end, begin)| end <= begin),
        }
    }

    fn is_apart_from(&self, other: &Lifetime) -> bool {
        self.is_before(other) || other.is_before(self)
    }
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
        let alive = |j: &&usize| !lifetimes[**j].is_apart_from(&lifetimes[i]);
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

    /// Numbers from a linear congruential generator.
    fn numbers() -> impl FnMut(u64) -> u64 {
        let mut seed = 7u64;
        move |n: u64| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) % n
        }
    }

    /// Steps in random lanes with random waits: their clocks, and what comes before what.
    fn steps(
        n: usize,
        n_lanes: usize,
        random: &mut impl FnMut(u64) -> u64,
    ) -> (Clocks, Vec<Vec<bool>>) {
        let mut clocks = Clocks::new(n_lanes);
        let mut last: Vec<Option<usize>> = vec![None; n_lanes];
        let mut before: Vec<Vec<bool>> = vec![];
        for i in 0..n {
            let lane = random(n_lanes as u64) as usize;
            let n_waits = if i > 0 { random(3) } else { 0 };
            let waits: Vec<usize> = (0..n_waits)
                .map(|_| i - 1 - random(i.min(6) as u64) as usize)
                .collect();
            clocks.push(lane, &waits);
            let mut own = vec![false; n];
            for earlier in waits.into_iter().chain(last[lane].replace(i)) {
                own[earlier] = true;
                for (own, it) in own.iter_mut().zip(&before[earlier]) {
                    *own |= it;
                }
            }
            before.push(own);
        }
        (clocks, before)
    }

    fn check(
        touched: &[Vec<usize>],
        lifetimes: &[Lifetime],
        before: &[Vec<bool>],
        (offsets, total): (&[u64], u64),
    ) {
        for (i, a) in lifetimes.iter().enumerate() {
            assert!(offsets[i] + a.bytes <= total);
            assert_eq!(offsets[i] % 64, 0);
            for (j, b) in lifetimes.iter().enumerate().skip(i + 1) {
                let overlap =
                    offsets[i] < offsets[j] + b.bytes && offsets[j] < offsets[i] + a.bytes;
                let ends = |x: usize, y: usize| {
                    let all = |a: &usize| touched[y].iter().all(|&b| before[b][*a]);
                    touched[x].iter().all(all)
                };
                assert!(!overlap || ends(i, j) || ends(j, i), "{i} and {j} overlap");
            }
        }
    }

    #[test]
    fn buffers_alive_at_once_never_overlap() {
        let mut random = numbers();
        for n_lanes in [1, 2, 5] {
            for n in [1usize, 5, 60, 400] {
                let (clocks, before) = steps(60, n_lanes, &mut random);
                let latest = clocks.latest();
                let touched: Vec<Vec<usize>> = (0..n)
                    .map(|_| {
                        let first = random(50) as usize;
                        let mut touched: Vec<usize> =
                            (first..first + 9).filter(|_| random(3) == 0).collect();
                        touched.insert(0, first);
                        touched.dedup();
                        touched
                    })
                    .collect();
                let lifetimes: Vec<Lifetime> = touched
                    .iter()
                    .map(|t| Lifetime::new(1 + random(5000), t, &clocks, &latest))
                    .collect();
                let size = |i: usize| lifetimes[i].bytes.next_multiple_of(64);
                let (offsets, total) = place(&lifetimes, 64);
                check(&touched, &lifetimes, &before, (&offsets, total));
                let swept = sweep(&lifetimes, size);
                let top = (0..n).map(|i| swept[i] + size(i)).max().unwrap_or(0);
                check(&touched, &lifetimes, &before, (&swept, top));
            }
        }
    }

    /// The room for results of 64 bytes that each step writes and `readers` of it read.
    fn room(clocks: &Clocks, n: usize, readers: impl Fn(usize) -> Vec<usize>) -> u64 {
        let latest = clocks.latest();
        let lifetimes: Vec<Lifetime> = (0..n)
            .map(|i| {
                let touched: Vec<usize> = std::iter::once(i).chain(readers(i)).collect();
                Lifetime::new(64, &touched, clocks, &latest)
            })
            .collect();
        place(&lifetimes, 64).1
    }

    #[test]
    fn a_chain_needs_room_for_two() {
        let mut clocks = Clocks::new(1);
        for _ in 0..11 {
            clocks.push(0, &[]);
        }
        assert_eq!(room(&clocks, 10, |i| vec![i + 1]), 128);
    }

    #[test]
    fn branches_reuse_their_own_and_not_each_other_s() {
        // Two chains of five, one step of each in turn, from one step and to one.
        let mut clocks = Clocks::new(2);
        clocks.push(0, &[]);
        for i in 1..11 {
            let first: &[usize] = if i == 2 { &[0] } else { &[] };
            clocks.push((i + 1) % 2, first);
        }
        clocks.push(0, &[10]);
        let reader = |i: usize| match i {
            0 => vec![1, 2],
            9 | 10 => vec![11],
            _ => vec![i + 2],
        };
        // The first result, then two of each chain.
        assert_eq!(room(&clocks, 11, reader), 64 * 5);
    }
}
