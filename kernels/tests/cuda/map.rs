//! Elementwise kernels: layouts, gathers, every function of every type.

use crate::emulate::{Case, check_all};
use crate::plan::Tensor;
use crate::reference::{Value, set};
use crate::seeded::Seeded;
use dlirc_kernels::cuda::map::{config_space, generate_with};
use dlirc_kernels::cuda::{Target, generate};
use plans::spec::{GatherAxis, KernelSpec, MapInput, MapSpec, Operand, TransferSpec};
use plans::tape::{BinaryFn, Reg, Scalar, TapeOp, TapeStep, UnaryFn};
use plans::{DType, Tape};

pub(crate) fn step(op: TapeOp, dtype: DType) -> TapeStep {
    TapeStep { op, dtype }
}

/// The sum of inputs of one type.
fn sum(n: usize, dtype: DType) -> Tape {
    let mut steps = vec![step(TapeOp::Input(0), dtype)];
    for i in 1..n {
        let before = Reg(steps.len() as u16 - 1);
        steps.push(step(TapeOp::Input(i as u16), dtype));
        let input = Reg(steps.len() as u16 - 1);
        steps.push(step(TapeOp::Binary(BinaryFn::Add, before, input), dtype));
    }
    let results = vec![Reg(steps.len() as u16 - 1)];
    Tape { steps, results }
}

fn operand(dtype: DType, strides: &[i64]) -> Operand {
    let strides = strides.to_vec();
    Operand { dtype, strides }
}

/// The sum of inputs of given strides.
fn sum_of(dtype: DType, domain: &[u64], inputs: &[&[i64]], out: &[i64]) -> KernelSpec {
    let inputs = inputs.iter().map(|s| MapInput::affine(operand(dtype, s)));
    let inputs: Vec<MapInput> = inputs.collect();
    KernelSpec::Map(MapSpec {
        domain: domain.to_vec(),
        tape: sum(inputs.len(), dtype),
        inputs,
        outputs: vec![operand(dtype, out)],
    })
}

#[test]
fn layouts() {
    use DType::{F16, F32, F64, I64, U8};
    let flat = sum_of(F32, &[1003], &[&[1], &[1]], &[1]);
    let rows = sum_of(F32, &[9, 64], &[&[64, 1], &[0, 1], &[1, 0]], &[64, 1]);
    let odd = sum_of(
        F32,
        &[2, 5, 49],
        &[&[245, 49, 1], &[0, 1, 0]],
        &[245, 49, 1],
    );
    let transposed = sum_of(
        F32,
        &[3, 40, 33],
        &[&[1320, 1, 40], &[1320, 33, 1]],
        &[1320, 33, 1],
    );
    let narrow = sum_of(F32, &[100, 9], &[&[1, 100]], &[9, 1]);
    let thin = sum_of(F32, &[100, 3], &[&[1, 100]], &[3, 1]);
    let sliced = sum_of(F32, &[6, 20], &[&[-40, 2], &[20, -1]], &[20, 1]);
    let halves = sum_of(F16, &[6, 24], &[&[24, 1], &[0, 1]], &[24, 1]);
    let bytes = sum_of(U8, &[6, 24], &[&[24, 1], &[1, 6]], &[24, 1]);
    let doubles = sum_of(F64, &[6, 7], &[&[7, 1], &[1, 0]], &[7, 1]);
    let longs = sum_of(I64, &[7, 16], &[&[16, 1], &[1, 7]], &[16, 1]);
    let scalar = sum_of(F32, &[], &[&[]], &[]);
    let empty = sum_of(F32, &[3, 0], &[&[1, 1]], &[1, 1]);
    let joined = sum_of(F32, &[6, 20], &[&[20, 1]], &[36, 1]);
    let joined_oddly = sum_of(F32, &[6, 5, 4], &[&[20, 4, 1]], &[21, 4, 1]);
    let spread = sum_of(F32, &[6, 5], &[&[5, 1]], &[20, 3]);
    let output_order = sum_of(F32, &[12, 20], &[&[20, 1]], &[1, 12]);
    let cases = [
        ("flat", flat),
        ("rows", rows),
        ("odd", odd),
        ("transposed", transposed),
        ("narrow", narrow),
        ("thin", thin),
        ("sliced", sliced),
        ("halves", halves),
        ("bytes", bytes),
        ("doubles", doubles),
        ("longs", longs),
        ("scalar", scalar),
        ("empty", empty),
        ("joined", joined),
        ("joined oddly", joined_oddly),
        ("spread", spread),
        ("output order", output_order),
    ];
    let cases = cases.into_iter().zip(0..);
    check_all(cases.map(|((n, s), i)| Case::new(n, s, i)).collect());
}

