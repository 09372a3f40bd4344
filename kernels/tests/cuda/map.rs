//! Elementwise kernels: layouts, gathers, every function of every type.

use crate::emulate::{Case, check_all};
use crate::seeded::Seeded;
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
        ("output order", output_order),
    ];
    let cases = cases.into_iter().zip(0..);
    check_all(cases.map(|((n, s), i)| Case::new(n, s, i)).collect());
}
