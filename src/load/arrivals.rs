//! When requests come.

use models::random::Stream;
use plans::ModelIndex;
use std::fmt;
use std::str::FromStr;

/// A request to come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Arrival {
    /// Nanoseconds from the beginning.
    pub at_ns: u64,
    /// The model that it asks for.
    pub model: ModelIndex,
}

/// How the requests for one model follow each other. Models don't know of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// A Poisson process: gaps are exponential.
    Poisson,
    /// Nearly periodic: gaps are whole milliseconds that are themselves Poisson-distributed, so a mean
    /// of λ ms comes with a standard deviation of √λ ms. SPLIT's load generator (Luo et al.,
    /// ICPP 2023) sleeps so between requests.
    Regular,
    /// Equal gaps, from a random phase on.
    Periodic,
    /// An interrupted Poisson process (Kuczura, 1973): bursts of eight requests in the mean at four
    /// times the rate, between silences; the squared coefficient of variation of gaps is 10.
    Bursty,
}

impl Pattern {
    /// All, in the order in which help lists them.
    pub const ALL: [Pattern; 4] = [
        Pattern::Poisson,
        Pattern::Regular,
        Pattern::Periodic,
        Pattern::Bursty,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Pattern::Poisson => "poisson",
            Pattern::Regular => "regular",
            Pattern::Periodic => "periodic",
            Pattern::Bursty => "bursty",
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pattern {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let found = Self::ALL.into_iter().find(|p| p.name() == text);
        found.ok_or(())
    }
}

/// Of a bursty source: the share of time in which requests come.
const BURST_SHARE: f64 = 0.25;
/// Requests of a burst, in the mean.
const BURST_SIZE: f64 = 8.0;

const NS_PER_S: f64 = 1e9;
const NS_PER_MS: f64 = 1e6;

/// The requests for one model.
#[derive(Clone, Debug)]
struct Source {
    pattern: Pattern,
    stream: Stream,
    position: u64,
    /// The mean gap.
    gap_ns: f64,
    /// The time of the last request.
    now_ns: f64,
    /// Of a bursty source: how long the burst still lasts.
    burst_ns: f64,
    /// Of a periodic source: how many periods have passed, the first one in part.
    periods: f64,
}

impl Source {
    /// Requests for the model called `name` at `rate` a second, above 0.
    fn new(pattern: Pattern, name: &str, rate: f64, seed: u64) -> Self {
        let mut source = Self {
            pattern,
            stream: Stream::new(name, seed),
            position: 0,
            gap_ns: NS_PER_S / rate,
            now_ns: 0.0,
            burst_ns: 0.0,
            periods: 0.0,
        };
        match pattern {
            Pattern::Poisson | Pattern::Regular => {}
            Pattern::Periodic => source.periods = source.uniform(),
            Pattern::Bursty if source.uniform() < BURST_SHARE => {
                source.burst_ns = source.burst();
            }
            Pattern::Bursty => source.now_ns = source.silence(),
        }
        source
    }

