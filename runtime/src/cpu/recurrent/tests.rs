use super::*;
use crate::cpu::gemm::pack::Floats;
use crate::cpu::testing::{Rng, assert_close};

fn apply(f: GateFn, x: f64) -> f64 {
    match f {
        GateFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        GateFn::Tanh => x.tanh(),
        GateFn::Relu => x.max(0.0),
        GateFn::Affine(a, b) => f64::from(a) * x + f64::from(b),
        GateFn::LeakyRelu(a) => {
            if x < 0.0 {
                f64::from(a) * x
            } else {
                x
            }
        }
        GateFn::ThresholdedRelu(a) => {
            if x < f64::from(a) {
                0.0
            } else {
                x
            }
        }
        GateFn::ScaledTanh(a, b) => f64::from(a) * (f64::from(b) * x).tanh(),
        GateFn::HardSigmoid(a, b) => (f64::from(a) * x + f64::from(b)).clamp(0.0, 1.0),
        GateFn::Elu(a) => {
            if x < 0.0 {
                f64::from(a) * x.exp_m1()
            } else {
                x
            }
        }
        GateFn::Softsign => x / (1.0 + x.abs()),
        GateFn::Softplus => x.exp().ln_1p(),
    }
}

struct Operands {
    x: Vec<f32>,
    w: Vec<f32>,
    r: Vec<f32>,
    bias: Option<Vec<f32>>,
    peepholes: Option<Vec<f32>>,
    h0: Option<Vec<f32>>,
    c0: Option<Vec<f32>>,
    lengths: Option<Vec<i32>>,
}

/// y as [t][d][b][h], last states and cells as [d][b][h]; operands in layout 0.
fn reference(s: &RecurrentShape, o: &Operands) -> [Vec<f64>; 3] {
    let (t_max, n_b, i_n, h_n) = (s.n_steps, s.batch, s.input, s.hidden);
    let g_n = s.kind.n_gates();
    let n_d = s.direction.count();
    let mut y = vec![0.0; t_max * n_d * n_b * h_n];
    let (mut hs, mut cs) = (Vec::new(), Vec::new());
    for d in 0..n_d {
        for b in 0..n_b {
            let state = |v: &Option<Vec<f32>>| -> Vec<f64> {
                (0..h_n)
                    .map(|j| {
                        v.as_ref()
                            .map_or(0.0, |v| f64::from(v[(d * n_b + b) * h_n + j]))
                    })
                    .collect()
            };
            let (mut h, mut c) = (state(&o.h0), state(&o.c0));
            let length = o.lengths.as_ref().map_or(t_max, |l| l[b] as usize);
            let reverse = s.direction == Direction::Reverse || d == 1;
            let [f, g, hf] = s.functions[d];
            let clip = f64::from(s.clip);
            let of = |f: GateFn, x: f64| apply(f, x.clamp(-clip, clip));
            let bias = |part: usize, row: usize| {
                o.bias.as_ref().map_or(0.0, |v| {
                    f64::from(v[d * 2 * g_n * h_n + part * g_n * h_n + row])
                })
            };
            let p = |k: usize, j: usize| {
                o.peepholes
                    .as_ref()
                    .map_or(0.0, |v| f64::from(v[(d * 3 + k) * h_n + j]))
            };
            for step in 0..length {
                let t = if reverse { length - 1 - step } else { step };
                let wx = |row: usize| -> f64 {
                    (0..i_n)
                        .map(|k| {
                            f64::from(o.x[(t * n_b + b) * i_n + k])
                                * f64::from(o.w[(d * g_n * h_n + row) * i_n + k])
                        })
                        .sum::<f64>()
                        + bias(0, row)
                };
                let rh = |row: usize, h: &[f64]| -> f64 {
                    (0..h_n)
                        .map(|k| h[k] * f64::from(o.r[(d * g_n * h_n + row) * h_n + k]))
                        .sum::<f64>()
                        + bias(1, row)
                };
                let old = h.clone();
                match s.kind {
                    CellKind::Rnn => {
                        for (j, h) in h.iter_mut().enumerate() {
                            *h = of(f, wx(j) + rh(j, &old));
                        }
                    }
                    CellKind::Gru {
                        linear_before_reset,
                    } => {
                        let z: Vec<f64> = (0..h_n).map(|j| of(f, wx(j) + rh(j, &old))).collect();
                        let r: Vec<f64> = (0..h_n)
                            .map(|j| of(f, wx(h_n + j) + rh(h_n + j, &old)))
                            .collect();
                        let reset: Vec<f64> = (0..h_n).map(|j| r[j] * old[j]).collect();
                        for j in 0..h_n {
                            let row = 2 * h_n + j;
                            let product = if linear_before_reset {
                                r[j] * rh(row, &old)
                            } else {
                                rh(row, &reset)
                            };
                            h[j] = (1.0 - z[j]) * of(g, wx(row) + product) + z[j] * old[j];
                        }
                    }
                    CellKind::Lstm { input_forget } => {
                        for j in 0..h_n {
                            let gate = |k: usize| wx(k * h_n + j) + rh(k * h_n + j, &old);
                            let i = of(f, gate(0) + p(0, j) * c[j]);
                            let forget = if input_forget {
                                1.0 - i
                            } else {
                                of(f, gate(2) + p(2, j) * c[j])
                            };
                            c[j] = forget * c[j] + i * of(g, gate(3));
                            h[j] = of(f, gate(1) + p(1, j) * c[j]) * apply(hf, c[j]);
                        }
                    }
                }
                for j in 0..h_n {
                    y[((t * n_d + d) * n_b + b) * h_n + j] = h[j];
                }
            }
            hs.extend(h);
            cs.extend(c);
        }
    }
    [y, hs, cs]
}

