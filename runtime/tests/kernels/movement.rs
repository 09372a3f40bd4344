//! Elements moved to computed positions.

use crate::plan::{Tensor, check, run, tensors};
use crate::reference::{Value, offset, positions};
use crate::seeded::Seeded;
use plans::DType;
use plans::spec::{
    GatherAxis, Interpolation, KernelSpec, MovementSpec, Operand, PadMode, PadSpec, Reduction,
    ResizeSpec, ScatterSpec,
};

const TYPES: [DType; 8] = [
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U64,
];

fn padded(spec: &PadSpec, args: &[Tensor]) -> Vec<Tensor> {
    let mut results = args.to_vec();
    let last = args.len() - 1;
    for position in positions(&spec.output) {
        let mut inside = true;
        let source: Vec<u64> = (0..position.len())
            .map(|d| {
                let (n, i) = (spec.input[d] as i64, position[d] as i64 - spec.begin[d]);
                inside &= (0..n).contains(&i);
                let mut i = i;
                match spec.mode {
                    PadMode::Constant => {}
                    PadMode::Edge => i = i.clamp(0, n - 1),
                    PadMode::Wrap => i = (i % n + n) % n,
                    PadMode::Reflect => {
                        while !(0..n).contains(&i) {
                            i = if i < 0 { -i } else { 2 * (n - 1) - i };
                            if n == 1 {
                                i = 0;
                            }
                        }
                    }
                }
                i as u64
            })
            .collect();
        let value = if spec.mode == PadMode::Constant && !inside {
            args[1].get(0)
        } else {
            args[0].get(offset(&spec.x, &source))
        };
        results[last].set(offset(&spec.out, &position), value);
    }
    results
}

