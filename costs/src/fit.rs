//! Device descriptions that fit what was measured.

use crate::device::{Device, Efficiency};
use crate::predict::{Estimate, Predict};
use crate::roofline::Roofline;
use crate::work::Work;
use std::collections::BTreeMap;

/// Kernels that ran one after the other, each timed by itself and all of them as one graph.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chain {
    /// The kernels.
    pub samples: Vec<Sample>,
    /// The time of all of them in nanoseconds.
    pub ns: f64,
}

/// A kernel that was timed by itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sample {
    /// What it does.
    pub work: Work,
    /// How many of its kind the chain has.
    pub n: u64,
    /// Its time in nanoseconds.
    pub ns: f64,
}

/// A class with fewer different kernels than this keeps what its device says of it.
const LEAST_SAMPLES: usize = 4;

/// The least that predictions are said to be off by, relative to the time: measurements differ by as
/// much from one day to the next.
const LEAST_ERROR: f64 = 0.1;

/// The device with efficiencies under which predictions of single kernels, and then of chains, are
/// least off: by the mean absolute logarithm of predicted over measured time, each kernel counted as
/// often as it runs.
///
/// The search goes up and down along one number after the other, in ever smaller steps, from what
/// the device says and from what it says of any class.
pub fn fit(device: &Device, chains: &[Chain]) -> Device {
    let mut device = device.clone();
    let mut classes: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in chains.iter().flat_map(|c| &c.samples) {
        if sample.ns > 0.0 {
            classes.entry(&sample.work.class).or_default().push(sample);
        }
    }
    for (class, samples) in classes {
        if samples.len() >= LEAST_SAMPLES {
            fit_class(&mut device, class, &samples);
        }
    }
    if chains.iter().any(|c| c.ns > 0.0) {
        fit_chains(&mut device, chains);
    }
    device
}

/// How far predictions of single kernels are off on average, relative to what was measured.
pub fn mean_error(device: &Device, chains: &[Chain]) -> f64 {
    let predictor = Roofline::new(device.clone());
    let samples = chains.iter().flat_map(|c| &c.samples);
    mean(samples.filter(|s| s.ns > 0.0).map(|s| {
        let off = predictor.alone(&s.work).ns / s.ns - 1.0;
        (s.n as f64, off.abs())
    }))
}

fn fit_class(device: &mut Device, class: &str, samples: &[&Sample]) {
    let own = *device.efficiency_of(class);
    let any = *device.efficiency_of("");
    let off = |e: &Efficiency| {
        let predictor = Roofline::new(with(device, class, *e));
        let each = samples.iter().map(|s| {
            let off = (predictor.alone(&s.work).ns / s.ns).ln().abs();
            (s.n as f64, off)
        });
        mean(each)
    };
    let best = [own, any]
        .map(|start| descend(start, &KERNEL, &off))
        .into_iter()
        .min_by(|a, b| off(a).total_cmp(&off(b)))
        .unwrap_or(own);
    let predictor = Roofline::new(with(device, class, best));
    let square = |s: &&Sample| {
        let off = predictor.alone(&s.work).ns / s.ns - 1.0;
        (s.n as f64, off * off)
    };
    let error = mean(samples.iter().map(square)).sqrt().max(LEAST_ERROR);
    let fitted = Efficiency {
        error: rounded(error),
        ..best
    };
    device.efficiency.insert(class.to_owned(), fitted);
}

/// What neighbours change, for contractions and for all other classes.
fn fit_chains(device: &mut Device, chains: &[Chain]) {
    let is_contraction = |class: &str| class == "contract" || class.starts_with("contract.");
    for _ in 0..2 {
        for contractions in [true, false] {
            let with_neighbours = |e: &Efficiency| {
                let mut changed = device.clone();
                for (class, own) in &mut changed.efficiency {
                    if is_contraction(class) == contractions {
                        own.in_chain = e.in_chain;
                        own.overlap_ns = e.overlap_ns;
                    }
                }
                changed
            };
            let off = |e: &Efficiency| {
                let predictor = Roofline::new(with_neighbours(e));
                let each = chains.iter().filter(|c| c.ns > 0.0).map(|chain| {
                    let of = |s: &Sample| {
                        let alone = Estimate {
                            ns: s.ns,
                            ..predictor.alone(&s.work)
                        };
                        s.n as f64 * predictor.in_chain(&s.work, alone).ns
                    };
                    let all: f64 = chain.samples.iter().map(of).sum();
                    (1.0, (all / chain.ns).max(1e-9).ln().abs())
                });
                mean(each)
            };
            let class = if contractions { "contract" } else { "" };
            let best = descend(*device.efficiency_of(class), &NEIGHBOURS, &off);
            *device = with_neighbours(&best);
        }
    }
}

fn with(device: &Device, class: &str, e: Efficiency) -> Device {
    let mut device = device.clone();
    device.efficiency.insert(class.to_owned(), e);
    device
}

