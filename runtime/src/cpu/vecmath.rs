//! Elementary functions of many floats at a time, to about two units in the last place.
//!
//! Polynomials are least-maximum fits on the reduced ranges named beside them. Special values are
//! those of IEEE 754: NaN in, NaN out; overflow to infinity; gradual underflow.

use super::level::Level;
use super::simd::{Simd, for_each_level};

/// A function of one float that [`apply`] knows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MathFn {
    /// `e^x`.
    Exp,
    /// The natural logarithm.
    Log,
    /// The sine of radians.
    Sin,
    /// The cosine of radians.
    Cos,
    /// The hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `log(1 + e^x)`.
    Softplus,
    /// The square root.
    Sqrt,
    /// `1 / √x`.
    Rsqrt,
    /// `1 / x`.
    Reciprocal,
    /// `x sigmoid(x)`.
    Silu,
    /// `x / 2 (1 + erf(x / √2))`.
    Gelu,
    /// Its approximation by tanh.
    GeluTanh,
    /// `x tanh(softplus(x))`.
    Mish,
}

/// Replaces every value by `f` of it. A level that the processor lacks counts as the best below.
pub fn apply(level: Level, f: MathFn, values: &mut [f32]) {
    let level = level.or_lower();
    let (y, n) = (values.as_mut_ptr(), values.len());
    // SAFETY: the processor has `level`; source and target are the same `n` floats.
    unsafe {
        match f {
            MathFn::Exp => exp_raw(level, y, y, n),
            MathFn::Log => log_raw(level, y, y, n),
            MathFn::Sin => sin_raw(level, y, y, n),
            MathFn::Cos => cos_raw(level, y, y, n),
            MathFn::Tanh => tanh_raw(level, y, y, n),
            MathFn::Erf => erf_raw(level, y, y, n),
            MathFn::Sigmoid => sigmoid_raw(level, y, y, n),
            MathFn::Softplus => softplus_raw(level, y, y, n),
            MathFn::Sqrt => sqrt_raw(level, y, y, n),
            MathFn::Rsqrt => rsqrt_raw(level, y, y, n),
            MathFn::Reciprocal => reciprocal_raw(level, y, y, n),
            MathFn::Silu => silu_raw(level, y, y, n),
            MathFn::Gelu => gelu_raw(level, y, y, n),
            MathFn::GeluTanh => gelu_tanh_raw(level, y, y, n),
            MathFn::Mish => mish_raw(level, y, y, n),
        }
    }
}

/// Replaces every value by its power of `exponent`; exponents 2, 3, 0.5, -0.5, -1 and 1 are fast.
pub fn power(level: Level, values: &mut [f32], exponent: f32) {
    let level = level.or_lower();
    let (y, n) = (values.as_mut_ptr(), values.len());
    // SAFETY: the processor has `level`; source and target are the same `n` floats.
    unsafe {
        if exponent == 2.0 {
            square_raw(level, y, y, n);
        } else if exponent == 3.0 {
            cube_raw(level, y, y, n);
        } else if exponent == -1.0 {
            reciprocal_raw(level, y, y, n);
        } else if exponent == 0.5 && values.iter().all(|x| *x != f32::NEG_INFINITY) {
            sqrt_raw(level, y, y, n);
            for x in values {
                // The root of -0 is -0, its power 0.
                *x += 0.0;
            }
        } else if exponent == -0.5 && values.iter().all(|x| *x > 0.0) {
            rsqrt_raw(level, y, y, n);
        } else if exponent != 1.0 {
            for x in values {
                *x = x.powf(exponent);
            }
        }
    }
}

/// Polynomial with the constant term first.
macro_rules! poly {
    ($S:ident, $x:expr, [$last:expr]) => { $S::splat($last) };
    ($S:ident, $x:expr, [$first:expr, $($rest:expr),+]) => {
        $S::fma(poly!($S, $x, [$($rest),+]), $x, $S::splat($first))
    };
}

/// # Safety
/// The processor must have the level of `S`, here and in all functions of vectors below.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        // Beyond these the result is 0 or infinite anyway.
        let x = S::min(S::splat(89.0), S::max(S::splat(-104.0), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_145_75), x);
        let r = S::fma(n, S::splat(-1.428_606_8e-6), r);
        // (e^r - 1 - r) / r² on |r| <= ln 2 / 2, relative error 3e-9.
        let p = poly!(
            S,
            r,
            [
                0.499_999_94,
                0.166_665_21,
                0.041_668_39,
                0.008_368_716,
                0.001_381_460_6
            ]
        );
        let e = S::add(S::fma(S::mul(p, r), r, r), S::splat(1.0));
        S::scale2(e, n)
    }
}

