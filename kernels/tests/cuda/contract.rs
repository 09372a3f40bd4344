//! Contractions: every algorithm, layout, geometry and type.

use crate::emulate::{Case, check_all};
use crate::map::step;
use dlirc_kernels::cuda::Target;
use dlirc_kernels::cuda::contract::{
    Cores, Schedule, Stream, Tiled, choose, config_space, generate_with, predict, ranked,
    weight_order,
};
use plans::spec::{ContractSpec, Epilogue, KernelSpec, Operand, Problem, Window};
use plans::tape::{BinaryFn, Reg, Scalar, TapeOp, UnaryFn};
use plans::{DType, Tape};

fn operand(dtype: DType, strides: &[i64]) -> Operand {
    let strides = strides.to_vec();
    Operand { dtype, strides }
}

/// Row-major in the given order of dimensions, outermost first.
fn ordered(dtype: DType, extents: &[u64], order: &[usize]) -> Operand {
    let mut strides = vec![0; extents.len()];
    let mut distance = 1;
    for &d in order.iter().rev() {
        strides[d] = distance;
        distance *= extents[d] as i64;
    }
    Operand { dtype, strides }
}

fn row_major(dtype: DType, extents: &[u64]) -> Operand {
    let order: Vec<usize> = (0..extents.len()).collect();
    ordered(dtype, extents, &order)
}

fn channels_last(dtype: DType, extents: &[u64]) -> Operand {
    let order: Vec<usize> = [0].into_iter().chain(2..extents.len()).chain([1]).collect();
    ordered(dtype, extents, &order)
}

/// The sum alone.
fn plain(out: Operand) -> Epilogue {
    Epilogue {
        inputs: vec![],
        tape: Tape::identity(out.dtype),
        outputs: vec![out],
    }
}

/// max(sum + bias + residual, 0), and the position along the last dimension plus that.
fn busy(out: Operand, bias: Vec<i64>, residual: Vec<i64>) -> Epilogue {
    use DType::{F32, I64};
    let binary = |f, x, y| step(TapeOp::Binary(f, Reg(x), Reg(y)), F32);
    let last = out.strides.len() as u16 - 1;
    let steps = vec![
        step(TapeOp::Input(0), F32),
        step(TapeOp::Input(1), F32),
        binary(BinaryFn::Add, 0, 1),
        step(TapeOp::Input(2), F32),
        binary(BinaryFn::Add, 2, 3),
        step(TapeOp::Const(Scalar::Float(0.0)), F32),
        binary(BinaryFn::Max, 4, 5),
        step(TapeOp::Index(last), I64),
        step(TapeOp::Convert(Reg(7)), F32),
        binary(BinaryFn::Add, 6, 8),
        step(TapeOp::Unary(UnaryFn::Sigmoid, Reg(4)), F32),
    ];
    let results = vec![Reg(9), Reg(10)];
    Epilogue {
        inputs: vec![operand(F32, &bias), operand(F32, &residual)],
        tape: Tape { steps, results },
        outputs: vec![out.clone(), out],
    }
}

fn tiled(rows: u64, cols: u64, depth: u64) -> Tiled {
    Tiled {
        rows,
        cols,
        depth,
        thread_rows: 4,
        thread_cols: 4,
        slices: 1,
        stages: 3,
        split: 1,
        group: 2,
        by_taps: false,
        registers: 128,
        cores: Cores::Ordinary,
    }
}

fn case(name: &str, spec: &ContractSpec, schedule: &Schedule, seed: u64) -> Case {
    let target = Target::of_arch(90).unwrap();
    let kernel = KernelSpec::Contract(spec.clone());
    let code =
        generate_with(spec, &target, schedule).unwrap_or_else(|e| panic!("{name}: {e}\n{spec:#?}"));
    Case::of(code, format!("{name}, {schedule:?}"), kernel, seed)
}

fn product(batch: &[u64], [m, n, k]: [u64; 3], dtype: DType) -> ContractSpec {
    let over = |x, y| -> Vec<u64> { batch.iter().copied().chain([x, y]).collect() };
    let problem = Problem::MatMul {
        batch: batch.to_vec(),
        m,
        n,
        k,
        a: row_major(dtype, &over(m, k)),
        b: row_major(dtype, &over(k, n)),
    };
    let sum = problem.sum_dtype().unwrap();
    let epilogue = plain(row_major(sum, &over(m, n)));
    ContractSpec { problem, epilogue }
}

