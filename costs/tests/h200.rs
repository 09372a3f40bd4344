//! How far predictions are off for the kernels and models that the file of the H200 was fitted to.

use dlirc_costs::{Device, Grid, Predict, Roofline, Work};
use std::collections::BTreeMap;

/// Steps of one model that are the same.
struct Sample {
    model: &'static str,
    work: Work,
    n_steps: f64,
    ns: f64,
}

/// The samples, and the time of each model as a whole.
fn samples() -> (Vec<Sample>, BTreeMap<&'static str, f64>) {
    let mut samples = vec![];
    let mut models = BTreeMap::new();
    let text = include_str!("../data/h200.csv");
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    for line in lines.skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [
            model,
            class,
            dtype,
            flop,
            read,
            written,
            launches,
            rounds,
            n_steps,
            ns,
        ] = fields[..]
        else {
            panic!("{line}");
        };
        let number = |text: &str| text.parse::<u64>().expect("a field of a sample");
        if class == "model" {
            models.insert(model, ns.parse().expect("a field of a sample"));
            continue;
        }
        let launch = |text: &str| {
            let (blocks, rest) = text.split_once('x').expect("a field of a sample");
            let (threads, resident) = rest.split_once('/').expect("a field of a sample");
            Grid {
                blocks: number(blocks),
                threads: number(threads) as u32,
                resident: number(resident) as u32,
            }
        };
        samples.push(Sample {
            model,
            work: Work {
                class: class.into(),
                dtype: dtype.into(),
                flop: number(flop),
                bytes_read: number(read),
                bytes_written: number(written),
                launches: launches.split_whitespace().map(launch).collect(),
                rounds: number(rounds),
            },
            n_steps: n_steps.parse().expect("a field of a sample"),
            ns: ns.parse().expect("a field of a sample"),
        });
    }
    (samples, models)
}

fn h200() -> Roofline {
    Roofline::new(Device::find("h200").expect("a field of a sample"))
}

/// The mean absolute error in percent of pairs of a weight and a relative error.
fn mean(errors: &[(f64, f64)]) -> f64 {
    let n: f64 = errors.iter().map(|(n, _)| n).sum();
    100.0 * errors.iter().map(|(n, e)| n * e.abs()).sum::<f64>() / n
}

#[test]
fn kernels() {
    let predictor = h200();
    let mut by_class: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut all = vec![];
    for sample in samples().0 {
        let error = predictor.alone(&sample.work).ns / sample.ns - 1.0;
        let class = by_class.entry(sample.work.class).or_default();
        class.push((sample.n_steps, error));
        all.push((sample.n_steps, error));
    }
    assert!(all.len() > 400, "{} samples", all.len());
    println!("mean absolute error of predictions of kernels on an H200");
    for (class, errors) in &by_class {
        let n: f64 = errors.iter().map(|(n, _)| n).sum();
        println!("{class:22} {n:5} steps {:6.1} %", mean(errors));
        assert!(mean(errors) < 20.0, "{class}");
    }
    println!("{:22} {:5} kernels {:4.1} %", "all", all.len(), mean(&all));
    assert!(mean(&all) < 8.0);
}

#[test]
fn models() {
    let predictor = h200();
    let (samples, models) = samples();
    let mut predicted: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
    for s in &samples {
        let alone = predictor.alone(&s.work);
        let measured = dlirc_costs::Estimate { ns: s.ns, ..alone };
        let chain = |estimate| s.n_steps * predictor.in_chain(&s.work, estimate).ns;
        let sums = predicted.entry(s.model).or_default();
        sums[0] += chain(alone);
        sums[1] += chain(measured);
    }
    let mut errors = [vec![], vec![]];
    println!("error of predictions of models on an H200, from predicted and from measured kernels");
    for (model, [from_predicted, from_measured]) in &predicted {
        let of = |ns: f64| ns / models[model] - 1.0;
        let pair = [of(*from_predicted), of(*from_measured)];
        println!(
            "{model:15} {:+6.1} % {:+6.1} %",
            100.0 * pair[0],
            100.0 * pair[1]
        );
        errors[0].push((1.0, pair[0]));
        errors[1].push((1.0, pair[1]));
    }
    assert_eq!(predicted.len(), 19);
    println!(
        "mean absolute   {:6.1} % {:6.1} %",
        mean(&errors[0]),
        mean(&errors[1])
    );
    assert!(mean(&errors[0]) < 10.0 && mean(&errors[1]) < 7.0);
}
