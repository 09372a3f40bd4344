//! The bytes that an argument touches, as equal runs at regular distances.

use crate::spec::ArgSpec;
use std::ops::Range;

/// Runs of bytes. Offsets are in the tensor or, after [`Runs::at`], in its arena.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Runs {
    /// Where the first run starts.
    pub(super) start: u64,
    /// The bytes of each run; 0 if nothing is touched.
    pub(super) len: u64,
    /// How runs repeat: number and distance, least distance first.
    pub(super) repeats: Vec<(u64, u64)>,
}

impl Runs {
    /// What `spec` touches of a tensor if it starts at byte `offset`: checked to lie inside it.
    pub(super) fn new(spec: &ArgSpec, offset: u64) -> Self {
        let size = spec.dtype.size() as u64;
        let mut runs = Self {
            start: offset,
            len: 0,
            repeats: vec![],
        };
        let (Some((low, _)), false) = (spec.reach, spec.walk.iter().any(|w| w.0 == 0)) else {
            return runs;
        };
        runs.start = offset.saturating_add_signed(low.saturating_mul(size as i64));
        runs.len = size;
        let mut dims: Vec<(u64, u64)> = spec
            .walk
            .iter()
            .filter(|&&(n, stride)| n > 1 && stride != 0)
            .map(|&(n, stride)| (stride.unsigned_abs().saturating_mul(size), n))
            .collect();
        dims.sort_unstable();
        for (distance, n) in dims {
            match runs.repeats.last_mut() {
                None if distance <= runs.len => {
                    runs.len = runs.len.saturating_add(distance.saturating_mul(n - 1));
                }
                Some((m, inner)) if inner.checked_mul(*m) == Some(distance) => {
                    *m = m.saturating_mul(n);
                }
                _ => runs.repeats.push((n, distance)),
            }
        }
        runs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is one run.
    pub(super) fn is_dense(&self) -> bool {
        self.repeats.is_empty()
    }

    /// The same runs in an arena where the tensor lies at `offset`.
    pub(super) fn at(&self, offset: u64) -> Self {
        Self {
            start: self.start + offset,
            ..self.clone()
        }
    }

    /// From the first byte of the first run to the last of the last.
    pub(super) fn hull(&self) -> Range<u64> {
        let last = self.repeats.iter().fold(self.start, |at, &(n, distance)| {
            at.saturating_add(distance.saturating_mul(n - 1))
        });
        self.start..last.saturating_add(self.len)
    }

    /// The number of runs.
    pub(super) fn n_runs(&self) -> u64 {
        self.repeats
            .iter()
            .fold(1, |product: u64, &(n, _)| product.saturating_mul(n))
    }

    /// The greatest number that start, length and all distances are multiples of.
    pub(super) fn granule(&self) -> u64 {
        self.repeats
            .iter()
            .fold(gcd(self.start, self.len), |g, &(_, distance)| {
                gcd(g, distance)
            })
    }

    /// Whether `f` holds for every run; stops at the first for which it does not.
    pub(super) fn all(&self, mut f: impl FnMut(Range<u64>) -> bool) -> bool {
        let mut at = vec![0u64; self.repeats.len()];
        let mut start = self.start;
        'runs: loop {
            if !f(start..start + self.len) {
                return false;
            }
            for (i, &(n, distance)) in at.iter_mut().zip(&self.repeats) {
                *i += 1;
                start += distance;
                if *i < n {
                    continue 'runs;
                }
                start -= distance * n;
                *i = 0;
            }
            return true;
        }
    }

    /// Whether no byte is in both, as far as can be told from distances that they share.
    pub(super) fn is_disjoint(&self, other: &Runs) -> bool {
        if self.is_empty() || other.is_empty() || !overlap(&self.hull(), &other.hull()) {
            return true;
        }
        let outermost = |runs: &Runs| runs.repeats.last().map_or(0, |&(_, distance)| distance);
        let period = outermost(self).max(outermost(other));
        if period == 0 {
            return false;
        }
        // Compare what both touch within one period, if neither touches more of one. Periods are
        // counted from the first byte that either touches, so that they cut no run of its pattern.
        let first = self.start.min(other.start);
        let within = |runs: &Runs| {
            let n_inner = runs.repeats.len() - usize::from(outermost(runs) == period);
            Runs {
                start: (runs.start - first) % period,
                len: runs.len,
                repeats: runs.repeats[..n_inner].to_vec(),
            }
        };
        let (x, y) = (within(self), within(other));
        x.hull().end <= period && y.hull().end <= period && x.is_disjoint(&y)
    }
}

