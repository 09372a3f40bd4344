//! Times of repeated runs.

use std::time::Duration;

/// What repeated runs took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Times {
    /// The number of runs.
    pub n: usize,
    /// The middle one; of an even number, the mean of the two in the middle.
    pub median_ms: f64,
    /// The shortest.
    pub min_ms: f64,
    /// 99 of 100 took no longer; the longest of fewer than 100.
    pub p99_ms: f64,
    /// The mean.
    pub mean_ms: f64,
}

impl Times {
    /// The summary of `runs`; `None` if there are none.
    pub fn of(runs: &[Duration]) -> Option<Self> {
        let mut ms: Vec<f64> = runs.iter().map(|t| t.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let n = ms.len();
        let (&min_ms, middle) = (ms.first()?, n / 2);
        Some(Self {
            n,
            median_ms: if n % 2 == 1 {
                ms[middle]
            } else {
                (ms[middle - 1] + ms[middle]) / 2.0
            },
            min_ms,
            p99_ms: ms[(n * 99).div_ceil(100).saturating_sub(1)],
            mean_ms: ms.iter().sum::<f64>() / n as f64,
        })
    }
}

/// The geometric mean of positive numbers; `None` if there are none.
pub fn geometric_mean(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut n, mut logarithms) = (0, 0.0);
    for number in numbers {
        n += 1;
        logarithms += number.ln();
    }
    (n > 0).then(|| (logarithms / f64::from(n)).exp())
}

/// The most memory that this process has had, in bytes, where the system tells.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_statistics() {
        let ms = |n: u64| Duration::from_millis(n);
        let times = Times::of(&[ms(4), ms(1), ms(2), ms(9)]).unwrap();
        assert_eq!(
            (times.median_ms, times.min_ms, times.p99_ms, times.mean_ms),
            (3.0, 1.0, 9.0, 4.0)
        );
        let many: Vec<Duration> = (1..=200).map(ms).collect();
        assert_eq!(Times::of(&many).unwrap().p99_ms, 198.0);
        assert_eq!(Times::of(&[]), None);
    }

    #[test]
    fn geometric_means() {
        let mean = geometric_mean([0.5, 8.0]).unwrap();
        assert!((mean - 2.0).abs() < 1e-12, "{mean}");
        assert_eq!(geometric_mean([]), None);
    }
}
