use super::*;
use crate::cpu::testing::{Rng, assert_close};
use std::sync::Mutex;

fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| level.is_available())
}

/// Scratch of at least `n` bytes, aligned to a cache line.
fn scratch(n: usize) -> pack::Floats {
    pack::Floats::zeros(n.div_ceil(4))
}

fn reference(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for kk in 0..k {
            for j in 0..n {
                c[i * n + j] += f64::from(a[i * k + kk]) * f64::from(b[kk * n + j]);
            }
        }
    }
    c
}

fn transposed(rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
    (0..rows * columns)
        .map(|i| x[i % rows * columns + i / rows])
        .collect()
}

#[test]
fn products_agree_with_double_precision_and_do_not_depend_on_threads() {
    let mut rng = Rng::new(1);
    let mut shapes: Vec<[usize; 3]> = (0..60)
        .map(|_| [rng.range(1, 70), rng.range(1, 90), rng.range(1, 200)])
        .collect();
    shapes.extend([
        [1, 1, 1],
        [1, 5000, 130],
        [30, 7000, 70],
        [250, 300, 130],
        [100, 64, 1000],
    ]);
    for level in levels() {
        for &[m, k, n] in &shapes {
            let (a, b) = (rng.floats(m * k), rng.floats(k * n));
            let want = reference(m, k, n, &a, &b);
            let b_is_transposed = rng.one_in(2);
            let a_is_transposed = rng.one_in(3);
            let (at, bt) = (transposed(m, k, &a), transposed(k, n, &b));
            let (b, b_row, b_column) = if b_is_transposed {
                (&bt, 1, k as isize)
            } else {
                (&b, n as isize, 1)
            };
            let (a, a_row, a_column) = if a_is_transposed {
                (&at, 1, m as isize)
            } else {
                (&a, k as isize, 1)
            };
            // SAFETY: `b` holds k * n floats.
            let gemm = unsafe { Gemm::new(level, k, n, b.as_ptr(), b_row, b_column) };
            let mut first: Option<Vec<f32>> = None;
            for threads in 1..=3 {
                let pool = Pool::new(threads).unwrap();
                let stride = n + rng.range(0, 3);
                let mut c = vec![7.0; m * stride];
                let mut s = scratch(gemm.scratch_bytes(m, threads, a_is_transposed));
                let output = Output::Rows {
                    data: c.as_mut_ptr(),
                    row_stride: stride,
                };
                // SAFETY: the operands have the shapes given, the scratch its size.
                unsafe {
                    let s = s.as_mut_ptr().cast();
                    let e = Epilogue::default();
                    gemm.run(&pool, m, a.as_ptr(), a_row, a_column, output, e, s)
                        .unwrap();
                }
                assert!(
                    c.chunks(stride)
                        .all(|row| row[n..].iter().all(|x| *x == 7.0))
                );
                let c: Vec<f32> = c.chunks(stride).flat_map(|row| row[..n].to_vec()).collect();
                // Rounding errors of a sum grow like the root of its length.
                assert_close(&c, &want, 1e-6 * (10.0 + (k as f64).sqrt()));
                assert_eq!(first.get_or_insert(c.clone()), &c, "{level:?} {m} {k} {n}");
            }
        }
    }
}

#[test]
fn epilogues_follow_their_formula() {
    let mut rng = Rng::new(2);
    let activations = [
        Activation::None,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::Clip(-0.5, 0.75),
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Tanh,
        Activation::HardSigmoid(0.2, 0.4),
        Activation::HardSwish,
        Activation::Elu(0.7),
        Activation::Softplus,
        Activation::Mish,
    ];
    let apply = |f: Activation, x: f64| match f {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu(a) => {
            if x < 0.0 {
                f64::from(a) * x
            } else {
                x
            }
        }
        Activation::Clip(low, high) => x.max(low.into()).min(high.into()),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu | Activation::GeluTanh => {
            0.5 * x * (1.0 + (0.7978845608 * (x + 0.044715 * x * x * x)).tanh())
        }
        Activation::Tanh => x.tanh(),
        Activation::HardSigmoid(a, b) => (f64::from(a) * x + f64::from(b)).clamp(0.0, 1.0),
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::Elu(a) => {
            if x < 0.0 {
                f64::from(a) * x.exp_m1()
            } else {
                x
            }
        }
        Activation::Softplus => x.exp().ln_1p(),
        Activation::Mish => x * x.exp().ln_1p().tanh(),
    };
    for level in levels() {
        for f in activations {
            for columns_first in [false, true] {
                let (m, k) = (rng.range(1, 40), if rng.one_in(4) { 7000 } else { 30 });
                let n = rng.range(1, 150);
                let (a, b) = (rng.floats(m * k), rng.floats(k * n));
                let (bias, residual) = (rng.floats(n), rng.floats(m * n));
                let last = rng.one_in(2);
                let scale = if rng.one_in(2) { 1.0 } else { 0.3 };
                let want: Vec<f64> = reference(m, k, n, &a, &b)
                    .iter()
                    .enumerate()
                    .map(|(i, p)| {
                        let p = p * f64::from(scale) + f64::from(bias[i % n]);
                        let r = f64::from(residual[i]);
                        let y = if last {
                            apply(f, p) + r
                        } else {
                            apply(f, p + r)
                        };
                        2.0 * y
                    })
                    .collect();
                // The exact form and the approximation of GELU differ by less than this.
                let tolerance = if f == Activation::Gelu { 1e-3 } else { 2e-4 };
                // SAFETY: `b` holds k * n floats.
                let gemm = unsafe { Gemm::new(level, k, n, b.as_ptr(), n as isize, 1) };
                let pool = Pool::new(2).unwrap();
                let mut c = residual.clone();
                let in_place = !columns_first && !last && rng.one_in(2);
                let seen = Mutex::new(vec![0; m * n]);
                let twice = |tile: FinishedTile| {
                    for i in 0..tile.n_rows {
                        for j in 0..tile.n_columns {
                            // SAFETY: within the tile.
                            unsafe { *tile.data.add(i * tile.row_stride + j) *= 2.0 };
                            seen.lock().unwrap()[(tile.row + i) * n + tile.column + j] += 1;
                        }
                    }
                };
                let data = c.as_mut_ptr();
                let e = Epilogue {
                    scale,
                    bias: bias.as_ptr(),
                    residual: if in_place { data } else { residual.as_ptr() },
                    residual_stride: n,
                    residual_last: last,
                    activation: f,
                    finish: Some(&twice),
                };
                let output = if columns_first {
                    Output::Columns {
                        data,
                        plane: m,
                        image_stride: m * n,
                        column_stride: m,
                    }
                } else {
                    Output::Rows {
                        data,
                        row_stride: n,
                    }
                };
                let mut s = scratch(gemm.scratch_bytes(m, 2, false));
                // SAFETY: the operands have the shapes given, the scratch its size.
                unsafe {
                    let s = s.as_mut_ptr().cast();
                    gemm.run(&pool, m, a.as_ptr(), k as isize, 1, output, e, s)
                        .unwrap();
                }
                if columns_first {
                    c = transposed(n, m, &c);
                }
                assert_close(&c, &want, tolerance);
                assert!(seen.into_inner().unwrap().iter().all(|n| *n == 1));
            }
        }
    }
}

