//! Which bytes of a buffer hold what was written to it.

use super::runs::Runs;
use std::collections::BTreeMap;
use std::ops::Range;

/// The work that a check may still do, so that no plan keeps it busy for long.
pub(super) struct Budget {
    work: u64,
    granules: u64,
}

/// The budget is spent.
pub(super) struct Exhausted;

impl Budget {
    /// Enough for any plan that a compiler makes; about a second if spent.
    pub(super) fn new() -> Self {
        Self {
            work: 1 << 27,
            granules: 1 << 30,
        }
    }

    pub(super) fn spend(&mut self, work: u64) -> Result<(), Exhausted> {
        self.work = self.work.checked_sub(work).ok_or(Exhausted)?;
        Ok(())
    }
}

/// The written bytes of one buffer.
pub(super) enum Coverage {
    /// Start and end of each stretch, as long as every write is dense.
    Stretches(BTreeMap<u64, u64>),
    /// One bit for each granule: the greatest common divisor of all writes' starts, lengths and
    /// distances.
    Granules {
        /// Its size in bytes.
        size: u64,
        /// The bits.
        bits: Vec<u64>,
    },
}

impl Coverage {
    /// Of a buffer with dense writes only.
    pub(super) fn stretches() -> Self {
        Coverage::Stretches(BTreeMap::new())
    }

    /// Of a buffer of `bytes` bytes with some writes that are not dense.
    pub(super) fn granules(size: u64, bytes: u64, budget: &mut Budget) -> Result<Self, Exhausted> {
        let n = bytes.div_ceil(size);
        budget.granules = budget.granules.checked_sub(n).ok_or(Exhausted)?;
        Ok(Coverage::Granules {
            size,
            bits: vec![0; n.div_ceil(64) as usize],
        })
    }

    /// Takes note that `runs` were written.
    pub(super) fn add(&mut self, runs: &Runs, budget: &mut Budget) -> Result<(), Exhausted> {
        match self {
            Coverage::Stretches(stretches) => {
                let Range { mut start, mut end } = runs.hull();
                budget.spend(1)?;
                if let Some((&s, &e)) = stretches.range(..=start).next_back()
                    && e >= start
                {
                    (start, end) = (s, end.max(e));
                }
                while let Some((&s, &e)) = stretches.range(start..=end).next() {
                    budget.spend(1)?;
                    stretches.remove(&s);
                    end = end.max(e);
                }
                stretches.insert(start, end);
            }
            Coverage::Granules { size, bits } => {
                let words = runs.len / *size / 64 + 1;
                budget.spend(runs.n_runs().saturating_mul(words))?;
                runs.all(|run| {
                    set(bits, run.start / *size..run.end / *size, true);
                    true
                });
            }
        }
        Ok(())
    }

    /// Takes note that `range` was overwritten.
    pub(super) fn remove(
        &mut self,
        range: Range<u64>,
        budget: &mut Budget,
    ) -> Result<(), Exhausted> {
        match self {
            Coverage::Stretches(stretches) => {
                budget.spend(1)?;
                if let Some((&s, &e)) = stretches.range(..range.start).next_back()
                    && e > range.start
                {
                    stretches.insert(s, range.start);
                    if e > range.end {
                        stretches.insert(range.end, e);
                    }
                }
                while let Some((&s, &e)) = stretches.range(range.clone()).next() {
                    budget.spend(1)?;
                    stretches.remove(&s);
                    if e > range.end {
                        stretches.insert(range.end, e);
                    }
                }
            }
            Coverage::Granules { size, bits } => {
                let granules = range.start / *size..range.end.div_ceil(*size);
                budget.spend((granules.end - granules.start) / 64 + 2)?;
                set(bits, granules, false);
            }
        }
        Ok(())
    }

