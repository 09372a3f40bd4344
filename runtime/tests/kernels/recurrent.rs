//! Recurrences over time.

use crate::plan::{Tensor, check, tensors};
use crate::reference::{Value, offset};
use crate::seeded::Seeded;
use plans::DType;
use plans::spec::{Activation, Cell, Direction, KernelSpec, Operand, RecurrentSpec};

fn apply(activation: Activation, x: f64) -> f64 {
    let wide = |x: f32| f64::from(x);
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Affine(a, b) => wide(a) * x + wide(b),
        Activation::LeakyRelu(a) => {
            if x < 0.0 {
                wide(a) * x
            } else {
                x
            }
        }
        Activation::ThresholdedRelu(a) => {
            if x < wide(a) {
                0.0
            } else {
                x
            }
        }
        Activation::ScaledTanh(a, b) => wide(a) * (wide(b) * x).tanh(),
        Activation::HardSigmoid(a, b) => (wide(a) * x + wide(b)).clamp(0.0, 1.0),
        Activation::Elu(a) => {
            if x < 0.0 {
                wide(a) * (x.exp() - 1.0)
            } else {
                x
            }
        }
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Softplus => (1.0 + x.exp()).ln(),
    }
}

struct Operands<'a> {
    spec: &'a RecurrentSpec,
    args: &'a [Tensor],
    names: Vec<&'static str>,
}

impl Operands<'_> {
    fn get(&self, name: &str, o: Option<&Operand>, at: &[u64]) -> f64 {
        let Some(o) = o else { return 0.0 };
        let n = self.names.iter().position(|&n| n == name).unwrap();
        self.args[n].get(offset(o, at)).float()
    }

    /// `W x + Wb` or `R h + Rb` of row `row` of all gates.
    fn product(&self, d: u64, row: u64, is_state: bool, values: &[f64]) -> f64 {
        let spec = self.spec;
        let gates = spec.cell.n_gates() * spec.hidden_size;
        let (name, o, shift) = if is_state {
            ("r", &spec.r, gates)
        } else {
            ("w", &spec.w, 0)
        };
        let bias = self.get("bias", spec.bias.as_ref(), &[d, shift + row]);
        let terms = values.iter().enumerate();
        bias + terms
            .map(|(i, v)| self.get(name, Some(o), &[d, row, i as u64]) * v)
            .sum::<f64>()
    }
}

fn expected(spec: &RecurrentSpec, args: &[Tensor]) -> Vec<Tensor> {
    let kernel = KernelSpec::Recurrent(spec.clone());
    let names: Vec<&'static str> = kernel.args().iter().map(|a| a.name).collect();
    let operands = Operands {
        spec,
        args,
        names: names.clone(),
    };
    let mut results = args.to_vec();
    let mut put = |name: &str, o: Option<&Operand>, at: &[u64], value: f64| {
        if let Some(o) = o {
            let n = names.iter().position(|&n| n == name).unwrap();
            results[n].set(offset(o, at), Value::Float(value));
        }
    };
    let n = spec.hidden_size;
    for d in 0..spec.direction.count() {
        let activation = |i: usize, x: f64| {
            let all = spec.cell.n_activations();
            apply(spec.activations[d as usize * all + i], x)
        };
        let gate = |i: usize, x: f64| {
            let clip = spec.clip.map_or(f64::INFINITY, |c| f64::from(c).abs());
            activation(i, x.clamp(-clip, clip))
        };
        for b in 0..spec.batch {
            let state = |name, o| -> Vec<f64> {
                (0..n).map(|i| operands.get(name, o, &[d, b, i])).collect()
            };
            let mut h = state("initial_h", spec.initial_h.as_ref());
            let mut c = state("initial_c", spec.initial_c.as_ref());
            let length = match &spec.lengths {
                None => spec.time,
                Some(o) => operands.get("lengths", Some(o), &[b]) as u64,
            };
            for step in 0..spec.time {
                let backward = spec.direction == Direction::Reverse || d == 1;
                let t = if backward && step < length {
                    length - 1 - step
                } else {
                    step
                };
                if step >= length {
                    for i in 0..n {
                        put("y", spec.y.as_ref(), &[t, d, b, i], 0.0);
                    }
                    continue;
                }
                let x: Vec<f64> = (0..spec.input_size)
                    .map(|i| operands.get("x", Some(&spec.x), &[t, b, i]))
                    .collect();
                let before = h.clone();
                let sum = |gate: u64, i: u64, h: &[f64]| {
                    operands.product(d, gate * n + i, false, &x)
                        + operands.product(d, gate * n + i, true, h)
                };
                for i in 0..n {
                    let k = i as usize;
                    match spec.cell {
                        Cell::Rnn => h[k] = gate(0, sum(0, i, &before)),
                        Cell::Lstm { input_forget } => {
                            let peephole = |g: u64| {
                                operands.get("peepholes", spec.peepholes.as_ref(), &[d, g * n + i])
                            };
                            let input = gate(0, sum(0, i, &before) + peephole(0) * c[k]);
                            let forget = if input_forget {
                                1.0 - input
                            } else {
                                gate(0, sum(2, i, &before) + peephole(2) * c[k])
                            };
                            c[k] = forget * c[k] + input * gate(1, sum(3, i, &before));
                            let output = gate(0, sum(1, i, &before) + peephole(1) * c[k]);
                            h[k] = output * activation(2, c[k]);
                        }
                        Cell::Gru {
                            linear_before_reset,
                        } => {
                            let update = gate(0, sum(0, i, &before));
                            let new = if linear_before_reset {
                                let reset = gate(0, sum(1, i, &before));
                                operands.product(d, 2 * n + i, false, &x)
                                    + reset * operands.product(d, 2 * n + i, true, &before)
                            } else {
                                let reset: Vec<f64> = (0..n)
                                    .map(|j| gate(0, sum(1, j, &before)) * before[j as usize])
                                    .collect();
                                operands.product(d, 2 * n + i, false, &x)
                                    + operands.product(d, 2 * n + i, true, &reset)
                            };
                            h[k] = (1.0 - update) * gate(1, new) + update * before[k];
                        }
                    }
                }
                for i in 0..n {
                    put("y", spec.y.as_ref(), &[t, d, b, i], h[i as usize]);
                }
            }
            for i in 0..n {
                put("y_h", spec.y_h.as_ref(), &[d, b, i], h[i as usize]);
                put("y_c", spec.y_c.as_ref(), &[d, b, i], c[i as usize]);
            }
        }
    }
    results
}

