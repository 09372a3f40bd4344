//! Reductions and normalisations along rows.

use crate::map::random_tape;
use crate::plan::{Tensor, check, tensors};
use crate::reference::{Value, evaluate, offset, positions};
use crate::seeded::Seeded;
use plans::spec::{KernelSpec, Operand, Phase, RowFold, RowSpec};
use plans::tape::{BinaryFn, Reg, Scalar, TapeOp, TapeStep, UnaryFn};
use plans::{DType, Tape};

/// The written arguments by the definition.
fn expected(spec: &RowSpec, args: &[Tensor]) -> Vec<Tensor> {
    let mut results = args.to_vec();
    let columns = positions(&spec.columns);
    let types = spec.row_scalars().unwrap();
    for row in positions(&spec.rows) {
        let at = |column: &[u64]| -> Vec<u64> { row.iter().chain(column).copied().collect() };
        let input = |position: &[u64], n: usize| args[n].get(offset(&spec.inputs[n], position));
        let mut scalars: Vec<Value> = vec![];
        for phase in &spec.phases {
            match phase {
                Phase::Row { tape } => {
                    let more = evaluate(tape, &|_| unreachable!(), &scalars, &[]);
                    scalars.extend(more);
                }
                Phase::Fold { tape, fold } => {
                    let values: Vec<Value> = columns
                        .iter()
                        .map(|c| {
                            let p = at(c);
                            evaluate(tape, &|n| input(&p, n), &scalars, &p)[0]
                        })
                        .collect();
                    let value = fold_values(*fold, &values, types[scalars.len()]);
                    scalars.push(value);
                }
            }
        }
        let first = spec.inputs.len();
        for column in &columns {
            let p = at(column);
            let values = evaluate(&spec.element_tape, &|n| input(&p, n), &scalars, &p);
            for (n, (o, value)) in spec.element_outputs.iter().zip(values).enumerate() {
                results[first + n].set(offset(o, &p), value);
            }
        }
        let first = first + spec.element_outputs.len();
        for (n, (scalar, o)) in spec.row_outputs.iter().enumerate() {
            results[first + n].set(offset(o, &row), scalars[usize::from(*scalar)]);
        }
    }
    results
}

fn fold_values(fold: RowFold, values: &[Value], dtype: DType) -> Value {
    let floats = || values.iter().map(|v| v.float());
    let is_float = matches!(values.first(), Some(Value::Float(_))) || dtype.is_float();
    let best = |is_better: &dyn Fn(f64, f64) -> bool| {
        let mut best = 0;
        for (i, v) in values.iter().enumerate() {
            if is_better(v.float(), values[best].float()) {
                best = i;
            }
        }
        Value::Int(best as i128)
    };
    let fitted = |v: Value| match dtype {
        DType::F16 | DType::BF16 => v.fit(DType::F32),
        d => v.fit(d),
    };
    match fold {
        RowFold::Sum if is_float => fitted(Value::Float(floats().sum())),
        RowFold::Prod if is_float => fitted(Value::Float(floats().product())),
        RowFold::Min if is_float => Value::Float(floats().fold(f64::INFINITY, f64::min)),
        RowFold::Max if is_float => Value::Float(floats().fold(f64::NEG_INFINITY, f64::max)),
        RowFold::Sum => fitted(Value::Int(values.iter().map(|v| v.int()).sum())),
        RowFold::Prod => fitted(Value::Int(
            values
                .iter()
                .fold(1i128, |p, v| Value::Int(p * v.int()).fit(dtype).int()),
        )),
        RowFold::Min => Value::Int(values.iter().map(|v| v.int()).min().unwrap()),
        RowFold::Max => Value::Int(values.iter().map(|v| v.int()).max().unwrap()),
        RowFold::ArgMax => best(&|x, y| x > y),
        RowFold::ArgMaxLast => best(&|x, y| x >= y),
        RowFold::ArgMin => best(&|x, y| x < y),
        RowFold::ArgMinLast => best(&|x, y| x <= y),
    }
}

fn check_row(spec: &RowSpec, seeded: &mut Seeded) {
    let kernel = KernelSpec::Row(spec.clone());
    kernel.check().unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
    let args = tensors(&kernel, seeded);
    let wanted = expected(spec, &args);
    check(&kernel, &args, &wanted, 2e-5);
}

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

