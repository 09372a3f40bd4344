//! Matrix products and convolutions.

use crate::map::random_tape;
use crate::plan::{Tensor, check, tensors};
use crate::reference::{Value, evaluate, offset, positions};
use crate::seeded::Seeded;
use plans::spec::{ContractSpec, Epilogue, KernelSpec, Operand, Problem, Window};
use plans::{DType, Tape};

/// The sums by the definition, at a position of the epilogue's domain.
fn sum(problem: &Problem, args: &[Tensor], position: &[u64]) -> Value {
    let [(x, _), (w, _)] = problem.operands();
    let product = |xs: &[u64], ws: &[u64]| -> (Value, Value) {
        (args[0].get(offset(x, xs)), args[1].get(offset(w, ws)))
    };
    let mut terms = vec![];
    match problem {
        Problem::MatMul { batch, k, .. } => {
            let n = batch.len();
            for l in 0..*k {
                let mut xs = position[..n].to_vec();
                let mut ws = xs.clone();
                xs.extend([position[n], l]);
                ws.extend([l, position[n + 1]]);
                terms.push(product(&xs, &ws));
            }
        }
        Problem::Conv {
            in_channels,
            out_channels,
            window,
            ..
        } => {
            let group = position[1] / out_channels;
            for c in 0..*in_channels {
                for tap in positions(&window.kernel) {
                    let at: Option<Vec<u64>> = (0..tap.len())
                        .map(|d| {
                            (position[2 + d] * window.strides[d] + tap[d] * window.dilations[d])
                                .checked_sub(window.pads_begin[d])
                                .filter(|&i| i < window.input[d])
                        })
                        .collect();
                    if let Some(at) = at {
                        let xs = [&[position[0], group * in_channels + c][..], &at].concat();
                        let ws = [&[position[1], c][..], &tap].concat();
                        terms.push(product(&xs, &ws));
                    }
                }
            }
        }
        Problem::ConvTranspose {
            in_channels,
            out_channels,
            window,
            ..
        } => {
            let (group, m) = (position[1] / out_channels, position[1] % out_channels);
            for c in 0..*in_channels {
                let channel = group * in_channels + c;
                for tap in positions(&window.kernel) {
                    let at: Option<Vec<u64>> = (0..tap.len())
                        .map(|d| {
                            let reached = position[2 + d] + window.pads_begin[d];
                            let steps = reached.checked_sub(tap[d] * window.dilations[d])?;
                            let i = steps / window.strides[d];
                            (steps % window.strides[d] == 0 && i < window.input[d]).then_some(i)
                        })
                        .collect();
                    if let Some(at) = at {
                        let xs = [&[position[0], channel][..], &at].concat();
                        let ws = [&[channel, m][..], &tap].concat();
                        terms.push(product(&xs, &ws));
                    }
                }
            }
        }
    }
    let dtype = problem.sum_dtype().unwrap();
    if dtype.is_float() {
        let sum: f64 = terms.iter().map(|(a, b)| a.float() * b.float()).sum();
        match dtype {
            DType::F64 => Value::Float(sum),
            _ => Value::Float(sum).fit(DType::F32),
        }
    } else {
        Value::Int(terms.iter().map(|(a, b)| a.int() * b.int()).sum()).fit(dtype)
    }
}

/// Epilogue results written over a domain, `result` being the kernel's own.
pub(crate) fn expected_epilogue(
    epilogue: &Epilogue,
    domain: &[u64],
    first_arg: usize,
    args: &[Tensor],
    result: &dyn Fn(&[u64]) -> Value,
) -> Vec<Tensor> {
    let mut results = args.to_vec();
    for position in positions(domain) {
        let own = result(&position);
        let input = |n: usize| match n.checked_sub(1) {
            None => own,
            Some(n) => args[first_arg + n].get(offset(&epilogue.inputs[n], &position)),
        };
        let values = evaluate(&epilogue.tape, &input, &[], &position);
        let first_output = first_arg + epilogue.inputs.len();
        for (n, (o, value)) in epilogue.outputs.iter().zip(values).enumerate() {
            results[first_output + n].set(offset(o, &position), value);
        }
    }
    results
}

fn check_contract(spec: &ContractSpec, weight: bool, seeded: &mut Seeded) {
    let kernel = KernelSpec::Contract(spec.clone());
    kernel.check().unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
    let mut args = tensors(&kernel, seeded);
    args[1].is_weight = weight;
    let result = |position: &[u64]| sum(&spec.problem, &args, position);
    let wanted = expected_epilogue(&spec.epilogue, &spec.problem.domain(), 2, &args, &result);
    check(&kernel, &args, &wanted, 2e-5);
}

/// An epilogue that stores results, perhaps with more work on them.
fn random_epilogue(result: DType, domain: &[u64], seeded: &mut Seeded) -> Epilogue {
    let n_inputs = seeded.below(3) as usize;
    let inputs: Vec<Operand> = (0..n_inputs)
        .map(|_| seeded.strided(result, domain))
        .collect();
    let n_steps = seeded.below(3) as usize;
    let types = vec![result; 1 + n_inputs];
    let tape = if seeded.chance(40) {
        Tape::identity(result)
    } else {
        random_tape(&types, 0, 0, n_steps, result, seeded)
    };
    Epilogue {
        inputs,
        tape,
        outputs: vec![seeded.dense(result, domain)],
    }
}

const TYPES: [DType; 9] = [
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::I64,
    DType::U8,
];