    /// Whether all of `runs` were written.
    pub(super) fn covers(&self, runs: &Runs, budget: &mut Budget) -> Result<bool, Exhausted> {
        budget.spend(self.cost(&runs.hull()))?;
        if self.covers_range(runs.hull()) {
            return Ok(true);
        }
        if runs.is_dense() {
            return Ok(false);
        }
        let cost = self.cost(&(0..runs.len));
        budget.spend(runs.n_runs().saturating_mul(cost))?;
        Ok(runs.all(|run| self.covers_range(run)))
    }

    fn cost(&self, range: &Range<u64>) -> u64 {
        match self {
            Coverage::Stretches(_) => 1,
            Coverage::Granules { size, .. } => (range.end - range.start) / size / 64 + 1,
        }
    }

    fn covers_range(&self, range: Range<u64>) -> bool {
        match self {
            Coverage::Stretches(stretches) => stretches
                .range(..=range.start)
                .next_back()
                .is_some_and(|(_, &end)| end >= range.end),
            Coverage::Granules { size, bits } => {
                let granules = range.start / size..range.end.div_ceil(*size);
                words(granules).all(|(word, mask)| bits[word] & mask == mask)
            }
        }
    }
}

/// The words that hold the bits in `range`, with masks of those bits.
fn words(range: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let Range { start, end } = range;
    (start / 64..end.div_ceil(64)).map(move |word| {
        let from = start.saturating_sub(word * 64);
        let to = (end - word * 64).min(64);
        let mask = (u64::MAX << from) & (u64::MAX >> (64 - to));
        (word as usize, mask)
    })
}

fn set(bits: &mut [u64], range: Range<u64>, to: bool) {
    for (word, mask) in words(range) {
        if to {
            bits[word] |= mask;
        } else {
            bits[word] &= !mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn stretch(range: Range<u64>) -> Runs {
        Runs {
            start: range.start,
            len: range.end - range.start,
            repeats: vec![],
        }
    }

    /// Adds, removes and asks after ranges of granules of `size` bytes, in a set beside.
    fn agrees(mut coverage: Coverage, size: u64, changes: &[(u8, u64, u64)]) -> bool {
        let mut budget = Budget::new();
        let mut written = BTreeSet::new();
        changes.iter().all(|&(kind, start, n)| {
            let range = start * size..(start + n) * size;
            match kind {
                0 | 1 => {
                    written.extend(range.clone());
                    coverage.add(&stretch(range), &mut budget).is_ok()
                }
                2 => {
                    written.retain(|byte| !range.contains(byte));
                    coverage.remove(range, &mut budget).is_ok()
                }
                _ => {
                    let expected = range.clone().all(|byte| written.contains(&byte));
                    let found = coverage.covers(&stretch(range), &mut budget);
                    found.is_ok_and(|found| found == expected)
                }
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn coverage_is_what_was_written(
            size in 1u64..5,
            changes in prop::collection::vec((0u8..5, 0u64..190, 1u64..90), 1..40),
        ) {
            let mut budget = Budget::new();
            let granules = Coverage::granules(size, 300 * size, &mut budget).ok();
            prop_assert!(agrees(granules.expect("small"), size, &changes));
            prop_assert!(agrees(Coverage::stretches(), size, &changes));
        }
    }

    #[test]
    fn a_granule_counts_once_all_of_it_is_written() {
        let mut budget = Budget::new();
        let mut coverage = Coverage::granules(8, 64, &mut budget).ok().expect("small");
        assert!(coverage.add(&stretch(8..24), &mut budget).is_ok());
        let covers = |coverage: &Coverage, budget: &mut Budget, range| {
            coverage
                .covers(&stretch(range), budget)
                .ok()
                .expect("small")
        };
        assert!(covers(&coverage, &mut budget, 9..23));
        assert!(!covers(&coverage, &mut budget, 7..9));
        // Less than a granule is overwritten, and all of it is gone.
        assert!(coverage.remove(9..10, &mut budget).is_ok());
        assert!(!covers(&coverage, &mut budget, 12..13));
        assert!(covers(&coverage, &mut budget, 16..24));
    }
}