/// The functions of one number; `takes` says which a tape has for a type.
const UNARY: [UnaryFn; 29] = [
    UnaryFn::Neg,
    UnaryFn::Abs,
    UnaryFn::Sign,
    UnaryFn::Floor,
    UnaryFn::Ceil,
    UnaryFn::Round,
    UnaryFn::Sqrt,
    UnaryFn::Reciprocal,
    UnaryFn::Exp,
    UnaryFn::Log,
    UnaryFn::Sin,
    UnaryFn::Cos,
    UnaryFn::Tan,
    UnaryFn::Asin,
    UnaryFn::Acos,
    UnaryFn::Atan,
    UnaryFn::Sinh,
    UnaryFn::Cosh,
    UnaryFn::Tanh,
    UnaryFn::Asinh,
    UnaryFn::Acosh,
    UnaryFn::Atanh,
    UnaryFn::Erf,
    UnaryFn::Sigmoid,
    UnaryFn::Softplus,
    UnaryFn::Not,
    UnaryFn::BitNot,
    UnaryFn::IsNan,
    UnaryFn::IsInf,
];

const BINARY: [BinaryFn; 20] = [
    BinaryFn::Add,
    BinaryFn::Sub,
    BinaryFn::Mul,
    BinaryFn::Div,
    BinaryFn::Pow,
    BinaryFn::Min,
    BinaryFn::Max,
    BinaryFn::Mod,
    BinaryFn::Rem,
    BinaryFn::And,
    BinaryFn::Or,
    BinaryFn::Xor,
    BinaryFn::BitAnd,
    BinaryFn::BitOr,
    BinaryFn::BitXor,
    BinaryFn::Shl,
    BinaryFn::Shr,
    BinaryFn::Eq,
    BinaryFn::Lt,
    BinaryFn::Le,
];

const TYPES: [DType; 13] = [
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
    DType::F32,
    DType::F64,
];

/// Numbers at the edges of types, and any others.
fn edges(tensor: &mut Tensor, seeded: &mut Seeded) {
    let dtype = tensor.dtype;
    let floats = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        -2.5,
    ];
    let bits = 8 * dtype.size() as u32;
    let integers = [
        0,
        1,
        -1,
        2,
        3,
        7,
        -2,
        1 << (bits - 1),
        (1 << (bits - 1)) - 1,
    ];
    for i in 0..tensor.len() {
        let value = match dtype {
            DType::Bool => Value::Int(i128::from(seeded.chance(50))),
            _ if dtype.is_float() && seeded.chance(50) => Value::Float(seeded.pick(&floats)),
            _ if dtype.is_float() => Value::Float(3.0 * seeded.float()),
            _ if seeded.chance(60) => Value::Int(seeded.pick(&integers)),
            _ => Value::Int(seeded.next().into()),
        };
        set(dtype, &mut tensor.data, i, value);
    }
}

/// A case whose outputs are the results of a tape, each in order.
fn dense_case(name: String, inputs: &[DType], tape: Tape, seed: u64) -> Case {
    const N: u64 = 203;
    let line = |dtype| operand(dtype, &[1]);
    let results = tape.results.iter();
    let types: Vec<DType> = results
        .map(|r| tape.steps[usize::from(r.0)].dtype)
        .collect();
    let spec = MapSpec {
        domain: vec![N],
        inputs: inputs.iter().map(|&d| MapInput::affine(line(d))).collect(),
        outputs: types.into_iter().map(line).collect(),
        tape,
    };
    let mut case = Case::new(name, KernelSpec::Map(spec), seed);
    let mut seeded = Seeded::new(seed);
    for tensor in case.args.iter_mut().take(inputs.len()) {
        edges(tensor, &mut seeded);
    }
    case
}

#[test]
fn every_function_of_every_type() {
    let mut all = vec![];
    for (n, dtype) in TYPES.into_iter().enumerate() {
        let sources = vec![step(TapeOp::Input(0), dtype), step(TapeOp::Input(1), dtype)];
        let ops = UNARY.map(|f| TapeOp::Unary(f, Reg(0))).into_iter();
        let ops = ops.chain(BINARY.map(|f| TapeOp::Binary(f, Reg(0), Reg(1))));
        let mut tape = Tape {
            steps: sources,
            results: vec![],
        };
        let scope = plans::tape::TapeScope {
            inputs: &[dtype, dtype],
            row_scalars: &[],
            rank: 1,
        };
        for op in ops {
            for result in [dtype, DType::Bool] {
                let mut longer = tape.clone();
                longer.steps.push(step(op, result));
                longer.results.push(Reg(longer.steps.len() as u16 - 1));
                if longer.check(&scope).is_ok() {
                    tape = longer;
                    break;
                }
            }
        }
        let n_results = tape.results.len();
        assert!(
            n_results >= if dtype == DType::Bool { 5 } else { 20 },
            "{dtype}"
        );
        let name = format!("functions of {dtype}");
        all.push(dense_case(name, &[dtype, dtype], tape, n as u64));
    }
    check_all(all);
}