#[test]
fn random_products() {
    for seed in 0..100 {
        let mut seeded = Seeded::new(seed);
        let batch: Vec<u64> = (0..seeded.below(3)).map(|_| 1 + seeded.below(3)).collect();
        let sizes = [1, 2, 5, 16, 33, 70];
        let (m, n) = (seeded.pick(&sizes), seeded.pick(&sizes));
        let k = seeded.pick(&[0, 1, 3, 16, 65]);
        let dtype = seeded.pick(&TYPES);
        let over = |x, y| -> Vec<u64> { batch.iter().copied().chain([x, y]).collect() };
        let a = seeded.strided(dtype, &over(m, k.max(1)));
        let b = seeded.strided(dtype, &over(k.max(1), n));
        let problem = Problem::MatMul {
            batch: batch.clone(),
            m,
            n,
            k,
            a,
            b,
        };
        let result = problem.sum_dtype().unwrap();
        let epilogue = random_epilogue(result, &problem.domain(), &mut seeded);
        let weight = seeded.chance(50);
        check_contract(&ContractSpec { problem, epilogue }, weight, &mut seeded);
    }
}

/// A window over `rank` dimensions that has outputs.
pub(crate) fn random_window(rank: usize, seeded: &mut Seeded) -> Window {
    // Fewer positions in more dimensions.
    let inputs: &[u64] = if rank > 2 { &[1, 3, 5] } else { &[1, 4, 7, 12] };
    let kernels: &[u64] = if rank > 2 {
        &[1, 2, 3]
    } else {
        &[1, 2, 3, 3, 5]
    };
    let mut window = Window {
        input: vec![],
        output: vec![],
        kernel: vec![],
        strides: vec![],
        dilations: vec![],
        pads_begin: vec![],
    };
    for _ in 0..rank {
        let kernel = seeded.pick(kernels);
        let stride = seeded.pick(&[1, 1, 2, 3]);
        let dilation = seeded.pick(&[1, 1, 2]);
        let pad = seeded.below(1 + (kernel - 1) * dilation);
        let input = seeded.pick(inputs);
        let padded = input + 2 * pad;
        let reach = (kernel - 1) * dilation + 1;
        let output = if padded < reach {
            1
        } else {
            (padded - reach) / stride + 1
        };
        window.input.push(input);
        window.output.push(output);
        window.kernel.push(kernel);
        window.strides.push(stride);
        window.dilations.push(dilation);
        window.pads_begin.push(pad);
    }
    window
}

#[test]
fn random_convolutions() {
    for seed in 0..120 {
        let mut seeded = Seeded::new(500 + seed);
        let rank = 1 + seeded.below(3) as usize;
        let mut window = random_window(rank, &mut seeded);
        let transposed = seeded.chance(30);
        if transposed {
            for d in 0..rank {
                let (kernel, dilation) = (window.kernel[d], window.dilations[d]);
                let full = (window.input[d] - 1) * window.strides[d] + (kernel - 1) * dilation + 1;
                window.output[d] = full.saturating_sub(window.pads_begin[d]).max(1);
            }
        }
        let batch = 1 + seeded.below(2);
        let groups = seeded.pick(&[1, 1, 2, 3]);
        let (in_channels, out_channels) =
            (seeded.pick(&[1, 3, 8, 17]), seeded.pick(&[1, 2, 8, 19]));
        let dtype = seeded.pick(&TYPES);
        let data = [&[batch, groups * in_channels][..], &window.input].concat();
        let (outer, inner) = if transposed {
            (in_channels, out_channels)
        } else {
            (out_channels, in_channels)
        };
        let taps = [&[groups * outer, inner][..], &window.kernel].concat();
        let x = if seeded.chance(50) {
            channels_last(dtype, &data)
        } else {
            seeded.dense(dtype, &data)
        };
        let w = seeded.dense(dtype, &taps);
        let problem = if transposed {
            Problem::ConvTranspose {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            }
        } else {
            Problem::Conv {
                batch,
                groups,
                in_channels,
                out_channels,
                window,
                x,
                w,
            }
        };
        let result = problem.sum_dtype().unwrap();
        let mut epilogue = random_epilogue(result, &problem.domain(), &mut seeded);
        if seeded.chance(50) {
            epilogue.outputs[0] = channels_last(result, &problem.domain());
        }
        let weight = seeded.chance(60);
        check_contract(&ContractSpec { problem, epilogue }, weight, &mut seeded);
    }
}

/// Batch, positions, channel.
pub(crate) fn channels_last(dtype: DType, extents: &[u64]) -> Operand {
    let mut strides = vec![0; extents.len()];
    strides[1] = 1;
    let mut distance = extents[1] as i64;
    for d in (2..extents.len()).rev().chain([0]) {
        strides[d] = distance;
        distance *= extents[d] as i64;
    }
    Operand { dtype, strides }
}

#[test]
fn bytes_of_either_sign_are_summed_in_32_bits() {
    let operand = |dtype, strides: [i64; 2]| Operand {
        dtype,
        strides: strides.to_vec(),
    };
    for types in [[DType::U8, DType::I8], [DType::I8, DType::I8]] {
        let problem = Problem::MatMul {
            batch: vec![],
            m: 5,
            n: 9,
            k: 40,
            a: operand(types[0], [40, 1]),
            b: operand(types[1], [9, 1]),
        };
        let epilogue = Epilogue {
            inputs: vec![],
            tape: Tape::identity(DType::I32),
            outputs: vec![operand(DType::I32, [9, 1])],
        };
        let spec = ContractSpec { problem, epilogue };
        check_contract(&spec, true, &mut Seeded::new(1));
    }
}
