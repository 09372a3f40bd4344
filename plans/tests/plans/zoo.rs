//! One kernel of every class and kind.

use crate::samples::{
    Sample, at, bias_relu, conv, f32s, linear, operand, pixels, port, scalar_step as step, softmax,
    strided, tape,
};
use plans::spec::*;
use plans::tape::{BinaryFn, Reg, Scalar, Tape, TapeOp};
use plans::{ArenaKind, DType, KernelSpec, Place};

/// One kernel of every class and kind, with what it is.
pub(crate) fn kernels() -> Vec<(&'static str, KernelSpec)> {
    let gather = KernelSpec::Map(MapSpec {
        domain: vec![3, 4],
        inputs: vec![
            MapInput {
                operand: strided(&[0, 1]),
                gather: vec![GatherAxis {
                    index: 1,
                    len: 10,
                    stride: 4,
                }],
            },
            MapInput::affine(Operand {
                dtype: DType::I64,
                strides: vec![1, 0],
            }),
        ],
        tape: tape(&[TapeOp::Input(0)]),
        outputs: vec![f32s(&[3, 4])],
    });
    let masked_index = KernelSpec::Map(MapSpec {
        domain: vec![6],
        inputs: vec![MapInput::affine(strided(&[-1]))],
        tape: Tape {
            steps: vec![
                step(TapeOp::Input(0), DType::F32),
                step(TapeOp::Index(0), DType::I64),
                step(TapeOp::Const(Scalar::Int(3)), DType::I64),
                step(TapeOp::Binary(BinaryFn::Lt, Reg(1), Reg(2)), DType::Bool),
                step(TapeOp::Const(Scalar::Float(-1.0)), DType::F32),
                step(TapeOp::Select(Reg(3), Reg(0), Reg(4)), DType::F32),
                step(TapeOp::Convert(Reg(1)), DType::I32),
            ],
            results: vec![Reg(5), Reg(6)],
        },
        outputs: vec![f32s(&[6]), operand(DType::I32, &[6])],
    });
    let argmax = KernelSpec::Row(RowSpec {
        rows: vec![5],
        columns: vec![2, 3],
        inputs: vec![f32s(&[5, 2, 3])],
        phases: vec![
            Phase::Fold {
                tape: tape(&[TapeOp::Input(0)]),
                fold: RowFold::ArgMax,
            },
            Phase::Row {
                tape: Tape {
                    steps: vec![
                        step(TapeOp::RowScalar(0), DType::I64),
                        step(TapeOp::Convert(Reg(0)), DType::F32),
                    ],
                    results: vec![Reg(1)],
                },
            },
        ],
        element_tape: Tape::default(),
        element_outputs: vec![],
        row_outputs: vec![(0, operand(DType::I64, &[5])), (1, f32s(&[5]))],
    });
    let batched = KernelSpec::Contract(ContractSpec {
        problem: Problem::MatMul {
            batch: vec![2, 3],
            m: 4,
            n: 5,
            k: 6,
            a: strided(&[72, 24, 6, 1]),
            b: strided(&[0, 30, 1, 6]),
        },
        epilogue: Epilogue {
            inputs: vec![],
            tape: Tape::identity(DType::F32),
            outputs: vec![f32s(&[2, 3, 4, 5])],
        },
    });
    let deconv = KernelSpec::Contract(ContractSpec {
        problem: Problem::ConvTranspose {
            batch: 1,
            groups: 2,
            in_channels: 2,
            out_channels: 3,
            window: Window {
                input: vec![5],
                output: vec![10],
                kernel: vec![4],
                strides: vec![2],
                dilations: vec![1],
                pads_begin: vec![1],
            },
            x: f32s(&[1, 4, 5]),
            w: f32s(&[4, 3, 4]),
        },
        epilogue: Epilogue {
            inputs: vec![],
            tape: Tape::identity(DType::F32),
            outputs: vec![f32s(&[1, 6, 10])],
        },
    });
    let attention = KernelSpec::Attention(AttentionSpec {
        batch: vec![2],
        q_len: 3,
        kv_len: 5,
        qk_size: 4,
        v_size: 6,
        scale: 0.5,
        softcap: None,
        causal: Some(2),
        q: f32s(&[2, 3, 4]),
        k: f32s(&[2, 5, 4]),
        v: f32s(&[2, 5, 6]),
        mask: Some(Operand {
            dtype: DType::Bool,
            strides: vec![0, 5, 1],
        }),
        out: f32s(&[2, 3, 6]),
    });
    let depthwise = KernelSpec::Window(WindowSpec {
        batch: 1,
        channels: 3,
        window: pixels(),
        x: f32s(&[1, 3, 8, 8]),
        prologue: Tape::identity(DType::F32),
        weight: Some(f32s(&[3, 3, 3])),
        fold: WindowFold::Sum,
        epilogue: Epilogue {
            inputs: vec![strided(&[0, 1, 0, 0])],
            tape: bias_relu(),
            outputs: vec![f32s(&[1, 3, 8, 8])],
        },
        indices: None,
    });
    let max_indices = KernelSpec::Window(WindowSpec {
        batch: 2,
        channels: 3,
        window: Window {
            input: vec![7],
            output: vec![4],
            kernel: vec![2],
            strides: vec![2],
            dilations: vec![1],
            pads_begin: vec![0],
        },
        x: f32s(&[2, 3, 7]),
        prologue: Tape::identity(DType::F32),
        weight: None,
        fold: WindowFold::Max,
        epilogue: Epilogue {
            inputs: vec![],
            tape: Tape::identity(DType::F32),
            outputs: vec![f32s(&[2, 3, 4])],
        },
        indices: Some(MaxIndices {
            out: operand(DType::I64, &[2, 3, 4]),
            column_major: false,
        }),
    });
    let scatter = KernelSpec::Movement(MovementSpec::Scatter(ScatterSpec {
        domain: vec![3, 4],
        updates: f32s(&[3, 4]),
        indices: vec![Operand {
            dtype: DType::I64,
            strides: vec![1, 0],
        }],
        axes: vec![GatherAxis {
            index: 0,
            len: 7,
            stride: 4,
        }],
        out: strided(&[0, 1]),
        reduction: Reduction::Add,
    }));
    let pad = KernelSpec::Movement(MovementSpec::Pad(PadSpec {
        input: vec![3, 4],
        output: vec![6, 3],
        begin: vec![2, -1],
        mode: PadMode::Constant,
        x: f32s(&[3, 4]),
        out: f32s(&[6, 3]),
    }));
    let reflect = KernelSpec::Movement(MovementSpec::Pad(PadSpec {
        input: vec![1, 4],
        output: vec![5, 9],
        begin: vec![1, 3],
        mode: PadMode::Reflect,
        x: f32s(&[1, 4]),
        out: f32s(&[5, 9]),
    }));
    let resize = KernelSpec::Movement(MovementSpec::Resize(ResizeSpec {
        input: vec![2, 3],
        axes: vec![
            Interpolation {
                output: 2,
                taps: 1,
                positions: vec![0, 1],
                factors: vec![1.0, 1.0],
            },
            Interpolation {
                output: 4,
                taps: 2,
                positions: vec![-1, 0, 0, 1, 1, 2, 2, -1],
                factors: vec![0.5; 8],
            },
        ],
        outside: 0.0,
        x: f32s(&[2, 3]),
        out: f32s(&[2, 4]),
    }));
    let lstm = KernelSpec::Recurrent(RecurrentSpec {
        cell: Cell::Lstm {
            input_forget: false,
        },
        direction: Direction::Bidirectional,
        time: 3,
        batch: 2,
        input_size: 4,
        hidden_size: 5,
        activations: [Activation::Sigmoid, Activation::Tanh, Activation::Tanh].repeat(2),
        clip: None,
        x: f32s(&[3, 2, 4]),
        w: f32s(&[2, 20, 4]),
        r: f32s(&[2, 20, 5]),
        bias: Some(f32s(&[2, 40])),
        lengths: Some(operand(DType::I32, &[2])),
        initial_h: None,
        initial_c: Some(f32s(&[2, 2, 5])),
        peepholes: Some(f32s(&[2, 15])),
        y: Some(f32s(&[3, 2, 2, 5])),
        y_h: Some(f32s(&[2, 2, 5])),
        y_c: None,
    });
    let top_k = KernelSpec::Library(LibrarySpec::TopK(TopKSpec {
        domain: vec![2, 9],
        k: 3,
        largest: true,
        x: f32s(&[2, 9]),
        values: f32s(&[2, 3]),
        indices: operand(DType::I64, &[2, 3]),
    }));
    let cum_sum = KernelSpec::Library(LibrarySpec::CumSum(CumSumSpec {
        domain: vec![2, 9],
        exclusive: false,
        reverse: true,
        x: f32s(&[2, 9]),
        out: f32s(&[2, 9]),
    }));
    let grid_sample = KernelSpec::Library(LibrarySpec::GridSample(GridSampleSpec {
        batch: 1,
        channels: 2,
        input: vec![4, 4],
        output: vec![3, 5],
        mode: SampleMode::Linear,
        padding: SamplePadding::Border,
        align_corners: false,
        x: f32s(&[1, 2, 4, 4]),
        grid: f32s(&[1, 3, 5, 2]),
        out: f32s(&[1, 2, 3, 5]),
    }));
    let suppression = KernelSpec::Library(LibrarySpec::NonMaxSuppression(NonMaxSuppressionSpec {
        batch: 1,
        classes: 2,
        boxes: 6,
        max_output: 4,
        iou_threshold: 0.5,
        score_threshold: Some(0.1),
        center_point: false,
        boxes_in: f32s(&[1, 6, 4]),
        scores: f32s(&[1, 2, 6]),
        out: operand(DType::I64, &[8, 3]),
    }));
    vec![
        ("Gather", gather),
        ("Where", masked_index),
        ("Softmax", softmax(4, 7)),
        ("ArgMax", argmax),
        ("Gemm", linear(2, 3, 4, bias_relu())),
        ("MatMul", batched),
        ("Conv", conv(1, 3, 4, f32s(&[1, 4, 8, 8]))),
        ("ConvTranspose", deconv),
        ("Attention", attention),
        ("DepthwiseConv", depthwise),
        ("MaxPool", max_indices),
        ("ScatterND", scatter),
        ("Pad", pad),
        ("Pad", reflect),
        ("Resize", resize),
        ("LSTM", lstm),
        ("TopK", top_k),
        ("CumSum", cum_sum),
        ("GridSample", grid_sample),
        ("NonMaxSuppression", suppression),
    ]
}