/// Swaps the two outer dimensions of `[a, b, inner]`.
fn swapped<T: Copy>(a: usize, b: usize, inner: usize, v: &[T]) -> Vec<T> {
    (0..v.len())
        .map(|i| {
            let (q, p, k) = (i / (a * inner), i / inner % a, i % inner);
            v[(p * b + q) * inner + k]
        })
        .collect()
}

#[test]
fn recurrent_layers_agree_with_double_precision_and_do_not_depend_on_threads() {
    let mut rng = Rng::new(41);
    let all = [
        GateFn::Relu,
        GateFn::Affine(0.5, 0.1),
        GateFn::LeakyRelu(0.1),
        GateFn::ThresholdedRelu(0.2),
        GateFn::ScaledTanh(0.9, 0.7),
        GateFn::HardSigmoid(0.2, 0.5),
        GateFn::Elu(0.8),
        GateFn::Softsign,
        GateFn::Softplus,
    ];
    for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
        for case in 0..80 {
            let kind = rng.pick(&[
                CellKind::Rnn,
                CellKind::Gru {
                    linear_before_reset: false,
                },
                CellKind::Gru {
                    linear_before_reset: true,
                },
                CellKind::Lstm {
                    input_forget: false,
                },
                CellKind::Lstm { input_forget: true },
            ]);
            let direction = rng.pick(&[
                Direction::Forward,
                Direction::Reverse,
                Direction::Bidirectional,
            ]);
            let mut f = |usual| {
                if rng.one_in(3) { rng.pick(&all) } else { usual }
            };
            let mut functions = || match kind {
                CellKind::Rnn => [f(GateFn::Tanh); 3],
                _ => [f(GateFn::Sigmoid), f(GateFn::Tanh), f(GateFn::Tanh)],
            };
            let functions = [functions(), functions()];
            let s = RecurrentShape {
                kind,
                direction,
                n_steps: rng.range(1, 6),
                batch: rng.range(1, 5),
                input: rng.range(1, 30),
                hidden: rng.range(1, 40),
                functions,
                clip: rng.pick(&[f32::INFINITY, 0.4]),
                batch_first: rng.one_in(2),
            };
            let (n_d, rows) = (direction.count(), kind.n_gates() * s.hidden);
            let mut maybe = |n: usize| (rng.one_in(2)).then(|| rng.floats(n));
            let (bias, h0) = (maybe(n_d * 2 * rows), maybe(n_d * s.batch * s.hidden));
            let c0 = maybe(n_d * s.batch * s.hidden);
            let peepholes = maybe(n_d * 3 * s.hidden).filter(|_| {
                kind == CellKind::Lstm {
                    input_forget: false,
                }
            });
            let o = Operands {
                x: rng.floats(s.n_steps * s.batch * s.input),
                w: rng
                    .floats(n_d * rows * s.input)
                    .iter()
                    .map(|v| v * 0.3)
                    .collect(),
                r: rng
                    .floats(n_d * rows * s.hidden)
                    .iter()
                    .map(|v| v * 0.3)
                    .collect(),
                bias,
                peepholes,
                h0,
                c0,
                lengths: (rng.one_in(2)).then(|| {
                    (0..s.batch)
                        .map(|_| rng.range(0, s.n_steps) as i32)
                        .collect()
                }),
            };
            let [y_want, h_want, c_want] = reference(&s, &o);
            let pointer =
                |v: &Option<Vec<f32>>| v.as_ref().map_or(std::ptr::null(), |v| v.as_ptr());
            let weights = RecurrentWeights {
                input: o.w.as_ptr(),
                state: o.r.as_ptr(),
                bias: pointer(&o.bias),
                peepholes: pointer(&o.peepholes),
            };
            let (t, b, h) = (s.n_steps, s.batch, s.hidden);
            let flip_state = |v: &Option<Vec<f32>>| {
                v.as_ref().map(|v| {
                    if s.batch_first {
                        swapped(n_d, b, h, v)
                    } else {
                        v.clone()
                    }
                })
            };
            let x = if s.batch_first {
                swapped(t, b, s.input, &o.x)
            } else {
                o.x.clone()
            };
            let (h0, c0) = (flip_state(&o.h0), flip_state(&o.c0));
            // SAFETY: the weights have the shape's sizes.
            let layer = unsafe { Recurrent::new(level, s, weights) };
            let mut first: Option<Vec<f32>> = None;
            for threads in 1..=3 {
                let pool = Pool::new(threads).unwrap();
                let mut scratch = Floats::zeros(layer.scratch_bytes(threads).div_ceil(4));
                let mut y = vec![f32::NAN; y_want.len()];
                let mut last = vec![f32::NAN; h_want.len()];
                let mut last_cell = vec![f32::NAN; h_want.len()];
                let args = RecurrentArgs {
                    x: x.as_ptr(),
                    lengths: o.lengths.as_ref().map_or(std::ptr::null(), |v| v.as_ptr()),
                    initial_state: pointer(&h0),
                    initial_cell: pointer(&c0),
                    y: y.as_mut_ptr(),
                    last_state: last.as_mut_ptr(),
                    last_cell: last_cell.as_mut_ptr(),
                };
                // SAFETY: the operands have the shape's sizes, the scratch its own.
                unsafe {
                    layer
                        .run(&pool, &args, scratch.as_mut_ptr().cast())
                        .unwrap()
                };
                if s.batch_first {
                    // [b][t][d][h] to [t][d][b][h].
                    y = swapped(b, t * n_d, h, &y);
                    last = swapped(b, n_d, h, &last);
                    last_cell = swapped(b, n_d, h, &last_cell);
                }
                println!("{level:?} {case} {s:?}");
                assert_close(&y, &y_want, 2e-5);
                assert_close(&last, &h_want, 2e-5);
                if matches!(kind, CellKind::Lstm { .. }) {
                    assert_close(&last_cell, &c_want, 2e-5);
                }
                assert_eq!(first.get_or_insert(y.clone()), &y);
            }
        }
    }
}