#[test]
fn every_conversion() {
    let mut all = vec![];
    for (n, from) in TYPES.into_iter().enumerate() {
        let mut steps = vec![step(TapeOp::Input(0), from)];
        // Beyond the range of some types.
        if from.is_float() {
            let scale = TapeOp::Const(Scalar::Float(if from == DType::F16 { 300.0 } else { 1e10 }));
            steps.push(step(scale, from));
            steps.push(step(TapeOp::Binary(BinaryFn::Mul, Reg(0), Reg(1)), from));
        }
        let sources: Vec<u16> = if from.is_float() { vec![0, 2] } else { vec![0] };
        let mut results = vec![];
        for source in sources {
            for to in TYPES {
                results.push(Reg(steps.len() as u16));
                steps.push(step(TapeOp::Convert(Reg(source)), to));
            }
        }
        let name = format!("conversions of {from}");
        all.push(dense_case(name, &[from], Tape { steps, results }, n as u64));
    }
    check_all(all);
}

#[test]
fn powers_selections_and_constants() {
    let f = DType::F32;
    let mut steps = vec![step(TapeOp::Input(0), f)];
    let mut results = vec![];
    for exponent in [1.0, 2.0, 3.0, -1.0, 0.5, -0.5, 0.25, f64::INFINITY, 1e-40] {
        steps.push(step(TapeOp::Const(Scalar::Float(exponent)), f));
        let constant = Reg(steps.len() as u16 - 1);
        results.push(Reg(steps.len() as u16));
        steps.push(step(TapeOp::Binary(BinaryFn::Pow, Reg(0), constant), f));
        steps.push(step(
            TapeOp::Binary(BinaryFn::Lt, Reg(0), constant),
            DType::Bool,
        ));
        let less = Reg(steps.len() as u16 - 1);
        results.push(Reg(steps.len() as u16));
        steps.push(step(TapeOp::Select(less, constant, Reg(0)), f));
    }
    for (value, dtype) in [
        (Scalar::Int(-3), DType::I8),
        (Scalar::Int(i64::MIN), DType::I64),
        (Scalar::Int(i32::MIN.into()), DType::I32),
        (Scalar::Int(-1), DType::U64),
        (Scalar::Int(1), DType::Bool),
        (Scalar::Float(0.1), DType::F16),
        (Scalar::Float(0.1), DType::BF16),
        (Scalar::Float(-0.1), DType::F64),
        (Scalar::Float(f64::NAN), DType::F64),
        (Scalar::Float(f64::NEG_INFINITY), DType::F32),
    ] {
        results.push(Reg(steps.len() as u16));
        steps.push(step(TapeOp::Const(value), dtype));
    }
    results.push(Reg(steps.len() as u16));
    steps.push(step(TapeOp::Index(0), DType::I64));
    let tape = Tape { steps, results };
    check_all(vec![dense_case("powers".to_owned(), &[f], tape, 3)]);
}

/// Rows of a table picked by positions, beside an operand that is read as it lies.
fn gathered(dtype: DType, width: u64, index: &[i64], indexed: DType) -> MapSpec {
    let w = width as i64;
    MapSpec {
        domain: vec![5, 6, width],
        inputs: vec![
            MapInput {
                operand: operand(dtype, &[0, 0, 1]),
                gather: vec![GatherAxis {
                    index: 1,
                    len: 9,
                    stride: w,
                }],
            },
            MapInput::affine(operand(indexed, index)),
            MapInput::affine(operand(dtype, &[6 * w, w, 1])),
        ],
        tape: Tape {
            steps: vec![
                step(TapeOp::Input(0), dtype),
                step(TapeOp::Input(2), dtype),
                step(TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1)), dtype),
            ],
            results: vec![Reg(2)],
        },
        outputs: vec![operand(dtype, &[6 * w, w, 1])],
    }
}

