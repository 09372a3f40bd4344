//! Elementwise kernels.

use crate::plan::{Tensor, check, run, tensors};
use crate::reference::{Value, evaluate, offset, positions};
use crate::seeded::Seeded;
use plans::spec::{GatherAxis, KernelSpec, MapInput, MapSpec, Operand};
use plans::tape::{BinaryFn, Reg, Scalar, TapeOp, TapeStep, UnaryFn};
use plans::{DType, Tape};

/// The written arguments by the definition.
fn expected(spec: &MapSpec, args: &[Tensor]) -> Vec<Tensor> {
    let mut results = args.to_vec();
    for position in positions(&spec.domain) {
        let input = |n: usize| {
            let input = &spec.inputs[n];
            let mut at = offset(&input.operand, &position);
            for axis in &input.gather {
                let n = usize::from(axis.index);
                let index = &spec.inputs[n];
                let picked = args[n].get(offset(&index.operand, &position)).int() as i64;
                let len = axis.len as i64;
                at += (picked + len) % len * axis.stride;
            }
            args[n].get(at)
        };
        let values = evaluate(&spec.tape, &input, &[], &position);
        for (n, (output, value)) in spec.outputs.iter().zip(values).enumerate() {
            results[spec.inputs.len() + n].set(offset(output, &position), value);
        }
    }
    results
}

fn check_map(spec: MapSpec, seeded: &mut Seeded) {
    let kernel = KernelSpec::Map(spec.clone());
    kernel.check().unwrap();
    let mut args = tensors(&kernel, seeded);
    for input in &spec.inputs {
        for axis in &input.gather {
            let index = &mut args[usize::from(axis.index)];
            for i in 0..index.len() as i64 {
                let at = i - index.start;
                let picked = seeded.below(2 * axis.len) as i128 - i128::from(axis.len);
                index.set(at, Value::Int(picked));
            }
        }
    }
    let wanted = expected(&spec, &args);
    check(&kernel, &args, &wanted, 1e-5);
}

/// A tape over inputs of the given types that ends with a value of type `out`.
pub(crate) fn random_tape(
    inputs: &[DType],
    n_scalars: usize,
    rank: usize,
    n_steps: usize,
    out: DType,
    seeded: &mut Seeded,
) -> Tape {
    let mut steps: Vec<TapeStep> = vec![];
    let push = |steps: &mut Vec<TapeStep>, op, dtype| {
        steps.push(TapeStep { op, dtype });
        Reg(steps.len() as u16 - 1)
    };
    let mut last = None;
    for (n, &dtype) in inputs.iter().enumerate() {
        let x = push(&mut steps, TapeOp::Input(n as u16), dtype);
        let x = if dtype == out {
            x
        } else {
            push(&mut steps, TapeOp::Convert(x), out)
        };
        last = Some(match last {
            None => x,
            Some(y) if out == DType::Bool => {
                push(&mut steps, TapeOp::Binary(BinaryFn::Xor, y, x), out)
            }
            Some(y) => push(&mut steps, TapeOp::Binary(BinaryFn::Add, y, x), out),
        });
    }
    if rank > 0 && seeded.chance(30) {
        let d = seeded.below(rank as u64) as u16;
        let x = push(&mut steps, TapeOp::Index(d), DType::I64);
        let x = push(&mut steps, TapeOp::Convert(x), out);
        last = Some(match last {
            Some(y) if out != DType::Bool => {
                push(&mut steps, TapeOp::Binary(BinaryFn::Sub, y, x), out)
            }
            _ => x,
        });
    }
    for n in 0..n_scalars {
        let x = push(&mut steps, TapeOp::RowScalar(n as u16), out);
        last = Some(match last {
            Some(y) => push(&mut steps, TapeOp::Binary(BinaryFn::Max, y, x), out),
            None => x,
        });
    }
    let mut last = last.unwrap_or_else(|| {
        let value = if out.is_float() {
            Scalar::Float(0.75)
        } else {
            Scalar::Int(1)
        };
        push(&mut steps, TapeOp::Const(value), out)
    });
    for _ in 0..n_steps {
        if out.is_float() {
            let c = push(&mut steps, TapeOp::Const(Scalar::Float(0.5)), out);
            last = match seeded.below(7) {
                0 => push(&mut steps, TapeOp::Unary(UnaryFn::Tanh, last), out),
                1 => push(&mut steps, TapeOp::Unary(UnaryFn::Sigmoid, last), out),
                2 => push(&mut steps, TapeOp::Binary(BinaryFn::Mul, last, c), out),
                3 => push(&mut steps, TapeOp::Binary(BinaryFn::Max, c, last), out),
                4 => push(&mut steps, TapeOp::Unary(UnaryFn::Neg, last), out),
                5 => {
                    let less = push(
                        &mut steps,
                        TapeOp::Binary(BinaryFn::Lt, last, c),
                        DType::Bool,
                    );
                    push(&mut steps, TapeOp::Select(less, c, last), out)
                }
                _ => push(&mut steps, TapeOp::Unary(UnaryFn::Erf, last), out),
            };
        } else if out.is_integer() {
            let c = push(&mut steps, TapeOp::Const(Scalar::Int(3)), out);
            let f = seeded.pick(&[
                BinaryFn::Add,
                BinaryFn::Mul,
                BinaryFn::Sub,
                BinaryFn::Max,
                BinaryFn::Div,
                BinaryFn::Rem,
                BinaryFn::Shl,
                BinaryFn::Shr,
                BinaryFn::BitXor,
            ]);
            last = push(&mut steps, TapeOp::Binary(f, last, c), out);
        } else {
            last = push(&mut steps, TapeOp::Unary(UnaryFn::Not, last), out);
        }
    }
    Tape {
        steps,
        results: vec![last],
    }
}

