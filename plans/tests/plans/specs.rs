//! Specs that make sense, and such that do not.

use crate::samples::{bias_relu, dense, f32s, operand, softmax, strided, tape};
use crate::touch;
use crate::zoo::kernels;
use plans::spec::*;
use plans::tape::{BinaryFn, Reg, Scalar, Tape, TapeOp, TapeScope, TapeStep, UnaryFn};
use plans::{DType, KernelSpec};
use proptest::prelude::*;

#[track_caller]
fn refused(spec: &KernelSpec, reason: &str) {
    let error = spec.check().expect_err("the spec must be refused");
    assert!(error.0.contains(reason), "{error}");
}

fn check_tape(tape: &Tape) -> Result<Vec<DType>, SpecError> {
    tape.check(&TapeScope {
        inputs: &[DType::F32, DType::I64, DType::Bool, DType::C64],
        row_scalars: &[DType::F32],
        rank: 2,
    })
}

fn of_types(steps: &[(TapeOp, DType)]) -> Tape {
    Tape {
        steps: steps
            .iter()
            .map(|&(op, dtype)| TapeStep { op, dtype })
            .collect(),
        results: vec![Reg(steps.len() as u16 - 1)],
    }
}

#[test]
fn every_sample_passes_and_stays_inside() {
    for (label, spec) in kernels() {
        assert_eq!(spec.check(), Ok(()), "{label}");
        touch::walk(&spec);
    }
}

#[test]
fn tapes_that_make_sense() {
    use DType::{Bool, F16, F32, I32, I64};
    let (a, b, c) = (Reg(0), Reg(1), Reg(2));
    let good = [
        vec![
            (TapeOp::Input(0), F32),
            (TapeOp::Unary(UnaryFn::Exp, a), F32),
        ],
        vec![(TapeOp::RowScalar(0), F32), (TapeOp::Convert(a), F16)],
        vec![(TapeOp::Index(1), I64), (TapeOp::Convert(a), I32)],
        vec![(TapeOp::Input(3), DType::C64)],
        vec![
            (TapeOp::Const(Scalar::Int(1)), Bool),
            (TapeOp::Unary(UnaryFn::Not, a), Bool),
        ],
        vec![
            (TapeOp::Input(2), Bool),
            (TapeOp::Input(1), I64),
            (TapeOp::Select(a, b, b), I64),
            (TapeOp::Binary(BinaryFn::Le, b, c), Bool),
        ],
        vec![
            (TapeOp::Input(0), F32),
            (TapeOp::Unary(UnaryFn::IsNan, a), Bool),
        ],
    ];
    for steps in good {
        let results = check_tape(&of_types(&steps)).expect("the tape makes sense");
        assert_eq!(results, [steps[steps.len() - 1].1]);
    }
}

#[test]
fn tapes_that_make_no_sense() {
    use DType::{Bool, C64, F32, F64, I32, I64};
    let (a, b) = (Reg(0), Reg(1));
    let bad = [
        // What is referred to is not there, or of another type.
        vec![(TapeOp::Input(4), F32)],
        vec![(TapeOp::Input(0), F64)],
        vec![(TapeOp::RowScalar(1), F32)],
        vec![(TapeOp::Index(2), I64)],
        vec![(TapeOp::Index(0), I32)],
        vec![(TapeOp::Unary(UnaryFn::Exp, a), F32)],
        vec![
            (TapeOp::Input(0), F32),
            (TapeOp::Binary(BinaryFn::Add, a, Reg(7)), F32),
        ],
        // Functions of other types.
        vec![(TapeOp::Const(Scalar::Float(0.0)), I32)],
        vec![(TapeOp::Const(Scalar::Int(0)), F32)],
        vec![
            (TapeOp::Input(1), I64),
            (TapeOp::Unary(UnaryFn::Exp, a), I64),
        ],
        vec![
            (TapeOp::Input(0), F32),
            (TapeOp::Unary(UnaryFn::Not, a), Bool),
        ],
        vec![
            (TapeOp::Input(0), F32),
            (TapeOp::Unary(UnaryFn::IsNan, a), F32),
        ],
        vec![
            (TapeOp::Input(0), F32),
            (TapeOp::Binary(BinaryFn::BitAnd, a, a), F32),
        ],
        vec![
            (TapeOp::Input(2), Bool),
            (TapeOp::Binary(BinaryFn::Add, a, a), Bool),
        ],
        vec![
            (TapeOp::Input(3), C64),
            (TapeOp::Binary(BinaryFn::Add, a, a), C64),
        ],
        vec![
            (TapeOp::Input(0), F32),
            (TapeOp::Input(1), I64),
            (TapeOp::Binary(BinaryFn::Add, a, b), F32),
        ],
        vec![(TapeOp::Input(0), F32), (TapeOp::Select(a, a, a), F32)],
        vec![(TapeOp::Input(3), C64), (TapeOp::Convert(a), F32)],
    ];
    for steps in bad {
        assert!(check_tape(&of_types(&steps)).is_err(), "{steps:?}");
    }
    let mut tape = tape(&[TapeOp::Input(0)]);
    tape.results.push(Reg(1));
    assert!(check_tape(&tape).is_err());
}