#[test]
fn random_borders() {
    for seed in 0..120 {
        let mut seeded = Seeded::new(seed);
        let dtype = seeded.pick(&[
            DType::F32,
            DType::Bool,
            DType::I64,
            DType::F16,
            DType::U8,
            DType::C64,
            DType::C128,
        ]);
        let mode = seeded.pick(&[
            PadMode::Constant,
            PadMode::Constant,
            PadMode::Reflect,
            PadMode::Edge,
            PadMode::Wrap,
        ]);
        let rank = seeded.below(5) as usize;
        let (mut input, mut output, mut begin) = (vec![], vec![], vec![]);
        for _ in 0..rank {
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
        let kernel = KernelSpec::Movement(MovementSpec::Pad(spec.clone()));
        kernel.check().unwrap();
        let args = tensors(&kernel, &mut seeded);
        check(&kernel, &args, &padded(&spec, &args), 0.0);
    }
}

/// A sum as an element of `dtype`: the nearest integer, where it is one.
fn rounded(sum: f64, dtype: DType) -> Value {
    let most = match dtype {
        DType::U8 => 0..=i128::from(u8::MAX),
        DType::I32 => i128::from(i32::MIN)..=i128::from(i32::MAX),
        DType::I64 => i128::from(i64::MIN)..=i128::from(i64::MAX),
        DType::U64 => 0..=i128::from(u64::MAX),
        _ => return Value::Float(sum),
    };
    let nearest = sum.round_ties_even() as i128;
    Value::Int(nearest.clamp(*most.start(), *most.end()))
}

fn resized(spec: &ResizeSpec, args: &[Tensor]) -> Vec<Tensor> {
    let mut results = args.to_vec();
    let taps: Vec<u64> = spec.axes.iter().map(|a| u64::from(a.taps)).collect();
    let is_pick = taps.iter().all(|&t| t == 1);
    for position in positions(&spec.output()) {
        let mut sum = 0.0;
        let mut picked = None;
        let mut factor_is_one = false;
        for combination in positions(&taps) {
            let (mut factor, mut source) = (1.0, Some(vec![]));
            for (d, axis) in spec.axes.iter().enumerate() {
                let i = (position[d] * u64::from(axis.taps) + combination[d]) as usize;
                factor *= f64::from(axis.factors[i]);
                source = source.filter(|_| axis.positions[i] >= 0).map(|mut s| {
                    s.push(axis.positions[i] as u64);
                    s
                });
            }
            factor_is_one = factor == 1.0;
            picked = source.map(|s| args[0].get(offset(&spec.x, &s)));
            let x = picked.map_or(f64::from(spec.outside), |v| v.float());
            sum += factor * x;
        }
        let value = match picked {
            Some(value) if is_pick && factor_is_one => value,
            _ => rounded(sum, spec.out.dtype),
        };
        results[1].set(offset(&spec.out, &position), value);
    }
    results
}

#[test]
fn halves_of_integers_go_to_the_even_one() {
    let spec = KernelSpec::Movement(MovementSpec::Resize(ResizeSpec {
        input: vec![4],
        axes: vec![Interpolation {
            output: 3,
            taps: 2,
            positions: vec![0, 1, 1, 2, 2, 3],
            factors: vec![0.5; 6],
        }],
        outside: 0.0,
        x: Operand {
            dtype: DType::I32,
            strides: vec![1],
        },
        out: Operand {
            dtype: DType::I32,
            strides: vec![1],
        },
    }));
    let mut args = tensors(&spec, &mut Seeded::new(1));
    let mut expected = args.clone();
    for (i, x) in [7, 8, 9, -10].into_iter().enumerate() {
        args[0].set(i as i64, Value::Int(x));
    }
    expected[0] = args[0].clone();
    for (i, y) in [8, 8, 0].into_iter().enumerate() {
        expected[1].set(i as i64, Value::Int(y));
    }
    check(&spec, &args, &expected, 0.0);
}

#[test]
fn random_interpolations() {
    for seed in 0..120 {
        let mut seeded = Seeded::new(300 + seed);
        let nearest = seeded.chance(40);
        let dtype = seeded.pick(&TYPES);
        let rank = seeded.below(5) as usize;
        let (mut input, mut axes) = (vec![], vec![]);
        for _ in 0..rank {
            let n = seeded.pick(&[1u64, 2, 5, 19]);
            input.push(n);
            if seeded.chance(40) {
                axes.push(Interpolation {
                    output: n,
                    taps: 1,
                    positions: (0..n as i32).collect(),
                    factors: vec![1.0; n as usize],
                });
                continue;
            }
            let output = seeded.pick(&[1u64, 3, 10, 38]);
            let taps = if nearest { 1 } else { seeded.pick(&[1, 2, 4]) };
            let total = (output * u64::from(taps)) as usize;
            let lowest = i32::from(!nearest && seeded.chance(50));
            axes.push(Interpolation {
                output,
                taps,
                positions: (0..total)
                    .map(|_| seeded.below(n + lowest as u64) as i32 - lowest)
                    .collect(),
                factors: (0..total)
                    .map(|_| if nearest { 1.0 } else { seeded.float() as f32 })
                    .collect(),
            });
        }
        let output: Vec<u64> = axes.iter().map(|a| a.output).collect();
        let spec = ResizeSpec {
            x: seeded.strided(dtype, &input),
            out: seeded.dense(dtype, &output),
            input,
            axes,
            outside: 0.75,
        };
        let kernel = KernelSpec::Movement(MovementSpec::Resize(spec.clone()));
        kernel.check().unwrap();
        let args = tensors(&kernel, &mut seeded);
        check(&kernel, &args, &resized(&spec, &args), 2e-5);
    }
}

fn scattered(spec: &ScatterSpec, args: &[Tensor]) -> Vec<Tensor> {
    let mut results = args.to_vec();
    let last = args.len() - 1;
    for position in positions(&spec.domain) {
        let mut at = offset(&spec.out, &position);
        for axis in &spec.axes {
            let n = usize::from(axis.index);
            let picked = args[1 + n].get(offset(&spec.indices[n], &position));
            let len = axis.len as i64;
            at += (picked.int() as i64 + len) % len * axis.stride;
        }
        let update = args[0].get(offset(&spec.updates, &position));
        let there = results[last].get(at);
        let value = match (there, update) {
            (_, update) if spec.reduction == Reduction::Replace => update,
            (Value::Int(x), Value::Int(y)) => Value::Int(match spec.reduction {
                Reduction::Replace => unreachable!(),
                Reduction::Add => x + y,
                Reduction::Mul => x * y,
                Reduction::Min => x.min(y),
                Reduction::Max => x.max(y),
            })
            .fit(spec.out.dtype),
            (x, y) => {
                let (x, y) = (x.float(), y.float());
                Value::Float(match spec.reduction {
                    Reduction::Replace => unreachable!(),
                    Reduction::Add => x + y,
                    Reduction::Mul => x * y,
                    Reduction::Min => x.min(y),
                    Reduction::Max => x.max(y),
                })
            }
        };
        results[last].set(at, value);
    }
    results
}

fn random_scatter(seeded: &mut Seeded) -> ScatterSpec {
    let dtype = seeded.pick(&TYPES);
    let rank = seeded.below(4) as usize;
    let domain: Vec<u64> = (0..rank).map(|_| seeded.pick(&[1, 2, 3, 8])).collect();
    let index_type = seeded.pick(&[DType::I32, DType::I64]);
    let mut out = seeded.dense(dtype, &domain);
    let reach: u64 = domain.iter().product();
    let n_axes = 1 + seeded.below(2);
    for stride in &mut out.strides {
        // Dimensions that only the indices move along.
        if seeded.chance(30) {
            *stride = 0;
        }
    }
    let axes = (0..n_axes)
        .map(|n| GatherAxis {
            index: n as u16,
            len: 1 + seeded.below(5),
            stride: seeded.pick(&[1, reach as i64, 7]),
        })
        .collect();
    ScatterSpec {
        updates: seeded.strided(dtype, &domain),
        indices: (0..n_axes)
            .map(|_| {
                // The same for all of a row, often.
                let mut o = seeded.strided(index_type, &domain);
                if let Some(last) = o.strides.last_mut()
                    && seeded.chance(50)
                {
                    *last = 0;
                }
                o
            })
            .collect(),
        axes,
        out,
        reduction: seeded.pick(&[
            Reduction::Replace,
            Reduction::Replace,
            Reduction::Add,
            Reduction::Mul,
            Reduction::Min,
            Reduction::Max,
        ]),
        domain,
    }
}

#[test]
fn random_scatters() {
    for seed in 0..120 {
        let mut seeded = Seeded::new(700 + seed);
        let spec = random_scatter(&mut seeded);
        let kernel = KernelSpec::Movement(MovementSpec::Scatter(spec.clone()));
        kernel.check().unwrap();
        let mut args = tensors(&kernel, &mut seeded);
        for axis in &spec.axes {
            let index = &mut args[1 + usize::from(axis.index)];
            for i in 0..index.len() as i64 {
                let picked = seeded.below(2 * axis.len) as i128 - i128::from(axis.len);
                index.set(i - index.start, Value::Int(picked));
            }
        }
        check(&kernel, &args, &scattered(&spec, &args), 2e-5);
    }
}

#[test]
fn a_scattered_position_out_of_range_is_an_error() {
    let operand = |dtype, stride| Operand {
        dtype,
        strides: vec![stride],
    };
    let spec = KernelSpec::Movement(MovementSpec::Scatter(ScatterSpec {
        domain: vec![4],
        updates: operand(DType::F32, 1),
        indices: vec![operand(DType::I64, 1)],
        axes: vec![GatherAxis {
            index: 0,
            len: 6,
            stride: 1,
        }],
        out: operand(DType::F32, 0),
        reduction: Reduction::Replace,
    }));
    let mut args = tensors(&spec, &mut Seeded::new(1));
    for (bad, is_good) in [(5, true), (-6, true), (6, false), (-7, false)] {
        for i in 0..4 {
            args[1].set(i, Value::Int(bad));
        }
        assert_eq!(run(&spec, &args, 1, None).is_ok(), is_good);
    }
}