#[test]
fn relu_keeps_nan_and_bounds_infinity() {
    for level in levels() {
        let a = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0];
        let b = [1.0_f32; 20];
        // SAFETY: B is one row of 20, A a column of four.
        let c = unsafe {
            let gemm = Gemm::new(level, 1, 20, b.as_ptr(), 20, 1);
            let mut c = vec![0.0; 80];
            let mut s = scratch(gemm.scratch_bytes(4, 1, false));
            let e = Epilogue {
                activation: Activation::Relu,
                ..Epilogue::default()
            };
            let output = Output::Rows {
                data: c.as_mut_ptr(),
                row_stride: 20,
            };
            let pool = Pool::new(1).unwrap();
            gemm.run(&pool, 4, a.as_ptr(), 1, 1, output, e, s.as_mut_ptr().cast())
                .unwrap();
            c
        };
        assert!(c[..20].iter().all(|x| x.is_nan()));
        assert!(c[20..40].iter().all(|x| *x == f32::INFINITY));
        assert!(c[40..].iter().all(|x| *x == 0.0));
    }
}

#[test]
fn batches_of_strided_matrices_agree_with_double_precision() {
    let mut rng = Rng::new(3);
    for level in levels() {
        for _ in 0..40 {
            let [m, k, n] = [rng.range(1, 50), rng.range(1, 60), rng.range(1, 140)];
            let n_batches = rng.range(1, 5);
            let a_batches = rng.pick(&[1, n_batches]);
            let (a, b) = (rng.floats(a_batches * m * k), rng.floats(n_batches * k * n));
            let residual = rng.floats(m * n);
            let mut want = Vec::new();
            for i in 0..n_batches {
                let a = &a[i % a_batches * m * k..][..m * k];
                let product = reference(m, k, n, a, &b[i * k * n..][..k * n]);
                want.extend(
                    product
                        .iter()
                        .zip(&residual)
                        .map(|(p, r)| p * 0.5 + f64::from(*r)),
                );
            }
            let flip = |flip: bool, rows: usize, columns: usize, x: &[f32]| {
                let (row, column) = if flip {
                    (1, rows as isize)
                } else {
                    (columns as isize, 1)
                };
                let x: Vec<f32> = x
                    .chunks(rows * columns)
                    .flat_map(|x| {
                        if flip {
                            transposed(rows, columns, x)
                        } else {
                            x.to_vec()
                        }
                    })
                    .collect();
                (x, MatrixStrides { row, column })
            };
            let (a, a_strides) = flip(rng.one_in(2), m, k, &a);
            let (b, b_strides) = flip(rng.one_in(2), k, n, &b);
            let batch: Vec<BatchOffsets> = (0..n_batches)
                .map(|i| BatchOffsets {
                    a: (i % a_batches * m * k) as isize,
                    b: (i * k * n) as isize,
                    c: (i * m * n) as isize,
                    residual: 0,
                })
                .collect();
            let gemm = BatchGemm::new(level, [m, k, n], a_strides, b_strides, n);
            let mut first: Option<Vec<f32>> = None;
            for threads in 1..=3 {
                let pool = Pool::new(threads).unwrap();
                let mut c = vec![0.0; n_batches * m * n];
                let mut s = scratch(gemm.scratch_bytes(threads));
                let e = Epilogue {
                    scale: 0.5,
                    residual: residual.as_ptr(),
                    residual_stride: n,
                    ..Epilogue::default()
                };
                // SAFETY: the operands have the shapes given, the scratch its size.
                unsafe {
                    let s = s.as_mut_ptr().cast();
                    gemm.run(&pool, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), &batch, e, s)
                        .unwrap();
                }
                assert_close(&c, &want, 1e-5);
                assert_eq!(first.get_or_insert(c.clone()), &c);
            }
        }
    }
}