#[inline(always)]
pub(crate) unsafe fn log<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let is_tiny = S::lt(x, S::splat(f32::MIN_POSITIVE));
        let normal = S::select(is_tiny, S::mul(x, S::splat(33_554_432.0)), x);
        let (m, e) = S::split(normal);
        let e = S::select(is_tiny, S::sub(e, S::splat(25.0)), e);
        let f = S::sub(m, S::splat(1.0));
        // (log(1 + f) - f + f²/2) / f³ on -0.25 <= f < 0.5, relative error of the whole 5e-9.
        let p = poly!(
            S,
            f,
            [
                0.333_334_5,
                -0.250_000_95,
                0.199_908_6,
                -0.166_473_09,
                0.144_784_05,
                -0.131_612_23,
                0.104_630_31,
                -0.045_074_58
            ]
        );
        let f2 = S::mul(f, f);
        let tail = S::mul(S::mul(f2, f), p);
        let tail = S::fma(e, S::splat(1.428_606_8e-6), tail);
        let tail = S::fma(f2, S::splat(-0.5), tail);
        let y = S::fma(e, S::splat(0.693_145_75), S::add(f, tail));
        let y = S::select(S::lt(x, S::splat(f32::INFINITY)), y, x);
        let y = S::select(S::eq(x, S::zero()), S::splat(f32::NEG_INFINITY), y);
        S::select(S::lt(x, S::zero()), S::splat(f32::NAN), y)
    }
}

#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let a = S::abs(x);
        let x2 = S::mul(x, x);
        // (tanh x - x) / x³ on |x| <= 0.625, relative error of the whole 4e-9.
        let p = poly!(
            S,
            x2,
            [
                -0.333_332_8,
                0.133_314_42,
                -0.053_739_715,
                0.020_639_092,
                -0.005_704_992
            ]
        );
        let small = S::fma(S::mul(p, x2), x, x);
        let e = exp::<S>(S::add(a, a));
        let one = S::splat(1.0);
        let large = S::sub(one, S::div(S::splat(2.0), S::add(e, one)));
        S::select(
            S::lt(a, S::splat(0.625)),
            small,
            S::with_sign(S::max(S::zero(), large), x),
        )
    }
}

#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let one = S::splat(1.0);
        let e = exp::<S>(S::sub(S::zero(), S::abs(x)));
        let top = S::select(S::lt(x, S::zero()), e, one);
        S::div(top, S::add(one, e))
    }
}

#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let a = S::abs(x);
        let x2 = S::mul(x, x);
        // erf(x) / x - 1 on |x| <= 1, relative error of the whole 1e-9.
        let p = poly!(
            S,
            x2,
            [
                0.128_379_1,
                -0.376_126_26,
                0.112_835_854,
                -0.026_853_818,
                0.005_188_337,
                -0.000_801_026_9,
                7.854_091e-5
            ]
        );
        let small = S::fma(p, x, x);
        // log(1 - erf x) on 1 <= x <= 4, where erf is 1 to the last bit.
        let t = S::min(S::splat(4.0), a);
        let q = poly!(
            S,
            t,
            [
                0.000_188_042_4,
                -1.129_578_5,
                -0.633_219_9,
                -0.108_418_6,
                0.025_208_268,
                -0.004_204_566,
                0.000_441_337_15,
                -2.168_691_4e-5
            ]
        );
        let large = S::sub(S::splat(1.0), exp::<S>(q));
        S::select(
            S::lt(a, S::splat(1.0)),
            small,
            S::with_sign(S::max(S::zero(), large), x),
        )
    }
}

/// log(1 + e) for e from 0 to 1.
#[inline(always)]
unsafe fn log1p_small<S: Simd>(e: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let one = S::splat(1.0);
        let u = S::add(one, e);
        // What rounding `u` lost, over u.
        let lost = S::div(S::sub(e, S::sub(u, one)), u);
        S::add(log::<S>(u), lost)
    }
}

#[inline(always)]
unsafe fn softplus<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let e = exp::<S>(S::sub(S::zero(), S::abs(x)));
        S::add(S::max(S::zero(), x), log1p_small::<S>(e))
    }
}

#[inline(always)]
unsafe fn mish<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe { S::mul(x, tanh::<S>(softplus::<S>(x))) }
}

