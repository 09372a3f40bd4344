//! Kernels with a program of their own.

use crate::plan::{Tensor, check, tensors};
use crate::reference::{Value, offset, positions};
use crate::seeded::Seeded;
use plans::DType;
use plans::spec::{
    CumSumSpec, GridSampleSpec, KernelSpec, LibrarySpec, NonMaxSuppressionSpec, Operand,
    SampleMode, SamplePadding, TopKSpec,
};

const TYPES: [DType; 7] = [
    DType::F32,
    DType::F64,
    DType::F16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U64,
];

fn random_domain(seeded: &mut Seeded) -> Vec<u64> {
    (0..1 + seeded.below(3))
        .map(|_| seeded.pick(&[1, 2, 5, 17]))
        .collect()
}

#[test]
fn random_running_sums() {
    for seed in 0..60 {
        let mut seeded = Seeded::new(seed);
        let dtype = seeded.pick(&TYPES);
        let domain = random_domain(&mut seeded);
        let spec = CumSumSpec {
            x: seeded.strided(dtype, &domain),
            out: seeded.dense(dtype, &domain),
            domain,
            exclusive: seeded.chance(50),
            reverse: seeded.chance(50),
        };
        let kernel = KernelSpec::Library(LibrarySpec::CumSum(spec.clone()));
        let args = tensors(&kernel, &mut seeded);
        let mut wanted = args.clone();
        for position in positions(&spec.domain) {
            let (row, at) = position.split_at(position.len() - 1);
            let n = *spec.domain.last().unwrap();
            let terms = (0..n).filter(|&i| {
                let before = if spec.reverse { i > at[0] } else { i < at[0] };
                before || (i == at[0] && !spec.exclusive)
            });
            let values: Vec<Value> = terms
                .map(|i| args[0].get(offset(&spec.x, &[row, &[i]].concat())))
                .collect();
            let sum = if dtype.is_float() {
                Value::Float(values.iter().map(|v| v.float()).sum())
            } else {
                Value::Int(values.iter().map(|v| v.int()).sum()).fit(dtype)
            };
            wanted[1].set(offset(&spec.out, &position), sum);
        }
        check(&kernel, &args, &wanted, 2e-5);
    }
}

#[test]
fn random_selections() {
    for seed in 0..80 {
        let mut seeded = Seeded::new(100 + seed);
        let dtype = seeded.pick(&TYPES);
        let domain = random_domain(&mut seeded);
        let n = *domain.last().unwrap();
        let k = seeded.below(n + 1);
        let mut taken = domain.clone();
        *taken.last_mut().unwrap() = k;
        let spec = TopKSpec {
            x: seeded.strided(dtype, &domain),
            values: seeded.dense(dtype, &taken),
            indices: seeded.dense(DType::I64, &taken),
            domain,
            k,
            largest: seeded.chance(50),
        };
        let kernel = KernelSpec::Library(LibrarySpec::TopK(spec.clone()));
        let args = tensors(&kernel, &mut seeded);
        let mut wanted = args.clone();
        for row in positions(&spec.domain[..spec.domain.len() - 1]) {
            let get = |i: u64| args[0].get(offset(&spec.x, &[&row[..], &[i]].concat()));
            let mut order: Vec<u64> = (0..n).collect();
            order.sort_by(|&a, &b| {
                let order = get(a).float().total_cmp(&get(b).float());
                if spec.largest { order.reverse() } else { order }
            });
            for (i, &p) in order.iter().take(k as usize).enumerate() {
                let at = [&row[..], &[i as u64]].concat();
                wanted[1].set(offset(&spec.values, &at), get(p));
                wanted[2].set(offset(&spec.indices, &at), Value::Int(p.into()));
            }
        }
        check(&kernel, &args, &wanted, 0.0);
    }
}