#[test]
fn maps_are_refused() {
    let good = MapSpec {
        domain: vec![4, 4],
        inputs: vec![MapInput::affine(f32s(&[4, 4])); 2],
        tape: bias_relu(),
        outputs: vec![f32s(&[4, 4])],
    };
    let check = |reason: &str, change: &dyn Fn(&mut MapSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        refused(&KernelSpec::Map(spec), reason);
    };
    assert_eq!(KernelSpec::Map(good.clone()).check(), Ok(()));
    check("strides", &|s| s.inputs[0].operand.strides.push(1));
    check("2^40", &|s| s.domain = vec![1 << 20, 1 << 20]);
    check("2^40", &|s| s.domain = vec![u64::MAX, 0]);
    check("2^40", &|s| s.inputs[0].operand.strides[0] = i64::MIN);
    check("dimensions", &|s| s.domain = vec![1; 33]);
    check("more than once", &|s| s.outputs[0].strides = vec![1, 1]);
    check("more than once", &|s| s.outputs[0].strides = vec![0, 1]);
    check("results", &|s| s.outputs.push(f32s(&[4, 4])));
    check("type", &|s| s.outputs[0].dtype = DType::F16);
    let gather = |index| GatherAxis {
        index,
        len: 9,
        stride: 1,
    };
    check("does not exist", &|s| s.inputs[0].gather = vec![gather(2)]);
    check("i32 or i64", &|s| s.inputs[0].gather = vec![gather(1)]);
    check("gathered itself", &|s| {
        s.inputs[1].operand.dtype = DType::I64;
        s.inputs[1].gather = vec![gather(1)];
        s.inputs[0].gather = vec![gather(1)];
    });
    check("2^40", &|s| {
        s.inputs
            .push(MapInput::affine(operand(DType::I64, &[4, 4])));
        s.inputs[0].gather = vec![GatherAxis {
            index: 2,
            len: 1 << 41,
            stride: 1,
        }];
    });
    // What is swapped and flipped is written once.
    let mut flipped = good.clone();
    flipped.outputs[0].strides = vec![1, -4];
    assert_eq!(KernelSpec::Map(flipped).check(), Ok(()));
}

#[test]
fn rows_are_refused() {
    let check = |reason: &str, change: &dyn Fn(&mut RowSpec)| {
        let KernelSpec::Row(mut spec) = softmax(3, 4) else {
            panic!("softmax is a row kernel");
        };
        change(&mut spec);
        refused(&KernelSpec::Row(spec), reason);
    };
    check("RowScalar(1)", &|s| s.phases.truncate(1));
    check("RowScalar(0)", &|s| s.phases.swap(0, 1));
    check("instead of one", &|s| {
        s.phases[0] = Phase::Fold {
            tape: Tape::default(),
            fold: RowFold::Max,
        }
    });
    check("Input(0)", &|s| {
        s.phases.push(Phase::Row {
            tape: tape(&[TapeOp::Input(0)]),
        })
    });
    check("there are 2", &|s| s.row_outputs.push((2, f32s(&[3]))));
    check("strides", &|s| s.row_outputs.push((1, f32s(&[3, 4]))));
    check("no columns", &|s| {
        s.columns = vec![0];
        s.phases[0] = Phase::Fold {
            tape: tape(&[TapeOp::Input(0)]),
            fold: RowFold::ArgMin,
        };
    });
}