#[test]
fn gathers() {
    let mut all = vec![];
    let rows = [6, 1, 0];
    let each = [48, 8, 1];
    for (n, spec) in [
        gathered(DType::F32, 8, &rows, DType::I64),
        gathered(DType::F32, 7, &rows, DType::I32),
        gathered(DType::F16, 8, &rows, DType::I64),
        gathered(DType::F32, 8, &each, DType::I64),
    ]
    .into_iter()
    .enumerate()
    {
        let kernel = KernelSpec::Map(spec);
        all.push(Case::new(format!("gather {n}"), kernel.clone(), n as u64));
        for wrong in [9, -10, i128::from(i32::MAX)] {
            let name = format!("wrong {wrong} in {n}");
            let mut case = Case::new(name, kernel.clone(), n as u64);
            let index = &mut case.args[1];
            set(index.dtype, &mut index.data, 3, Value::Int(wrong));
            all.push(case);
        }
    }
    // Two positions at once.
    let spec = MapSpec {
        domain: vec![40],
        inputs: vec![
            MapInput {
                operand: operand(DType::I64, &[0]),
                gather: [(1, 4, 6), (2, 6, 1)]
                    .map(|(index, len, stride)| GatherAxis { index, len, stride })
                    .to_vec(),
            },
            MapInput::affine(operand(DType::I64, &[1])),
            MapInput::affine(operand(DType::I32, &[1])),
        ],
        tape: Tape::identity(DType::I64),
        outputs: vec![operand(DType::I64, &[1])],
    };
    all.push(Case::new("two positions", KernelSpec::Map(spec), 5));
    check_all(all);
}

#[test]
fn random_layouts() {
    let mut all = vec![];
    for seed in 0..48 {
        let mut seeded = Seeded::new(seed);
        let rank = seeded.below(5);
        let domain: Vec<u64> = (0..rank)
            .map(|_| seeded.pick(&[1, 2, 3, 4, 8, 9, 16, 17]))
            .collect();
        let dtype = seeded.pick(&[
            DType::F32,
            DType::F32,
            DType::F16,
            DType::I32,
            DType::F64,
            DType::I8,
        ]);
        let n = 1 + seeded.below(3) as usize;
        let inputs: Vec<MapInput> = (0..n)
            .map(|_| MapInput::affine(seeded.strided(dtype, &domain)))
            .collect();
        let mut tape = sum(n, dtype);
        let mut outputs = vec![seeded.dense(dtype, &domain)];
        if rank > 0 && seeded.chance(30) {
            let d = seeded.below(rank) as u16;
            tape.results.push(Reg(tape.steps.len() as u16));
            tape.steps.push(step(TapeOp::Index(d), DType::I64));
            let same = seeded.chance(50);
            outputs.push(if same {
                operand(DType::I64, &outputs[0].strides)
            } else {
                seeded.dense(DType::I64, &domain)
            });
        }
        let spec = MapSpec {
            domain,
            inputs,
            tape,
            outputs,
        };
        all.push(Case::new(
            format!("layout {seed}"),
            KernelSpec::Map(spec),
            seed,
        ));
    }
    check_all(all);
}

#[test]
fn copies_of_every_type() {
    let mut all = vec![];
    for (n, dtype) in TYPES
        .into_iter()
        .chain([DType::C64, DType::C128])
        .enumerate()
    {
        let copy = TransferSpec { dtype, len: 37 };
        let name = format!("copy of {dtype}");
        all.push(Case::new(name, KernelSpec::Transfer(copy), n as u64));
        let transposed = sum_of(dtype, &[9, 10], &[&[1, 9]], &[10, 1]);
        let name = format!("transposed {dtype}");
        all.push(Case::new(name, transposed, n as u64));
    }
    check_all(all);
}

#[test]
fn points_of_the_config_space() {
    let target = Target::of_arch(80).unwrap();
    let spec = |kernel: &KernelSpec| match kernel {
        KernelSpec::Map(s) => s.clone(),
        _ => unreachable!(),
    };
    let transposed = sum_of(DType::F32, &[50, 40], &[&[1, 50], &[40, 1]], &[40, 1]);
    let flat = sum_of(DType::F32, &[7, 1000], &[&[1000, 1], &[0, 1]], &[1000, 1]);
    let mut all = vec![];
    for kernel in [transposed, flat] {
        let spec = spec(&kernel);
        let space = config_space(&spec, &target);
        let best = generate(&kernel, &target).unwrap();
        assert_eq!(generate_with(&spec, &space[0]).unwrap(), best);
        for s in space.iter().step_by(2) {
            let code = generate_with(&spec, s).unwrap();
            all.push(Case::of(code, format!("{s:?}"), kernel.clone(), 2));
        }
    }
    check_all(all);
}
