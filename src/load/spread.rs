//! How values lie: moments and percentiles, in memory that does not grow with their number.

use serde::{Deserialize, Serialize};

/// Order statistics and moments. A percentile is the smallest value that so many are not above: of up
/// to [`EXACT`] values the value itself, of more one that is off by at most [`ERROR`] of it. All else is
/// exact but for rounding.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// The sample's standard deviation; 0 of one value.
    pub std: f64,
    /// The median.
    pub p50: f64,
    /// 90 of 100 are not above it.
    pub p90: f64,
    /// 95 of 100 are not above it.
    pub p95: f64,
    /// 99 of 100 are not above it.
    pub p99: f64,
    /// 999 of 1,000 are not above it.
    pub p999: f64,
}

/// Of so many values, percentiles are exact.
pub const EXACT: usize = 1 << 17;

/// Of more values, percentiles are off by at most this share of them.
pub const ERROR: f64 = 0.5 / STEPS as f64;

/// Steps to an octave, all of the same width.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 10;

/// Values, each of them 0 or at least 1: all of them while they are few, then how many lie in which
/// step.
///
/// Moments are those of Welford ("Note on a method for calculating corrected sums of squares and
/// products", Technometrics 1962).
#[derive(Default)]
pub struct Sample {
    n: u64,
    min: f64,
    max: f64,
    mean: f64,
    squares: f64,
    values: Vec<f64>,
    /// How many lie from [`edge`] to the next; empty while all values are there.
    counts: Vec<u64>,
}

impl Sample {
    /// One more.
    pub fn add(&mut self, value: f64) {
        self.n += 1;
        (self.min, self.max) = match self.n {
            1 => (value, value),
            _ => (self.min.min(value), self.max.max(value)),
        };
        let off = value - self.mean;
        self.mean += off / self.n as f64;
        self.squares += off * (value - self.mean);
        if !self.counts.is_empty() {
            self.count(value);
        } else if self.values.len() < EXACT {
            self.values.push(value);
        } else {
            for kept in std::mem::take(&mut self.values) {
                self.count(kept);
            }
            self.count(value);
        }
    }