#[test]
fn the_rest_is_refused() {
    let find =
        |label: &str| -> KernelSpec { kernels().into_iter().find(|(l, _)| *l == label).unwrap().1 };
    macro_rules! check {
        ($label:literal, $reason:literal, $($pattern:ident)::+ ($s:ident), $change:expr) => {{
            let mut spec = find($label);
            if let KernelSpec::$($pattern)::+($s) = &mut spec {
                $change;
            }
            refused(&spec, $reason);
        }};
    }
    fn window(spec: &mut ContractSpec) -> &mut Window {
        match &mut spec.problem {
            Problem::Conv { window, .. } | Problem::ConvTranspose { window, .. } => window,
            Problem::MatMul { .. } => panic!("a product has no window"),
        }
    }
    check!("Conv", "no stride", Contract(s), window(s).strides[0] = 0);
    check!("Conv", "no taps", Contract(s), window(s).kernel[1] = 0);
    check!(
        "Conv",
        "dilations",
        Contract(s),
        window(s).dilations = vec![1]
    );
    check!(
        "Conv",
        "2^40",
        Contract(s),
        window(s).pads_begin[0] = u64::MAX
    );
    check!("Conv", "2^40", Contract(s), window(s).strides[0] = 1 << 63);
    check!(
        "Conv",
        "strides",
        Contract(s),
        s.epilogue.inputs[0].strides = vec![1]
    );
    check!(
        "MatMul",
        "weight",
        Contract(s),
        match &mut s.problem {
            Problem::MatMul { b, .. } => b.dtype = DType::F16,
            _ => panic!("a product"),
        }
    );
    check!(
        "Attention",
        "mask",
        Attention(s),
        s.mask.as_mut().unwrap().dtype = DType::I64
    );
    check!(
        "Attention",
        "k is of type",
        Attention(s),
        s.k.dtype = DType::F16
    );
    check!(
        "Attention",
        "causal",
        Attention(s),
        s.causal = Some(i64::MIN)
    );
    check!(
        "DepthwiseConv",
        "factor",
        Window(s),
        s.fold = WindowFold::Average
    );
    check!(
        "DepthwiseConv",
        "prologue",
        Window(s),
        s.prologue = Tape::default()
    );
    check!("MaxPool", "position", Window(s), s.fold = WindowFold::Sum);
    check!("MaxPool", "paddings", Window(s), {
        s.indices = None;
        s.fold = WindowFold::AveragePadded { pads_end: vec![] };
    });
    check!(
        "LSTM",
        "activations",
        Recurrent(s),
        s.activations.truncate(5)
    );

    check!(
        "LSTM",
        "activations",
        Recurrent(s),
        s.activations.push(Activation::Relu)
    );
    check!(
        "LSTM",
        "lengths",
        Recurrent(s),
        s.lengths.as_mut().unwrap().dtype = DType::I64
    );
    check!("LSTM", "LSTM", Recurrent(s), {
        s.cell = Cell::Rnn;
        s.activations = vec![Activation::Tanh; 2];
        (s.w, s.r, s.bias) = (f32s(&[2, 5, 4]), f32s(&[2, 5, 5]), None);
    });
    let mut resize = find("Resize");
    if let KernelSpec::Movement(MovementSpec::Resize(s)) = &mut resize {
        s.axes[1].positions[3] = 3;
    }
    refused(&resize, "position 3 of 3");
    if let KernelSpec::Movement(MovementSpec::Resize(s)) = &mut resize {
        s.axes[1].positions.pop();
    }
    refused(&resize, "positions");
    let mut pad = find("Pad");
    if let KernelSpec::Movement(MovementSpec::Pad(s)) = &mut pad {
        (s.mode, s.input[0]) = (PadMode::Edge, 0);
    }
    refused(&pad, "empty");
    let mut scatter = find("ScatterND");
    if let KernelSpec::Movement(MovementSpec::Scatter(s)) = &mut scatter {
        s.axes[0].index = 1;
    }
    refused(&scatter, "does not exist");
    let mut top_k = find("TopK");
    if let KernelSpec::Library(LibrarySpec::TopK(s)) = &mut top_k {
        s.k = 10;
    }
    refused(&top_k, "10 elements");
}