    fn uniform(&mut self) -> f64 {
        self.position += 1;
        (self.stream.bits(self.position - 1) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        self.position += 1;
        self.stream.exponential(self.position - 1)
    }

    /// The events of a Poisson process of rate 1 within `mean`.
    fn poisson(&mut self, mean: f64) -> u64 {
        let (mut n, mut time) = (0, self.exponential());
        while time < mean {
            n += 1;
            time += self.exponential();
        }
        n
    }

    fn burst(&mut self) -> f64 {
        self.exponential() * BURST_SIZE * self.gap_ns * BURST_SHARE
    }

    fn silence(&mut self) -> f64 {
        let silence = self.exponential() * BURST_SIZE * self.gap_ns * (1.0 - BURST_SHARE);
        self.burst_ns = self.burst();
        silence
    }

    /// The time of the next request.
    fn next(&mut self) -> u64 {
        match self.pattern {
            Pattern::Poisson => self.now_ns += self.exponential() * self.gap_ns,
            Pattern::Regular => {
                self.now_ns += self.poisson(self.gap_ns / NS_PER_MS) as f64 * NS_PER_MS;
            }
            Pattern::Periodic => {
                self.now_ns = self.periods * self.gap_ns;
                self.periods += 1.0;
            }
            Pattern::Bursty => loop {
                let gap = self.exponential() * self.gap_ns * BURST_SHARE;
                if gap <= self.burst_ns {
                    self.burst_ns -= gap;
                    self.now_ns += gap;
                    break;
                }
                self.now_ns += self.burst_ns;
                self.now_ns += self.silence();
            },
        }
        self.now_ns.round() as u64
    }
}

/// Requests for models, by time and then by model, without end; none if no rate is above 0.
#[derive(Clone, Debug)]
pub struct Arrivals(Vec<(Arrival, Source)>);

/// The requests for models of these names and rates (in requests a second). The times of a model's
/// requests depend on its name, its rate and `seed` alone.
pub fn arrivals(models: &[(&str, f64)], pattern: Pattern, seed: u64) -> Arrivals {
    let sources = (0..).map(ModelIndex).zip(models);
    let sources = sources.filter(|(_, (_, rate))| *rate > 0.0);
    let begun = sources.map(|(model, (name, rate))| {
        let mut source = Source::new(pattern, name, *rate, seed);
        let at_ns = source.next();
        (Arrival { at_ns, model }, source)
    });
    Arrivals(begun.collect())
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let (next, source) = self.0.iter_mut().min_by_key(|(next, _)| *next)?;
        let arrival = *next;
        next.at_ns = source.next();
        Some(arrival)
    }
}

/// Rates, in requests a second, at which models that take `solo_ns` each alone would keep a machine
/// that runs one at a time busy for the share `load` of the time; requests are spread over them as
/// `mix` says. `load` 1 is the solo capacity: one over the mean solo time.
pub fn rates(load: f64, solo_ns: &[u64], mix: &[f64]) -> Vec<f64> {
    let all: f64 = mix.iter().sum();
    let busy: f64 = solo_ns.iter().zip(mix).map(|(&ns, w)| ns as f64 * w).sum();
    if all <= 0.0 || busy <= 0.0 {
        return vec![0.0; solo_ns.len()];
    }
    let total = load * NS_PER_S * all / busy;
    mix.iter().map(|w| total * w / all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first `n` requests.
    fn first(models: &[(&str, f64)], pattern: Pattern, seed: u64, n: usize) -> Vec<Arrival> {
        arrivals(models, pattern, seed).take(n).collect()
    }

    /// Mean and squared coefficient of variation of the gaps of one source.
    fn moments(pattern: Pattern, rate: f64) -> (f64, f64) {
        let n = 200_000;
        let times = first(&[("m", rate)], pattern, 3, n);
        let gaps: Vec<f64> = times
            .windows(2)
            .map(|w| (w[1].at_ns - w[0].at_ns) as f64)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance / mean / mean)
    }

    #[test]
    fn gaps_have_their_moments() {
        // 200 a second: gaps of 5 ms.
        for (pattern, scv, within) in [
            (Pattern::Poisson, 1.0, 0.02),
            (Pattern::Regular, 1.0 / 5.0, 0.005),
            (Pattern::Periodic, 0.0, 1e-9),
            (Pattern::Bursty, 10.0, 0.5),
        ] {
            let (mean, found) = moments(pattern, 200.0);
            let noise = 4.0 * f64::sqrt(scv / 200_000.0) + 1e-6;
            assert!((mean / 5e6 - 1.0).abs() < noise, "{pattern}: mean {mean}");
            assert!((found - scv).abs() < within, "{pattern}: {found} not {scv}");
        }
    }

    /// The largest distance between two distribution functions (Kolmogorov).
    fn distance(gaps: &mut [f64], cdf: impl Fn(f64) -> f64) -> f64 {
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let at = |(i, &g): (usize, &f64)| {
            let (below, above) = (i as f64 / n, (i + 1) as f64 / n);
            (cdf(g) - below).abs().max((cdf(g) - above).abs())
        };
        gaps.iter().enumerate().map(at).fold(0.0, f64::max)
    }

    #[test]
    fn gaps_of_a_poisson_process_are_exponential() {
        let times = first(&[("m", 1000.0)], Pattern::Poisson, 11, 50_000);
        let mut gaps: Vec<f64> = times
            .windows(2)
            .map(|w| (w[1].at_ns - w[0].at_ns) as f64 / 1e6)
            .collect();
        let found = distance(&mut gaps, |ms| 1.0 - (-ms).exp());
        // Exceeded in 1 of 1,000 draws.
        assert!(found < 1.95 / 50_000f64.sqrt(), "{found}");
    }

    #[test]
    fn regular_gaps_are_whole_milliseconds_of_the_poisson_distribution() {
        let times = first(&[("m", 250.0)], Pattern::Regular, 5, 100_001);
        let mut counts = [0u32; 32];
        for w in times.windows(2) {
            let gap = w[1].at_ns - w[0].at_ns;
            assert_eq!(gap % 1_000_000, 0);
            counts[(gap / 1_000_000) as usize] += 1;
        }
        // e⁻⁴ 4ᵏ / k!
        let mut share = (-4.0f64).exp();
        for (k, &count) in counts.iter().enumerate().take(12) {
            let found = f64::from(count) / 1e5;
            let noise = 4.0 * (share / 1e5).sqrt();
            assert!((found - share).abs() < noise, "{k} ms: {found} not {share}");
            share *= 4.0 / (k + 1) as f64;
        }
    }

    #[test]
    fn models_come_at_their_rates_and_do_not_know_of_each_other() {
        for pattern in Pattern::ALL {
            let both = first(
                &[("a", 300.0), ("none", 0.0), ("b", 100.0)],
                pattern,
                1,
                40_000,
            );
            assert_eq!(both.len(), 40_000);
            assert!(both.is_sorted_by_key(|a| a.at_ns));
            assert!(both.iter().all(|a| a.model != ModelIndex(1)));
            let b: Vec<u64> = both
                .iter()
                .filter(|a| a.model == ModelIndex(2))
                .map(|a| a.at_ns)
                .collect();
            let share = b.len() as f64 / 40_000.0;
            assert!((share - 0.25).abs() < 0.03, "{pattern}: {share}");
            let alone = first(&[("b", 100.0)], pattern, 1, b.len());
            assert!(alone.iter().map(|a| a.at_ns).eq(b), "{pattern}");
        }
        assert_eq!(first(&[("a", 0.0)], Pattern::Poisson, 1, 5), []);
    }

    #[test]
    fn the_seed_decides() {
        for pattern in Pattern::ALL {
            let of = |seed| first(&[("a", 70.0), ("b", 90.0)], pattern, seed, 500);
            assert_eq!(of(1), of(1));
            assert_ne!(of(1), of(2), "{pattern}");
        }
    }

    #[test]
    fn load_is_a_share_of_solo_capacity() {
        // 1 ms and 3 ms, equally often: 2 ms in the mean, so 500 a second.
        let solo = [1_000_000, 3_000_000];
        assert_eq!(rates(1.0, &solo, &[1.0, 1.0]), [250.0, 250.0]);
        assert_eq!(rates(0.5, &solo, &[1.0, 0.0]), [500.0, 0.0]);
        let mixed = rates(0.8, &solo, &[3.0, 1.0]);
        let busy: f64 = mixed.iter().zip(solo).map(|(r, ns)| r * ns as f64).sum();
        assert!((busy / 1e9 - 0.8).abs() < 1e-12);
        assert!((mixed[0] / mixed[1] - 3.0).abs() < 1e-12);
        assert_eq!(rates(1.0, &solo, &[0.0, 0.0]), [0.0, 0.0]);
    }
}