/// With either operand transposed.
fn transposed(mut spec: ContractSpec, left: bool, right: bool) -> ContractSpec {
    if let Problem::MatMul {
        batch,
        m,
        n,
        k,
        a,
        b,
        ..
    } = &mut spec.problem
    {
        let d = batch.len();
        if left {
            (a.strides[d], a.strides[d + 1]) = (1, *m as i64);
        }
        if right {
            (b.strides[d], b.strides[d + 1]) = (1, *k as i64);
        }
        let _ = n;
    }
    spec
}

#[test]
fn tiles_of_products() {
    let mut cases = vec![];
    for (n, [rows, cols, k]) in [[50, 68, 40], [33, 35, 37], [130, 12, 64]]
        .into_iter()
        .enumerate()
    {
        for (left, right) in [(false, false), (true, false), (false, true), (true, true)] {
            let spec = transposed(product(&[], [rows, cols, k], DType::F32), left, right);
            for schedule in [
                tiled(32, 32, 8),
                Tiled {
                    thread_rows: 8,
                    thread_cols: 8,
                    ..tiled(64, 64, 16)
                },
                Tiled {
                    slices: 2,
                    split: 3,
                    ..tiled(16, 32, 16)
                },
                Tiled {
                    thread_cols: 8,
                    slices: 4,
                    stages: 2,
                    ..tiled(32, 64, 32)
                },
            ] {
                let name = format!("{rows}x{cols}x{k} {left} {right}");
                cases.push(case(&name, &spec, &Schedule::Tiled(schedule), n as u64));
            }
            cases.push(case("direct", &spec, &Schedule::Direct, 3));
        }
    }
    check_all(cases);
}

/// What tensor cores multiply, in each way that the tile is for, with the tolerance of its digits.
fn on_tensor_cores(spec: &ContractSpec, tile: Tiled, seed: u64) -> Vec<Case> {
    let ways: &[(u64, f64)] = match tile.thread_rows {
        16 => &[(1, 2e-3)],
        _ => &[(1, 2e-3), (3, 1e-5)],
    };
    let cases = ways.iter().map(|&(products, tolerance)| {
        let cores = Cores::Tensor { products };
        let schedule = Schedule::Tiled(Tiled { cores, ..tile });
        Case {
            tolerance,
            ..case("tensor cores", spec, &schedule, seed)
        }
    });
    cases.collect()
}

#[test]
fn tensor_cores_multiply() {
    let mut cases = vec![];
    let large = Tiled {
        thread_rows: 8,
        thread_cols: 8,
        slices: 2,
        split: 2,
        ..tiled(64, 64, 16)
    };
    let products = [
        ([50, 68, 40], false, false, tiled(32, 32, 8)),
        ([50, 68, 40], true, true, tiled(32, 32, 16)),
        ([33, 35, 37], true, false, tiled(16, 32, 8)),
        ([66, 36, 32], false, true, large),
    ];
    for (n, (sizes, left, right, tile)) in products.into_iter().enumerate() {
        let spec = transposed(product(&[], sizes, DType::F32), left, right);
        cases.extend(on_tensor_cores(&spec, tile, 40 + n as u64));
    }
    let largest = Tiled {
        thread_rows: 16,
        thread_cols: 8,
        registers: 216,
        split: 3,
        ..tiled(64, 128, 32)
    };
    for (n, (left, right)) in [(false, false), (true, true)].into_iter().enumerate() {
        let spec = transposed(product(&[], [70, 130, 300], DType::F32), left, right);
        cases.extend(on_tensor_cores(&spec, largest, 50 + n as u64));
    }
    let geometry = Geometry {
        batch: 1,
        groups: 2,
        channels: [16, 24],
        input: &[9, 7],
        kernel: &[3, 2],
        strides: &[2, 1],
        dilations: &[1, 2],
        pads: &[[1, 1], [0, 2]],
    };
    for is_last in [false, true] {
        let spec = convolution(&geometry, is_last, false);
        for by_taps in [false, true] {
            let tile = Tiled {
                by_taps,
                ..tiled(16, 32, 16)
            };
            cases.extend(on_tensor_cores(&spec, tile, 50));
        }
    }
    check_all(cases);
}

