//! What many requests come to, in memory that does not grow with their number.

use crate::load::busy::Busy;
use crate::load::record::ratio;
use crate::load::spread::{Sample, Spread};
use plans::Model;
use runtime::schedule::{Outcome, Record};
use serde::{Deserialize, Serialize};

/// Requests of one model, or of all.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Requests that came.
    pub requests: u64,
    /// Those that finished.
    pub finished: u64,
    /// Those that were turned away when they came.
    pub rejected: u64,
    /// Those that were given up because their deadline had passed.
    pub dropped: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were taken back by who sent them.
    pub cancelled: u64,
    /// Response ratios of those that finished.
    pub ratio: Option<Spread>,
    /// Times from arrival to finish, in milliseconds.
    pub response_ms: Option<Spread>,
    /// Times in which none of a finished request's blocks ran, in milliseconds.
    pub wait_ms: Option<Spread>,
    /// Of requests that found no other one alive, what they took beyond the time alone, at least 0, in
    /// microseconds.
    pub overhead_us: Option<Spread>,
    /// The longest time from arrival to the start of the first block, in nanoseconds.
    pub max_start_ns: u64,
    /// The longest time from arrival to finish, in nanoseconds.
    pub max_response_ns: u64,
    /// The longest that the server's thread did not look at what ran, in nanoseconds; 0 if never for long.
    pub max_stalled_ns: u64,
    /// Each k with the share of requests that did not finish within k × solo. Those that were taken
    /// back don't count; those that were turned away or given up did not finish.
    pub violations: Vec<(f64, f64)>,
    /// Requests with a deadline that was not met.
    pub late: u64,
    /// Requests finished a second, from the first arrival to the last end of the scene.
    pub throughput: f64,
    /// The share of that time in which a block ran.
    pub utilisation: f64,
}

impl Summary {
    /// The share of requests that did not finish within k × solo, if it was asked for.
    pub fn violation(&self, k: f64) -> Option<f64> {
        let found = self.violations.iter().find(|(at, _)| *at == k);
        found.map(|(_, share)| *share)
    }
}

/// All of a scene's requests.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Statistics {
    /// All together.
    pub total: Summary,
    /// Each model that was asked, in the plan's order.
    pub models: Vec<ModelSummary>,
    /// The largest p99 of response ratios that a model has.
    pub worst_p99: Option<f64>,
    /// While any block ran, how many ran at once in the mean.
    pub side_by_side: f64,
    /// From the first arrival to the last end, in nanoseconds.
    pub span_ns: u64,
    /// Response ratios with the share of all requests, less those taken back, that finished within
    /// them.
    pub distribution: Vec<(f64, f64)>,
}

/// The requests of a model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ModelSummary {
    /// The model.
    pub model: String,
    /// What they come to.
    #[serde(flatten)]
    pub summary: Summary,
}

/// The factors for which violations are counted, besides those that are asked for: from 1 to 64, eight
/// to an octave.
pub fn factors() -> Vec<f64> {
    // 2^(i/8) by multiplication: libraries differ in the last digit.
    const EIGHTH: f64 = 1.090_507_732_665_257_7;
    let mut factors = vec![];
    for octave in 0..6 {
        let mut k = f64::from(1 << octave);
        for _ in 0..8 {
            factors.push((k * 1e4).round() / 1e4);
            k *= EIGHTH;
        }
    }
    factors.push(64.0);
    factors
}

/// The requests of one model, or of all, so far.
#[derive(Default)]
struct Tally {
    requests: u64,
    rejected: u64,
    dropped: u64,
    failed: u64,
    cancelled: u64,
    late: u64,
    max_start_ns: u64,
    max_response_ns: u64,
    max_stalled_ns: u64,
    ratios: Sample,
    /// In nanoseconds.
    responses: Sample,
    /// In nanoseconds.
    waits: Sample,
    /// In nanoseconds.
    overheads: Sample,
    /// By factor, the requests that finished within it and not within the one before.
    within: Vec<u64>,
    busy: Busy,
}

impl Tally {
    fn new(n_factors: usize) -> Self {
        Self {
            within: vec![0; n_factors],
            ..Self::default()
        }
    }

