//! Elements moved to computed positions.

use crate::emulate::{Case, check_all};
use crate::reference::{Value, set};
use crate::seeded::Seeded;
use plans::DType;
use plans::spec::{
    GatherAxis, Interpolation, KernelSpec, MovementSpec, Operand, PadMode, PadSpec, Reduction,
    ResizeSpec, ScatterSpec,
};

fn case(name: impl Into<String>, spec: MovementSpec, seed: u64) -> Case {
    Case::new(name, KernelSpec::Movement(spec), seed)
}

#[test]
fn borders() {
    let mut all = vec![];
    for seed in 0..32 {
        let mut seeded = Seeded::new(seed);
        let dtype = seeded.pick(&[DType::F32, DType::Bool, DType::I64, DType::F16, DType::C128]);
        let mode = seeded.pick(&[
            PadMode::Constant,
            PadMode::Constant,
            PadMode::Reflect,
            PadMode::Edge,
            PadMode::Wrap,
        ]);
        let (mut input, mut output, mut begin) = (vec![], vec![], vec![]);
        for _ in 0..seeded.below(5) {
            let n = seeded.pick(&[1, 2, 5, 9]);
            let (before, after) = if seeded.chance(40) {
                (0, 0)
            } else {
                (seeded.below(6) as i64 - 2, seeded.below(6) as i64 - 2)
            };
            input.push(n as u64);
            begin.push(before);
            output.push((n + before + after).max(0) as u64);
        }
        let spec = PadSpec {
            x: seeded.strided(dtype, &input),
            out: seeded.dense(dtype, &output),
            input,
            output,
            begin,
            mode,
        };
        let name = format!("border {seed}");
        all.push(case(name, MovementSpec::Pad(spec), seed));
    }
    check_all(all);
}

fn axis(input: u64, output: u64, taps: u32, seeded: &mut Seeded) -> Interpolation {
    let n = output * u64::from(taps);
    Interpolation {
        output,
        taps,
        positions: (0..n)
            .map(|_| seeded.below(input + u64::from(taps > 1)) as i32 - i32::from(taps > 1))
            .collect(),
        factors: (0..n)
            .map(|_| {
                if taps == 1 {
                    1.0
                } else {
                    seeded.float() as f32
                }
            })
            .collect(),
    }
}

/// Every output is the nearest input, some times as many.
fn nearest(input: u64, times: u64) -> Interpolation {
    let output = input * times;
    Interpolation {
        output,
        taps: 1,
        positions: (0..output).map(|o| (o / times) as i32).collect(),
        factors: vec![1.0; output as usize],
    }
}

#[test]
fn interpolations() {
    let mut all = vec![];
    for seed in 0..28 {
        let mut seeded = Seeded::new(seed);
        let dtype = seeded.pick(&[
            DType::F32,
            DType::F32,
            DType::F64,
            DType::F16,
            DType::I32,
            DType::U8,
        ]);
        let input: Vec<u64> = (0..1 + seeded.below(3))
            .map(|_| 1 + seeded.below(7))
            .collect();
        let mut axes = vec![];
        for &n in &input {
            let output = 1 + seeded.below(12);
            axes.push(match seeded.below(4) {
                0 => nearest(n, 1),
                1 => nearest(n, 3),
                2 => axis(n, output, 1, &mut seeded),
                _ => axis(n, output, 2 + seed as u32 % 3, &mut seeded),
            });
        }
        let output: Vec<u64> = axes.iter().map(|a| a.output).collect();
        let spec = ResizeSpec {
            x: seeded.dense(dtype, &input),
            out: seeded.dense(dtype, &output),
            input,
            axes,
            outside: 0.5,
        };
        let name = format!("interpolation {seed}");
        all.push(case(name, MovementSpec::Resize(spec), seed));
    }
    check_all(all);
}

const REDUCTIONS: [Reduction; 5] = [
    Reduction::Replace,
    Reduction::Add,
    Reduction::Mul,
    Reduction::Min,
    Reduction::Max,
];

/// Rows of an output picked by one position each.
fn rows(dtype: DType, n: u64, len: u64, width: u64, reduction: Reduction) -> MovementSpec {
    let w = width as i64;
    MovementSpec::Scatter(ScatterSpec {
        domain: vec![n, width],
        updates: Operand {
            dtype,
            strides: vec![w, 1],
        },
        indices: vec![Operand {
            dtype: DType::I64,
            strides: vec![1, 0],
        }],
        axes: vec![GatherAxis {
            index: 0,
            len,
            stride: w,
        }],
        out: Operand {
            dtype,
            strides: vec![0, 1],
        },
        reduction,
    })
}