#[test]
fn batches_and_epilogues() {
    let mut cases = vec![];
    let mut specs = vec![];
    let batched = product(&[2, 3], [20, 24, 16], DType::F32);
    let mut shared = batched.clone();
    let mut repeated = batched.clone();
    if let Problem::MatMul { b, .. } = &mut shared.problem {
        b.strides = vec![0, 0, 24, 1];
    }
    if let Problem::MatMul { a, .. } = &mut repeated.problem {
        a.strides = vec![0, 320, 16, 1];
    }
    let out = || row_major(DType::F32, &[2, 3, 20, 24]);
    let bias = || vec![0, 0, 0, 1];
    for spec in [batched, shared, repeated] {
        specs.push(ContractSpec {
            epilogue: busy(out(), bias(), out().strides),
            ..spec.clone()
        });
        // An output whose columns lie apart, a bias along rows.
        let swapped = ordered(DType::F32, &[2, 3, 20, 24], &[1, 0, 3, 2]);
        let epilogue = busy(swapped, vec![0, 0, 1, 0], out().strides);
        specs.push(ContractSpec { epilogue, ..spec });
    }
    for (n, spec) in specs.iter().enumerate() {
        let seed = 10 + n as u64;
        for schedule in [
            tiled(16, 32, 8),
            Tiled {
                split: 2,
                ..tiled(16, 32, 8)
            },
        ] {
            cases.push(case("batch", spec, &Schedule::Tiled(schedule), seed));
        }
        cases.push(case("batch", spec, &Schedule::Direct, seed));
    }
    check_all(cases);
}

#[test]
fn types() {
    use DType::{BF16, F16, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    let mut cases = vec![];
    for (n, dtype) in [F16, BF16, F64, I8, I16, I32, I64, U8, U16, U32, U64]
        .into_iter()
        .enumerate()
    {
        let spec = product(&[2], [20, 36, 20], dtype);
        for schedule in [
            Schedule::Tiled(Tiled {
                split: 2,
                slices: 2,
                ..tiled(16, 32, 16)
            }),
            Schedule::Direct,
        ] {
            cases.push(case(&format!("{dtype}"), &spec, &schedule, n as u64));
        }
    }
    let mut mixed = product(&[], [9, 17, 40], U8);
    if let Problem::MatMul { b, .. } = &mut mixed.problem {
        b.dtype = I8;
    }
    cases.push(case("signs", &mixed, &Schedule::Tiled(tiled(16, 32, 8)), 1));
    check_all(cases);
}

struct Geometry<'a> {
    batch: u64,
    groups: u64,
    channels: [u64; 2],
    input: &'a [u64],
    kernel: &'a [u64],
    strides: &'a [u64],
    dilations: &'a [u64],
    pads: &'a [[u64; 2]],
}

fn convolution(g: &Geometry<'_>, is_last: bool, is_transposed: bool) -> ContractSpec {
    use DType::F32;
    let rank = g.kernel.len();
    let reach = |d: usize| (g.kernel[d] - 1) * g.dilations[d] + 1;
    let output: Vec<u64> = (0..rank)
        .map(|d| {
            let [begin, end] = g.pads[d];
            if is_transposed {
                (g.input[d] - 1) * g.strides[d] + reach(d) - begin - end
            } else {
                (g.input[d] + begin + end - reach(d)) / g.strides[d] + 1
            }
        })
        .collect();
    let [inner, outer] = g.channels;
    let data = [&[g.batch, g.groups * inner][..], g.input].concat();
    let domain = [&[g.batch, g.groups * outer][..], &output].concat();
    let window = Window {
        input: g.input.to_vec(),
        output,
        kernel: g.kernel.to_vec(),
        strides: g.strides.to_vec(),
        dilations: g.dilations.to_vec(),
        pads_begin: g.pads.iter().map(|p| p[0]).collect(),
    };
    let taps = if is_transposed {
        [&[g.groups * inner, outer][..], g.kernel].concat()
    } else {
        [&[g.groups * outer, inner][..], g.kernel].concat()
    };
    let lay = if is_last { channels_last } else { row_major };
    let (batch, groups) = (g.batch, g.groups);
    let (in_channels, out_channels) = (inner, outer);
    let (x, w) = (lay(F32, &data), lay(F32, &taps));
    let problem = if is_transposed {
        Problem::ConvTranspose {
            batch,
            groups,
            in_channels,
            out_channels,
            window,
            x,
            w,
        }
    } else {
        Problem::Conv {
            batch,
            groups,
            in_channels,
            out_channels,
            window,
            x,
            w,
        }
    };
    let out = lay(F32, &domain);
    let mut bias = vec![0; domain.len()];
    bias[1] = 1;
    let residual = out.strides.clone();
    ContractSpec {
        problem,
        epilogue: busy(out, bias, residual),
    }
}

