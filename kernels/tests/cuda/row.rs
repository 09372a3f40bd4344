//! Reductions and normalisations along rows.

use crate::emulate::{Case, check_all};
use crate::map::step;
use crate::seeded::Seeded;
use dlirc_kernels::cuda::row::{RowSchedule, config_space, generate_with};
use dlirc_kernels::cuda::{Target, generate};
use plans::spec::{KernelSpec, Operand, Phase, RowFold, RowSpec};
use plans::tape::{BinaryFn, Reg, Scalar, TapeOp, UnaryFn};
use plans::{DType, Tape};

const FOLDS: [RowFold; 8] = [
    RowFold::Sum,
    RowFold::Prod,
    RowFold::Min,
    RowFold::Max,
    RowFold::ArgMax,
    RowFold::ArgMaxLast,
    RowFold::ArgMin,
    RowFold::ArgMinLast,
];

fn dense(dtype: DType, dims: &[u64]) -> Operand {
    let mut strides = vec![0; dims.len()];
    let mut distance = 1;
    for d in (0..dims.len()).rev() {
        strides[d] = distance;
        distance *= dims[d] as i64;
    }
    Operand { dtype, strides }
}

/// One fold whose result is stored.
fn reduction(
    dtype: DType,
    rows: &[u64],
    columns: &[u64],
    strides: Option<&[i64]>,
    fold: RowFold,
) -> RowSpec {
    let domain = [rows, columns].concat();
    let mut input = dense(dtype, &domain);
    if let Some(strides) = strides {
        input.strides = strides.to_vec();
    }
    let result = if fold.is_position() {
        DType::I64
    } else {
        dtype
    };
    RowSpec {
        rows: rows.to_vec(),
        columns: columns.to_vec(),
        inputs: vec![input],
        phases: vec![Phase::Fold {
            tape: Tape::identity(dtype),
            fold,
        }],
        element_tape: Tape::default(),
        element_outputs: vec![],
        row_outputs: vec![(0, dense(result, rows))],
    }
}

/// The softmax of rows, whose elements lie as `strides` say.
pub(crate) fn softmax(dtype: DType, rows: &[u64], columns: u64, strides: &[i64]) -> RowSpec {
    let f32s = DType::F32;
    let operand = Operand {
        dtype,
        strides: strides.to_vec(),
    };
    let wide = |steps: &mut Vec<_>| {
        steps.push(step(TapeOp::Input(0), dtype));
        steps.push(step(TapeOp::Convert(Reg(0)), f32s));
    };
    let mut greatest = vec![];
    wide(&mut greatest);
    let mut powers = vec![];
    wide(&mut powers);
    powers.push(step(TapeOp::RowScalar(0), f32s));
    powers.push(step(TapeOp::Binary(BinaryFn::Sub, Reg(1), Reg(2)), f32s));
    powers.push(step(TapeOp::Unary(UnaryFn::Exp, Reg(3)), f32s));
    let mut shares = powers.clone();
    shares.push(step(TapeOp::RowScalar(2), f32s));
    shares.push(step(TapeOp::Binary(BinaryFn::Mul, Reg(4), Reg(5)), f32s));
    shares.push(step(TapeOp::Convert(Reg(6)), dtype));
    let fold = |steps, n, fold| Phase::Fold {
        tape: Tape {
            steps,
            results: vec![Reg(n)],
        },
        fold,
    };
    RowSpec {
        rows: rows.to_vec(),
        columns: vec![columns],
        inputs: vec![operand.clone()],
        phases: vec![
            fold(greatest, 1, RowFold::Max),
            fold(powers, 4, RowFold::Sum),
            Phase::Row {
                tape: Tape {
                    steps: vec![
                        step(TapeOp::RowScalar(1), f32s),
                        step(TapeOp::Unary(UnaryFn::Reciprocal, Reg(0)), f32s),
                    ],
                    results: vec![Reg(1)],
                },
            },
        ],
        element_tape: Tape {
            steps: shares,
            results: vec![Reg(7)],
        },
        element_outputs: vec![operand],
        row_outputs: vec![],
    }
}

