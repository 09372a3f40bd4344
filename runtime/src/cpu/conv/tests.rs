use super::*;
use crate::cpu::gemm::Activation;
use crate::cpu::testing::{Rng, assert_close};

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_available())
}

fn scratch(n: usize) -> Floats {
    Floats::zeros(n.div_ceil(4))
}

/// Numbers in three dimensions, of which those under the rank vary.
fn sizes(rng: &mut Rng, rank: usize, low: usize, high: usize, other: usize) -> [usize; 3] {
    std::array::from_fn(|d| {
        if d + rank >= 3 {
            rng.range(low, high)
        } else {
            other
        }
    })
}

fn random_shape(rng: &mut Rng, is_transposed: bool) -> ConvShape {
    loop {
        let rank = rng.pick(&[1, 2, 2, 2, 3]);
        let groups = rng.pick(&[1, 1, 1, 2, 3]);
        let mut shape = ConvShape {
            batch: rng.range(1, 2),
            c_in: groups * rng.pick(&[1, 2, 3, 5, 9, 17, 32]),
            c_out: groups * rng.pick(&[1, 4, 7, 16, 33, 70]),
            groups,
            input: sizes(rng, rank, 1, 11, 1),
            kernel: sizes(rng, rank, 1, 4, 1),
            stride: sizes(rng, rank, 1, 3, 1),
            dilation: sizes(rng, rank, 1, 2, 1),
            pads: sizes(rng, rank, 0, 3, 0),
            output: [1; 3],
        };
        if rng.one_in(3) {
            // Depthwise, with one filter a channel or more.
            shape.c_in = rng.pick(&[5, 16, 37, 64]);
            shape.groups = shape.c_in;
            shape.c_out = shape.c_in * rng.pick(&[1, 1, 2]);
        }
        if rng.one_in(4) {
            shape.kernel = [1; 3];
            shape.pads = [0; 3];
            shape.stride = [1; 3];
        }
        if !is_transposed && rng.one_in(12) {
            // Large enough for the method of few products.
            shape.batch = 2;
            (shape.c_in, shape.c_out, shape.groups) = (rng.range(32, 50), rng.range(32, 150), 1);
            shape.input = [1, rng.range(20, 27), rng.range(14, 23)];
            shape.kernel = [1, 3, 3];
            shape.stride = [1; 3];
            shape.dilation = [1; 3];
            shape.pads = [0, rng.range(0, 2), rng.range(0, 2)];
        }
        let mut is_valid = true;
        for d in 0..3 {
            let end = rng.range(0, shape.pads[d].min(1));
            let extent = (shape.kernel[d] - 1) * shape.dilation[d] + 1;
            if is_transposed {
                let size = (shape.input[d] - 1) * shape.stride[d] + extent;
                is_valid &= size > shape.pads[d] + end;
                shape.output[d] = size.saturating_sub(shape.pads[d] + end);
            } else {
                let size = shape.input[d] + shape.pads[d] + end;
                is_valid &= size >= extent;
                shape.output[d] = size.saturating_sub(extent) / shape.stride[d] + 1;
            }
        }
        if is_valid {
            return shape;
        }
    }
}

/// Calls `f(n, g, input pixel, output pixel, tap)` for all pairs that meet.
fn pairs(shape: &ConvShape, is_transposed: bool, mut f: impl FnMut(usize, usize, usize, usize)) {
    let n_pixels = |s: [usize; 3]| s.iter().product::<usize>();
    let split = |i: usize, s: [usize; 3]| [i / (s[1] * s[2]), i / s[2] % s[1], i % s[2]];
    let (from, to) = if is_transposed {
        (shape.output, shape.input)
    } else {
        (shape.input, shape.output)
    };
    for n in 0..shape.batch {
        for o in 0..n_pixels(to) {
            for k in 0..n_pixels(shape.kernel) {
                let (at, tap) = (split(o, to), split(k, shape.kernel));
                let p: [usize; 3] = std::array::from_fn(|d| {
                    (at[d] * shape.stride[d] + tap[d] * shape.dilation[d])
                        .wrapping_sub(shape.pads[d])
                });
                if (0..3).all(|d| p[d] < from[d]) {
                    let i = (p[0] * from[1] + p[1]) * from[2] + p[2];
                    let (i, o) = if is_transposed { (o, i) } else { (i, o) };
                    f(n, i, o, k);
                }
            }
        }
    }
}