fn convolutions(geometries: &[Geometry<'_>], is_transposed: bool) {
    let mut cases = vec![];
    for (n, g) in geometries.iter().enumerate() {
        for is_last in [false, true] {
            let spec = convolution(g, is_last, is_transposed);
            let mut schedules = vec![
                Schedule::Direct,
                Schedule::Tiled(Tiled {
                    by_taps: true,
                    ..tiled(32, 32, 8)
                }),
                Schedule::Tiled(Tiled {
                    by_taps: true,
                    split: 2,
                    slices: 2,
                    thread_rows: 8,
                    ..tiled(32, 32, 16)
                }),
            ];
            if !is_transposed {
                schedules.push(Schedule::Tiled(tiled(32, 32, 8)));
                schedules.push(Schedule::Tiled(Tiled {
                    split: 3,
                    slices: 2,
                    stages: 4,
                    ..tiled(16, 64, 16)
                }));
            }
            for schedule in schedules {
                let name = format!("geometry {n}, channels last: {is_last}");
                cases.push(case(&name, &spec, &schedule, n as u64));
            }
        }
    }
    check_all(cases);
}

#[test]
fn windows() {
    let one = &[1, 1];
    let image = |channels, kernel, strides, pads| Geometry {
        batch: 1,
        groups: 1,
        channels,
        input: &[9, 7],
        kernel,
        strides,
        dilations: one,
        pads,
    };
    convolutions(
        &[
            image([8, 12], &[1, 1], one, &[[0, 0], [0, 0]]),
            image([8, 12], &[1, 1], &[2, 2], &[[0, 0], [0, 0]]),
            image([8, 12], &[3, 3], one, &[[1, 1], [1, 1]]),
            image([3, 10], &[5, 3], &[2, 1], &[[2, 1], [0, 2]]),
            image([20, 33], &[3, 3], &[2, 2], &[[0, 1], [1, 0]]),
            Geometry {
                batch: 2,
                groups: 2,
                channels: [4, 8],
                input: &[6, 8],
                kernel: &[3, 2],
                strides: one,
                dilations: &[2, 3],
                pads: &[[2, 2], [1, 3]],
            },
            Geometry {
                batch: 3,
                groups: 1,
                channels: [5, 4],
                input: &[19],
                kernel: &[40],
                strides: &[1],
                dilations: &[1],
                pads: &[[20, 21]],
            },
            Geometry {
                batch: 1,
                groups: 1,
                channels: [4, 8],
                input: &[3, 5, 4],
                kernel: &[3, 3, 2],
                strides: &[1, 2, 1],
                dilations: &[1, 1, 1],
                pads: &[[1, 1], [1, 1], [0, 1]],
            },
            Geometry {
                batch: 1,
                groups: 1,
                channels: [3, 8],
                input: &[16, 16],
                kernel: &[8, 8],
                strides: &[8, 8],
                dilations: one,
                pads: &[[0, 0], [0, 0]],
            },
        ],
        false,
    );
}

#[test]
fn transposed_windows() {
    let one = &[1, 1];
    convolutions(
        &[
            Geometry {
                batch: 1,
                groups: 1,
                channels: [16, 8],
                input: &[5, 4],
                kernel: &[4, 4],
                strides: &[2, 2],
                dilations: one,
                pads: &[[1, 1], [1, 1]],
            },
            Geometry {
                batch: 2,
                groups: 2,
                channels: [6, 5],
                input: &[4, 5],
                kernel: &[3, 2],
                strides: &[2, 3],
                dilations: one,
                pads: &[[1, 0], [0, 0]],
            },
            Geometry {
                batch: 1,
                groups: 1,
                channels: [8, 4],
                input: &[1, 1],
                kernel: &[4, 4],
                strides: one,
                dilations: one,
                pads: &[[0, 0], [0, 0]],
            },
            Geometry {
                batch: 1,
                groups: 1,
                channels: [4, 12],
                input: &[7],
                kernel: &[3],
                strides: &[4],
                dilations: &[2],
                pads: &[[1, 2]],
            },
            Geometry {
                batch: 1,
                groups: 1,
                channels: [4, 4],
                input: &[2, 3, 3],
                kernel: &[2, 3, 3],
                strides: &[2, 1, 2],
                dilations: &[1, 1, 1],
                pads: &[[0, 0], [1, 1], [1, 0]],
            },
        ],
        true,
    );
}

#[test]
fn streams() {
    let stream = |warps, cols, split| Schedule::Stream(Stream { warps, cols, split });
    let mut cases = vec![];
    let sizes = [[1, 300, 260], [3, 131, 128], [2, 70, 77], [4, 40, 1]];
    for (n, [rows, cols, k]) in sizes.into_iter().enumerate() {
        for is_turned in [false, true] {
            let spec = transposed(product(&[2], [rows, cols, k], DType::F32), false, is_turned);
            for schedule in [stream(4, 2, 1), stream(2, 4, 3), stream(8, 1, 1)] {
                let name = format!("{rows}x{cols}x{k} {is_turned}");
                cases.push(case(&name, &spec, &schedule, n as u64));
            }
        }
    }
    // Few columns by many rows.
    let tall = product(&[], [200, 1, 64], DType::F32);
    cases.push(case("tall", &tall, &stream(4, 2, 2), 1));
    for dtype in [DType::F16, DType::F64, DType::I32, DType::U8] {
        for is_turned in [false, true] {
            let spec = transposed(product(&[], [1, 68, 64], dtype), false, is_turned);
            cases.push(case(&format!("{dtype}"), &spec, &stream(4, 2, 2), 1));
        }
    }
    let g = Geometry {
        batch: 1,
        groups: 1,
        channels: [24, 40],
        input: &[1, 1],
        kernel: &[1, 1],
        strides: &[1, 1],
        dilations: &[1, 1],
        pads: &[[0, 0], [0, 0]],
    };
    let spec = convolution(&g, true, false);
    cases.push(case("one position", &spec, &stream(4, 1, 1), 1));
    check_all(cases);
}

#[test]
fn what_is_chosen() {
    let target = Target::of_arch(90).unwrap();
    let mut cases = vec![];
    for (n, spec) in [
        product(&[], [128, 96, 200], DType::F32),
        product(&[], [1, 512, 300], DType::F32),
        product(&[], [1, 1, 1], DType::F32),
        product(&[], [3, 5, 0], DType::F32),
        product(&[4], [3, 0, 5], DType::F32),
        product(&[7], [20, 24, 16], DType::F16),
    ]
    .into_iter()
    .enumerate()
    {
        let kernel = KernelSpec::Contract(spec);
        cases.push(Case::on(&target, format!("chosen {n}"), kernel, n as u64));
    }
    check_all(cases);
}

#[test]
fn the_config_space_holds_what_is_chosen() {
    let target = Target::of_arch(90).unwrap();
    for spec in [
        product(&[], [128, 96, 200], DType::F32),
        product(&[], [1, 512, 300], DType::F32),
    ] {
        let space = config_space(&spec, &target).unwrap();
        let ranked = ranked(&spec, &target).unwrap();
        let chosen = choose(&spec, &target).unwrap();
        assert!(space.contains(&chosen), "{chosen:?}");
        assert_eq!(ranked[0].1, chosen);
        for (seconds, schedule) in &ranked {
            assert!(space.contains(schedule), "{schedule:?}");
            assert_eq!(predict(&spec, &target, schedule).unwrap(), *seconds);
        }
        let code = generate_with(&spec, &target, &chosen).unwrap();
        let read: Schedule = serde_json::from_str(&code.schedule).unwrap();
        assert_eq!(read, chosen);
    }
}

#[test]
fn weights_lie_so_that_channels_are_neighbours() {
    let order = |channels, is_transposed| {
        let g = Geometry {
            batch: 1,
            groups: 1,
            channels,
            input: &[9, 9],
            kernel: &[3, 3],
            strides: &[1, 1],
            dilations: &[1, 1],
            pads: &[[1, 1], [1, 1]],
        };
        weight_order(&convolution(&g, true, is_transposed).problem)
    };
    assert_eq!(order([8, 5], false), Some(vec![0, 2, 3, 1]));
    assert_eq!(order([3, 5], false), None);
    assert_eq!(order([8, 4], true), Some(vec![2, 3, 0, 1]));
    assert_eq!(order([8, 3], true), Some(vec![2, 3, 1, 0]));
    assert_eq!(
        weight_order(&product(&[], [1, 2, 3], DType::F32).problem),
        None
    );
}