    fn count(&mut self, value: f64) {
        let step = step(value);
        if step >= self.counts.len() {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// What they come to, in units of `unit`; none of none.
    pub fn spread(&mut self, unit: f64) -> Option<Spread> {
        if self.n == 0 {
            return None;
        }
        let percentiles = self.percentiles([500, 900, 950, 990, 999]);
        let [p50, p90, p95, p99, p999] = percentiles.map(|v| v / unit);
        Some(Spread {
            min: self.min / unit,
            mean: self.mean / unit,
            max: self.max / unit,
            std: match self.n {
                1 => 0.0,
                n => (self.squares / (n - 1) as f64).sqrt() / unit,
            },
            p50,
            p90,
            p95,
            p99,
            p999,
        })
    }

    /// Of each, in ascending order, the smallest value that so many of 1,000 are not above.
    fn percentiles<const N: usize>(&mut self, per_mille: [u64; N]) -> [f64; N] {
        let rank = |p: u64| (self.n * p).div_ceil(1000).max(1);
        if self.counts.is_empty() {
            self.values.sort_by(f64::total_cmp);
            return per_mille.map(|p| self.values[rank(p) as usize - 1]);
        }
        let (mut reached, mut at) = (0, 0);
        per_mille.map(|p| {
            while reached < rank(p) {
                reached += self.counts[at];
                at += 1;
            }
            let middle = edge(at - 1).midpoint(edge(at));
            middle.clamp(self.min, self.max)
        })
    }

    /// Some values in ascending order, each with how many are not above it, at no more than about 800
    /// points that lie closer in the tail.
    pub fn distribution(&mut self) -> Vec<(f64, u64)> {
        let n = self.n;
        let mut points: Vec<(f64, u64)> = vec![];
        let mut next = 1;
        let mut point = |value: f64, within: u64| {
            if within >= next {
                points.push((value, within));
                next = within + (n / 400).min((n - within) / 20).max(1);
            }
        };
        if self.counts.is_empty() {
            self.values.sort_by(f64::total_cmp);
            let mut within = 0;
            for same in self.values.chunk_by(|a, b| a == b) {
                within += same.len() as u64;
                point(same[0], within);
            }
        } else {
            let mut within = 0;
            for (i, &count) in self.counts.iter().enumerate() {
                within += count;
                if count > 0 {
                    point(edge(i + 1).min(self.max), within);
                }
            }
        }
        points
    }
}

const ONE: u64 = 1f64.to_bits();

/// The step that a value lies in. Step 0 is below 1.
fn step(value: f64) -> usize {
    match value.to_bits().checked_sub(ONE) {
        Some(above) if value >= 1.0 => {
            (above >> (f64::MANTISSA_DIGITS - 1 - STEP_BITS)) as usize + 1
        }
        _ => 0,
    }
}

/// Where a step begins.
fn edge(step: usize) -> f64 {
    match step {
        0 => 0.0,
        _ => f64::from_bits(ONE + ((step as u64 - 1) << (f64::MANTISSA_DIGITS - 1 - STEP_BITS))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::random::Stream;

    fn sample(values: &[f64]) -> Sample {
        let mut sample = Sample::default();
        values.iter().for_each(|&v| sample.add(v));
        sample
    }

    /// Values over nine decades, some of them 0.
    fn drawn(n: usize) -> Vec<f64> {
        let stream = Stream::new("values", 3);
        let value = |i: u64| match stream.below(2 * i, 50) {
            0 => 0.0,
            _ => (1e3 * stream.exponential(2 * i + 1).powi(4)).round(),
        };
        (0..n as u64).map(value).collect()
    }

    #[test]
    fn steps_are_narrow_and_hold_their_values() {
        for value in [1.0, 1.5, 2.0, 1023.0, 1024.0, 1e6, 1e9 + 1.0, 1e18] {
            let at = step(value);
            assert!(edge(at) <= value && value < edge(at + 1), "{value}");
            assert!(edge(at).midpoint(edge(at + 1)) / edge(at) - 1.0 <= ERROR);
            assert_eq!(step(edge(at)), at);
        }
        assert_eq!((step(0.0), step(-0.0), edge(0), edge(1)), (0, 0, 0.0, 1.0));
    }

    #[test]
    fn few_values_have_exact_percentiles() {
        let spread = sample(&[5.0, 1.0, 3.0, 2.0, 4.0]).spread(2.0).unwrap();
        assert_eq!((spread.min, spread.p50, spread.max), (0.5, 1.5, 2.5));
        assert_eq!((spread.mean, spread.p90, spread.p999), (1.5, 2.5, 2.5));
        assert!((spread.std - 2.5f64.sqrt() / 2.0).abs() < 1e-12);
        assert_eq!(sample(&[]).spread(1.0), None);
        assert_eq!(sample(&[7.0]).spread(1.0).unwrap().std, 0.0);
    }

    /// One more value than is kept: what was exact before stays so but for percentiles, and those are
    /// as near as is said.
    #[test]
    fn many_values_have_nearly_the_same() {
        let values = drawn(EXACT + 1);
        let found = sample(&values).spread(1.0).unwrap();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let squares: f64 = sorted.iter().map(|v| (v - mean).powi(2)).sum();
        assert_eq!((found.min, found.max), (sorted[0], sorted[n - 1]));
        assert!((found.mean / mean - 1.0).abs() < 1e-12);
        assert!((found.std / (squares / (n - 1) as f64).sqrt() - 1.0).abs() < 1e-9);
        for (share, p) in [
            (500, found.p50),
            (900, found.p90),
            (950, found.p95),
            (990, found.p99),
            (999, found.p999),
        ] {
            let exact = sorted[(n * share).div_ceil(1000) - 1];
            assert!((p - exact).abs() <= ERROR * exact, "{share}: {p}, {exact}");
            assert_ne!(p, exact, "{share}: by chance at most");
        }
    }

    #[test]
    fn distributions_count_what_is_not_above() {
        for n in [1, 300, 5000, EXACT + 5000] {
            let mut values = drawn(n);
            let points = sample(&values).distribution();
            values.sort_by(f64::total_cmp);
            assert!(
                points.len() <= 800 && points.is_sorted(),
                "{n}: {}",
                points.len()
            );
            for &(value, within) in &points {
                // In steps, a point lies at the end of one.
                let exact = values.partition_point(|&v| v <= value) as u64;
                let before = values.partition_point(|&v| v < value) as u64;
                assert!(
                    within == exact || n > EXACT && within == before,
                    "{n}: {value}"
                );
            }
            assert_eq!(points.last().unwrap(), &(values[n - 1], n as u64));
            // No gap is wide, and less so in the tail.
            for pair in points.windows(2) {
                let left = n as u64 - pair[0].1;
                let most = (n as u64 / 400).min(left / 20).max(1);
                let jump = values.partition_point(|&v| v <= pair[1].0) as u64
                    - values.partition_point(|&v| v < pair[1].0 * (1.0 - 2.0 * ERROR)) as u64;
                assert!(pair[1].1 - pair[0].1 <= most + jump, "{n}: {pair:?}");
            }
        }
    }
}