/// The element that a position reads, mirrored or held at the edge where it lies outside.
fn sampled(spec: &GridSampleSpec, args: &[Tensor], at: &[u64]) -> f64 {
    let rank = spec.output.len();
    let coordinate = |d: usize| {
        let grid = [&at[..1], &at[2..], &[(rank - 1 - d) as u64]].concat();
        let g = args[1].get(offset(&spec.grid, &grid)).float();
        let n = spec.input[d] as f64;
        let x = if spec.align_corners {
            (g + 1.0) / 2.0 * (n - 1.0)
        } else {
            ((g + 1.0) * n - 1.0) / 2.0
        };
        (x, n)
    };
    let mirrored = |mut x: f64, n: f64| {
        let (low, high) = if spec.align_corners {
            (0.0, n - 1.0)
        } else {
            (-0.5, n - 0.5)
        };
        if low == high {
            return low;
        }
        while x < low || x > high {
            x = if x < low {
                2.0 * low - x
            } else {
                2.0 * high - x
            };
        }
        x
    };
    let taps = |d: usize| -> Vec<(i64, f64)> {
        let (mut x, n) = coordinate(d);
        if spec.mode == SampleMode::Nearest {
            x = f64::from(x as f32).round_ties_even();
        }
        x = match spec.padding {
            SamplePadding::Zeros => x,
            // What lies within the edge elements is left where it is.
            SamplePadding::Border if mirrored(x, n) == x => x,
            SamplePadding::Border => x.clamp(0.0, n - 1.0),
            SamplePadding::Reflection => mirrored(x, n),
        };
        let range = match spec.mode {
            SampleMode::Nearest => 0..1,
            SampleMode::Linear => 0..2,
            SampleMode::Cubic => -1..3,
        };
        range
            .map(|t| {
                let p = x.floor() + f64::from(t);
                let d = (p - x).abs();
                let weight = match spec.mode {
                    SampleMode::Nearest => 1.0,
                    SampleMode::Linear => 1.0 - d,
                    SampleMode::Cubic if d <= 1.0 => 1.25 * d * d * d - 2.25 * d * d + 1.0,
                    SampleMode::Cubic => -0.75 * d * d * d + 3.75 * d * d - 6.0 * d + 3.0,
                };
                let p = match spec.padding {
                    SamplePadding::Zeros => p,
                    SamplePadding::Border => p.clamp(0.0, n - 1.0),
                    SamplePadding::Reflection => mirrored(p, n).clamp(0.0, n - 1.0),
                };
                (p as i64, weight)
            })
            .collect()
    };
    let all: Vec<Vec<(i64, f64)>> = (0..rank).map(taps).collect();
    let counts: Vec<u64> = all.iter().map(|t| t.len() as u64).collect();
    positions(&counts)
        .iter()
        .map(|combination| {
            let chosen: Vec<(i64, f64)> = combination
                .iter()
                .enumerate()
                .map(|(d, &t)| all[d][t as usize])
                .collect();
            let inside = chosen
                .iter()
                .zip(&spec.input)
                .all(|(&(p, _), &n)| (0..n as i64).contains(&p));
            if !inside {
                return 0.0;
            }
            let position: Vec<u64> = chosen.iter().map(|&(p, _)| p as u64).collect();
            let x = args[0].get(offset(&spec.x, &[&at[..2], &position].concat()));
            chosen.iter().map(|&(_, w)| w).product::<f64>() * x.float()
        })
        .sum()
}

#[test]
fn random_samples() {
    for seed in 0..90 {
        let mut seeded = Seeded::new(3000 + seed);
        let rank = 1 + seeded.below(3) as usize;
        let dtype = seeded.pick(&[DType::F32, DType::F32, DType::F64]);
        let spatial = |seeded: &mut Seeded| -> Vec<u64> {
            (0..rank).map(|_| seeded.pick(&[1, 3, 6])).collect()
        };
        let (batch, channels) = (1 + seeded.below(2), 1 + seeded.below(3));
        let (input, output) = (spatial(&mut seeded), spatial(&mut seeded));
        let outer = [batch, channels];
        let grid = [&outer[..1], &output, &[rank as u64]].concat();
        let spec = GridSampleSpec {
            x: seeded.dense(dtype, &[&outer[..], &input].concat()),
            grid: seeded.dense(dtype, &grid),
            out: seeded.dense(dtype, &[&outer[..], &output].concat()),
            batch,
            channels,
            input,
            output,
            mode: seeded.pick(&[SampleMode::Nearest, SampleMode::Linear, SampleMode::Cubic]),
            padding: seeded.pick(&[
                SamplePadding::Zeros,
                SamplePadding::Border,
                SamplePadding::Reflection,
            ]),
            align_corners: seeded.chance(50),
        };
        let kernel = KernelSpec::Library(LibrarySpec::GridSample(spec.clone()));
        kernel.check().unwrap();
        let args = tensors(&kernel, &mut seeded);
        let mut wanted = args.clone();
        let domain = [&outer[..], &spec.output].concat();
        for position in positions(&domain) {
            let value = sampled(&spec, &args, &position);
            wanted[2].set(offset(&spec.out, &position), Value::Float(value));
        }
        check(&kernel, &args, &wanted, 1e-4);
    }
}

