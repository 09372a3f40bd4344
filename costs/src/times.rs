//! Statistics of repeated measurements.

use std::time::Duration;

/// What repeated runs of the same thing took, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Times {
    /// The number of runs.
    pub n: u64,
    /// The mean.
    pub mean_ns: f64,
    /// The standard deviation of the sample; 0 of a single run.
    pub std_ns: f64,
    /// The shortest.
    pub min_ns: f64,
    /// Half of them took no longer.
    pub p50_ns: f64,
    /// 90 of 100 took no longer.
    pub p90_ns: f64,
    /// 99 of 100 took no longer; the longest of fewer than 100.
    pub p99_ns: f64,
    /// The longest.
    pub max_ns: f64,
}

impl Times {
    /// The statistics of `runs`; `None` if there are none.
    pub fn of(runs: &[Duration]) -> Option<Self> {
        let mut ns: Vec<f64> = runs.iter().map(|t| t.as_secs_f64() * 1e9).collect();
        ns.sort_by(f64::total_cmp);
        let n = ns.len();
        let (&min_ns, &max_ns) = (ns.first()?, ns.last()?);
        let mean_ns = ns.iter().sum::<f64>() / n as f64;
        let squares: f64 = ns.iter().map(|t| (t - mean_ns).powi(2)).sum();
        let std_ns = match n {
            1 => 0.0,
            _ => (squares / (n - 1) as f64).sqrt(),
        };
        let percentile = |p: usize| ns[(n * p).div_ceil(100).saturating_sub(1)];
        Some(Self {
            n: n as u64,
            mean_ns,
            std_ns,
            min_ns,
            p50_ns: percentile(50),
            p90_ns: percentile(90),
            p99_ns: percentile(99),
            max_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics() {
        assert_eq!(Times::of(&[]), None);
        let one = Times::of(&[Duration::from_nanos(7)]).unwrap();
        assert_eq!(
            (one.n, one.mean_ns, one.std_ns, one.p99_ns),
            (1, 7.0, 0.0, 7.0)
        );
        let runs: Vec<Duration> = (1..=200).rev().map(Duration::from_nanos).collect();
        let many = Times::of(&runs).unwrap();
        assert_eq!((many.n, many.mean_ns), (200, 100.5));
        assert!((many.std_ns - 57.879_184).abs() < 1e-5, "{}", many.std_ns);
        assert_eq!(
            [
                many.min_ns,
                many.p50_ns,
                many.p90_ns,
                many.p99_ns,
                many.max_ns
            ],
            [1.0, 100.0, 180.0, 198.0, 200.0]
        );
    }
}