#[inline(always)]
unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe { S::mul(x, sigmoid::<S>(x)) }
}

#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let e = erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
        let half = S::mul(x, S::splat(0.5));
        S::fma(half, e, half)
    }
}

#[inline(always)]
unsafe fn gelu_tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let x3 = S::mul(S::mul(x, x), x);
        let inner = S::mul(S::splat(0.797_884_6), S::fma(S::splat(0.044_715), x3, x));
        let half = S::mul(x, S::splat(0.5));
        S::fma(half, tanh::<S>(inner), half)
    }
}

/// e^x - 1 for x <= 0.
#[inline(always)]
unsafe fn expm1_negative<S: Simd>(x: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        // e^x - 1 = 2 t / (1 - t) with t = tanh(x / 2): no cancellation near zero.
        let t = tanh::<S>(S::mul(x, S::splat(0.5)));
        S::div(S::add(t, t), S::sub(S::splat(1.0), t))
    }
}

/// `x - q π/2` for the nearest integer q, and q modulo 4, for |x| < 12,000.
#[inline(always)]
unsafe fn quadrant<S: Simd>(x: S::V) -> (S::V, S::V) {
    // SAFETY: as the caller promises.
    unsafe {
        let q = S::round(S::mul(x, S::splat(std::f32::consts::FRAC_2_PI)));
        // π/2 in parts of 11 bits: their products with q below 2^13 are exact.
        let r = S::fma(q, S::splat(-1.570_312_5), x);
        let r = S::fma(q, S::splat(-0.000_483_751_3), r);
        let r = S::fma(q, S::splat(-7.549_533_6e-8), r);
        let r = S::fma(q, S::splat(-2.563_344e-12), r);
        let q4 = S::sub(
            q,
            S::mul(S::floor(S::mul(q, S::splat(0.25))), S::splat(4.0)),
        );
        (r, q4)
    }
}

/// The sine of `r + q π/2`, |r| <= π/4, q from 0 to 3.
#[inline(always)]
unsafe fn sine_in_quadrant<S: Simd>(r: S::V, q: S::V) -> S::V {
    // SAFETY: as the caller promises.
    unsafe {
        let r2 = S::mul(r, r);
        let s = poly!(
            S,
            r2,
            [
                -0.166_666_67,
                0.008_333_329,
                -0.000_198_393_35,
                2.718_312e-6
            ]
        );
        let sine = S::fma(S::mul(s, r2), r, r);
        let c = poly!(S, r2, [0.041_666_646, -0.001_388_731_6, 2.443_315_5e-5]);
        let one = S::splat(1.0);
        let cosine = S::fma(S::mul(r2, r2), c, S::fma(r2, S::splat(-0.5), one));
        let is_odd = S::lt(
            S::abs(S::sub(S::abs(S::sub(q, S::splat(2.0))), one)),
            S::splat(0.5),
        );
        let y = S::select(is_odd, cosine, sine);
        S::select(S::lt(q, S::splat(1.5)), y, S::sub(S::zero(), y))
    }
}

/// Applies `$f` to each lane where the fast reduction is not exact.
macro_rules! trigonometric {
    ($name:ident, $shift:expr, $f:expr) => {
        #[inline(always)]
        unsafe fn $name<S: Simd>(x: S::V) -> S::V {
            // SAFETY: as the caller promises.
            unsafe {
                let limit = S::splat(12_000.0);
                if S::any(S::lt(limit, S::abs(x))) {
                    let mut lanes = S::to_array(x);
                    for lane in &mut lanes {
                        *lane = $f(*lane);
                    }
                    return S::load(lanes.as_ptr());
                }
                let (r, q) = quadrant::<S>(x);
                let q = S::add(q, S::splat($shift));
                let q = S::select(S::lt(q, S::splat(3.5)), q, S::sub(q, S::splat(4.0)));
                sine_in_quadrant::<S>(r, q)
            }
        }
    };
}

trigonometric!(sin, 0.0, f32::sin);
trigonometric!(cos, 1.0, f32::cos);