#[test]
fn random_recurrences() {
    for seed in 0..120 {
        let mut seeded = Seeded::new(4000 + seed);
        let cell = seeded.pick(&[
            Cell::Lstm {
                input_forget: false,
            },
            Cell::Lstm { input_forget: true },
            Cell::Gru {
                linear_before_reset: false,
            },
            Cell::Gru {
                linear_before_reset: true,
            },
            Cell::Rnn,
        ]);
        let direction = seeded.pick(&[
            Direction::Forward,
            Direction::Reverse,
            Direction::Bidirectional,
        ]);
        let is_lstm = matches!(cell, Cell::Lstm { .. });
        let dtype = seeded.pick(&[DType::F32, DType::F32, DType::F64]);
        let (time, batch) = (1 + seeded.below(5), 1 + seeded.below(3));
        let (input_size, hidden_size) = (1 + seeded.below(9), 1 + seeded.below(17));
        let d = direction.count();
        let gates = cell.n_gates() * hidden_size;
        let state = [d, batch, hidden_size];
        let n_activations = cell.n_activations() * d as usize;
        let activations = (0..n_activations)
            .map(|_| {
                seeded.pick(&[
                    Activation::Tanh,
                    Activation::Sigmoid,
                    Activation::Relu,
                    Activation::Affine(0.5, 0.1),
                    Activation::LeakyRelu(0.1),
                    Activation::ThresholdedRelu(0.2),
                    Activation::ScaledTanh(0.9, 0.8),
                    Activation::HardSigmoid(0.2, 0.5),
                    Activation::Elu(0.7),
                    Activation::Softsign,
                    Activation::Softplus,
                ])
            })
            .collect();
        let maybe = |seeded: &mut Seeded, percent: u64, extents: &[u64]| {
            seeded.chance(percent).then(|| seeded.dense(dtype, extents))
        };
        let y = maybe(&mut seeded, 70, &[time, d, batch, hidden_size]);
        let spec = RecurrentSpec {
            cell,
            direction,
            time,
            batch,
            input_size,
            hidden_size,
            activations,
            clip: seeded.chance(30).then_some(0.8),
            x: seeded.dense(dtype, &[time, batch, input_size]),
            w: seeded.dense(dtype, &[d, gates, input_size]),
            r: seeded.dense(dtype, &[d, gates, hidden_size]),
            bias: maybe(&mut seeded, 60, &[d, 2 * gates]),
            lengths: seeded
                .chance(40)
                .then(|| seeded.dense(DType::I32, &[batch])),
            initial_h: maybe(&mut seeded, 50, &state),
            initial_c: maybe(&mut seeded, 50, &state).filter(|_| is_lstm),
            peepholes: maybe(&mut seeded, 40, &[d, 3 * hidden_size]).filter(|_| is_lstm),
            y_h: if y.is_none() {
                Some(seeded.dense(dtype, &state))
            } else {
                maybe(&mut seeded, 60, &state)
            },
            y,
            y_c: maybe(&mut seeded, 60, &state).filter(|_| is_lstm),
        };
        let kernel = KernelSpec::Recurrent(spec.clone());
        kernel.check().unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
        let mut args = tensors(&kernel, &mut seeded);
        let are_weights = seeded.chance(80);
        for (arg, named) in args.iter_mut().zip(kernel.args()) {
            if named.name == "lengths" {
                for i in 0..batch as i64 {
                    let length = seeded.below(time + 1);
                    arg.set(i, Value::Int(length.into()));
                }
            }
            arg.is_weight = are_weights && ["w", "r", "bias", "peepholes"].contains(&named.name);
            if arg.is_weight || named.name == "w" || named.name == "r" {
                // Small, so that states stay small.
                for i in 0..arg.len() as i64 {
                    let x = arg.get(i - arg.start).float() * 0.3;
                    arg.set(i - arg.start, Value::Float(x));
                }
            }
        }
        let wanted = expected(&spec, &args);
        check(&kernel, &args, &wanted, 5e-5);
    }
}
