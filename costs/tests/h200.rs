//! How far predictions are off for the kernels and models that the file of the H200 was fitted to.

use dlirc_costs::fit::{Chain, Sample, fit};
use dlirc_costs::{Device, Estimate, Grid, Predict, Roofline, Work};
use std::collections::BTreeMap;

/// The models with their steps, those that are the same counted.
fn models() -> BTreeMap<&'static str, Chain> {
    let mut models: BTreeMap<&str, Chain> = BTreeMap::new();
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
        let ns = ns.parse().expect("a field of a sample");
        let chain = models.entry(model).or_default();
        if class == "model" {
            chain.ns = ns;
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
        chain.samples.push(Sample {
            work: Work {
                class: class.into(),
                dtype: dtype.into(),
                flop: number(flop),
                bytes_read: number(read),
                bytes_written: number(written),
                launches: launches.split_whitespace().map(launch).collect(),
                rounds: number(rounds),
            },
            n: number(n_steps),
            ns,
        });
    }
    models
}

fn h200() -> Device {
    Device::find("h200").expect("a built-in device")
}

/// The mean absolute error in percent of pairs of a weight and a relative error.
fn mean(errors: &[(f64, f64)]) -> f64 {
    let n: f64 = errors.iter().map(|(n, _)| n).sum();
    100.0 * errors.iter().map(|(n, e)| n * e.abs()).sum::<f64>() / n
}

/// How far predictions of single kernels are off: the number of runs and the relative error of each.
fn errors_of_kernels(device: &Device) -> BTreeMap<String, Vec<(f64, f64)>> {
    let predictor = Roofline::new(device.clone());
    let mut by_class: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in models().into_values().flat_map(|chain| chain.samples) {
        let error = predictor.alone(&sample.work).ns / sample.ns - 1.0;
        let class = by_class.entry(sample.work.class).or_default();
        class.push((sample.n as f64, error));
    }
    by_class
}

/// How far predictions of models are off, from predicted and from measured kernels.
fn errors_of_models(device: &Device) -> BTreeMap<&'static str, [f64; 2]> {
    let predictor = Roofline::new(device.clone());
    let of = |chain: Chain| {
        let mut sums = [0.0; 2];
        for s in &chain.samples {
            let alone = predictor.alone(&s.work);
            let measured = Estimate { ns: s.ns, ..alone };
            for (sum, estimate) in sums.iter_mut().zip([alone, measured]) {
                *sum += s.n as f64 * predictor.in_chain(&s.work, estimate).ns;
            }
        }
        sums.map(|ns| ns / chain.ns - 1.0)
    };
    models()
        .into_iter()
        .map(|(m, chain)| (m, of(chain)))
        .collect()
}

/// The mean absolute errors of kernels, of models from predicted kernels, and from measured ones.
fn means(device: &Device) -> [f64; 3] {
    let kernels: Vec<_> = errors_of_kernels(device).into_values().flatten().collect();
    let models = errors_of_models(device);
    let of = |i: usize| mean(&models.values().map(|e| (1.0, e[i])).collect::<Vec<_>>());
    [mean(&kernels), of(0), of(1)]
}

#[test]
fn kernels() {
    let by_class = errors_of_kernels(&h200());
    assert!(by_class.values().map(Vec::len).sum::<usize>() > 400);
    println!("mean absolute error of predictions of kernels on an H200");
    for (class, errors) in &by_class {
        let n: f64 = errors.iter().map(|(n, _)| n).sum();
        println!("{class:22} {n:5} steps {:6.1} %", mean(errors));
        assert!(mean(errors) < 20.0, "{class}");
    }
    let [all, ..] = means(&h200());
    println!("{:22} {all:18.1} %", "all");
    assert!(all < 8.0);
}

#[test]
fn whole_models() {
    let errors = errors_of_models(&h200());
    assert_eq!(errors.len(), 19);
    println!("error of predictions of models on an H200, from predicted and from measured kernels");
    for (model, [predicted, measured]) in &errors {
        println!(
            "{model:15} {:+6.1} % {:+6.1} %",
            100.0 * predicted,
            100.0 * measured
        );
    }
    let [_, predicted, measured] = means(&h200());
    println!("mean absolute   {predicted:6.1} % {measured:6.1} %");
    assert!(predicted < 10.0 && measured < 7.0);
}

#[test]
fn the_file_is_as_good_as_can_be() {
    let chains: Vec<Chain> = models().into_values().collect();
    let fitted = fit(&h200(), &chains);
    println!("{}", fitted.to_text().expect("numbers"));
    let (own, best) = (means(&h200()), means(&fitted));
    println!("the file {own:.2?}, fitted again {best:.2?}");
    assert!(own[0] < best[0] + 0.5, "{own:?} {best:?}");
}