/// Elements of columns of an output picked by a position each.
fn elements(dtype: DType, n: u64, len: u64, columns: u64, reduction: Reduction) -> MovementSpec {
    let c = columns as i64;
    let each = |dtype| Operand {
        dtype,
        strides: vec![c, 1],
    };
    MovementSpec::Scatter(ScatterSpec {
        domain: vec![n, columns],
        updates: each(dtype),
        indices: vec![each(DType::I32)],
        axes: vec![GatherAxis {
            index: 0,
            len,
            stride: c,
        }],
        out: Operand {
            dtype,
            strides: vec![0, 1],
        },
        reduction,
    })
}

#[test]
fn scattered() {
    let mut all = vec![];
    for (n, reduction) in REDUCTIONS.into_iter().enumerate() {
        let types = [DType::F32, DType::F16, DType::I32, DType::F64, DType::I8];
        for (m, dtype) in types.into_iter().enumerate() {
            let seed = (10 * n + m) as u64;
            // Few updates and many, with and without slices; all of them meet others.
            let spec = match m {
                0 => rows(dtype, 40, 13, 9, reduction),
                1 => elements(dtype, 20, 7, 6, reduction),
                2 => rows(dtype, 900, 300, 3, reduction),
                3 => elements(dtype, 300, 50, 4, reduction),
                _ => elements(dtype, 1200, 40, 1, reduction),
            };
            let mut case = case(format!("{reduction:?} {dtype}"), spec, seed);
            if reduction == Reduction::Mul {
                // Factors near 1, or products of many leave the type.
                let tensor = &mut case.args[0];
                for i in 0..tensor.len() {
                    let x = if dtype.is_float() {
                        Value::Float(1.0 + 0.01 * (i % 7) as f64)
                    } else {
                        Value::Int(1 - 2 * (i as i128 % 2))
                    };
                    set(dtype, &mut tensor.data, i, x);
                }
            }
            all.push(case);
        }
    }
    all.push(case(
        "one",
        rows(DType::F32, 1, 5, 300, Reduction::Replace),
        1,
    ));
    all.push(case("none", rows(DType::F32, 0, 5, 3, Reduction::Add), 1));
    check_all(all);
}

/// Of many updates, those that meet are combined in order: every bit is as if one came after the
/// other.
#[test]
fn scattered_in_order() {
    let mut all = vec![];
    for (n, reduction) in REDUCTIONS.into_iter().skip(1).enumerate() {
        let dtype = [DType::F32, DType::F16, DType::BF16, DType::F64][n];
        // Sorted in one pass, and in two or three.
        let more = match reduction {
            Reduction::Add => elements(dtype, 520, 33_000, 2, reduction),
            _ => rows(dtype, 1100, 700, 3, reduction),
        };
        let specs = [rows(DType::F32, 1100, 100, 2, reduction), more];
        for (m, spec) in specs.into_iter().enumerate() {
            let mut case = case(format!("{reduction:?} {m}"), spec, (10 * n + m) as u64);
            case.tolerance = 0.0;
            all.push(case);
        }
    }
    // Counts of many blocks.
    let spec = elements(DType::F32, 66_000, 300, 1, Reduction::Add);
    let mut many = case("many", spec, 7);
    many.tolerance = 0.0;
    all.push(many);
    check_all(all);
}

/// Combined in any order: types for which that gives the same.
#[test]
fn scattered_in_any_order() {
    let mut all = vec![];
    for dtype in [DType::I32, DType::U32, DType::I64, DType::U64] {
        for (n, reduction) in REDUCTIONS.into_iter().enumerate() {
            let name = format!("{reduction:?} {dtype}");
            all.push(case(name, rows(dtype, 700, 30, 4, reduction), n as u64));
        }
    }
    check_all(all);
}

#[test]
fn positions_out_of_range() {
    let mut all = vec![];
    for (n, spec) in [
        rows(DType::F32, 40, 13, 9, Reduction::Replace),
        elements(DType::F32, 900, 13, 6, Reduction::Add),
        rows(DType::F16, 900, 13, 2, Reduction::Replace),
        rows(DType::I32, 900, 13, 2, Reduction::Max),
    ]
    .into_iter()
    .enumerate()
    {
        for wrong in [-14, 13] {
            let mut case = case(format!("wrong {n} {wrong}"), spec.clone(), 1);
            let index = &mut case.args[1];
            set(index.dtype, &mut index.data, 5, Value::Int(wrong));
            all.push(case);
        }
    }
    check_all(all);
}