/// A model of one step for each of [`kernels`]: every operand an input, every result an output.
/// Where a result is updated in place, a step of its own fills it first.
pub(crate) fn zoo() -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let (mut inputs, mut outputs) = (vec![], vec![]);
    for (n, (label, spec)) in kernels().into_iter().enumerate() {
        let mut places = vec![];
        for (i, arg) in spec.args().into_iter().enumerate() {
            let (low, high) = arg.reach.unwrap();
            let elements = (high - low + 1) as u64;
            let size = arg.dtype.size() as u64;
            let name = format!("{label}_{n}_{}{i}", arg.name);
            let buffer = s.buffer(io, &name, elements * size);
            places.push((Place::Buffer(buffer), (-low) as u64 * size));
            let ports = match arg.role {
                Role::Read => &mut inputs,
                Role::Write | Role::Update => &mut outputs,
            };
            ports.push(port(&name, arg.dtype, &[elements], buffer));
            if arg.role == Role::Update {
                let fill = KernelSpec::Map(MapSpec {
                    domain: vec![elements],
                    inputs: vec![],
                    tape: tape(&[TapeOp::Const(Scalar::Float(0.0))]),
                    outputs: vec![operand(arg.dtype, &[elements])],
                });
                s.step("ConstantOfShape", fill, &[at(buffer)]);
            }
        }
        s.step(label, spec, &places);
    }
    let n_steps = s.plan.steps.len() as u32;
    s.finish_model("zoo", inputs, outputs, &[n_steps]);
    s
}
