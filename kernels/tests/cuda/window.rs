//! Folds over sliding windows.

use crate::emulate::{Case, check_all};
use crate::map::step;
use crate::seeded::Seeded;
use dlirc_kernels::cuda::window::{config_space, generate_with};
use dlirc_kernels::cuda::{Target, generate};
use plans::spec::{Epilogue, KernelSpec, MaxIndices, Operand, Window, WindowFold, WindowSpec};
use plans::tape::{BinaryFn, Reg, TapeOp, UnaryFn};
use plans::{DType, Tape};

fn dense(dtype: DType, dims: &[u64], channels_last: bool) -> Operand {
    let mut order: Vec<usize> = (0..dims.len()).collect();
    if channels_last {
        order.remove(1);
        order.push(1);
    }
    let mut strides = vec![0; dims.len()];
    let mut distance = 1;
    for d in order.into_iter().rev() {
        strides[d] = distance;
        distance *= dims[d] as i64;
    }
    Operand { dtype, strides }
}

/// Windows of `kernel` taps over channels of a square.
#[derive(Clone, Copy)]
struct Draft {
    dtype: DType,
    channels: u64,
    side: u64,
    kernel: u64,
    stride: u64,
    dilation: u64,
    pad: u64,
    channels_last: bool,
    weight: bool,
}

const DRAFT: Draft = Draft {
    dtype: DType::F32,
    channels: 6,
    side: 14,
    kernel: 3,
    stride: 1,
    dilation: 1,
    pad: 1,
    channels_last: false,
    weight: false,
};

impl Draft {
    fn spec(self, fold: WindowFold) -> WindowSpec {
        let Draft { dtype, side, .. } = self;
        let reach = (self.kernel - 1) * self.dilation + 1;
        let output = (side + 2 * self.pad - reach) / self.stride + 1;
        let twice = |n| vec![n, n];
        let x = [2, self.channels, side, side];
        let domain = [2, self.channels, output, output];
        let taps = [self.channels, self.kernel, self.kernel];
        WindowSpec {
            batch: 2,
            channels: self.channels,
            window: Window {
                input: twice(side),
                output: twice(output),
                kernel: twice(self.kernel),
                strides: twice(self.stride),
                dilations: twice(self.dilation),
                pads_begin: twice(self.pad),
            },
            x: dense(dtype, &x, self.channels_last),
            prologue: Tape::identity(dtype),
            weight: self.weight.then(|| dense(dtype, &taps, false)),
            fold,
            epilogue: Epilogue {
                inputs: vec![],
                tape: Tape::identity(dtype),
                outputs: vec![dense(dtype, &domain, self.channels_last)],
            },
            indices: None,
        }
    }
}

/// A factor for each channel, a residual, and the greater of the sum and its half.
fn finished(mut spec: WindowSpec) -> WindowSpec {
    let f = DType::F32;
    let by_channel = Operand {
        dtype: f,
        strides: vec![0, 1, 0, 0],
    };
    let residual = spec.epilogue.outputs[0].clone();
    spec.epilogue.inputs = vec![by_channel, residual];
    spec.epilogue.tape = Tape {
        steps: vec![
            step(TapeOp::Input(0), f),
            step(TapeOp::Input(1), f),
            step(TapeOp::Binary(BinaryFn::Mul, Reg(0), Reg(1)), f),
            step(TapeOp::Input(2), f),
            step(TapeOp::Binary(BinaryFn::Add, Reg(2), Reg(3)), f),
            step(TapeOp::Unary(UnaryFn::Sigmoid, Reg(4)), f),
            step(TapeOp::Index(2), DType::I64),
            step(TapeOp::Convert(Reg(6)), f),
            step(TapeOp::Binary(BinaryFn::Max, Reg(5), Reg(7)), f),
        ],
        results: vec![Reg(8)],
    };
    spec
}

/// Squares of channels summed over their neighbours.
fn neighbours() -> WindowSpec {
    let f = DType::F32;
    let x = [1, 1, 20, 9, 9];
    WindowSpec {
        batch: 1,
        channels: 1,
        window: Window {
            input: x[2..].to_vec(),
            output: x[2..].to_vec(),
            kernel: vec![5, 1, 1],
            strides: vec![1; 3],
            dilations: vec![1; 3],
            pads_begin: vec![2, 0, 0],
        },
        x: dense(f, &x, false),
        prologue: Tape {
            steps: vec![
                step(TapeOp::Input(0), f),
                step(TapeOp::Binary(BinaryFn::Mul, Reg(0), Reg(0)), f),
            ],
            results: vec![Reg(1)],
        },
        weight: None,
        fold: WindowFold::Sum,
        epilogue: Epilogue {
            inputs: vec![],
            tape: Tape::identity(f),
            outputs: vec![dense(f, &x, false)],
        },
        indices: None,
    }
}

fn with_indices(mut spec: WindowSpec, column_major: bool) -> WindowSpec {
    let out = dense(DType::I64, &spec.domain(), false);
    spec.indices = Some(MaxIndices { out, column_major });
    spec
}