const TYPES: [DType; 13] = [
    DType::F32,
    DType::Bool,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::F16,
    DType::BF16,
    DType::F64,
];

fn random_domain(seeded: &mut Seeded) -> Vec<u64> {
    let rank = seeded.below(5) as usize;
    (0..rank)
        .map(|_| seeded.pick(&[1, 2, 3, 5, 8, 16, 17, 33]))
        .collect()
}

#[test]
fn random_maps_of_every_type() {
    for seed in 0..120 {
        let mut seeded = Seeded::new(seed);
        let domain = random_domain(&mut seeded);
        let n_inputs = seeded.below(4) as usize;
        let type_of = |seeded: &mut Seeded| {
            if seeded.chance(50) {
                DType::F32
            } else {
                seeded.pick(&TYPES)
            }
        };
        let out = type_of(&mut seeded);
        let inputs: Vec<MapInput> = (0..n_inputs)
            .map(|_| {
                let dtype = type_of(&mut seeded);
                MapInput::affine(seeded.strided(dtype, &domain))
            })
            .collect();
        let types: Vec<DType> = inputs.iter().map(|i| i.operand.dtype).collect();
        let n_steps = seeded.below(6) as usize;
        let mut tape = random_tape(&types, 0, domain.len(), n_steps, out, &mut seeded);
        let mut outputs = vec![seeded.dense(out, &domain)];
        if seeded.chance(30) {
            // Any register may be a result, and twice.
            let r = seeded.below(tape.steps.len() as u64) as u16;
            outputs.push(seeded.dense(tape.steps[usize::from(r)].dtype, &domain));
            tape.results.push(Reg(r));
        }
        let spec = MapSpec {
            domain,
            inputs,
            tape,
            outputs,
        };
        check_map(spec, &mut seeded);
    }
}

#[test]
fn every_function_of_one_number() {
    use UnaryFn::*;
    let floats = [
        Neg, Abs, Sign, Floor, Ceil, Round, Sqrt, Reciprocal, Exp, Log, Sin, Cos, Tan, Asin, Acos,
        Atan, Sinh, Cosh, Tanh, Asinh, Acosh, Atanh, Erf, Sigmoid, Softplus, IsNan, IsInf,
    ];
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        for f in floats {
            let out = if matches!(f, IsNan | IsInf) {
                DType::Bool
            } else {
                dtype
            };
            check_function(TapeOp::Unary(f, Reg(0)), &[dtype], out);
        }
    }
    for dtype in [DType::I8, DType::I32, DType::I64, DType::U8, DType::U64] {
        for f in [Neg, Abs, Sign, BitNot] {
            check_function(TapeOp::Unary(f, Reg(0)), &[dtype], dtype);
        }
    }
    check_function(TapeOp::Unary(Not, Reg(0)), &[DType::Bool], DType::Bool);
}