/// Layer normalisation with a factor and a term for each column; mean and deviation are stored.
fn layer_norm(rows: u64, columns: u64) -> RowSpec {
    let f = DType::F32;
    let x = dense(f, &[rows, columns]);
    let by_column = Operand {
        dtype: f,
        strides: vec![0, 1],
    };
    let count = TapeOp::Const(Scalar::Float(columns as f64));
    let mean = Tape {
        steps: vec![
            step(TapeOp::RowScalar(0), f),
            step(count, f),
            step(TapeOp::Binary(BinaryFn::Div, Reg(0), Reg(1)), f),
        ],
        results: vec![Reg(2)],
    };
    let squares = Tape {
        steps: vec![
            step(TapeOp::Input(0), f),
            step(TapeOp::RowScalar(1), f),
            step(TapeOp::Binary(BinaryFn::Sub, Reg(0), Reg(1)), f),
            step(TapeOp::Binary(BinaryFn::Mul, Reg(2), Reg(2)), f),
        ],
        results: vec![Reg(3)],
    };
    let deviation = Tape {
        steps: vec![
            step(TapeOp::RowScalar(2), f),
            step(count, f),
            step(TapeOp::Binary(BinaryFn::Div, Reg(0), Reg(1)), f),
            step(TapeOp::Const(Scalar::Float(1e-5)), f),
            step(TapeOp::Binary(BinaryFn::Add, Reg(2), Reg(3)), f),
            step(TapeOp::Unary(UnaryFn::Sqrt, Reg(4)), f),
            step(TapeOp::Unary(UnaryFn::Reciprocal, Reg(5)), f),
        ],
        results: vec![Reg(6)],
    };
    let element = Tape {
        steps: vec![
            step(TapeOp::Input(0), f),
            step(TapeOp::RowScalar(1), f),
            step(TapeOp::Binary(BinaryFn::Sub, Reg(0), Reg(1)), f),
            step(TapeOp::RowScalar(3), f),
            step(TapeOp::Binary(BinaryFn::Mul, Reg(2), Reg(3)), f),
            step(TapeOp::Input(1), f),
            step(TapeOp::Binary(BinaryFn::Mul, Reg(4), Reg(5)), f),
            step(TapeOp::Input(2), f),
            step(TapeOp::Binary(BinaryFn::Add, Reg(6), Reg(7)), f),
        ],
        results: vec![Reg(8)],
    };
    let sum = |tape| Phase::Fold {
        tape,
        fold: RowFold::Sum,
    };
    RowSpec {
        rows: vec![rows],
        columns: vec![columns],
        inputs: vec![x.clone(), by_column.clone(), by_column],
        phases: vec![
            sum(Tape::identity(f)),
            Phase::Row { tape: mean },
            sum(squares),
            Phase::Row { tape: deviation },
        ],
        element_tape: element,
        element_outputs: vec![x],
        row_outputs: vec![(1, dense(f, &[rows])), (3, dense(f, &[rows]))],
    }
}

fn cases(specs: Vec<(&str, RowSpec)>) -> Vec<Case> {
    let specs = specs.into_iter().zip(0..);
    specs
        .map(|((name, spec), seed)| Case::new(name, KernelSpec::Row(spec), seed))
        .collect()
}

#[test]
fn reductions_and_normalisations() {
    use DType::{BF16, F16, F32, F64, I8, I64, U8};
    use RowFold::{ArgMax, ArgMinLast, Max, Min, Prod, Sum};
    check_all(cases(vec![
        ("planes", reduction(F32, &[40], &[7, 7], None, Sum)),
        ("short rows", reduction(F32, &[70], &[4], None, Sum)),
        ("long rows", reduction(F32, &[3], &[5000], None, Max)),
        ("one row", reduction(F32, &[], &[70_000], None, Sum)),
        (
            "one position",
            reduction(F32, &[2], &[40_000], None, ArgMax),
        ),
        ("columns", reduction(F32, &[70], &[33], Some(&[1, 70]), Sum)),
        (
            "few columns",
            reduction(F32, &[5], &[3000], Some(&[1, 5]), Min),
        ),
        (
            "many columns",
            reduction(F32, &[40], &[3000], Some(&[1, 40]), Sum),
        ),
        (
            "middle",
            reduction(F32, &[4, 6], &[5], Some(&[30, 1, 6]), ArgMinLast),
        ),
        ("halves", reduction(F16, &[9], &[64], None, Sum)),
        ("brains", reduction(BF16, &[9], &[50], None, Max)),
        ("doubles", reduction(F64, &[3], &[100], None, Prod)),
        ("bytes", reduction(U8, &[3], &[300], None, Sum)),
        ("longs", reduction(I64, &[3], &[30], None, Prod)),
        ("signed bytes", reduction(I8, &[2, 3], &[30], None, Min)),
        ("no columns", reduction(F32, &[3], &[0], None, Sum)),
        ("no rows", reduction(F32, &[0], &[3], None, Sum)),
        ("softmax", softmax(F32, &[30], 196, &[196, 1])),
        ("softmax of halves", softmax(F16, &[5], 1000, &[1000, 1])),
        (
            "softmax of channels",
            softmax(F32, &[2, 49], 21, &[1029, 1, 49]),
        ),
        ("long softmax", softmax(F32, &[1], 60_000, &[60_000, 1])),
        ("layer norm", layer_norm(20, 768)),
        ("odd layer norm", layer_norm(5, 77)),
        ("long layer norm", layer_norm(2, 50_000)),
    ]));
}