fn specs() -> Vec<(&'static str, WindowSpec)> {
    use WindowFold::{Average, Max, Sum};
    let d = DRAFT;
    let depthwise = Draft { weight: true, ..d };
    let strided = Draft {
        stride: 2,
        side: 15,
        kernel: 5,
        pad: 2,
        ..depthwise
    };
    let last = Draft {
        channels_last: true,
        ..depthwise
    };
    let wide = Draft {
        dilation: 2,
        pad: 2,
        ..d
    };
    let large = Draft {
        kernel: 13,
        pad: 6,
        channels: 2,
        ..d
    };
    let of = |dtype| Draft { dtype, ..d };
    let padded = WindowFold::AveragePadded {
        pads_end: vec![1, 1],
    };
    vec![
        ("maxima", Draft { stride: 2, ..d }.spec(Max)),
        ("means", d.spec(Average)),
        ("padded means", wide.spec(padded)),
        ("depthwise", finished(depthwise.spec(Sum))),
        ("strided depthwise", strided.spec(Sum)),
        ("depthwise, channels last", finished(last.spec(Sum))),
        ("large windows", large.spec(Max)),
        (
            "large depthwise",
            Draft {
                weight: true,
                ..large
            }
            .spec(Sum),
        ),
        ("neighbours", neighbours()),
        ("positions", with_indices(d.spec(Max), false)),
        ("columns", with_indices(of(DType::I32).spec(Max), true)),
        ("halves", of(DType::F16).spec(Average)),
        (
            "bytes",
            Draft {
                weight: true,
                ..of(DType::I8)
            }
            .spec(Sum),
        ),
        ("doubles", of(DType::F64).spec(Max)),
        ("longs", of(DType::U64).spec(Sum)),
    ]
}

#[test]
fn windows() {
    let specs = specs().into_iter().zip(0..);
    let case = |((name, spec), seed)| Case::new(name, KernelSpec::Window(spec), seed);
    check_all(specs.map(case).collect());
}

#[test]
fn points_of_the_config_space() {
    let target = Target::of_arch(90).unwrap();
    let mut all = vec![];
    for (n, (name, spec)) in specs().into_iter().enumerate() {
        let kernel = KernelSpec::Window(spec.clone());
        let space = config_space(&spec, &target);
        let best = generate(&kernel, &target).unwrap();
        assert_eq!(generate_with(&spec, &space[0]).unwrap(), best);
        let s = space[space.len() - 1 - n % 3];
        let code = generate_with(&spec, &s).unwrap();
        all.push(Case::of(code, format!("{name} {s:?}"), kernel, 1));
    }
    check_all(all);
}

#[test]
fn random_windows() {
    let mut all = vec![];
    for seed in 0..32 {
        let mut seeded = Seeded::new(seed);
        let rank = 1 + seeded.below(3) as usize;
        let dtype = seeded.pick(&[DType::F32, DType::F32, DType::F64, DType::F16, DType::I32]);
        let (batch, channels) = (1 + seeded.below(2), seeded.pick(&[1, 2, 5, 16]));
        let mut w = Window {
            input: vec![],
            output: vec![],
            kernel: vec![],
            strides: vec![],
            dilations: vec![],
            pads_begin: vec![],
        };
        for _ in 0..rank {
            let (kernel, dilation) = (1 + seeded.below(4), 1 + seeded.below(2));
            let reach = (kernel - 1) * dilation + 1;
            let pad = seeded.below(kernel);
            let input = reach + seeded.below(8);
            let stride = 1 + seeded.below(3);
            w.input.push(input);
            w.kernel.push(kernel);
            w.dilations.push(dilation);
            w.strides.push(stride);
            w.pads_begin.push(pad);
            w.output.push((input + pad - 1) / stride + 1);
        }
        let fold = match seeded.below(4) {
            0 => WindowFold::Max,
            1 if dtype.is_float() => WindowFold::Average,
            2 if dtype.is_float() => WindowFold::AveragePadded {
                pads_end: w.pads_begin.clone(),
            },
            _ => WindowFold::Sum,
        };
        let x = [&[batch, channels][..], &w.input].concat();
        let domain = [&[batch, channels][..], &w.output].concat();
        let taps = [&[channels][..], &w.kernel].concat();
        let spec = WindowSpec {
            batch,
            channels,
            x: seeded.dense(dtype, &x),
            prologue: Tape::identity(dtype),
            weight: (fold == WindowFold::Sum && seeded.chance(60))
                .then(|| seeded.dense(dtype, &taps)),
            indices: (fold == WindowFold::Max && seeded.chance(40)).then(|| MaxIndices {
                out: seeded.dense(DType::I64, &domain),
                column_major: seeded.chance(50),
            }),
            window: w,
            fold,
            epilogue: Epilogue {
                inputs: vec![],
                tape: Tape::identity(dtype),
                outputs: vec![seeded.dense(dtype, &domain)],
            },
        };
        let target = Target {
            n_sms: 1,
            ..Target::of_arch(80).unwrap()
        };
        let name = format!("window {seed}");
        all.push(Case::on(&target, name, KernelSpec::Window(spec), seed));
    }
    check_all(all);
}
