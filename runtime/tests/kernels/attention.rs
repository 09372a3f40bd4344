//! Scaled dot-product attention.

use crate::plan::{Tensor, check, tensors};
use crate::reference::{Value, offset, positions};
use crate::seeded::Seeded;
use plans::DType;
use plans::spec::{AttentionSpec, KernelSpec, Operand};

fn expected(spec: &AttentionSpec, args: &[Tensor]) -> Vec<Tensor> {
    let mut results = args.to_vec();
    let get = |arg: usize, o: &Operand, head: &[u64], i: u64, j: u64| {
        let position = [head, &[i, j]].concat();
        args[arg].get(offset(o, &position)).float()
    };
    let out = args.len() - 1;
    for head in positions(&spec.batch) {
        for i in 0..spec.q_len {
            let mut scores: Vec<f64> = vec![];
            for j in 0..spec.kv_len {
                let product: f64 = (0..spec.qk_size)
                    .map(|d| get(0, &spec.q, &head, i, d) * get(1, &spec.k, &head, j, d))
                    .sum();
                let mut score = product * f64::from(spec.scale);
                if let Some(cap) = spec.softcap.map(f64::from) {
                    score = cap * (score / cap).tanh();
                }
                if let Some(mask) = &spec.mask {
                    let m = get(3, mask, &head, i, j);
                    score = match mask.dtype {
                        DType::Bool if m == 0.0 => f64::NEG_INFINITY,
                        DType::Bool => score,
                        _ => score + m,
                    };
                }
                if spec.causal.is_some_and(|n| j as i64 > i as i64 + n) {
                    score = f64::NEG_INFINITY;
                }
                scores.push(score);
            }
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores
                .iter()
                .map(|s| {
                    if greatest == f64::NEG_INFINITY {
                        0.0
                    } else {
                        (s - greatest).exp()
                    }
                })
                .collect();
            let total: f64 = weights.iter().sum::<f64>().max(1e-300);
            for d in 0..spec.v_size {
                let mut sum = 0.0;
                for j in 0..spec.kv_len {
                    let w = weights[j as usize];
                    if w != 0.0 {
                        sum += w / total * get(2, &spec.v, &head, j, d);
                    }
                }
                let at = offset(&spec.out, &[&head[..], &[i, d]].concat());
                results[out].set(at, Value::Float(sum));
            }
        }
    }
    results
}

#[test]
fn random_attention() {
    for seed in 0..90 {
        let mut seeded = Seeded::new(2000 + seed);
        let batch: Vec<u64> = (0..seeded.below(3)).map(|_| 1 + seeded.below(3)).collect();
        let (q_len, kv_len) = (
            seeded.pick(&[1, 3, 16, 30]),
            seeded.pick(&[0, 1, 5, 17, 40]),
        );
        let (qk_size, v_size) = (seeded.pick(&[1, 8, 20]), seeded.pick(&[1, 8, 20]));
        let over = |x: u64, y: u64| [&batch[..], &[x, y]].concat();
        let dtype = seeded.pick(&[DType::F32, DType::F32, DType::F32, DType::F16, DType::F64]);
        let mask = seeded.chance(60).then(|| {
            let dtype = seeded.pick(&[DType::Bool, dtype]);
            seeded.strided(dtype, &over(q_len, kv_len))
        });
        let spec = AttentionSpec {
            q_len,
            kv_len,
            qk_size,
            v_size,
            scale: 0.3,
            softcap: seeded.chance(20).then_some(2.5),
            causal: seeded
                .chance(40)
                .then(|| seeded.below(5) as i64 - 2 + kv_len as i64 - q_len as i64),
            q: seeded.dense(dtype, &over(q_len, qk_size)),
            k: seeded.dense(dtype, &over(kv_len, qk_size)),
            v: seeded.dense(dtype, &over(kv_len, v_size)),
            mask,
            out: seeded.dense(dtype, &over(q_len, v_size)),
            batch,
        };
        let kernel = KernelSpec::Attention(spec.clone());
        kernel.check().unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
        let mut args = tensors(&kernel, &mut seeded);
        if let Some(mask) = &spec.mask
            && mask.dtype.is_float()
        {
            // Masks hide, sometimes all of a row.
            for position in positions(&over_all(&spec)) {
                if seeded.chance(30) || position[position.len() - 2] == 0 {
                    let at = offset(mask, &position);
                    args[3].set(at, Value::Float(f64::NEG_INFINITY));
                }
            }
        }
        let wanted = expected(&spec, &args);
        check(&kernel, &args, &wanted, 2e-5);
    }
}

fn over_all(spec: &AttentionSpec) -> Vec<u64> {
    [&spec.batch[..], &[spec.q_len, spec.kv_len]].concat()
}
