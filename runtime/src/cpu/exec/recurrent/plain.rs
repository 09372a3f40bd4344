//! Recurrences of every floating-point type, step by step from their definition.

use super::super::geometry::{Bump, bump_size};
use super::super::real::{Real, is_single, load_row, store_row};
use super::super::{Cx, Execute, Needs};
use super::Places;
use plans::spec::{Activation, Cell, Direction, Operand, RecurrentSpec};
use plans::tape::UnaryFn;

/// A prepared recurrence.
pub(crate) struct Plain {
    spec: RecurrentSpec,
    places: Places,
}

/// One sequence in one direction, with buffers for it.
struct Sequence<'a, T> {
    plain: &'a Plain,
    cx: &'a Cx<'a>,
    direction: usize,
    batch: usize,
    x: &'a mut [T],
    h: &'a mut [T],
    c: &'a mut [T],
    /// `W x + Wb` and `R h + Rb` of all gates.
    inputs: &'a mut [T],
    states: &'a mut [T],
    /// A row of a weight.
    row: &'a mut [T],
    next: &'a mut [T],
}

impl Plain {
    pub(super) fn new(spec: &RecurrentSpec) -> Self {
        Self {
            places: Places::new(spec),
            spec: spec.clone(),
        }
    }

    /// Elements of x, of the state, of all gates, of the longest row of a weight.
    fn sizes(&self) -> [usize; 4] {
        let (i, h) = (
            self.spec.input_size as usize,
            self.spec.hidden_size as usize,
        );
        [i, h, self.spec.cell.n_gates() as usize * h, i.max(h).max(1)]
    }

    /// # Safety
    /// As [`Execute::run`]; `T` is the lane of the operands.
    unsafe fn run_as<T: Real + super::super::geometry::Zero>(&self, cx: &Cx<'_>) {
        let n_sequences = self.spec.direction.count() as usize * self.spec.batch as usize;
        let [i, h, gates, row] = self.sizes();
        cx.parallel(n_sequences, 1, &|range, memory| {
            for at in range {
                // SAFETY: the worker's memory is what `needs` asks for.
                let mut bump = unsafe { Bump::new(memory, self.needs().worker) };
                let mut sequence = Sequence {
                    plain: self,
                    cx,
                    direction: at / self.spec.batch as usize,
                    batch: at % self.spec.batch as usize,
                    x: bump.zeroed::<T>(i),
                    h: bump.zeroed::<T>(h),
                    c: bump.zeroed::<T>(h),
                    inputs: bump.zeroed::<T>(gates),
                    states: bump.zeroed::<T>(gates),
                    row: bump.zeroed::<T>(row),
                    next: bump.zeroed::<T>(h),
                };
                // SAFETY: sequences are disjoint in all results.
                unsafe { sequence.run() };
            }
        });
    }
}

