//! The scalar functions of tapes.

use super::program::wrap;
use crate::cpu::level::Level;
use crate::cpu::vecmath;
use plans::DType;
use plans::tape::{BinaryFn, UnaryFn};

/// The power of 1/2, which is not quite the square root.
#[inline(always)]
pub(crate) fn root(x: f32) -> f32 {
    let root = x.sqrt();
    let root = if x == 0.0 { 0.0 } else { root };
    if x == f32::NEG_INFINITY {
        f32::INFINITY
    } else {
        root
    }
}

/// The lesser; NaN if either is NaN.
#[inline(always)]
pub(crate) fn min_f32(x: f32, y: f32) -> f32 {
    if x < y || x.is_nan() { x } else { y }
}

/// The greater; NaN if either is NaN.
#[inline(always)]
pub(crate) fn max_f32(x: f32, y: f32) -> f32 {
    if x > y || x.is_nan() { x } else { y }
}

/// `f` of each of `n` floats, for the functions that take more than a few instructions.
///
/// # Safety
/// `x` and `y` are valid for `n` floats, and the same or apart; the processor has the level.
pub(crate) unsafe fn unary_f32(level: Level, f: UnaryFn, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's promise is handed on.
    unsafe {
        match f {
            UnaryFn::Exp => vecmath::exp_raw(level, x, y, n),
            UnaryFn::Log => vecmath::log_raw(level, x, y, n),
            UnaryFn::Sin => vecmath::sin_raw(level, x, y, n),
            UnaryFn::Cos => vecmath::cos_raw(level, x, y, n),
            UnaryFn::Tanh => vecmath::tanh_raw(level, x, y, n),
            UnaryFn::Erf => vecmath::erf_raw(level, x, y, n),
            UnaryFn::Sigmoid => vecmath::sigmoid_raw(level, x, y, n),
            UnaryFn::Softplus => vecmath::softplus_raw(level, x, y, n),
            UnaryFn::Tan => each(x, y, n, f32::tan),
            UnaryFn::Asin => each(x, y, n, f32::asin),
            UnaryFn::Acos => each(x, y, n, f32::acos),
            UnaryFn::Atan => each(x, y, n, f32::atan),
            UnaryFn::Sinh => each(x, y, n, f32::sinh),
            UnaryFn::Cosh => each(x, y, n, f32::cosh),
            UnaryFn::Asinh => each(x, y, n, f32::asinh),
            UnaryFn::Acosh => each(x, y, n, f32::acosh),
            UnaryFn::Atanh => each(x, y, n, f32::atanh),
            _ => each(x, y, n, |x| unary_f64(f, x.into()) as f32),
        }
    }
}

/// # Safety
/// `x` and `y` are valid for `n` floats.
unsafe fn each(x: *const f32, y: *mut f32, n: usize, f: impl Fn(f32) -> f32) {
    for i in 0..n {
        // SAFETY: the caller's promise.
        unsafe { y.add(i).write_unaligned(f(x.add(i).read_unaligned())) };
    }
}

/// `f` of a number.
pub(crate) fn unary_f64(f: UnaryFn, x: f64) -> f64 {
    match f {
        UnaryFn::Neg => -x,
        UnaryFn::Abs => x.abs(),
        UnaryFn::Sign if x == 0.0 || x.is_nan() => x,
        UnaryFn::Sign => x.signum(),
        UnaryFn::Floor => x.floor(),
        UnaryFn::Ceil => x.ceil(),
        UnaryFn::Round => x.round_ties_even(),
        UnaryFn::Sqrt => x.sqrt(),
        UnaryFn::Reciprocal => 1.0 / x,
        UnaryFn::Exp => x.exp(),
        UnaryFn::Log => x.ln(),
        UnaryFn::Sin => x.sin(),
        UnaryFn::Cos => x.cos(),
        UnaryFn::Tan => x.tan(),
        UnaryFn::Asin => x.asin(),
        UnaryFn::Acos => x.acos(),
        UnaryFn::Atan => x.atan(),
        UnaryFn::Sinh => x.sinh(),
        UnaryFn::Cosh => x.cosh(),
        UnaryFn::Tanh => x.tanh(),
        UnaryFn::Asinh => x.asinh(),
        UnaryFn::Acosh => x.acosh(),
        UnaryFn::Atanh => x.atanh(),
        UnaryFn::Erf => erf(x),
        UnaryFn::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        UnaryFn::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        UnaryFn::Not | UnaryFn::BitNot => f64::from(u8::from(x == 0.0)),
        UnaryFn::IsNan => f64::from(u8::from(x.is_nan())),
        UnaryFn::IsInf => f64::from(u8::from(x.is_infinite())),
    }
}

