//! What is done to a product while it is still in registers or in the first-level cache.

use crate::cpu::level::Level;
use crate::cpu::simd::for_each_level;
use crate::cpu::{rows, vecmath};

/// A function of one float, applied to every element of a result.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Activation {
    /// The identity.
    None,
    /// `max(x, 0)`; NaN stays.
    Relu,
    /// `x` if not negative, else `a x`.
    LeakyRelu(f32),
    /// `min(max(x, low), high)`; NaN stays.
    Clip(f32, f32),
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `x sigmoid(x)`.
    Silu,
    /// `x / 2 (1 + erf(x / √2))`.
    Gelu,
    /// `x / 2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    GeluTanh,
    /// The hyperbolic tangent.
    Tanh,
    /// `min(max(a x + b, 0), 1)`.
    HardSigmoid(f32, f32),
    /// `x min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// `x` if positive, else `a (e^x - 1)`.
    Elu(f32),
    /// `log(1 + e^x)`.
    Softplus,
    /// `x tanh(softplus(x))`.
    Mish,
}

impl Activation {
    /// The bounds of a function that only clips.
    pub(crate) fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Activation::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Activation::Relu => Some((0.0, f32::INFINITY)),
            Activation::Clip(low, high) => Some((low, high)),
            _ => None,
        }
    }
}

/// Rows and columns of a result that are final but for what [`Epilogue::finish`] does.
#[derive(Clone, Copy, Debug)]
pub struct FinishedTile {
    /// First row.
    pub row: usize,
    /// Rows, at least one.
    pub n_rows: usize,
    /// First column.
    pub column: usize,
    /// Columns, at least one.
    pub n_columns: usize,
    /// Element (`row`, `column`).
    pub data: *mut f32,
    /// Floats from one row to the next.
    pub row_stride: usize,
    /// Which of several products of one call.
    pub batch: usize,
    /// The worker of the pool that calls; no two calls with the same number overlap.
    pub worker: usize,
}

/// Called once for every tile of a result.
pub type Finish<'a> = dyn Fn(FinishedTile) + Sync + 'a;

/// What becomes of the product P: `y = f(scale P + bias + residual)`, or, with
/// [`residual_last`](Epilogue::residual_last), `f(scale P + bias) + residual`; then `finish`.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    /// A factor of the product.
    pub scale: f32,
    /// Null, or one addend a column.
    pub bias: *const f32,
    /// Null, or a matrix of the shape of the result. Without `residual_last` it may be the result
    /// itself (same address and stride); must not overlap it otherwise.
    pub residual: *const f32,
    /// Floats from one row of `residual` to the next; 0 repeats one row.
    pub residual_stride: usize,
    /// Whether the residual is added after the activation.
    pub residual_last: bool,
    /// f.
    pub activation: Activation,
    /// Called for every tile when the rest is done, while it is in the cache.
    pub finish: Option<&'a Finish<'a>>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Epilogue {
            scale: 1.0,
            bias: std::ptr::null(),
            residual: std::ptr::null(),
            residual_stride: 0,
            residual_last: false,
            activation: Activation::None,
            finish: None,
        }
    }
}

impl std::fmt::Debug for Epilogue<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epilogue")
            .field("scale", &self.scale)
            .field("bias", &!self.bias.is_null())
            .field("residual", &!self.residual.is_null())
            .field("residual_last", &self.residual_last)
            .field("activation", &self.activation)
            .field("finish", &self.finish.is_some())
            .finish()
    }
}

// SAFETY: the pointers are only read by kernels, whose callers promise that they are valid for the
// whole call, on whichever thread; `finish` is `Sync`.
unsafe impl Sync for Epilogue<'_> {}

