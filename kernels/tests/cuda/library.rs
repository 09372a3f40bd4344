//! Kernels with a program of their own.

use crate::emulate::{Case, check_all};
use crate::reference::{Value, set};
use crate::seeded::Seeded;
use plans::DType;
use plans::spec::{
    CumSumSpec, GridSampleSpec, KernelSpec, LibrarySpec, NonMaxSuppressionSpec, Operand,
    SampleMode, SamplePadding, TopKSpec,
};

fn case(name: impl Into<String>, spec: LibrarySpec, seed: u64) -> Case {
    Case::new(name, KernelSpec::Library(spec), seed)
}

fn top_k(dtype: DType, domain: &[u64], k: u64, largest: bool, seeded: &mut Seeded) -> LibrarySpec {
    let mut taken = domain.to_vec();
    if let Some(last) = taken.last_mut() {
        *last = k;
    }
    LibrarySpec::TopK(TopKSpec {
        domain: domain.to_vec(),
        k,
        largest,
        x: seeded.dense(dtype, domain),
        values: seeded.dense(dtype, &taken),
        indices: seeded.dense(DType::I64, &taken),
    })
}

#[test]
fn greatest_and_least() {
    use DType::{F16, F32, F64, I8, I32, I64, U64};
    let mut all = vec![];
    let sizes: [(DType, &[u64], u64); 12] = [
        (F32, &[3, 40], 5),
        (F32, &[1, 1000], 1000),
        (F32, &[2, 5000], 7),
        (F32, &[1, 6000], 4500),
        (F64, &[2, 50], 50),
        (F64, &[1, 3000], 100),
        (F16, &[2, 3, 33], 4),
        (I32, &[2, 100], 100),
        (I64, &[1, 2500], 2400),
        (U64, &[3, 17], 3),
        (I8, &[4, 5000], 60),
        (F32, &[1], 1),
    ];
    for (n, (dtype, domain, k)) in sizes.into_iter().enumerate() {
        for largest in [true, false] {
            let mut seeded = Seeded::new(n as u64);
            let spec = top_k(dtype, domain, k, largest, &mut seeded);
            let mut case = case(format!("top {n} {largest}"), spec, n as u64);
            let x = &mut case.args[0];
            // Numbers that meet themselves again, and some that are none.
            for i in 0..x.len() {
                if dtype.is_float() && i % 3 == 1 {
                    let list = [0.0, -0.0, f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY];
                    set(dtype, &mut x.data, i, Value::Float(list[i / 3 % 6]));
                }
            }
            all.push(case);
        }
    }
    check_all(all);
}

#[test]
fn running_sums() {
    let mut all = vec![];
    let domains: [&[u64]; 5] = [&[3, 700], &[40], &[9], &[300, 50], &[2, 3, 257]];
    for seed in 0..20 {
        let mut seeded = Seeded::new(seed);
        let dtype = seeded.pick(&[DType::F32, DType::F32, DType::F64, DType::I32, DType::U8]);
        let domain = domains[seed as usize % 5].to_vec();
        let spec = CumSumSpec {
            exclusive: seeded.chance(50),
            reverse: seeded.chance(50),
            x: seeded.strided(dtype, &domain),
            out: seeded.dense(dtype, &domain),
            domain,
        };
        let name = format!("sums {seed}");
        all.push(case(name, LibrarySpec::CumSum(spec), seed));
    }
    check_all(all);
}

#[test]
fn samples() {
    let mut all = vec![];
    let modes = [SampleMode::Nearest, SampleMode::Linear, SampleMode::Cubic];
    let paddings = [
        SamplePadding::Zeros,
        SamplePadding::Border,
        SamplePadding::Reflection,
    ];
    for (n, mode) in modes.into_iter().enumerate() {
        for (m, padding) in paddings.into_iter().enumerate() {
            for align_corners in [true, false] {
                let seed = (10 * n + m) as u64;
                let mut seeded = Seeded::new(seed);
                let rank = 1 + seeded.below(3) as usize;
                let (batch, channels) = (2, 1 + seeded.below(7));
                let extents = |seeded: &mut Seeded| -> Vec<u64> {
                    (0..rank).map(|_| 1 + seeded.below(6)).collect()
                };
                let (input, output) = (extents(&mut seeded), extents(&mut seeded));
                let images = [batch, channels];
                let x = [&images[..], &input].concat();
                let grid = [&[batch][..], &output, &[rank as u64]].concat();
                let out = [&images[..], &output].concat();
                let dtype = seeded.pick(&[DType::F32, DType::F64, DType::F16]);
                let spec = GridSampleSpec {
                    batch,
                    channels,
                    input,
                    output,
                    mode,
                    padding,
                    align_corners,
                    x: seeded.dense(dtype, &x),
                    grid: seeded.dense(DType::F32, &grid),
                    out: seeded.dense(dtype, &out),
                };
                let name = format!("samples {n} {m} {align_corners}");
                all.push(case(name, LibrarySpec::GridSample(spec), seed));
            }
        }
    }
    check_all(all);
}

#[test]
fn suppressed() {
    let mut all = vec![];
    for seed in 0..8 {
        let mut seeded = Seeded::new(seed);
        let f = DType::F32;
        let (batch, classes) = (1 + seeded.below(2), 1 + seeded.below(3));
        let (boxes, max_output) = (1 + seeded.below(300), seeded.below(40));
        let spec = NonMaxSuppressionSpec {
            batch,
            classes,
            boxes,
            max_output,
            iou_threshold: 0.2,
            score_threshold: seeded.chance(50).then_some(0.1),
            center_point: seeded.chance(50),
            boxes_in: seeded.dense(f, &[batch, boxes, 4]),
            scores: seeded.dense(f, &[batch, classes, boxes]),
            out: Operand {
                dtype: DType::I64,
                strides: vec![3, 1],
            },
        };
        let name = format!("boxes {seed}");
        let mut case = case(name, LibrarySpec::NonMaxSuppression(spec), seed);
        // Scores that meet themselves again.
        let scores = &mut case.args[1];
        for i in 0..scores.len() {
            let score = f64::from(seeded.below(50) as u32) / 50.0;
            set(f, &mut scores.data, i, Value::Float(score));
        }
        all.push(case);
    }
    check_all(all);
}