#[test]
fn random_folds() {
    let mut all = vec![];
    for seed in 0..48 {
        let mut seeded = Seeded::new(seed);
        let extents = |seeded: &mut Seeded| -> Vec<u64> {
            let n = seeded.below(3);
            (0..n).map(|_| seeded.pick(&[1, 2, 3, 8, 16, 33])).collect()
        };
        let (rows, columns) = (extents(&mut seeded), extents(&mut seeded));
        let domain = [rows.clone(), columns.clone()].concat();
        let dtype = seeded.pick(&[
            DType::F32,
            DType::F32,
            DType::F64,
            DType::F16,
            DType::I32,
            DType::U64,
            DType::I16,
        ]);
        let fold = seeded.pick(&FOLDS);
        let mut spec = reduction(dtype, &rows, &columns, None, fold);
        spec.inputs = vec![
            seeded.strided(dtype, &domain),
            seeded.strided(dtype, &domain),
        ];
        let sum = Tape {
            steps: vec![
                step(TapeOp::Input(0), dtype),
                step(TapeOp::Input(1), dtype),
                step(TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1)), dtype),
            ],
            results: vec![Reg(2)],
        };
        spec.phases[0] = Phase::Fold {
            tape: sum.clone(),
            fold,
        };
        let n = spec.rows.len() as u16;
        let mut element = sum;
        let mut results = vec![Reg(2)];
        if !spec.columns.is_empty() {
            element.steps.push(step(TapeOp::Index(n), DType::I64));
            results.push(Reg(3));
        }
        element.results = results;
        spec.element_tape = element;
        spec.element_outputs = vec![seeded.dense(dtype, &domain)];
        if !spec.columns.is_empty() {
            spec.element_outputs.push(seeded.dense(DType::I64, &domain));
        }
        spec.row_outputs[0].1 = seeded.dense(spec.row_outputs[0].1.dtype, &rows);
        all.push(Case::new(
            format!("fold {seed}"),
            KernelSpec::Row(spec),
            seed,
        ));
    }
    check_all(all);
}

#[test]
fn points_of_the_config_space() {
    let target = Target::of_arch(90).unwrap();
    let by_row = softmax(DType::F32, &[6], 128, &[128, 1]);
    let by_column = softmax(DType::F32, &[40], 20, &[1, 40]);
    let mut all = vec![];
    for (name, spec) in [("along", by_row), ("across", by_column)] {
        let space = config_space(&spec, &target);
        assert!(space.len() > 10, "{space:?}");
        let kernel = KernelSpec::Row(spec.clone());
        let best = generate(&kernel, &target).unwrap();
        assert_eq!(generate_with(&spec, &space[0]).unwrap(), best);
        for (n, s) in space.iter().enumerate().step_by(4) {
            for splits in [1, 3] {
                let s = RowSchedule {
                    splits,
                    held: s.held && splits == 1,
                    ..*s
                };
                let code = generate_with(&spec, &s).unwrap();
                let name = format!("{name} {n} {splits}");
                all.push(Case::of(code, name, kernel.clone(), 1));
            }
        }
        let wrong = RowSchedule {
            lanes: 3,
            ..space[0]
        };
        assert!(generate_with(&spec, &wrong).is_err());
    }
    check_all(all);
}