impl Epilogue<'_> {
    /// Splits the work: the part that tiles do in registers, as bias, residual and bounds, and
    /// whether [`finish_rows`] must follow.
    pub(crate) fn in_registers(&self) -> (f32, f32, bool) {
        match self.activation.bounds() {
            Some((low, high)) if self.residual.is_null() || !self.residual_last => {
                (low, high, false)
            }
            Some((low, high)) => (low, high, true),
            None => (f32::NEG_INFINITY, f32::INFINITY, true),
        }
    }

    /// The residual that tiles add themselves, moved by `row` and `column`; null if none.
    pub(crate) fn tile_residual(&self, row: usize, column: usize) -> *const f32 {
        if self.residual.is_null() || self.residual_last {
            return std::ptr::null();
        }
        self.residual
            .wrapping_add(row * self.residual_stride + column)
    }

    /// Does all but `finish` to rows that hold the bare product.
    ///
    /// # Safety
    /// As for [`finish_rows`](Self::finish_rows), and `bias` must be valid for the columns.
    #[allow(clippy::too_many_arguments, reason = "a rectangle of a result")]
    pub(crate) unsafe fn apply_rows(
        &self,
        level: Level,
        row: usize,
        n_rows: usize,
        column: usize,
        n_columns: usize,
        data: *mut f32,
        stride: usize,
    ) {
        for i in 0..n_rows {
            // SAFETY: row i of those that the caller promises.
            unsafe {
                let y = data.add(i * stride);
                if self.scale != 1.0 {
                    rows::scale(level, y, y, n_columns, self.scale);
                }
                if !self.bias.is_null() {
                    add_row(level, y, self.bias.add(column), n_columns);
                }
                let residual = self.tile_residual(row + i, column);
                if !residual.is_null() {
                    add_row(level, y, residual, n_columns);
                }
                if self.activation.bounds().is_some() {
                    activate(level, self.activation, y, y, n_columns);
                }
            }
        }
        // SAFETY: the caller's promises.
        unsafe { self.finish_rows(level, row, n_rows, column, n_columns, data, stride) }
    }

    /// Does to rows of a result what tiles could not do in registers.
    ///
    /// # Safety
    /// `data` must be valid for the rows; the epilogue's residual for the same rows and columns;
    /// the processor must have `level`.
    #[allow(clippy::too_many_arguments, reason = "a rectangle of a result")]
    pub(crate) unsafe fn finish_rows(
        &self,
        level: Level,
        row: usize,
        n_rows: usize,
        column: usize,
        n_columns: usize,
        data: *mut f32,
        stride: usize,
    ) {
        for i in 0..n_rows {
            // SAFETY: row i of those that the caller promises.
            unsafe {
                let y = data.add(i * stride);
                if self.activation.bounds().is_none() {
                    activate(level, self.activation, y, y, n_columns);
                }
                if self.residual_last && !self.residual.is_null() {
                    let r = self.residual.add((row + i) * self.residual_stride + column);
                    add_row(level, y, r, n_columns);
                }
            }
        }
    }
}

for_each_level! {
    /// `y += x` over `n` floats.
    ///
    /// # Safety
    /// Both must be valid for `n` floats, and the same or apart; the processor must have `level`.
    pub(crate) unsafe fn add_row<S>(y: *mut f32, x: *const f32, n: usize) {
        let mut i = 0;
        while i + S::LANES <= n {
            S::store(y.add(i), S::add(S::load(y.add(i)), S::load(x.add(i))));
            i += S::LANES;
        }
        if i < n {
            let rest = n - i;
            S::store_n(y.add(i), S::add(S::load_n(y.add(i), rest), S::load_n(x.add(i), rest)), rest);
        }
    }
}

/// `y = f(x)` over `n` floats.
///
/// # Safety
/// Both must be valid for `n` floats, and the same or apart; the processor must have `level`.
pub(crate) unsafe fn activate(
    level: Level,
    activation: Activation,
    x: *const f32,
    y: *mut f32,
    n: usize,
) {
    // SAFETY: passed on to loops over the same `n` floats.
    unsafe {
        match activation {
            Activation::None => {
                if !std::ptr::eq(x, y) {
                    std::ptr::copy_nonoverlapping(x, y, n);
                }
            }
            Activation::Relu => vecmath::clip_raw(level, x, y, n, 0.0, f32::INFINITY),
            Activation::Clip(low, high) => vecmath::clip_raw(level, x, y, n, low, high),
            Activation::LeakyRelu(a) => vecmath::leaky_relu_raw(level, x, y, n, a),
            Activation::Sigmoid => vecmath::sigmoid_raw(level, x, y, n),
            Activation::Silu => vecmath::silu_raw(level, x, y, n),
            Activation::Gelu => vecmath::gelu_raw(level, x, y, n),
            Activation::GeluTanh => vecmath::gelu_tanh_raw(level, x, y, n),
            Activation::Tanh => vecmath::tanh_raw(level, x, y, n),
            Activation::HardSigmoid(a, b) => vecmath::hard_sigmoid_raw(level, x, y, n, a, b),
            Activation::HardSwish => vecmath::hard_swish_raw(level, x, y, n),
            Activation::Elu(a) => vecmath::elu_raw(level, x, y, n, a),
            Activation::Softplus => vecmath::softplus_raw(level, x, y, n),
            Activation::Mish => vecmath::mish_raw(level, x, y, n),
        }
    }
}