impl ArgSpec {
    /// Whether some byte of a tensor may be touched by both arguments, which start at bytes `at` and
    /// `other_at` of it; slices of a concatenation that lie in turns share none. Where it can't be
    /// told, they share one. Both arguments lie in the tensor.
    pub fn shares_bytes(&self, at: u64, other: &ArgSpec, other_at: u64) -> bool {
        !Runs::new(self, at).is_disjoint(&Runs::new(other, other_at))
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

pub(super) fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::spec::{Operand, Role};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// A walk over up to three dimensions, moved to start at 0 or later, and what it touches.
    fn walks() -> impl Strategy<Value = (ArgSpec, u64, BTreeSet<u64>)> {
        let dims = prop::collection::vec((0u64..5, -9i64..10), 0..4);
        let dtype = prop::sample::select(vec![DType::U8, DType::F32]);
        (dims, dtype, 0u64..6).prop_map(|(dims, dtype, more)| {
            let (domain, strides): (Vec<u64>, Vec<i64>) = dims.into_iter().unzip();
            let operand = Operand { dtype, strides };
            let spec = ArgSpec::new("x", Role::Read, &operand, &domain);
            let size = dtype.size() as i64;
            let low = spec.reach.map_or(0, |(low, _)| low);
            let offset = (more as i64 - low) * size;
            let mut elements = BTreeSet::from([0i64]);
            for (&n, &stride) in domain.iter().zip(&operand.strides) {
                elements = (0..n as i64)
                    .flat_map(|i| elements.iter().map(move |e| e + i * stride))
                    .collect();
            }
            let bytes = elements
                .into_iter()
                .flat_map(|e| (0..size).map(move |b| (offset + e * size + b) as u64))
                .collect();
            (spec, offset as u64, bytes)
        })
    }

    fn bytes(runs: &Runs) -> BTreeSet<u64> {
        let mut bytes = BTreeSet::new();
        if !runs.is_empty() {
            runs.all(|run| {
                bytes.extend(run);
                true
            });
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn runs_are_what_a_walk_touches((spec, offset, touched) in walks()) {
            let runs = Runs::new(&spec, offset);
            prop_assert_eq!(&bytes(&runs), &touched);
            if let (Some(&first), Some(&last)) = (touched.first(), touched.last()) {
                prop_assert_eq!(runs.hull(), first..last + 1);
                prop_assert_eq!(spec.touched(offset), Some(first..last + 1));
                let g = runs.granule();
                prop_assert!(touched.iter().all(|b| touched.contains(&(b / g * g))));
            }
        }

        #[test]
        fn what_is_called_disjoint_is((a, i, x) in walks(), (b, j, y) in walks(), move_by in 0u64..40) {
            let (a, b) = (Runs::new(&a, i), Runs::new(&b, j).at(move_by));
            let y: BTreeSet<u64> = y.into_iter().map(|byte| byte + move_by).collect();
            prop_assert_eq!(a.is_disjoint(&b), b.is_disjoint(&a));
            if a.is_disjoint(&b) {
                prop_assert!(x.is_disjoint(&y));
            }
        }

        #[test]
        fn slices_of_a_concatenation_are_disjoint(
            outer in 1u64..4, inner in 1u64..4, parts in prop::collection::vec(1u64..4, 2..4),
            at in 0u64..100,
        ) {
            let whole = parts.iter().sum::<u64>() * inner;
            let mut start = 0;
            let slices: Vec<Runs> = parts
                .iter()
                .map(|part| {
                    let operand = Operand {
                        dtype: DType::F32,
                        strides: vec![whole as i64, inner as i64, 1],
                    };
                    let spec = ArgSpec::new("x", Role::Write, &operand, &[outer, *part, inner]);
                    let runs = Runs::new(&spec, start * 4).at(4 * at);
                    start += part * inner;
                    runs
                })
                .collect();
            for (i, a) in slices.iter().enumerate() {
                for b in &slices[..i] {
                    prop_assert!(a.is_disjoint(b));
                }
                prop_assert!(!a.is_disjoint(a));
            }
        }
    }
}
