//! Folds over sliding windows.

use crate::contract::{channels_last, expected_epilogue, random_window};
use crate::map::random_tape;
use crate::plan::{Tensor, check, tensors};
use crate::reference::{Value, evaluate, offset, positions};
use crate::seeded::Seeded;
use plans::spec::{Epilogue, KernelSpec, MaxIndices, Operand, WindowFold, WindowSpec};
use plans::{DType, Tape};

/// The taps of a window inside of the input: their number row-major, and the positions.
fn taps(spec: &WindowSpec, output: &[u64]) -> Vec<(Vec<u64>, Vec<u64>)> {
    let w = &spec.window;
    positions(&w.kernel)
        .into_iter()
        .filter_map(|tap| {
            let at: Option<Vec<u64>> = (0..tap.len())
                .map(|d| {
                    (output[d] * w.strides[d] + tap[d] * w.dilations[d])
                        .checked_sub(w.pads_begin[d])
                        .filter(|&i| i < w.input[d])
                })
                .collect();
            at.map(|at| (tap, at))
        })
        .collect()
}

/// How many taps lie inside of the padded input.
fn n_padded(spec: &WindowSpec, output: &[u64], pads_end: &[u64]) -> usize {
    let w = &spec.window;
    positions(&w.kernel)
        .iter()
        .filter(|tap| {
            (0..tap.len()).all(|d| {
                let at = output[d] * w.strides[d] + tap[d] * w.dilations[d];
                at < w.pads_begin[d] + w.input[d] + pads_end[d]
            })
        })
        .count()
}

fn check_window(spec: &WindowSpec, weight: bool, seeded: &mut Seeded) {
    let kernel = KernelSpec::Window(spec.clone());
    kernel.check().unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
    let mut args = tensors(&kernel, seeded);
    if spec.weight.is_some() {
        args[1].is_weight = weight;
    }
    let element = |position: &[u64]| {
        let x = args[0].get(offset(&spec.x, position));
        evaluate(&spec.prologue, &|_| x, &[], &[])[0]
    };
    let dtype = spec.prologue.steps[usize::from(spec.prologue.results[0].0)].dtype;
    let result = |position: &[u64]| {
        let met = taps(spec, &position[2..]);
        let values: Vec<Value> = met
            .iter()
            .map(|(tap, at)| {
                let x = element(&[&position[..2], at].concat());
                match &spec.weight {
                    None => x,
                    Some(w) => {
                        let f = args[1].get(offset(w, &[&position[1..2], tap].concat()));
                        if dtype.is_float() {
                            Value::Float(x.float() * f.float())
                        } else {
                            Value::Int(x.int() * f.int())
                        }
                    }
                }
            })
            .collect();
        let sum = || values.iter().map(|v| v.float()).sum::<f64>();
        let value = match &spec.fold {
            WindowFold::Max if dtype.is_float() => Value::Float(
                values
                    .iter()
                    .fold(f64::NEG_INFINITY, |m, v| m.max(v.float())),
            ),
            WindowFold::Max => Value::Int(values.iter().map(|v| v.int()).max().unwrap()),
            WindowFold::Sum if dtype.is_float() => Value::Float(sum()),
            WindowFold::Sum => Value::Int(values.iter().map(|v| v.int()).sum()),
            WindowFold::Average => Value::Float(sum() / values.len() as f64),
            WindowFold::AveragePadded { pads_end } => {
                Value::Float(sum() / n_padded(spec, &position[2..], pads_end) as f64)
            }
        };
        match dtype {
            DType::F16 | DType::BF16 => value.fit(DType::F32),
            d => value.fit(d),
        }
    };
    let first = 1 + usize::from(spec.weight.is_some());
    let mut wanted = expected_epilogue(&spec.epilogue, &spec.domain(), first, &args, &result);
    if let Some(indices) = &spec.indices {
        let n = wanted.len() - 1;
        for position in positions(&spec.domain()) {
            let mut best: Option<(f64, Vec<u64>)> = None;
            for (_, at) in taps(spec, &position[2..]) {
                let x = element(&[&position[..2], &at].concat()).float();
                if best.as_ref().is_none_or(|(b, _)| x > *b) {
                    best = Some((x, at));
                }
            }
            let (_, at) = best.unwrap();
            let input = &spec.window.input;
            let fold = |at: u64, d: usize| at * input[d];
            let place = if indices.column_major {
                (0..at.len()).rev().fold(0, |p, d| fold(p, d) + at[d])
            } else {
                (0..at.len()).fold(0, |p, d| fold(p, d) + at[d])
            };
            let plane: u64 = input.iter().product();
            let whole = (position[0] * spec.channels + position[1]) * plane + place;
            let at = offset(&indices.out, &position);
            let tensor: &mut Tensor = &mut wanted[n];
            tensor.set(at, Value::Int(whole.into()));
        }
    }
    check(&kernel, &args, &wanted, 2e-5);
}

