//! Attention: sizes around tiles, masks, causality, layouts, types, every schedule.

use crate::emulate::{Case, check_all};
use dlirc_kernels::cuda::{Target, attention};
use plans::DType;
use plans::spec::{AttentionSpec, KernelSpec, Operand};

fn operand(dtype: DType, strides: &[i64]) -> Operand {
    let strides = strides.to_vec();
    Operand { dtype, strides }
}

/// Heads side by side, as projections leave them: strides over batch, head, position, size.
fn heads(dtype: DType, n: u64, len: u64, size: u64) -> Operand {
    let (n, len, size) = (n as i64, len as i64, size as i64);
    operand(dtype, &[len * n * size, size, n * size, 1])
}

fn spec(dtype: DType, [batch, n]: [u64; 2], [q_len, kv_len]: [u64; 2], size: u64) -> AttentionSpec {
    AttentionSpec {
        batch: vec![batch, n],
        q_len,
        kv_len,
        qk_size: size,
        v_size: size,
        scale: 0.3,
        softcap: None,
        causal: None,
        q: heads(dtype, n, q_len, size),
        k: heads(dtype, n, kv_len, size),
        v: heads(dtype, n, kv_len, size),
        mask: None,
        out: heads(dtype, n, q_len, size),
    }
}

fn case(name: &str, spec: AttentionSpec) -> Case {
    Case::new(name, KernelSpec::Attention(spec), 1)
}

#[test]
fn sizes_and_types() {
    use DType::{BF16, F16, F32, F64};
    let mut cases = vec![
        case("tiles", spec(F32, [2, 3], [32, 128], 64)),
        case("parts of tiles", spec(F32, [1, 2], [37, 67], 24)),
        case("one query", spec(F32, [1, 2], [1, 50], 64)),
        case("odd sizes", spec(F32, [1, 1], [9, 70], 13)),
        case("large heads", spec(F32, [1, 1], [5, 40], 160)),
        case("no keys", spec(F32, [1, 1], [3, 0], 8)),
        case("f64", spec(F64, [1, 2], [10, 33], 20)),
        case("f16", spec(F16, [1, 2], [10, 33], 64)),
        case("bf16", spec(BF16, [1, 2], [10, 33], 8)),
    ];
    let mut values_of_another_size = spec(F32, [1, 2], [18, 30], 16);
    values_of_another_size.v_size = 72;
    values_of_another_size.v = heads(F32, 2, 30, 72);
    values_of_another_size.out = heads(F32, 2, 18, 72);
    cases.push(case("values of another size", values_of_another_size));
    let mut transposed = spec(F32, [1, 2], [20, 48], 16);
    transposed.k = operand(F32, &[0, 16 * 48, 1, 48]);
    transposed.v = operand(F32, &[0, 0, 1, 48]);
    transposed.out = operand(F32, &[0, 16 * 20, 1, 20]);
    cases.push(case("transposed keys and values", transposed));
    check_all(cases);
}

#[test]
fn masks() {
    use DType::{Bool, F16, F32};
    let mut cases = vec![];
    for (name, causal) in [
        ("square", 0),
        ("with a past", 20),
        ("hides all of some", -5),
    ] {
        let mut causal_spec = spec(F32, [1, 2], [40, 60], 16);
        causal_spec.causal = Some(causal);
        cases.push(case(&format!("causal, {name}"), causal_spec));
    }
    for dtype in [F32, F16, Bool] {
        let mut masked = spec(F32, [2, 2], [20, 70], 16);
        masked.mask = Some(operand(dtype, &[70 * 20, 0, 70, 1]));
        masked.softcap = Some(3.0);
        cases.push(case(&format!("a mask of {dtype}"), masked));
    }
    check_all(cases);
}

#[test]
fn every_schedule() {
    let mut spec = spec(DType::F32, [1, 2], [70, 90], 64);
    spec.causal = Some(10);
    let target = Target::of_arch(90).unwrap();
    let space = attention::config_space(&spec, &target);
    assert!(space.len() > 10, "{space:?}");
    let of = |schedule| {
        let code = attention::generate_with(&spec, schedule).unwrap();
        let kernel = KernelSpec::Attention(spec.clone());
        Case::of(code, format!("{schedule:?}"), kernel, 1)
    };
    check_all(space.into_iter().map(of).collect());
}