#[test]
fn random_rows_of_every_type() {
    for seed in 0..150 {
        let mut seeded = Seeded::new(seed);
        let extents = |seeded: &mut Seeded, most: u64| -> Vec<u64> {
            (0..seeded.below(3))
                .map(|_| seeded.pick(&[1, 2, 3, 7, 16, 33]).min(most))
                .collect()
        };
        let rows = extents(&mut seeded, 33);
        let columns = extents(&mut seeded, 33);
        let domain: Vec<u64> = rows.iter().chain(&columns).copied().collect();
        let dtype = if seeded.chance(60) {
            DType::F32
        } else {
            seeded.pick(&[
                DType::F64,
                DType::F16,
                DType::BF16,
                DType::I32,
                DType::I64,
                DType::U8,
                DType::U64,
                DType::I8,
            ])
        };
        let n_inputs = 1 + seeded.below(2) as usize;
        let inputs: Vec<Operand> = (0..n_inputs)
            .map(|_| seeded.strided(dtype, &domain))
            .collect();
        let types = vec![dtype; n_inputs];
        let mut phases = vec![];
        let mut n_values = 0;
        for _ in 0..1 + seeded.below(2) {
            let n_steps = seeded.below(2) as usize;
            // Only values of the elements' type are used by later tapes.
            let fold = seeded.pick(&FOLDS[..4]);
            let tape = random_tape(&types, n_values, domain.len(), n_steps, dtype, &mut seeded);
            phases.push(Phase::Fold { tape, fold });
            n_values += 1;
        }
        if seeded.chance(50) {
            let tape = random_tape(&[], n_values, 0, 2, dtype, &mut seeded);
            phases.push(Phase::Row { tape });
            n_values += 1;
        }
        let tape = random_tape(&types, n_values, domain.len(), 2, dtype, &mut seeded);
        let element_outputs = vec![seeded.dense(dtype, &domain)];
        let mut row_outputs = vec![(n_values as u16 - 1, seeded.dense(dtype, &rows))];
        if seeded.chance(40) {
            let fold = seeded.pick(&FOLDS[4..]);
            let tape = random_tape(&types, 0, 0, 0, dtype, &mut seeded);
            phases.push(Phase::Fold { tape, fold });
            row_outputs.push((n_values as u16, seeded.dense(DType::I64, &rows)));
        }
        let spec = RowSpec {
            rows,
            columns,
            inputs,
            phases,
            element_tape: tape,
            element_outputs,
            row_outputs,
        };
        check_row(&spec, &mut seeded);
    }
}

fn step(op: TapeOp) -> TapeStep {
    TapeStep {
        op,
        dtype: DType::F32,
    }
}

fn tape(steps: Vec<TapeStep>) -> Tape {
    let results = vec![Reg(steps.len() as u16 - 1)];
    Tape { steps, results }
}

fn operand(strides: &[i64]) -> Operand {
    Operand {
        dtype: DType::F32,
        strides: strides.to_vec(),
    }
}

/// `exp(x - max) / sum(exp(x - max))`.
pub(crate) fn softmax(rows: &[u64], columns: &[u64], x: &[i64], out: &[i64]) -> RowSpec {
    let exp = |steps: &mut Vec<TapeStep>| {
        steps.push(step(TapeOp::Input(0)));
        steps.push(step(TapeOp::RowScalar(0)));
        steps.push(step(TapeOp::Binary(BinaryFn::Sub, Reg(0), Reg(1))));
        steps.push(step(TapeOp::Unary(UnaryFn::Exp, Reg(2))));
    };
    let mut shifted = vec![];
    exp(&mut shifted);
    let mut divided = shifted.clone();
    divided.push(step(TapeOp::RowScalar(1)));
    divided.push(step(TapeOp::Binary(BinaryFn::Div, Reg(3), Reg(4))));
    RowSpec {
        rows: rows.to_vec(),
        columns: columns.to_vec(),
        inputs: vec![operand(x)],
        phases: vec![
            Phase::Fold {
                tape: Tape::identity(DType::F32),
                fold: RowFold::Max,
            },
            Phase::Fold {
                tape: tape(shifted),
                fold: RowFold::Sum,
            },
        ],
        element_tape: tape(divided),
        element_outputs: vec![operand(out)],
        row_outputs: vec![],
    }
}

#[test]
fn softmax_along_and_across_memory() {
    let mut seeded = Seeded::new(5);
    for (rows, columns) in [(1, 1), (3, 7), (12, 197), (5, 1000), (2, 5000), (70, 64)] {
        let (r, c) = (rows as i64, columns as i64);
        let along = softmax(&[rows], &[columns], &[c, 1], &[c, 1]);
        check_row(&along, &mut seeded);
        let across = softmax(&[rows], &[columns], &[1, r], &[1, r]);
        check_row(&across, &mut seeded);
    }
}