#[test]
fn every_function_of_two_numbers() {
    use BinaryFn::*;
    let both = [Add, Sub, Mul, Div, Pow, Min, Max, Mod, Rem, Eq, Lt, Le];
    for dtype in TYPES {
        let functions: &[BinaryFn] = if dtype == DType::Bool {
            &[And, Or, Xor, Eq]
        } else {
            &both
        };
        let bits = [BitAnd, BitOr, BitXor, Shl, Shr];
        let more: &[BinaryFn] = if dtype.is_integer() { &bits } else { &[] };
        for &f in functions.iter().chain(more) {
            let out = if matches!(f, Eq | Lt | Le) {
                DType::Bool
            } else {
                dtype
            };
            let op = TapeOp::Binary(f, Reg(0), Reg(1));
            check_function(op, &[dtype, dtype], out);
        }
    }
}

#[test]
fn every_conversion() {
    for from in TYPES {
        for to in TYPES {
            check_function(TapeOp::Convert(Reg(0)), &[from], to);
        }
    }
}

fn check_function(op: TapeOp, inputs: &[DType], out: DType) {
    let mut steps: Vec<TapeStep> = inputs
        .iter()
        .enumerate()
        .map(|(n, &dtype)| TapeStep {
            op: TapeOp::Input(n as u16),
            dtype,
        })
        .collect();
    let result = Reg(steps.len() as u16);
    steps.push(TapeStep { op, dtype: out });
    let operand = |dtype| Operand {
        dtype,
        strides: vec![1],
    };
    let spec = MapSpec {
        domain: vec![203],
        inputs: inputs
            .iter()
            .map(|&d| MapInput::affine(operand(d)))
            .collect(),
        tape: Tape {
            steps,
            results: vec![result],
        },
        outputs: vec![operand(out)],
    };
    let kernel = KernelSpec::Map(spec.clone());
    kernel.check().unwrap();
    let mut seeded = Seeded::new(7);
    let mut args = tensors(&kernel, &mut seeded);
    for arg in &mut args[..inputs.len()] {
        for i in 0..arg.len() as i64 {
            // Wider than the seeded values, and with what floats have besides numbers.
            let value = match arg.dtype {
                d if d.is_float() => Value::Float(match i {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => f64::NEG_INFINITY,
                    3 => -0.0,
                    _ => seeded.float() * if i % 3 == 0 { 20.0 } else { 1.5 },
                }),
                DType::Bool => Value::Int((i % 2).into()),
                d => Value::Int(i128::from(seeded.next() as i64) >> seeded.below(64)).fit(d),
            };
            // Powers of large integers wrap at once here and at the end there.
            let small = matches!(op, TapeOp::Binary(BinaryFn::Pow, ..)) && arg.dtype.is_integer();
            arg.set(
                i,
                if small {
                    Value::Int((i % 9).into())
                } else {
                    value
                },
            );
        }
    }
    if let TapeOp::Convert(_) = op
        && inputs[0].is_float()
        && !out.is_float()
        && out != DType::Bool
    {
        for i in 0..args[0].len() as i64 {
            let x = args[0].get(i).float();
            // What lies outside of the integer type depends on the machine.
            let low = if matches!(out, DType::U8 | DType::U16 | DType::U32 | DType::U64) {
                0.0
            } else {
                -100.0
            };
            let x = if x.is_finite() {
                x.clamp(low, 100.0)
            } else {
                0.5
            };
            args[0].set(i, Value::Float(x));
        }
    }
    let wanted = expected(&spec, &args);
    check(&kernel, &args, &wanted, 2e-6);
}

