//! Times the CPU kernels on shapes of well-known models.
//!
//! Usage: `cpu_bench [FILTER]`. Prints, for one and two threads, the least time of several runs;
//! `benches/ort_single_ops.py` prints ONNX Runtime's for the same names.

#![allow(clippy::print_stdout, reason = "a table for people")]

use dlirc_runtime::cpu::conv::{Conv, ConvShape, ConvTranspose, InputStrides};
use dlirc_runtime::cpu::gemm::{Activation, Epilogue, Gemm, Output};
use dlirc_runtime::cpu::level::Level;
use dlirc_runtime::cpu::pool::Pool;
use dlirc_runtime::cpu::recurrent::{
    CellKind, Direction, GateFn, Recurrent, RecurrentArgs, RecurrentShape, RecurrentWeights,
};
use dlirc_runtime::cpu::rows;
use std::time::{Duration, Instant};

/// Name, input `[c, d, h, w]`, channels out, kernel, stride, padding, groups.
type ConvCase = (&'static str, [usize; 4], usize, usize, usize, usize, usize);

const CONVS: &[ConvCase] = &[
    ("resnet_conv1_7x7s2", [3, 1, 224, 224], 64, 7, 2, 3, 1),
    ("resnet_56_64_1x1", [64, 1, 56, 56], 64, 1, 1, 0, 1),
    ("resnet_56_64_3x3", [64, 1, 56, 56], 64, 3, 1, 1, 1),
    ("resnet_56_64_256_1x1", [64, 1, 56, 56], 256, 1, 1, 0, 1),
    ("resnet_28_128_3x3", [128, 1, 28, 28], 128, 3, 1, 1, 1),
    ("resnet_28_512_128_1x1", [512, 1, 28, 28], 128, 1, 1, 0, 1),
    ("resnet_14_256_3x3", [256, 1, 14, 14], 256, 3, 1, 1, 1),
    ("resnet_14_1024_256_1x1", [1024, 1, 14, 14], 256, 1, 1, 0, 1),
    ("resnet_7_512_3x3", [512, 1, 7, 7], 512, 3, 1, 1, 1),
    ("resnet_7_512_2048_1x1", [512, 1, 7, 7], 2048, 1, 1, 0, 1),
    ("resnet_28_128_3x3s2", [128, 1, 56, 56], 128, 3, 2, 1, 1),
    ("vgg_224_3_64_3x3", [3, 1, 224, 224], 64, 3, 1, 1, 1),
    ("vgg_224_64_64_3x3", [64, 1, 224, 224], 64, 3, 1, 1, 1),
    ("vgg_56_256_3x3", [256, 1, 56, 56], 256, 3, 1, 1, 1),
    ("vgg_14_512_3x3", [512, 1, 14, 14], 512, 3, 1, 1, 1),
    ("yolo_13_1280_1024_3x3", [1280, 1, 13, 13], 1024, 3, 1, 1, 1),
    ("densenet_28_128_32_3x3", [128, 1, 28, 28], 32, 3, 1, 1, 1),
    ("mobilenet_112_16_96_1x1", [16, 1, 112, 112], 96, 1, 1, 0, 1),
    ("mobilenet_56_144_24_1x1", [144, 1, 56, 56], 24, 1, 1, 0, 1),
    ("mobilenet_112_32_dw", [32, 1, 112, 112], 32, 3, 1, 1, 32),
    ("mobilenet_112_96_dw_s2", [96, 1, 112, 112], 96, 3, 2, 1, 96),
    ("mobilenet_28_192_dw", [192, 1, 28, 28], 192, 3, 1, 1, 192),
    ("mobilenet_14_576_dw", [576, 1, 14, 14], 576, 3, 1, 1, 576),
    ("mobilenet_7_960_dw", [960, 1, 7, 7], 960, 3, 1, 1, 960),
    (
        "r3d_conv_64_16x56x56_3x3x3",
        [64, 16, 56, 56],
        64,
        3,
        1,
        1,
        1,
    ),
];

/// Name, m, k, n.
const MATMULS: &[(&str, usize, usize, usize)] = &[
    ("bert_128_768_768", 128, 768, 768),
    ("bert_128_768_3072", 128, 768, 3072),
    ("bert_128_3072_768", 128, 3072, 768),
    ("vit_197_768_3072", 197, 768, 3072),
    ("gpt2_logits_128_768_50257", 128, 768, 50257),
    ("square_1024", 1024, 1024, 1024),
    ("resnet_fc_1_2048_1000", 1, 2048, 1000),
    ("vgg_fc1_1_25088_4096", 1, 25088, 4096),
];

/// The least time of a call, over at least a fifth of a second.
fn least_time(mut call: impl FnMut()) -> f64 {
    call();
    let (mut n, mut best) = (1_u32, f64::INFINITY);
    let end = Instant::now() + Duration::from_millis(400);
    while Instant::now() < end {
        let start = Instant::now();
        for _ in 0..n {
            call();
        }
        let took = start.elapsed().as_secs_f64();
        best = best.min(took / f64::from(n));
        if took < 0.002 {
            n *= 2;
        }
    }
    best
}

struct Bench {
    filter: String,
    pools: [Pool; 2],
}

impl Bench {
    /// `call` runs the kernel on a pool.
    fn report(&self, name: &str, flops: usize, mut call: impl FnMut(&Pool)) {
        if !name.contains(&self.filter) {
            return;
        }
        let times = self.pools.each_ref().map(|pool| least_time(|| call(pool)));
        println!(
            "{name:32} 1 thread {:9.4} ms {:7.1} GFLOP/s   2 threads {:9.4} ms {:7.1} GFLOP/s",
            times[0] * 1e3,
            flops as f64 / times[0] / 1e9,
            times[1] * 1e3,
            flops as f64 / times[1] / 1e9,
        );
    }

    fn skips(&self, name: &str) -> bool {
        !name.contains(&self.filter)
    }
}

fn floats(n: usize) -> Vec<f32> {
    let mut state = 1_u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Scratch aligned to a cache line.
fn scratch(n_bytes: usize) -> (Vec<u8>, usize) {
    let memory = vec![0_u8; n_bytes + 64];
    let shift = memory.as_ptr().align_offset(64);
    (memory, shift)
}

fn convolutions(bench: &Bench) {
    for &(name, [c_in, d, h, w], c_out, k, s, p, groups) in CONVS {
        if bench.skips(name) {
            continue;
        }
        let only = |dim: usize, v: usize, other: usize| if d == 1 && dim == 0 { other } else { v };
        let input = [d, h, w];
        let kernel: [usize; 3] = std::array::from_fn(|i| only(i, k, 1));
        let stride: [usize; 3] = std::array::from_fn(|i| only(i, s, 1));
        let pads: [usize; 3] = std::array::from_fn(|i| only(i, p, 0));
        let output = std::array::from_fn(|i| (input[i] + 2 * pads[i] - kernel[i]) / stride[i] + 1);
        let shape = ConvShape {
            batch: 1,
            c_in,
            c_out,
            groups,
            input,
            kernel,
            stride,
            dilation: [1; 3],
            pads,
            output,
        };
        let n_taps = kernel.iter().product::<usize>();
        let n_out = output.iter().product::<usize>();
        let x = floats(c_in * input.iter().product::<usize>());
        let weights = floats(c_out * c_in / groups * n_taps);
        let bias = floats(c_out);
        let mut y = vec![0.0_f32; n_out * c_out];
        let strides = if c_in == 3 {
            InputStrides::channels_first(&shape)
        } else {
            InputStrides::channels_last(&shape)
        };
        // SAFETY: the weights have the shape's size.
        let conv = unsafe { Conv::new(Level::detect(), shape, weights.as_ptr(), strides) };
        let (mut memory, shift) = scratch(conv.scratch_bytes(2));
        let flops = 2 * n_out * c_out * c_in / groups * n_taps;
        bench.report(name, flops, |pool| {
            let epilogue = Epilogue {
                bias: bias.as_ptr(),
                activation: Activation::Relu,
                ..Epilogue::default()
            };
            let output = Output::Rows {
                data: y.as_mut_ptr(),
                row_stride: c_out,
            };
            // SAFETY: all operands have the shape's sizes, the scratch its own.
            let done = unsafe {
                let scratch = memory.as_mut_ptr().add(shift);
                conv.run(pool, x.as_ptr(), output, epilogue, scratch)
            };
            assert_eq!(done, Ok(()));
        });
    }
}

fn matrix_products(bench: &Bench) {
    for &(name, m, k, n) in MATMULS {
        if bench.skips(name) {
            continue;
        }
        let (a, b) = (floats(m * k), floats(k * n));
        let mut c = vec![0.0_f32; m * n];
        // SAFETY: `b` holds k * n floats.
        let gemm = unsafe { Gemm::new(Level::detect(), k, n, b.as_ptr(), n as isize, 1) };
        drop(b);
        let (mut memory, shift) = scratch(gemm.scratch_bytes(m, 2, false));
        bench.report(name, 2 * m * k * n, |pool| {
            let output = Output::Rows {
                data: c.as_mut_ptr(),
                row_stride: n,
            };
            // SAFETY: all operands have the product's sizes, the scratch its own.
            let done = unsafe {
                let scratch = memory.as_mut_ptr().add(shift);
                let e = Epilogue::default();
                gemm.run(pool, m, a.as_ptr(), k as isize, 1, output, e, scratch)
            };
            assert_eq!(done, Ok(()));
        });
    }
}

fn transposed_convolutions(bench: &Bench) {
    for (name, c_in, h, c_out) in [
        ("dcgan_4_1024_512_ct4s2", 1024, 4, 512),
        ("dcgan_16_256_128_ct4s2", 256, 16, 128),
    ] {
        if bench.skips(name) {
            continue;
        }
        let shape = ConvShape {
            batch: 1,
            c_in,
            c_out,
            groups: 1,
            input: [1, h, h],
            kernel: [1, 4, 4],
            stride: [1, 2, 2],
            dilation: [1; 3],
            pads: [0, 1, 1],
            output: [1, 2 * h, 2 * h],
        };
        let x = floats(c_in * h * h);
        let weights = floats(c_in * c_out * 16);
        let mut y = vec![0.0_f32; 4 * h * h * c_out];
        let strides = InputStrides::channels_last(&shape);
        // SAFETY: the weights have the shape's size.
        let conv = unsafe { ConvTranspose::new(Level::detect(), shape, weights.as_ptr(), strides) };
        let (mut memory, shift) = scratch(conv.scratch_bytes(2));
        bench.report(name, 2 * h * h * c_in * c_out * 16, |pool| {
            // SAFETY: all operands have the shape's sizes, the scratch its own.
            let done = unsafe {
                let (x, y) = (x.as_ptr(), y.as_mut_ptr());
                let scratch = memory.as_mut_ptr().add(shift);
                conv.run(pool, x, y, c_out, Epilogue::default(), scratch)
            };
            assert_eq!(done, Ok(()));
        });
    }
}

fn recurrent_layers(bench: &Bench) {
    let (n_steps, n) = (64, 256);
    for (name, kind) in [
        (
            "lstm_64_1_256_256",
            CellKind::Lstm {
                input_forget: false,
            },
        ),
        (
            "gru_64_1_256_256",
            CellKind::Gru {
                linear_before_reset: false,
            },
        ),
    ] {
        let rows = kind.n_gates() * n;
        let shape = RecurrentShape {
            kind,
            direction: Direction::Forward,
            n_steps,
            batch: 1,
            input: n,
            hidden: n,
            functions: [[GateFn::Sigmoid, GateFn::Tanh, GateFn::Tanh]; 2],
            clip: f32::INFINITY,
            batch_first: false,
        };
        let small = |n| floats(n).iter().map(|v| v * 0.05).collect::<Vec<f32>>();
        let (x, w, r) = (floats(n_steps * n), small(rows * n), small(rows * n));
        let mut y = vec![0.0_f32; n_steps * n];
        let weights = RecurrentWeights {
            input: w.as_ptr(),
            state: r.as_ptr(),
            bias: std::ptr::null(),
            peepholes: std::ptr::null(),
        };
        // SAFETY: the weights have the shape's sizes.
        let layer = unsafe { Recurrent::new(Level::detect(), shape, weights) };
        let (mut memory, shift) = scratch(layer.scratch_bytes(2));
        let args = RecurrentArgs {
            x: x.as_ptr(),
            lengths: std::ptr::null(),
            initial_state: std::ptr::null(),
            initial_cell: std::ptr::null(),
            y: y.as_mut_ptr(),
            last_state: std::ptr::null_mut(),
            last_cell: std::ptr::null_mut(),
        };
        bench.report(name, 2 * n_steps * rows * 2 * n, |pool| {
            // SAFETY: all operands have the shape's sizes, the scratch its own.
            let done = unsafe { layer.run(pool, &args, memory.as_mut_ptr().add(shift)) };
            assert_eq!(done, Ok(()));
        });
    }
}

fn softmax(bench: &Bench) {
    for (name, n_rows, n) in [
        ("bert_softmax_12_128_128", 12 * 128, 128),
        ("vit_softmax_12_197_197", 12 * 197, 197),
    ] {
        let x = floats(n_rows * n);
        let mut y: Vec<f32> = x.clone();
        let level = Level::detect();
        bench.report(name, n_rows * n, |pool| {
            let (x, y) = (x.as_ptr() as usize, y.as_mut_ptr() as usize);
            let done = pool.run(n_rows.div_ceil(64), &|task, _| {
                for row in task * 64..((task + 1) * 64).min(n_rows) {
                    // SAFETY: the row is one of both, and tasks have different rows.
                    unsafe {
                        let (x, y) = (x as *const f32, y as *mut f32);
                        rows::softmax(level, x.add(row * n), y.add(row * n), n);
                    }
                }
            });
            assert_eq!(done, Ok(()));
        });
    }
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let pools = [1, 2].map(|n| Pool::new(n).expect("a worker thread"));
    let bench = Bench { filter, pools };
    println!("{:?}", Level::detect());
    convolutions(&bench);
    matrix_products(&bench);
    transposed_convolutions(&bench);
    recurrent_layers(&bench);
    softmax(&bench);
}