/// The result with channels last, from an input with channels first.
fn reference(shape: &ConvShape, is_transposed: bool, x: &[f32], w: &[f32]) -> Vec<f64> {
    let n_in = shape.input.iter().product::<usize>();
    let n_out = shape.output.iter().product::<usize>();
    let n_taps = shape.kernel.iter().product::<usize>();
    let (ci, co) = (shape.c_in / shape.groups, shape.c_out / shape.groups);
    let mut y = vec![0.0; shape.batch * n_out * shape.c_out];
    pairs(shape, is_transposed, |n, i, o, k| {
        for g in 0..shape.groups {
            for c in 0..ci {
                let xv = f64::from(x[(n * shape.c_in + g * ci + c) * n_in + i]);
                for m in 0..co {
                    let at = if is_transposed {
                        ((g * ci + c) * co + m) * n_taps + k
                    } else {
                        ((g * co + m) * ci + c) * n_taps + k
                    };
                    y[(n * n_out + o) * shape.c_out + g * co + m] += xv * f64::from(w[at]);
                }
            }
        }
    });
    y
}

/// The input in some layout: floats and strides.
fn lay_out(rng: &mut Rng, shape: &ConvShape, x: &[f32]) -> (Vec<f32>, InputStrides) {
    if rng.one_in(3) {
        return (x.to_vec(), InputStrides::channels_first(shape));
    }
    // A slice of wider pixels, as in a concatenation.
    let pixel = shape.c_in + rng.pick(&[0, 0, 3]);
    let n_in = shape.input.iter().product::<usize>();
    let mut out = vec![f32::NAN; shape.batch * n_in * pixel];
    for n in 0..shape.batch {
        for i in 0..n_in {
            for c in 0..shape.c_in {
                out[(n * n_in + i) * pixel + c] = x[(n * shape.c_in + c) * n_in + i];
            }
        }
    }
    let [_, h, w] = shape.input.map(|v| v as isize);
    let p = pixel as isize;
    let strides = InputStrides {
        image: n_in as isize * p,
        channel: 1,
        space: [h * w * p, w * p, p],
    };
    (out, strides)
}

#[test]
fn convolutions_agree_with_double_precision_and_do_not_depend_on_threads() {
    let mut rng = Rng::new(11);
    for level in levels() {
        for case in 0..150 {
            let shape = random_shape(&mut rng, false);
            let n_in = shape.input.iter().product::<usize>();
            let n_out = shape.output.iter().product::<usize>();
            let n_taps = shape.kernel.iter().product::<usize>();
            let x = rng.floats(shape.batch * shape.c_in * n_in);
            let w = rng.floats(shape.c_out * shape.c_in / shape.groups * n_taps);
            let bias = rng.floats(shape.c_out);
            let residual = rng.floats(shape.batch * n_out * shape.c_out);
            let has_residual = rng.one_in(2);
            let want: Vec<f64> = reference(&shape, false, &x, &w)
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    let r = if has_residual { residual[i] } else { 0.0 };
                    (v + f64::from(bias[i % shape.c_out]) + f64::from(r)).max(0.0)
                })
                .collect();
            let (x, strides) = lay_out(&mut rng, &shape, &x);
            // SAFETY: `w` has the shape's size.
            let conv = unsafe { Conv::new(level, shape, w.as_ptr(), strides) };
            let columns = rng.one_in(4);
            let mut first: Option<Vec<f32>> = None;
            for threads in 1..=3 {
                let pool = Pool::new(threads).unwrap();
                let mut y = vec![f32::NAN; want.len()];
                let data = y.as_mut_ptr();
                let output = if columns {
                    let image_stride = n_out * shape.c_out;
                    Output::Columns {
                        data,
                        plane: n_out,
                        image_stride,
                        column_stride: n_out,
                    }
                } else {
                    Output::Rows {
                        data,
                        row_stride: shape.c_out,
                    }
                };
                let epilogue = Epilogue {
                    bias: bias.as_ptr(),
                    residual: if has_residual {
                        residual.as_ptr()
                    } else {
                        std::ptr::null()
                    },
                    residual_stride: shape.c_out,
                    activation: Activation::Relu,
                    ..Epilogue::default()
                };
                let mut s = scratch(conv.scratch_bytes(threads));
                // SAFETY: the operands have the shapes given, the scratch its size.
                unsafe {
                    conv.run(&pool, x.as_ptr(), output, epilogue, s.as_mut_ptr().cast())
                        .unwrap();
                }
                if columns {
                    y = (0..y.len())
                        .map(|i| {
                            let (c, p) = (i % shape.c_out, i / shape.c_out);
                            y[(p / n_out * shape.c_out + c) * n_out + p % n_out]
                        })
                        .collect();
                }
                println!("{level:?} {case} {shape:?} {strides:?} {:?}", conv.input);
                // Few products round more than many: the norm of their error has a test of its own.
                let is_direct = !matches!(conv.method, Method::Winograd { .. });
                assert_close(&y, &want, if is_direct { 1e-5 } else { 5e-4 });
                assert_eq!(first.get_or_insert(y.clone()), &y);
            }
        }
    }
}