#[test]
fn gathers_pick_rows_and_elements() {
    for seed in 0..40 {
        let mut seeded = Seeded::new(1000 + seed);
        let domain = random_domain(&mut seeded);
        let index_type = seeded.pick(&[DType::I32, DType::I64]);
        let data_type = seeded.pick(&[DType::F32, DType::F32, DType::I64, DType::F16, DType::U8]);
        let n_axes = 1 + seeded.below(2);
        let mut inputs = vec![];
        let mut axes = vec![];
        for axis in 0..n_axes {
            inputs.push(MapInput::affine(seeded.strided(index_type, &domain)));
            axes.push(GatherAxis {
                index: axis as u16,
                len: 1 + seeded.below(9),
                stride: seeded.pick(&[1, 5, 40, -3]),
            });
        }
        let operand = seeded.strided(data_type, &domain);
        inputs.push(MapInput {
            operand,
            gather: axes,
        });
        let n = inputs.len() as u16 - 1;
        let tape = Tape {
            steps: vec![TapeStep {
                op: TapeOp::Input(n),
                dtype: data_type,
            }],
            results: vec![Reg(0)],
        };
        let outputs = vec![seeded.dense(data_type, &domain)];
        let spec = MapSpec {
            domain,
            inputs,
            tape,
            outputs,
        };
        check_map(spec, &mut seeded);
    }
}

#[test]
fn an_index_out_of_range_is_an_error_that_names_the_step() {
    let operand = |dtype, stride| Operand {
        dtype,
        strides: vec![stride],
    };
    let spec = KernelSpec::Map(MapSpec {
        domain: vec![40],
        inputs: vec![
            MapInput::affine(operand(DType::I64, 1)),
            MapInput {
                operand: operand(DType::F32, 0),
                gather: vec![GatherAxis {
                    index: 0,
                    len: 10,
                    stride: 1,
                }],
            },
        ],
        tape: Tape {
            steps: vec![TapeStep {
                op: TapeOp::Input(1),
                dtype: DType::F32,
            }],
            results: vec![Reg(0)],
        },
        outputs: vec![operand(DType::F32, 1)],
    });
    let mut args = tensors(&spec, &mut Seeded::new(1));
    for i in 0..40 {
        args[0].set(i, Value::Int(i128::from(i % 10)));
    }
    assert!(run(&spec, &args, 2, None).is_ok());
    for bad in [10, -11, i128::from(i64::MAX), i128::from(i64::MIN)] {
        args[0].set(33, Value::Int(bad));
        let error = run(&spec, &args, 2, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model tested, step 0 (Tested), nodes node: an index is out of range"
        );
    }
}

#[test]
fn complex_numbers_can_be_moved() {
    for dtype in [DType::C64, DType::C128] {
        let domain = vec![3, 5, 7];
        let mut seeded = Seeded::new(3);
        let spec = MapSpec {
            inputs: vec![MapInput::affine(Operand {
                dtype,
                strides: vec![1, 3, 15],
            })],
            tape: Tape::identity(dtype),
            outputs: vec![Operand {
                dtype,
                strides: vec![35, 7, 1],
            }],
            domain,
        };
        check_map(spec, &mut seeded);
    }
}

#[test]
fn large_transpositions_and_broadcasts() {
    let mut seeded = Seeded::new(9);
    for (domain, strides) in [
        (vec![300, 500], vec![1, 300]),
        (vec![2, 64, 49], vec![3136, 1, 64]),
        (vec![100_000], vec![1]),
        (vec![3, 3000], vec![0, 1]),
        (vec![3000, 3], vec![1, 0]),
    ] {
        let mut distance = 1;
        let mut row_major = vec![0; domain.len()];
        for d in (0..domain.len()).rev() {
            row_major[d] = distance;
            distance *= domain[d] as i64;
        }
        let operand = |strides: &Vec<i64>| Operand {
            dtype: DType::F32,
            strides: strides.clone(),
        };
        let types = [DType::F32, DType::F32];
        let tape = random_tape(&types, 0, 0, 3, DType::F32, &mut seeded);
        let spec = MapSpec {
            inputs: vec![
                MapInput::affine(operand(&strides)),
                MapInput::affine(operand(&row_major)),
            ],
            tape,
            outputs: vec![operand(&row_major)],
            domain,
        };
        check_map(spec, &mut seeded);
    }
}