/// The error function in double precision: the Taylor series near 0, the continued fraction of
/// the complementary function beyond.
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a > 6.0 {
        return x.signum();
    }
    if a < 2.5 {
        let (mut power, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            power *= -x * x / n;
            let term = power / (2.0 * n + 1.0);
            sum += term;
            if term.abs() <= 1e-17 * sum.abs() {
                break;
            }
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let tail = (1..=60)
        .rev()
        .fold(0.0, |tail, k| f64::from(k) / 2.0 / (a + tail));
    let complement = (-a * a).exp() / ((a + tail) * std::f64::consts::PI.sqrt());
    x.signum() * (1.0 - complement)
}

/// `f` of two numbers.
pub(crate) fn binary_f64(f: BinaryFn, x: f64, y: f64) -> f64 {
    match f {
        BinaryFn::Add => x + y,
        BinaryFn::Sub => x - y,
        BinaryFn::Mul => x * y,
        BinaryFn::Div => x / y,
        BinaryFn::Pow => x.powf(y),
        BinaryFn::Min | BinaryFn::Max if x.is_nan() || y.is_nan() => f64::NAN,
        BinaryFn::Min => x.min(y),
        BinaryFn::Max => x.max(y),
        BinaryFn::Mod => {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) {
                r + y
            } else {
                r
            }
        }
        BinaryFn::Rem => x % y,
        BinaryFn::And
        | BinaryFn::Or
        | BinaryFn::Xor
        | BinaryFn::BitAnd
        | BinaryFn::BitOr
        | BinaryFn::BitXor
        | BinaryFn::Shl
        | BinaryFn::Shr => f64::NAN,
        BinaryFn::Eq => f64::from(u8::from(x == y)),
        BinaryFn::Lt => f64::from(u8::from(x < y)),
        BinaryFn::Le => f64::from(u8::from(x <= y)),
    }
}

/// `f` of two numbers, for the functions that take more than a few instructions.
pub(crate) fn binary_f32(f: BinaryFn, x: f32, y: f32) -> f32 {
    match f {
        BinaryFn::Pow => x.powf(y),
        _ => binary_f64(f, x.into(), y.into()) as f32,
    }
}

/// `f` of two integers of type `dtype`, as they are extended to 64 bits; not wrapped.
pub(crate) fn binary_i64(f: BinaryFn, x: i64, y: i64, dtype: DType) -> i64 {
    let unsigned = dtype == DType::U64;
    let (ux, uy) = (x as u64, y as u64);
    let width = 8 * dtype.size() as u64;
    match f {
        BinaryFn::Add => x.wrapping_add(y),
        BinaryFn::Sub => x.wrapping_sub(y),
        BinaryFn::Mul => x.wrapping_mul(y),
        BinaryFn::Div if y == 0 => 0,
        BinaryFn::Div if unsigned => (ux / uy) as i64,
        BinaryFn::Div => x.wrapping_div(y),
        BinaryFn::Pow if unsigned || y >= 0 => power(x, uy),
        BinaryFn::Pow => (x as f64).powf(y as f64) as i64,
        BinaryFn::Min if unsigned => ux.min(uy) as i64,
        BinaryFn::Max if unsigned => ux.max(uy) as i64,
        BinaryFn::Min => x.min(y),
        BinaryFn::Max => x.max(y),
        BinaryFn::Mod | BinaryFn::Rem if y == 0 => 0,
        BinaryFn::Mod | BinaryFn::Rem if unsigned => (ux % uy) as i64,
        BinaryFn::Mod => {
            let r = x.wrapping_rem(y);
            if r != 0 && (r < 0) != (y < 0) {
                r.wrapping_add(y)
            } else {
                r
            }
        }
        BinaryFn::Rem => x.wrapping_rem(y),
        BinaryFn::And => i64::from(x != 0 && y != 0),
        BinaryFn::Or => i64::from(x != 0 || y != 0),
        BinaryFn::Xor => i64::from((x != 0) != (y != 0)),
        BinaryFn::BitAnd => x & y,
        BinaryFn::BitOr => x | y,
        BinaryFn::BitXor => x ^ y,
        BinaryFn::Shl | BinaryFn::Shr if uy >= width => 0,
        BinaryFn::Shl => x << y,
        BinaryFn::Shr => ((ux << (64 - width)) >> (64 - width) >> y) as i64,
        BinaryFn::Eq => i64::from(x == y),
        BinaryFn::Lt if unsigned => i64::from(ux < uy),
        BinaryFn::Le if unsigned => i64::from(ux <= uy),
        BinaryFn::Lt => i64::from(x < y),
        BinaryFn::Le => i64::from(x <= y),
    }
}

/// `x` to the `n`, wrapping.
fn power(mut x: i64, mut n: u64) -> i64 {
    let mut result = 1i64;
    while n > 0 {
        if n & 1 == 1 {
            result = result.wrapping_mul(x);
        }
        x = x.wrapping_mul(x);
        n >>= 1;
    }
    result
}

/// Wraps the lane of an integer to its type.
///
/// # Safety
/// `lane` can be read and written.
pub(crate) unsafe fn wrap_lane(lane: *mut i64, dtype: DType) {
    // SAFETY: the caller's promise.
    unsafe { lane.write(wrap(lane.read(), dtype)) };
}

/// The number of the integer type `to` that is nearest to `x`, of two the even one; NaN gives 0.
pub(crate) fn nearest(x: f64, to: DType) -> i64 {
    let x = x.round_ties_even();
    let bits = 8 * to.size() as u32;
    match to {
        DType::U64 => x as u64 as i64,
        DType::U8 | DType::U16 | DType::U32 => (x as i64).clamp(0, (1 << bits) - 1),
        _ => {
            let most = i64::MAX >> (64 - bits);
            (x as i64).clamp(-most - 1, most)
        }
    }
}

/// `x` truncated toward zero and wrapped to the integer type `to`; NaN gives 0.
#[inline(always)]
pub(crate) fn truncate(x: f64, to: DType) -> i64 {
    if to == DType::U64 && x >= 0.0 {
        x as u64 as i64
    } else {
        wrap(x as i64, to)
    }
}