#[test]
fn boxes_that_overlap_a_better_one_are_dropped() {
    let dense = |dtype, extents: &[i64]| {
        let mut strides = vec![1; extents.len()];
        for d in (0..extents.len() - 1).rev() {
            strides[d] = strides[d + 1] * extents[d + 1];
        }
        Operand { dtype, strides }
    };
    // Three pairs of boxes, the second of each shifted a little.
    let corners: [[f32; 4]; 6] = [
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.1, 1.0, 1.1],
        [0.0, 10.0, 1.0, 11.0],
        [1.0, 11.1, 0.0, 10.1],
        [0.0, 100.0, 1.0, 101.0],
        [0.0, 100.9, 1.0, 101.9],
    ];
    let scores = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];
    let cases: [(u64, Option<f32>, &[i64]); 4] = [
        (6, None, &[3, 0, 4, 5]),
        (2, None, &[3, 0]),
        (6, Some(0.4), &[3, 0, 4]),
        (0, None, &[]),
    ];
    for center_point in [false, true] {
        for (max_output, score_threshold, picked) in cases {
            let spec = NonMaxSuppressionSpec {
                batch: 1,
                classes: 2,
                boxes: 6,
                max_output,
                iou_threshold: 0.5,
                score_threshold,
                center_point,
                boxes_in: dense(DType::F32, &[1, 6, 4]),
                scores: dense(DType::F32, &[1, 2, 6]),
                out: dense(DType::I64, &[2 * max_output as i64, 3]),
            };
            let kernel = KernelSpec::Library(LibrarySpec::NonMaxSuppression(spec));
            kernel.check().unwrap();
            let mut args = tensors(&kernel, &mut Seeded::new(1));
            for (i, [a, b, c, d]) in corners.into_iter().enumerate() {
                let numbers = if center_point {
                    [(a + c) / 2.0, (b + d) / 2.0, (c - a).abs(), (d - b).abs()]
                } else {
                    [a, b, c, d]
                };
                for (j, x) in numbers.into_iter().enumerate() {
                    args[0].set((i * 4 + j) as i64, Value::Float(x.into()));
                }
                // All scores of the second class are below every threshold.
                args[1].set(i as i64, Value::Float(scores[i]));
                args[1].set(6 + i as i64, Value::Float(-1.0));
            }
            let mut wanted = args.clone();
            let rows = 2 * max_output as i64;
            for i in 0..3 * rows {
                wanted[2].set(i, Value::Int(0));
            }
            let mut expected: Vec<[i64; 3]> = picked.iter().map(|&p| [0, 0, p]).collect();
            if score_threshold.is_none() {
                // Equal scores: the first boxes first.
                let all = [0, 2, 4, 5];
                let n = (max_output as usize).min(4);
                expected.extend(all[..n].iter().map(|&p| [0, 1, p]));
            }
            for (row, values) in expected.iter().enumerate() {
                for (i, &v) in values.iter().enumerate() {
                    wanted[2].set((row * 3 + i) as i64, Value::Int(v.into()));
                }
            }
            wanted[3].set(0, Value::Int(expected.len() as i128));
            check(&kernel, &args, &wanted, 0.0);
        }
    }
}