/// A number of an efficiency, with the least and the most that it may be.
type Number = (fn(&mut Efficiency) -> &mut f64, f64, f64);

const KERNEL: [Number; 6] = [
    (|e| &mut e.compute, 0.001, 1.0),
    (|e| &mut e.memory, 0.001, 1.0),
    (|e| &mut e.compute_warps, 0.0, 64.0),
    (|e| &mut e.memory_warps, 0.0, 64.0),
    (|e| &mut e.start_ns, 0.0, 50_000.0),
    (|e| &mut e.round_ns, 0.0, 50_000.0),
];

const NEIGHBOURS: [Number; 2] = [
    (|e| &mut e.in_chain, 0.5, 2.0),
    (|e| &mut e.overlap_ns, 0.0, 20_000.0),
];

/// What a number that is 0 becomes when it goes up.
const FIRST: f64 = 0.25;

/// The efficiency that no step along one of `numbers` makes better.
fn descend(start: Efficiency, numbers: &[Number], off: &dyn Fn(&Efficiency) -> f64) -> Efficiency {
    let (mut best, mut least) = (start, off(&start));
    for factor in [4.0, 2.0, 1.4, 1.2, 1.1, 1.05, 1.02, 1.01] {
        loop {
            let before = least;
            for &(number, low, high) in numbers {
                let now = *number(&mut best.clone());
                let up = if now == 0.0 { FIRST } else { now * factor };
                let down = if now < FIRST { 0.0 } else { now / factor };
                for to in [up, now / factor, down] {
                    let mut changed = best;
                    *number(&mut changed) = rounded(to.clamp(low, high));
                    let then = off(&changed);
                    if then < least {
                        (best, least) = (changed, then);
                    }
                }
            }
            // No less than a thousandth, so that there is an end.
            if least > before * 0.999 {
                break;
            }
        }
    }
    best
}

/// Three digits: more would be read as more than is known.
fn rounded(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let unit = 10f64.powi(x.abs().log10().floor() as i32 - 2);
    // Of a unit below 1 the inverse is exact enough to leave no digits behind.
    match unit < 1.0 {
        true => (x / unit).round() / (1.0 / unit).round(),
        false => (x / unit).round() * unit,
    }
}

/// The mean of pairs of a weight and a number; 0 of none.
fn mean(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, n) = pairs.fold((0.0, 0.0), |(sum, n), (weight, x)| {
        (sum + weight * x, n + weight)
    });
    if n > 0.0 { sum / n } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Grid;

    fn sample(class: &str, flop: u64, bytes: u64, blocks: u64) -> Sample {
        Sample {
            work: Work {
                class: class.into(),
                dtype: "f32".into(),
                flop,
                bytes_read: bytes,
                bytes_written: bytes,
                launches: vec![Grid {
                    blocks,
                    threads: 256,
                    resident: 4,
                }],
                rounds: 1,
            },
            n: 1,
            ns: 0.0,
        }
    }

    #[test]
    fn a_device_is_found_again_from_what_it_does() {
        let mut device = Device::find("h200").expect("a built-in device");
        let hidden = Efficiency {
            compute: 0.8,
            memory: 0.4,
            compute_warps: 5.0,
            memory_warps: 3.0,
            start_ns: 2500.0,
            in_chain: 0.9,
            overlap_ns: 1500.0,
            ..device.efficiency["any"]
        };
        for class in ["contract.conv", "map", "contract"] {
            device.efficiency.insert(class.into(), hidden);
        }
        let truth = Roofline::new(device.clone());
        let mut chains = vec![];
        for n in 1..8u64 {
            let mut chain = Chain::default();
            for (i, class) in ["contract.conv", "map", "contract"].iter().enumerate() {
                let scale = 1 << (2 * n + i as u64);
                let flop = if *class == "map" { 0 } else { scale * 200_000 };
                chain
                    .samples
                    .push(sample(class, flop, scale * 8_000, scale));
            }
            for s in &mut chain.samples {
                let alone = truth.alone(&s.work);
                s.ns = alone.ns;
                chain.ns += truth.in_chain(&s.work, alone).ns;
            }
            chains.push(chain);
        }

        let known = Device::find("h200").expect("a built-in device");
        let off = |device: &Device| mean_error(device, &chains);
        let fitted = fit(&known, &chains);
        assert!(off(&known) > 0.2, "{}", off(&known));
        assert!(off(&fitted) < 0.03, "{}", off(&fitted));
        assert_eq!(fit(&known, &chains), fitted);
        // Of what was not measured nothing is known.
        assert_eq!(
            fitted.efficiency["row"].compute,
            known.efficiency["row"].compute
        );
        assert_eq!(fit(&known, &[]), known);
        assert!(Device::parse(&fitted.to_text().expect("numbers")).is_ok());
    }

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.123_45, "0.123"),
            (3.0, "3"),
            (45_678.0, "45700"),
            (0.05, "0.05"),
        ];
        for (x, text) in cases {
            assert_eq!(rounded(x).to_string(), text);
        }
    }
}