/// `(x - mean) / sqrt(variance + eps) * scale + bias`, the variance by a second pass.
fn layer_norm(rows: u64, columns: u64) -> RowSpec {
    let n = columns as f64;
    let mean_of = |scalar: u16| {
        tape(vec![
            step(TapeOp::RowScalar(scalar)),
            step(TapeOp::Const(Scalar::Float(1.0 / n))),
            step(TapeOp::Binary(BinaryFn::Mul, Reg(0), Reg(1))),
        ])
    };
    let centred = vec![
        step(TapeOp::Input(0)),
        step(TapeOp::RowScalar(1)),
        step(TapeOp::Binary(BinaryFn::Sub, Reg(0), Reg(1))),
    ];
    let mut squared = centred.clone();
    squared.push(step(TapeOp::Binary(BinaryFn::Mul, Reg(2), Reg(2))));
    let mut result = centred.clone();
    result.extend([
        step(TapeOp::RowScalar(4)),
        step(TapeOp::Binary(BinaryFn::Mul, Reg(2), Reg(3))),
        step(TapeOp::Input(1)),
        step(TapeOp::Binary(BinaryFn::Mul, Reg(4), Reg(5))),
        step(TapeOp::Input(2)),
        step(TapeOp::Binary(BinaryFn::Add, Reg(6), Reg(7))),
    ]);
    let c = columns as i64;
    RowSpec {
        rows: vec![rows],
        columns: vec![columns],
        inputs: vec![operand(&[c, 1]), operand(&[0, 1]), operand(&[0, 1])],
        phases: vec![
            Phase::Fold {
                tape: Tape::identity(DType::F32),
                fold: RowFold::Sum,
            },
            Phase::Row { tape: mean_of(0) },
            Phase::Fold {
                tape: tape(squared),
                fold: RowFold::Sum,
            },
            Phase::Row { tape: mean_of(2) },
            Phase::Row {
                tape: tape(vec![
                    step(TapeOp::RowScalar(3)),
                    step(TapeOp::Const(Scalar::Float(1e-5))),
                    step(TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1))),
                    step(TapeOp::Unary(UnaryFn::Sqrt, Reg(2))),
                    step(TapeOp::Unary(UnaryFn::Reciprocal, Reg(3))),
                ]),
            },
        ],
        element_tape: tape(result),
        element_outputs: vec![operand(&[c, 1])],
        row_outputs: vec![(1, operand(&[1])), (4, operand(&[1]))],
    }
}

#[test]
fn layer_normalisation() {
    let mut seeded = Seeded::new(6);
    for (rows, columns) in [(1, 768), (9, 33), (128, 64), (3, 3001)] {
        check_row(&layer_norm(rows, columns), &mut seeded);
    }
}

/// One fold of the elements themselves.
fn reduction(fold: RowFold, rows: &[u64], columns: &[u64], x: &[i64], out: Operand) -> RowSpec {
    RowSpec {
        rows: rows.to_vec(),
        columns: columns.to_vec(),
        inputs: vec![operand(x)],
        phases: vec![Phase::Fold {
            tape: Tape::identity(DType::F32),
            fold,
        }],
        element_tape: Tape::default(),
        element_outputs: vec![],
        row_outputs: vec![(0, out)],
    }
}

#[test]
fn global_pooling_in_both_layouts() {
    let mut seeded = Seeded::new(8);
    for fold in [RowFold::Sum, RowFold::Max] {
        let last = reduction(
            fold,
            &[2, 100],
            &[7, 7],
            &[4900, 1, 700, 100],
            operand(&[100, 1]),
        );
        check_row(&last, &mut seeded);
        let first = reduction(
            fold,
            &[2, 100],
            &[7, 7],
            &[4900, 49, 7, 1],
            operand(&[100, 1]),
        );
        check_row(&first, &mut seeded);
    }
}

#[test]
fn nothing_to_fold_gives_the_neutral_element() {
    let mut seeded = Seeded::new(2);
    for fold in &FOLDS[..4] {
        check_row(
            &reduction(*fold, &[5], &[0], &[0, 1], operand(&[1])),
            &mut seeded,
        );
        check_row(
            &reduction(*fold, &[0], &[5], &[5, 1], operand(&[1])),
            &mut seeded,
        );
    }
}

#[test]
fn nan_survives_minima_and_maxima() {
    for fold in [RowFold::Min, RowFold::Max, RowFold::Sum] {
        for (x, n) in [(vec![100, 1], 100u64), (vec![1, 3], 100)] {
            let spec = KernelSpec::Row(reduction(fold, &[3], &[n], &x, operand(&[1])));
            for at in [0, 1, 17, 99, 200, 299] {
                let mut args = tensors(&spec, &mut Seeded::new(1));
                args[0].set(at, Value::Float(f64::NAN));
                let results = crate::plan::run(&spec, &args, 1, None).unwrap();
                let row = if x[0] == 1 { at % 3 } else { at / 100 };
                for r in 0..3 {
                    assert_eq!(results[1].get(r).float().is_nan(), r == row);
                }
            }
        }
    }
}

#[test]
fn sums_of_many_columns_are_exact_enough() {
    let n = 1u64 << 20;
    for (rows, strides) in [(1u64, vec![0, 1]), (4, vec![1, 4])] {
        let spec = KernelSpec::Row(reduction(
            RowFold::Sum,
            &[rows],
            &[n],
            &strides,
            operand(&[1]),
        ));
        let mut args = tensors(&spec, &mut Seeded::new(1));
        for i in 0..args[0].len() as i64 {
            args[0].set(i, Value::Float(0.1));
        }
        let results = crate::plan::run(&spec, &args, 2, None).unwrap();
        let wanted = f64::from(0.1f32) * n as f64;
        for r in 0..rows as i64 {
            let error = (results[1].get(r).float() - wanted).abs() / wanted;
            assert!(error < 1e-5, "{error}");
        }
    }
}