#[test]
fn random_windows() {
    for seed in 0..150 {
        let mut seeded = Seeded::new(900 + seed);
        let rank = 1 + seeded.below(3) as usize;
        let mut window = random_window(rank, &mut seeded);
        let dtype = seeded.pick(&[
            DType::F32,
            DType::F32,
            DType::F32,
            DType::F64,
            DType::F16,
            DType::I32,
            DType::U8,
            DType::U64,
            DType::I8,
        ]);
        let (batch, channels) = (1 + seeded.below(2), seeded.pick(&[1, 2, 16, 19, 40]));
        // Every window meets the input.
        for d in 0..rank {
            if window.input[d] <= window.dilations[d] {
                window.dilations[d] = 1;
            }
            window.pads_begin[d] = window.pads_begin[d].min(window.kernel[d] - 1);
            let last = (window.input[d] - 1 + window.pads_begin[d]) / window.strides[d];
            window.output[d] = window.output[d].min(last + 1);
        }
        let data = [&[batch, channels][..], &window.input].concat();
        let domain = [&[batch, channels][..], &window.output].concat();
        let x = if seeded.chance(50) {
            channels_last(dtype, &data)
        } else {
            seeded.dense(dtype, &data)
        };
        let prologue = if seeded.chance(30) {
            random_tape(&[dtype], 0, 0, 1, dtype, &mut seeded)
        } else {
            Tape::identity(dtype)
        };
        let fold = match seeded.below(4) {
            0 => WindowFold::Max,
            1 if dtype.is_float() => WindowFold::Average,
            2 if dtype.is_float() => WindowFold::AveragePadded {
                pads_end: window.pads_begin.clone(),
            },
            _ => WindowFold::Sum,
        };
        let taps = [&[channels][..], &window.kernel].concat();
        let weight =
            (fold == WindowFold::Sum && seeded.chance(60)).then(|| seeded.dense(dtype, &taps));
        let mut inputs: Vec<Operand> = vec![];
        let mut tape = Tape::identity(dtype);
        if seeded.chance(40) {
            inputs.push(seeded.strided(dtype, &domain));
            tape = random_tape(&[dtype, dtype], 0, 0, 1, dtype, &mut seeded);
        }
        let output = if seeded.chance(50) {
            channels_last(dtype, &domain)
        } else {
            seeded.dense(dtype, &domain)
        };
        let indices = (fold == WindowFold::Max && seeded.chance(40)).then(|| MaxIndices {
            out: seeded.dense(DType::I64, &domain),
            column_major: seeded.chance(50),
        });
        let spec = WindowSpec {
            batch,
            channels,
            window,
            x,
            prologue,
            weight,
            fold,
            epilogue: Epilogue {
                inputs,
                tape,
                outputs: vec![output],
            },
            indices,
        };
        let as_weight = seeded.chance(70);
        check_window(&spec, as_weight, &mut seeded);
    }
}
