//! Arithmetic on rows of gates.

use crate::cpu::gemm::Activation;
use crate::cpu::gemm::epilogue::{activate, add_row};
use crate::cpu::level::Level;
use crate::cpu::simd::for_each_level;
use crate::cpu::vecmath;

/// A function of a gate, by its ONNX name.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum GateFn {
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `alpha x + beta`.
    Affine(f32, f32),
    /// `x` if not negative, else `alpha x`.
    LeakyRelu(f32),
    /// `x` from `alpha` on, else 0.
    ThresholdedRelu(f32),
    /// `alpha tanh(beta x)`.
    ScaledTanh(f32, f32),
    /// `min(max(alpha x + beta, 0), 1)`.
    HardSigmoid(f32, f32),
    /// `x` if not negative, else `alpha (e^x - 1)`.
    Elu(f32),
    /// `x / (1 + |x|)`.
    Softsign,
    /// `log(1 + e^x)`.
    Softplus,
}

impl GateFn {
    /// `x = f(x)` over `n` floats.
    ///
    /// # Safety
    /// `x` must be valid for `n` floats; the processor must have `level`.
    pub(super) unsafe fn apply(self, level: Level, x: *mut f32, n: usize) {
        let activation = match self {
            GateFn::Sigmoid => Activation::Sigmoid,
            GateFn::Tanh => Activation::Tanh,
            GateFn::Relu => Activation::Relu,
            GateFn::LeakyRelu(a) => Activation::LeakyRelu(a),
            GateFn::HardSigmoid(a, b) => Activation::HardSigmoid(a, b),
            GateFn::Elu(a) => Activation::Elu(a),
            GateFn::Softplus => Activation::Softplus,
            GateFn::Affine(..)
            | GateFn::ThresholdedRelu(_)
            | GateFn::ScaledTanh(..)
            | GateFn::Softsign => {
                for i in 0..n {
                    // SAFETY: i < n.
                    let x = unsafe { &mut *x.add(i) };
                    *x = match self {
                        GateFn::Affine(a, b) => a * *x + b,
                        GateFn::ThresholdedRelu(a) => {
                            if *x < a {
                                0.0
                            } else {
                                *x
                            }
                        }
                        GateFn::ScaledTanh(a, b) => a * (b * *x).tanh(),
                        _ => *x / (1.0 + x.abs()),
                    };
                }
                return;
            }
        };
        // SAFETY: as the caller promises.
        unsafe { activate(level, activation, x, x, n) }
    }
}

/// `gate = f(clip(gate + input))` over `n` floats.
///
/// # Safety
/// Both must be valid for `n` floats and apart; the processor must have `level`.
pub(super) unsafe fn open_gates(
    level: Level,
    gate: *mut f32,
    input: *const f32,
    n: usize,
    clip: f32,
    f: GateFn,
) {
    // SAFETY: as the caller promises.
    unsafe {
        add_row(level, gate, input, n);
        if clip.is_finite() {
            vecmath::clip_raw(level, gate, gate, n, -clip, clip);
        }
        f.apply(level, gate, n);
    }
}

/// Defines functions over `n` floats of several operands, vector by vector.
macro_rules! row_loops {
    ($($(#[$meta:meta])* $name:ident<$S:ident>($y:ident, $($x:ident),*) = $body:expr;)*) => {
        $(for_each_level! {
            $(#[$meta])*
            ///
            /// # Safety
            /// All must be valid for `n` floats, the same or apart; the processor must have
            /// `level`.
            pub(super) unsafe fn $name<$S>($y: *mut f32, $($x: *const f32,)* n: usize) {
                let to = $y;
                let mut i = 0;
                while i < n {
                    let width = $S::LANES.min(n - i);
                    let $y = $S::load_n(to.add(i), width);
                    $(let $x = $S::load_n($x.add(i), width);)*
                    // Operands that are only written need not be read.
                    let _ = $y;
                    $S::store_n(to.add(i), $body, width);
                    i += $S::LANES;
                }
            }
        })*
    };
}

row_loops! {
    /// `y = a b`.
    multiply<S>(y, a, b) = S::mul(a, b);
    /// `y = (y + a) b`.
    add_and_multiply<S>(y, a, b) = S::mul(S::add(y, a), b);
    /// `y = a b + y`.
    multiply_add<S>(y, a, b) = S::fma(a, b, y);
    /// `y = z y + (1 - z) h`.
    mix<S>(y, z, h) = S::fma(z, y, S::mul(S::sub(S::splat(1.0), z), h));
    /// `y = f y + i c`.
    remember<S>(y, f, i, c) = S::fma(f, y, S::mul(i, c));
    /// `y = 1 - a`.
    complement<S>(y, a) = S::sub(S::splat(1.0), a);
}

/// One step of an LSTM for one sequence.
pub(super) struct Lstm {
    /// Product of the state: input, output, forget, cell, of `n` floats each.
    pub(super) gates: *mut f32,
    /// Product of the input, with biases.
    pub(super) input: *const f32,
    pub(super) memory: *mut f32,
    pub(super) state: *mut f32,
    /// Room for `n` floats.
    pub(super) row: *mut f32,
    pub(super) n: usize,
    /// Null, or those of input, output and forget gate.
    pub(super) peepholes: *const f32,
    pub(super) clip: f32,
    pub(super) functions: [GateFn; 3],
    pub(super) input_forget: bool,
}

impl Lstm {
    /// # Safety
    /// The pointers must be valid for their floats; the processor must have `level`.
    pub(super) unsafe fn step(&self, level: Level) {
        let n = self.n;
        let clip = |x: *mut f32, n: usize| {
            if self.clip.is_finite() {
                // SAFETY: called below with floats of the gates only.
                unsafe { vecmath::clip_raw(level, x, x, n, -self.clip, self.clip) };
            }
        };
        // SAFETY: as the caller promises.
        unsafe {
            let [i, o, f, c] = [0, 1, 2, 3].map(|g| self.gates.add(g * n));
            let [of_gates, of_cell, of_state] = self.functions;
            add_row(level, self.gates, self.input, 4 * n);
            if !self.peepholes.is_null() {
                multiply_add(level, i, self.peepholes, self.memory, n);
                multiply_add(level, f, self.peepholes.add(2 * n), self.memory, n);
                clip(i, n);
                clip(f, n);
                of_gates.apply(level, i, n);
                of_gates.apply(level, f, n);
            } else {
                // All three gates at once.
                clip(i, 3 * n);
                of_gates.apply(level, i, 3 * n);
            }
            if self.input_forget {
                complement(level, f, i, n);
            }
            clip(c, n);
            of_cell.apply(level, c, n);
            remember(level, self.memory, f, i, c, n);
            if !self.peepholes.is_null() {
                multiply_add(level, o, self.peepholes.add(n), self.memory, n);
                clip(o, n);
                of_gates.apply(level, o, n);
            }
            std::ptr::copy_nonoverlapping(self.memory, self.row, n);
            of_state.apply(level, self.row, n);
            multiply(level, self.state, o, self.row, n);
        }
    }
}