#[test]
fn transposed_convolutions_agree_with_double_precision() {
    let mut rng = Rng::new(12);
    for level in levels() {
        for case in 0..100 {
            let shape = random_shape(&mut rng, true);
            let n_in = shape.input.iter().product::<usize>();
            let n_out = shape.output.iter().product::<usize>();
            let n_taps = shape.kernel.iter().product::<usize>();
            let x = rng.floats(shape.batch * shape.c_in * n_in);
            let w = rng.floats(shape.c_in * shape.c_out / shape.groups * n_taps);
            let bias = rng.floats(shape.c_out);
            let residual = rng.floats(shape.batch * n_out * shape.c_out);
            let has_residual = rng.one_in(2);
            let want: Vec<f64> = reference(&shape, true, &x, &w)
                .iter()
                .enumerate()
                .map(|(i, v)| {
                    let r = if has_residual { residual[i] } else { 0.0 };
                    (v + f64::from(bias[i % shape.c_out]) + f64::from(r)).max(0.0)
                })
                .collect();
            let (x, strides) = lay_out(&mut rng, &shape, &x);
            // SAFETY: `w` has the shape's size.
            let conv = unsafe { ConvTranspose::new(level, shape, w.as_ptr(), strides) };
            let mut first: Option<Vec<f32>> = None;
            for threads in 1..=3 {
                let pool = Pool::new(threads).unwrap();
                let mut y = vec![f32::NAN; want.len()];
                let epilogue = Epilogue {
                    bias: bias.as_ptr(),
                    residual: if has_residual {
                        residual.as_ptr()
                    } else {
                        std::ptr::null()
                    },
                    residual_stride: shape.c_out,
                    activation: Activation::Relu,
                    ..Epilogue::default()
                };
                let mut s = scratch(conv.scratch_bytes(threads));
                // SAFETY: the operands have the shapes given, the scratch its size.
                unsafe {
                    let (x, y) = (x.as_ptr(), y.as_mut_ptr());
                    conv.run(&pool, x, y, shape.c_out, epilogue, s.as_mut_ptr().cast())
                        .unwrap();
                }
                println!("{level:?} {case} {shape:?} {strides:?}");
                assert_close(&y, &want, 1e-5);
                assert_eq!(first.get_or_insert(y.clone()), &y);
            }
        }
    }
}

#[test]
fn few_products_lose_little_precision() {
    let mut rng = Rng::new(13);
    let shape = ConvShape {
        batch: 1,
        c_in: 128,
        c_out: 64,
        groups: 1,
        input: [1, 28, 28],
        kernel: [1, 3, 3],
        stride: [1; 3],
        dilation: [1; 3],
        pads: [0, 1, 1],
        output: [1, 28, 28],
    };
    for level in levels() {
        let (x, w) = (rng.floats(128 * 28 * 28), rng.floats(64 * 128 * 9));
        let want = reference(&shape, false, &x, &w);
        // SAFETY: `w` has the shape's size.
        let conv = unsafe {
            Conv::new(
                level,
                shape,
                w.as_ptr(),
                InputStrides::channels_first(&shape),
            )
        };
        assert!(matches!(conv.method, Method::Winograd { .. }));
        let pool = Pool::new(2).unwrap();
        let mut y = vec![0.0; want.len()];
        let output = Output::Rows {
            data: y.as_mut_ptr(),
            row_stride: 64,
        };
        let mut s = scratch(conv.scratch_bytes(2));
        // SAFETY: the operands have the shapes given, the scratch its size.
        unsafe {
            let s = s.as_mut_ptr().cast();
            conv.run(&pool, x.as_ptr(), output, Epilogue::default(), s)
                .unwrap();
        }
        let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
        let error = norm(&mut y.iter().zip(&want).map(|(g, w)| f64::from(*g) - w));
        let relative = error / norm(&mut want.iter().copied());
        println!("{level:?}: relative error {relative:e}");
        assert!(relative < 5e-6, "{relative:e}");
    }
}