/// Defines functions over `n` floats: `name = |S, v, parameters| expression`.
macro_rules! maps {
    ($($name:ident = |$S:ident, $v:ident $(, $p:ident)*| $body:expr;)*) => {
        $(for_each_level! {
            /// `y = f(x)` over `n` floats.
            ///
            /// # Safety
            /// Both must be valid for `n` floats, and the same or apart; the processor must have
            /// `level`.
            pub(crate) unsafe fn $name<$S>(x: *const f32, y: *mut f32, n: usize $(, $p: f32)*) {
                $(let $p = $S::splat($p);)*
                let mut i = 0;
                while i + $S::LANES <= n {
                    let $v = $S::load(x.add(i));
                    $S::store(y.add(i), $body);
                    i += $S::LANES;
                }
                if i < n {
                    let $v = $S::load_n(x.add(i), n - i);
                    $S::store_n(y.add(i), $body, n - i);
                }
            }
        })*
    };
}

maps! {
    exp_raw = |S, v| exp::<S>(v);
    log_raw = |S, v| log::<S>(v);
    sin_raw = |S, v| sin::<S>(v);
    cos_raw = |S, v| cos::<S>(v);
    tanh_raw = |S, v| tanh::<S>(v);
    erf_raw = |S, v| erf::<S>(v);
    sigmoid_raw = |S, v| sigmoid::<S>(v);
    softplus_raw = |S, v| softplus::<S>(v);
    mish_raw = |S, v| mish::<S>(v);
    silu_raw = |S, v| silu::<S>(v);
    gelu_raw = |S, v| gelu::<S>(v);
    gelu_tanh_raw = |S, v| gelu_tanh::<S>(v);
    sqrt_raw = |S, v| S::sqrt(v);
    rsqrt_raw = |S, v| S::div(S::splat(1.0), S::sqrt(v));
    reciprocal_raw = |S, v| S::div(S::splat(1.0), v);
    square_raw = |S, v| S::mul(v, v);
    cube_raw = |S, v| S::mul(S::mul(v, v), v);
    clip_raw = |S, v, low, high| S::min(high, S::max(low, v));
    leaky_relu_raw = |S, v, a| S::select(S::lt(v, S::zero()), S::mul(a, v), v);
    hard_sigmoid_raw = |S, v, a, b|
        S::min(S::splat(1.0), S::max(S::zero(), S::fma(a, v, b)));
    hard_swish_raw = |S, v| S::mul(
        v,
        S::min(
            S::splat(1.0),
            S::max(S::zero(), S::fma(v, S::splat(1.0 / 6.0), S::splat(0.5)))
        )
    );
    elu_raw = |S, v, a| S::select(
        S::lt(v, S::zero()),
        S::mul(a, expm1_negative::<S>(v)),
        v
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the nearest float to `want`.
    fn ulps(got: f32, want: f64) -> f64 {
        let near = want as f32;
        if got == near || (got.is_nan() && near.is_nan()) {
            return 0.0;
        }
        if !near.is_finite() || !got.is_finite() {
            return f64::INFINITY;
        }
        let ulp = f64::from(near.abs().max(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
        (f64::from(got) - want).abs() / ulp
    }

    /// The error function, by its series or its continued fraction.
    fn erf_f64(x: f64) -> f64 {
        let a = x.abs();
        let y = if a < 2.5 {
            let (mut term, mut sum, mut n) = (a, a, 0.0);
            while term.abs() > 1e-18 {
                n += 1.0;
                term *= -a * a / n;
                sum += term / (2.0 * n + 1.0);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        } else {
            let mut f = a;
            for k in (1..60).rev() {
                f = a + f64::from(k) / 2.0 / f;
            }
            1.0 - (-a * a).exp() / (f * std::f64::consts::PI.sqrt())
        };
        y.copysign(x)
    }

    fn check(f: MathFn, range: (f32, f32), limit: f64, reference: impl Fn(f64) -> f64) {
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            let n = 100_003;
            let xs: Vec<f32> = (0..n)
                .map(|i| range.0 + (range.1 - range.0) * (i as f32 / n as f32))
                .collect();
            let mut ys = xs.clone();
            apply(level, f, &mut ys);
            let worst = xs
                .iter()
                .zip(&ys)
                .map(|(x, y)| (ulps(*y, reference(f64::from(*x))), *x))
                .fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
            assert!(
                worst.0 <= limit,
                "{f:?} at {level:?}: {} ulp at {}",
                worst.0,
                worst.1
            );
        }
    }

    #[test]
    fn functions_are_within_a_few_units_in_the_last_place() {
        check(MathFn::Exp, (-86.0, 88.7), 2.0, f64::exp);
        check(MathFn::Exp, (-1.0, 1.0), 2.0, f64::exp);
        check(MathFn::Log, (1e-6, 4.0), 2.0, f64::ln);
        check(MathFn::Log, (1e-38, 3e38), 2.0, f64::ln);
        check(MathFn::Tanh, (-10.0, 10.0), 3.0, f64::tanh);
        check(MathFn::Tanh, (-0.7, 0.7), 3.0, f64::tanh);
        check(MathFn::Erf, (-5.0, 5.0), 3.0, erf_f64);
        check(MathFn::Erf, (-1.1, 1.1), 3.0, erf_f64);
        check(MathFn::Sigmoid, (-80.0, 80.0), 4.0, |x| {
            1.0 / (1.0 + (-x).exp())
        });
        check(MathFn::Softplus, (-80.0, 80.0), 4.0, |x| {
            x.max(0.0) + (-x.abs()).exp().ln_1p()
        });
        check(MathFn::Sin, (-3.0, 3.0), 2.0, f64::sin);
        check(MathFn::Cos, (-1.5, 1.5), 2.0, f64::cos);
        check(MathFn::Rsqrt, (1e-3, 1e3), 2.0, |x| 1.0 / x.sqrt());
    }

    #[test]
    fn sine_and_cosine_of_large_angles_are_close_in_absolute_terms() {
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            for scale in [100.0_f32, 10_000.0, 1e7] {
                let xs: Vec<f32> = (0..999).map(|i| (i as f32 / 499.5 - 1.0) * scale).collect();
                for (f, g) in [
                    (MathFn::Sin, f64::sin as fn(f64) -> f64),
                    (MathFn::Cos, f64::cos),
                ] {
                    let mut ys = xs.clone();
                    apply(level, f, &mut ys);
                    for (x, y) in xs.iter().zip(&ys) {
                        let want = g(f64::from(*x));
                        // Without fused multiply-add the last two parts of π/2 lose bits.
                        assert!(
                            (f64::from(*y) - want).abs() < 2e-6,
                            "{f:?}({x}) = {y}, not {want}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn special_values_are_those_of_the_standard() {
        let inf = f32::INFINITY;
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            let one = |f, x: f32| {
                let mut v = [x; 19];
                apply(level, f, &mut v);
                assert!(v.iter().all(|y| y.to_bits() == v[0].to_bits()));
                v[0]
            };
            assert_eq!(one(MathFn::Exp, inf), inf);
            assert_eq!(one(MathFn::Exp, -inf), 0.0);
            assert_eq!(one(MathFn::Exp, 0.0), 1.0);
            assert!(one(MathFn::Exp, -100.0) > 0.0);
            assert_eq!(one(MathFn::Log, 0.0), -inf);
            assert_eq!(one(MathFn::Log, inf), inf);
            assert_eq!(one(MathFn::Log, 1.0), 0.0);
            assert!(ulps(one(MathFn::Log, 1e-42), f64::from(1e-42_f32).ln()) < 2.0);
            assert!(one(MathFn::Log, -1.0).is_nan());
            assert_eq!(one(MathFn::Tanh, inf), 1.0);
            assert_eq!(one(MathFn::Tanh, -inf), -1.0);
            assert_eq!(one(MathFn::Erf, inf), 1.0);
            assert_eq!(one(MathFn::Erf, -7.0), -1.0);
            assert_eq!(one(MathFn::Sigmoid, -inf), 0.0);
            assert_eq!(one(MathFn::Sigmoid, inf), 1.0);
            assert_eq!(one(MathFn::Softplus, inf), inf);
            assert!(one(MathFn::Sin, inf).is_nan());
            for f in [
                MathFn::Exp,
                MathFn::Log,
                MathFn::Sin,
                MathFn::Tanh,
                MathFn::Erf,
                MathFn::Sigmoid,
                MathFn::Softplus,
                MathFn::Gelu,
            ] {
                assert!(one(f, f32::NAN).is_nan(), "{f:?} of NaN");
            }
        }
    }

    #[test]
    fn powers_agree_with_the_standard_library() {
        for exponent in [2.0, 3.0, 0.5, -0.5, -1.0, 1.0, 1.7, 0.0] {
            let xs: Vec<f32> = (0..50).map(|i| i as f32 * 0.25).collect();
            let mut ys = xs.clone();
            power(Level::detect(), &mut ys, exponent);
            for (x, y) in xs.iter().zip(&ys) {
                let want = f64::from(*x).powf(f64::from(exponent));
                assert!(ulps(*y, want) <= 2.0, "{x}^{exponent} = {y}");
            }
        }
    }
}