#[test]
fn half_precision_sums_are_f32() {
    for (sum, works) in [(DType::F32, true), (DType::BF16, true), (DType::F16, false)] {
        let half = |dims: &[u64]| operand(DType::BF16, dims);
        let spec = KernelSpec::Contract(ContractSpec {
            problem: Problem::MatMul {
                batch: vec![],
                m: 2,
                n: 3,
                k: 4,
                a: half(&[2, 4]),
                b: half(&[4, 3]),
            },
            epilogue: Epilogue {
                inputs: vec![],
                tape: of_types(&[
                    (TapeOp::Input(0), sum),
                    (TapeOp::Convert(Reg(0)), DType::F64),
                ]),
                outputs: vec![operand(DType::F64, &[2, 3])],
            },
        });
        assert_eq!(spec.check().is_ok(), works, "{sum}");
    }
}

/// A random map over a domain of up to three dimensions: any strides, some positions gathered.
fn maps() -> impl Strategy<Value = MapSpec> {
    let domain = prop::collection::vec(0u64..6, 0..4);
    domain.prop_flat_map(|domain| {
        let strides = prop::collection::vec(-50i64..50, domain.len());
        let input = (
            strides.clone(),
            prop::option::of((0u16..4, 0u64..9, -60i64..60)),
        );
        let inputs = prop::collection::vec(input, 1..4);
        (Just(domain), inputs, strides).prop_map(|(domain, inputs, out)| MapSpec {
            inputs: inputs
                .into_iter()
                .enumerate()
                .map(|(n, (strides, gather))| MapInput {
                    operand: Operand {
                        dtype: if n == 0 { DType::F32 } else { DType::I64 },
                        strides,
                    },
                    gather: gather
                        .map(|(index, len, stride)| GatherAxis { index, len, stride })
                        .into_iter()
                        .collect(),
                })
                .collect(),
            tape: tape(&[TapeOp::Input(0)]),
            outputs: vec![strided(&out)],
            domain,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn maps_that_pass_stay_inside(spec in maps()) {
        let spec = KernelSpec::Map(spec);
        if spec.check().is_ok() {
            touch::walk(&spec);
        }
    }

    #[test]
    fn row_major_outputs_pass(dims in prop::collection::vec(0u64..9, 0..6), order in any::<u64>()) {
        // In any order of dimensions, and backward or forward.
        let mut strides = dense(&dims);
        let mut dims = dims;
        for d in 1..dims.len() {
            let other = (order >> (d * 4)) as usize % (d + 1);
            dims.swap(d, other);
            strides.swap(d, other);
        }
        for (d, stride) in strides.iter_mut().enumerate() {
            if order >> d & 1 == 1 {
                *stride = -*stride;
            }
        }
        let spec = KernelSpec::Map(MapSpec {
            domain: dims,
            inputs: vec![],
            tape: tape(&[TapeOp::Const(Scalar::Float(1.0))]),
            outputs: vec![strided(&strides)],
        });
        prop_assert_eq!(spec.check(), Ok(()));
        touch::walk(&spec);
    }
}

/// Damages encoded specs, and walks over those that still pass.
#[test]
fn damaged_specs_that_pass_stay_inside() {
    let mut random = crate::random(7);
    let (mut n_decoded, mut n_passed) = (0, 0);
    let encoded: Vec<Vec<u8>> = kernels()
        .iter()
        .map(|(_, spec)| postcard::to_stdvec(spec).unwrap())
        .collect();
    for _ in 0..60_000 {
        let mut bytes = encoded[random(encoded.len())].clone();
        for _ in 0..1 + random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] = bytes[at].wrapping_add(random(5) as u8).wrapping_sub(2),
                2 => bytes.insert(at, random(256) as u8),
                _ => bytes[at] ^= 1 << random(8),
            }
        }
        let Ok(spec) = postcard::from_bytes::<KernelSpec>(&bytes) else {
            continue;
        };
        n_decoded += 1;
        if spec.check().is_ok() {
            n_passed += 1;
            touch::walk(&spec);
        }
        // Whether it passes or not, its arguments can be asked for.
        for arg in spec.args() {
            let _ = arg.touched(1 << 20);
        }
    }
    assert!(
        n_decoded > 15_000 && n_passed > 5_000,
        "{n_decoded} {n_passed}"
    );
}