impl<T: Real> Sequence<'_, T> {
    /// Where the row of an operand at these positions of its outer dimensions starts.
    ///
    /// # Safety
    /// The row is in the operand's reach.
    unsafe fn at(&self, arg: usize, o: &Operand, positions: &[usize]) -> *mut u8 {
        let steps = positions.iter().zip(&o.strides);
        let offset: isize = steps.map(|(&p, &s)| p as isize * s as isize).sum();
        // SAFETY: the caller's promise.
        unsafe { self.cx.args[arg].offset(offset * o.dtype.size() as isize) }
    }

    /// One element of an operand, 0 if the operand is not there.
    ///
    /// # Safety
    /// The element is in the operand's reach.
    unsafe fn one(&self, arg: Option<usize>, o: Option<&Operand>, positions: &[usize]) -> T {
        let mut lane = T::default();
        if let (Some(arg), Some(o)) = (arg, o) {
            // SAFETY: the caller's promise.
            unsafe { load_row(o.dtype, self.at(arg, o, positions), 1, 1, &raw mut lane) };
        }
        lane
    }

    /// `weight * values + bias` of gates `gates`.
    ///
    /// # Safety
    /// As [`Execute::run`]; `arg` is w or r.
    unsafe fn product(&mut self, arg: usize, gates: std::ops::Range<usize>, values: Values) {
        let plain = self.plain;
        let h = self.h.len();
        let n_gates = plain.spec.cell.n_gates() as usize;
        let (o, bias_from) = if arg == 1 {
            (&plain.spec.w, 0)
        } else {
            (&plain.spec.r, n_gates * h)
        };
        for gate in gates.start * h..gates.end * h {
            // SAFETY: rows of the weight and elements of the bias are in reach.
            unsafe {
                let bias = plain.spec.bias.as_ref();
                let at = [self.direction, bias_from + gate];
                let mut sum = self.one(plain.places.bias, bias, &at);
                let row = self.at(arg, o, &[self.direction, gate]);
                let n = match values {
                    Values::X => self.x.len(),
                    Values::H | Values::Next => h,
                };
                load_row(
                    o.dtype,
                    row,
                    o.strides[2] as isize,
                    n,
                    self.row.as_mut_ptr(),
                );
                let values = match values {
                    Values::X => &self.x,
                    Values::H => &self.h,
                    Values::Next => &self.next,
                };
                for (&w, &v) in self.row.iter().zip(values.iter()) {
                    sum += w * v;
                }
                if arg == 1 {
                    self.inputs[gate] = sum;
                } else {
                    self.states[gate] = sum;
                }
            }
        }
    }

    fn activate(&self, n: usize, x: T) -> T {
        let per_direction = self.plain.spec.cell.n_activations();
        let activation = self.plain.spec.activations[self.direction * per_direction + n];
        apply(activation, x)
    }

    /// Activation `n` of the sum of a gate, which is clipped.
    fn gate(&self, n: usize, sum: T) -> T {
        let clip = self.plain.spec.clip.filter(|c| !c.is_nan());
        let sum = clip.map_or(sum, |clip| {
            let clip = f64::from(clip.abs());
            let wide = sum.wide();
            if wide > clip {
                T::of(clip)
            } else if wide < -clip {
                T::of(-clip)
            } else {
                sum
            }
        });
        self.activate(n, sum)
    }

    /// # Safety
    /// As [`Execute::run`].
    unsafe fn step(&mut self) {
        let n = self.h.len();
        let n_gates = self.plain.spec.cell.n_gates() as usize;
        let one = T::of(1.0);
        // SAFETY: the caller's promise is handed on.
        unsafe {
            self.product(1, 0..n_gates, Values::X);
            match self.plain.spec.cell {
                Cell::Rnn => {
                    self.product(2, 0..1, Values::H);
                    for i in 0..n {
                        self.h[i] = self.gate(0, self.inputs[i] + self.states[i]);
                    }
                }
                Cell::Lstm { input_forget } => {
                    self.product(2, 0..4, Values::H);
                    for i in 0..n {
                        let sum =
                            |s: &Self, gate: usize| s.inputs[gate * n + i] + s.states[gate * n + i];
                        let peephole = |s: &Self, gate: usize| {
                            let spec = &s.plain.spec;
                            let at = [s.direction, gate * n + i];
                            s.one(s.plain.places.peepholes, spec.peepholes.as_ref(), &at)
                        };
                        let cell = self.c[i];
                        let input = self.gate(0, sum(self, 0) + peephole(self, 0) * cell);
                        let forget = if input_forget {
                            one - input
                        } else {
                            self.gate(0, sum(self, 2) + peephole(self, 2) * cell)
                        };
                        let new = forget * cell + input * self.gate(1, sum(self, 3));
                        let output = self.gate(0, sum(self, 1) + peephole(self, 1) * new);
                        self.c[i] = new;
                        self.h[i] = output * self.activate(2, new);
                    }
                }
                Cell::Gru {
                    linear_before_reset,
                } => {
                    self.product(2, 0..2, Values::H);
                    for i in 0..2 * n {
                        self.inputs[i] = self.gate(0, self.inputs[i] + self.states[i]);
                    }
                    if linear_before_reset {
                        self.product(2, 2..3, Values::H);
                        for i in 0..n {
                            self.next[i] = self.inputs[n + i] * self.states[2 * n + i];
                        }
                    } else {
                        for i in 0..n {
                            self.next[i] = self.inputs[n + i] * self.h[i];
                        }
                        self.product(2, 2..3, Values::Next);
                        self.next.copy_from_slice(&self.states[2 * n..]);
                    }
                    for i in 0..n {
                        let new = self.gate(1, self.inputs[2 * n + i] + self.next[i]);
                        let update = self.inputs[i];
                        self.h[i] = (one - update) * new + update * self.h[i];
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`Execute::run`].
    unsafe fn run(&mut self) {
        let Plain { spec, places } = self.plain;
        let (d, b, n) = (self.direction, self.batch, self.h.len());
        let time = spec.time as usize;
        // SAFETY: positions are those of the operands; buffers hold rows of them.
        unsafe {
            let mut length = time;
            if let (Some(arg), Some(o)) = (places.lengths, &spec.lengths) {
                let at = self.at(arg, o, &[b]).cast::<i32>();
                length = at.read_unaligned().clamp(0, spec.time as i32) as usize;
            }
            if let (Some(arg), Some(o)) = (places.initial_h, &spec.initial_h) {
                let at = self.at(arg, o, &[d, b]);
                load_row(o.dtype, at, o.strides[2] as isize, n, self.h.as_mut_ptr());
            }
            if let (Some(arg), Some(o)) = (places.initial_c, &spec.initial_c) {
                let at = self.at(arg, o, &[d, b]);
                load_row(o.dtype, at, o.strides[2] as isize, n, self.c.as_mut_ptr());
            }
            let is_backward = spec.direction == Direction::Reverse || d == 1;
            for step in 0..time {
                let is_over = step >= length;
                let t = if is_over || !is_backward {
                    step
                } else {
                    length - 1 - step
                };
                if is_over {
                    self.next.fill(T::default());
                } else {
                    let at = self.at(0, &spec.x, &[t, b]);
                    let stride = spec.x.strides[2] as isize;
                    load_row(spec.x.dtype, at, stride, self.x.len(), self.x.as_mut_ptr());
                    self.step();
                    self.next.copy_from_slice(self.h);
                }
                if let (Some(arg), Some(o)) = (places.y, &spec.y) {
                    let at = self.at(arg, o, &[t, d, b]);
                    store_row(
                        o.dtype,
                        self.next.as_mut_ptr(),
                        n,
                        at,
                        o.strides[3] as isize,
                    );
                }
            }
            if let (Some(arg), Some(o)) = (places.y_h, &spec.y_h) {
                let at = self.at(arg, o, &[d, b]);
                store_row(o.dtype, self.h.as_mut_ptr(), n, at, o.strides[2] as isize);
            }
            if let (Some(arg), Some(o)) = (places.y_c, &spec.y_c) {
                let at = self.at(arg, o, &[d, b]);
                store_row(o.dtype, self.c.as_mut_ptr(), n, at, o.strides[2] as isize);
            }
        }
    }
}

/// What a weight is multiplied by.
#[derive(Clone, Copy)]
enum Values {
    X,
    H,
    Next,
}

fn apply<T: Real>(activation: Activation, x: T) -> T {
    let v = x.wide();
    let wide = |x: f32| f64::from(x);
    T::of(match activation {
        Activation::Relu => v.max(0.0),
        Activation::Tanh => v.tanh(),
        Activation::Sigmoid => return x.apply(UnaryFn::Sigmoid),
        Activation::Affine(a, b) => wide(a) * v + wide(b),
        Activation::LeakyRelu(a) if v < 0.0 => wide(a) * v,
        Activation::LeakyRelu(_) => v,
        Activation::ThresholdedRelu(a) if v < wide(a) => 0.0,
        Activation::ThresholdedRelu(_) => v,
        Activation::ScaledTanh(a, b) => wide(a) * (wide(b) * v).tanh(),
        Activation::HardSigmoid(a, b) => (wide(a) * v + wide(b)).clamp(0.0, 1.0),
        Activation::Elu(a) if v < 0.0 => wide(a) * v.exp_m1(),
        Activation::Elu(_) => v,
        Activation::Softsign => v / (1.0 + v.abs()),
        Activation::Softplus => return x.apply(UnaryFn::Softplus),
    })
}

impl Execute for Plain {
    fn implementation(&self) -> &'static str {
        "plain"
    }

    fn needs(&self) -> Needs {
        let [i, h, gates, row] = self.sizes();
        let bytes = |n: usize| bump_size(n.saturating_mul(8));
        Needs {
            shared: 0,
            worker: bytes(i) + 3 * bytes(h) + 2 * bytes(gates) + bytes(row),
        }
    }

    unsafe fn run(&self, cx: &Cx<'_>) {
        // SAFETY: the caller's promise.
        unsafe {
            if is_single(self.spec.x.dtype) {
                self.run_as::<f32>(cx);
            } else {
                self.run_as::<f64>(cx);
            }
        }
    }
}