    /// One more request; `ratio` is its response ratio and the first factor that this is within.
    fn add(&mut self, record: &Record, ratio: Option<(f64, usize)>) {
        self.requests += 1;
        self.max_stalled_ns = self.max_stalled_ns.max(record.stalled_ns);
        for block in &record.blocks {
            self.busy.add([block.start_ns, block.end_ns]);
        }
        match record.outcome {
            Outcome::Done => {}
            Outcome::Refused(_) => self.rejected += 1,
            Outcome::Dropped => self.dropped += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Cancelled => self.cancelled += 1,
        }
        // Those that were taken back had no need to be on time.
        if record.outcome != Outcome::Cancelled {
            self.late += u64::from(record.is_late());
        }
        if !record.blocks.is_empty() {
            let start_ns = record.start_ns.saturating_sub(record.arrival_ns);
            self.max_start_ns = self.max_start_ns.max(start_ns);
        }
        if let Some((ratio, within)) = ratio {
            self.ratios.add(ratio);
            self.responses.add(record.total_ns() as f64);
            self.waits.add(record.wait_ns() as f64);
            if record.found_idle {
                let overhead_ns = record.total_ns().saturating_sub(record.solo_ns);
                self.overheads.add(overhead_ns as f64);
            }
            self.max_response_ns = self.max_response_ns.max(record.total_ns());
            if let Some(n) = self.within.get_mut(within) {
                *n += 1;
            }
        }
    }

    fn summary(&mut self, factors: &[f64], span_ns: u64) -> Summary {
        const US: f64 = 1e3;
        const MS: f64 = 1e6;
        let seconds = span_ns as f64 / 1e9;
        let finished = self.ratios.len();
        // Those that count in shares.
        let all = self.requests - self.cancelled;
        let mut over = all;
        let violations = factors.iter().zip(&self.within).map(|(&k, within)| {
            over -= within;
            (k, over as f64 / all.max(1) as f64)
        });
        Summary {
            requests: self.requests,
            finished,
            rejected: self.rejected,
            dropped: self.dropped,
            failed: self.failed,
            cancelled: self.cancelled,
            violations: violations.collect(),
            ratio: self.ratios.spread(1.0),
            response_ms: self.responses.spread(MS),
            wait_ms: self.waits.spread(MS),
            overhead_us: self.overheads.spread(US),
            max_start_ns: self.max_start_ns,
            max_response_ns: self.max_response_ns,
            max_stalled_ns: self.max_stalled_ns,
            late: self.late,
            throughput: match span_ns {
                0 => 0.0,
                _ => finished as f64 / seconds,
            },
            utilisation: match span_ns {
                0 => 0.0,
                _ => self.busy.covered_ns() as f64 / span_ns as f64,
            },
        }
    }

    fn distribution(&mut self) -> Vec<(f64, f64)> {
        let all = (self.requests - self.cancelled).max(1) as f64;
        let points = self.ratios.distribution().into_iter();
        points.map(|(k, within)| (k, within as f64 / all)).collect()
    }
}

/// Counts requests as they end, in any order. Shares, counts, moments and extremes are exact however
/// many there are; for percentiles see [`Spread`].
pub struct Collector {
    /// For which violations are counted.
    factors: Vec<f64>,
    total: Tally,
    models: Vec<Tally>,
    first_ns: u64,
    last_ns: u64,
}

impl Collector {
    /// For a plan of so many models. Violations are counted for `limits` and [`factors`].
    pub fn new(n_models: usize, limits: &[f64]) -> Self {
        let mut factors = factors();
        factors.extend(limits);
        factors.sort_by(f64::total_cmp);
        factors.dedup();
        let n_factors = factors.len();
        Self {
            factors,
            total: Tally::new(n_factors),
            models: (0..n_models).map(|_| Tally::new(n_factors)).collect(),
            first_ns: u64::MAX,
            last_ns: 0,
        }
    }

    /// One more.
    pub fn add(&mut self, record: &Record) {
        self.first_ns = self.first_ns.min(record.arrival_ns);
        self.last_ns = self.last_ns.max(record.finish_ns);
        let ratio = ratio(record).map(|r| (r, self.factors.partition_point(|&k| k < r)));
        self.total.add(record, ratio);
        self.models[record.request.model.index()].add(record, ratio);
    }

    /// What all came to.
    pub fn statistics(mut self, models: &[Model]) -> Statistics {
        let factors = &self.factors;
        let span_ns = self.last_ns.saturating_sub(self.first_ns);
        let total = self.total.summary(factors, span_ns);
        let covered = self.total.busy.covered_ns();
        let tallies = models.iter().zip(&mut self.models);
        let models: Vec<ModelSummary> = tallies
            .filter(|(_, tally)| tally.requests > 0)
            .map(|(model, tally)| ModelSummary {
                model: model.name.clone(),
                summary: tally.summary(factors, span_ns),
            })
            .collect();
        let p99 = models.iter().filter_map(|m| Some(m.summary.ratio?.p99));
        Statistics {
            worst_p99: p99.max_by(f64::total_cmp),
            side_by_side: match covered {
                0 => 0.0,
                _ => self.total.busy.sum_ns() as f64 / covered as f64,
            },
            span_ns,
            distribution: self.total.distribution(),
            total,
            models,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::tests::{model, record};
    use models::random::Stream;
    use runtime::schedule::Refusal;

    /// A scene drawn at random: requests of two models on two lanes, some not done.
    fn drawn(n: u64) -> Vec<Record> {
        let stream = Stream::new("scene", 9);
        let mut records = vec![];
        for i in 0..n {
            let draw = |k: u64, most: u64| stream.below(4 * i + k, most);
            let mut r = record(
                draw(0, 2) as u32,
                i * 700,
                draw(1, 9000),
                500 + draw(2, 3000),
            );
            if i % 3 == 0 {
                r.request.deadline_ns = Some(6000);
            }
            r.found_idle = i % 7 < 2;
            match draw(3, 20) {
                0 => r.outcome = Outcome::Refused(Refusal::QueueFull),
                1 => r.outcome = Outcome::Cancelled,
                2 => r.outcome = Outcome::Dropped,
                _ => {}
            }
            if matches!(r.outcome, Outcome::Refused(_)) {
                r.blocks.clear();
                (r.start_ns, r.finish_ns, r.execute_ns) = (r.arrival_ns, r.arrival_ns, 0);
            }
            records.push(r);
        }
        records
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(1.0)
    }

    /// The same, reckoned another way: from definitions, one pass for each number, by the clock for
    /// what ran when.
    fn check(found: &Summary, records: &[&Record], span: (u64, u64)) {
        let done: Vec<&&Record> = records
            .iter()
            .filter(|r| r.outcome == Outcome::Done)
            .collect();
        let n = |o: fn(&Outcome) -> bool| records.iter().filter(|r| o(&r.outcome)).count() as u64;
        assert_eq!(found.requests, records.len() as u64);
        assert_eq!(found.finished, done.len() as u64);
        assert_eq!(found.rejected, n(|o| matches!(o, Outcome::Refused(_))));
        assert_eq!(found.dropped, n(|o| *o == Outcome::Dropped));
        assert_eq!(found.cancelled, n(|o| *o == Outcome::Cancelled));
        let ratio = |r: &Record| {
            let total = (r.finish_ns - r.arrival_ns) as f64 / r.solo_ns as f64;
            if total < 1.0 { 1.0 } else { total }
        };
        let ratios: Vec<f64> = done.iter().map(|r| ratio(r)).collect();
        let spread = found.ratio.unwrap();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        let variance =
            ratios.iter().map(|r| r * r).sum::<f64>() - mean * mean * ratios.len() as f64;
        assert!(close(spread.mean, mean));
        assert!((spread.std.powi(2) - variance / (ratios.len() - 1) as f64).abs() < 1e-6);
        assert_eq!(spread.min, ratios.iter().copied().fold(f64::MAX, f64::min));
        assert_eq!(spread.max, ratios.iter().copied().fold(0.0, f64::max));
        for (at, share) in [
            (spread.p50, 0.5),
            (spread.p90, 0.9),
            (spread.p99, 0.99),
            (spread.p999, 0.999),
        ] {
            let below = |v: f64| ratios.iter().filter(|&&r| r <= v).count() as f64;
            assert!(below(at) >= share * ratios.len() as f64 - 1e-9, "{share}");
            let next = ratios
                .iter()
                .copied()
                .filter(|&r| r < at)
                .fold(0.0, f64::max);
            assert!(below(next) < share * ratios.len() as f64, "{share}");
        }
        let counted: Vec<&&Record> = records
            .iter()
            .filter(|r| r.outcome != Outcome::Cancelled)
            .collect();
        for &(k, share) in &found.violations {
            let over = |r: &&&&Record| r.outcome != Outcome::Done || ratio(r) > k;
            let over = counted.iter().filter(over).count();
            assert!(close(share, over as f64 / counted.len() as f64), "{k}");
        }
        let late = counted.iter().filter(|r| {
            r.request
                .deadline_ns
                .is_some_and(|d| r.outcome != Outcome::Done || r.finish_ns > r.arrival_ns + d)
        });
        assert_eq!(found.late, late.count() as u64);
        let start = records
            .iter()
            .filter(|r| !r.blocks.is_empty())
            .map(|r| r.start_ns - r.arrival_ns);
        assert_eq!(found.max_start_ns, start.max().unwrap());
        let idle = done.iter().filter(|r| r.found_idle);
        let mut idle: Vec<u64> = idle
            .map(|r| (r.finish_ns - r.arrival_ns).max(r.solo_ns) - r.solo_ns)
            .collect();
        idle.sort_unstable();
        let median = idle[(idle.len() - 1) / 2] as f64 / 1e3;
        assert!(close(found.overhead_us.unwrap().p50, median));
        let response = done.iter().map(|r| r.finish_ns - r.arrival_ns);
        assert_eq!(found.max_response_ns, response.max().unwrap());
        // Each nanosecond of the scene.
        let mut runs = vec![false; span.1 as usize];
        for b in records.iter().flat_map(|r| &r.blocks) {
            runs[b.start_ns as usize..b.end_ns as usize].fill(true);
        }
        let busy = runs.iter().filter(|&&r| r).count() as f64;
        assert!(close(found.utilisation, busy / (span.1 - span.0) as f64));
        assert!(close(
            found.throughput,
            done.len() as f64 / ((span.1 - span.0) as f64 / 1e9)
        ));
    }

    #[test]
    fn statistics_are_those_of_the_records() {
        let records = drawn(3000);
        let mut collector = Collector::new(3, &[2.5]);
        records.iter().rev().for_each(|r| collector.add(r));
        let models = ["a", "b", "idle"].map(model);
        let found = collector.statistics(&models);
        assert!(found.total.violation(2.5).is_some());
        assert_eq!(found.total.violation(2.55), None);
        let end = records.iter().map(|r| r.finish_ns).max().unwrap();
        let all: Vec<&Record> = records.iter().collect();
        check(&found.total, &all, (0, end));
        assert_eq!(found.span_ns, end);
        assert_eq!(found.models.len(), 2);
        for (i, m) in found.models.iter().enumerate() {
            assert_eq!(m.model, models[i].name);
            let own = |r: &&Record| r.request.model.index() == i;
            check(
                &m.summary,
                &records.iter().filter(own).collect::<Vec<_>>(),
                (0, end),
            );
        }
        let p99 = |i: usize| found.models[i].summary.ratio.unwrap().p99;
        assert_eq!(found.worst_p99, Some(p99(0).max(p99(1))));
        let ran: u64 = records
            .iter()
            .flat_map(|r| &r.blocks)
            .map(|b| b.end_ns - b.start_ns)
            .sum();
        let covered = found.total.utilisation * end as f64;
        assert!(close(found.side_by_side, ran as f64 / covered));
        // The distribution is the complement of the violations.
        for &(ratio, share) in &found.distribution {
            let over = records.iter().filter(|r| r.outcome != Outcome::Cancelled);
            let (mut all, mut within) = (0, 0);
            for r in over {
                all += 1;
                within += u32::from(super::ratio(r).is_some_and(|own| own <= ratio));
            }
            assert!(close(share, f64::from(within) / f64::from(all)), "{ratio}");
        }
    }

    #[test]
    fn nothing_comes_to_nothing() {
        let found = Collector::new(1, &[2.0]).statistics(&[model("a")]);
        assert_eq!((found.total.ratio, found.total.requests), (None, 0));
        assert_eq!(
            (found.total.throughput, found.total.utilisation),
            (0.0, 0.0)
        );
        assert_eq!(found.total.violation(2.0), Some(0.0));
        assert_eq!((found.models.len(), found.worst_p99), (0, None));
    }

    #[test]
    fn one_request_has_no_deviation() {
        let mut collector = Collector::new(1, &[]);
        collector.add(&record(0, 10, 1000, 1000));
        let found = collector.statistics(&[model("a")]);
        let spread = found.total.ratio.unwrap();
        assert_eq!((spread.std, spread.min, spread.p999), (0.0, 2.0, 2.0));
        assert_eq!((found.total.utilisation, found.side_by_side), (0.5, 1.0));
    }

    #[test]
    fn factors_are_eight_to_an_octave() {
        let factors = factors();
        assert_eq!((factors.len(), factors[0], factors[48]), (49, 1.0, 64.0));
        assert!(factors.contains(&2.0) && factors.contains(&8.0));
        for w in factors.windows(2) {
            assert!((w[1] / w[0] - 2f64.powf(0.125)).abs() < 1e-3);
        }
    }
}
