//! Reductions and normalisations of one row of consecutive floats.
//!
//! Sums are taken in a fixed pattern of four vectors, so they depend on the level and the length
//! only.

use super::level::Level;
use super::simd::for_each_level;
use super::vecmath;

for_each_level! {
    /// The sum of `n` floats.
    ///
    /// # Safety
    /// `x` must be valid for `n` floats; the processor must have `level`.
    pub unsafe fn sum<S>(x: *const f32, n: usize) -> f32 {
        let mut acc = [S::zero(); 4];
        let mut i = 0;
        while i + 4 * S::LANES <= n {
            for (j, a) in acc.iter_mut().enumerate() {
                *a = S::add(*a, S::load(x.add(i + j * S::LANES)));
            }
            i += 4 * S::LANES;
        }
        while i < n {
            acc[0] = S::add(acc[0], S::load_n(x.add(i), S::LANES.min(n - i)));
            i += S::LANES;
        }
        S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3])))
    }
}

for_each_level! {
    /// The sum of `(x - centre)²` over `n` floats.
    ///
    /// # Safety
    /// `x` must be valid for `n` floats; the processor must have `level`.
    pub unsafe fn sum_of_squares<S>(x: *const f32, n: usize, centre: f32) -> f32 {
        let c = S::splat(centre);
        let mut acc = [S::zero(); 4];
        let mut i = 0;
        while i + 4 * S::LANES <= n {
            for (j, a) in acc.iter_mut().enumerate() {
                let d = S::sub(S::load(x.add(i + j * S::LANES)), c);
                *a = S::fma(d, d, *a);
            }
            i += 4 * S::LANES;
        }
        while i + S::LANES <= n {
            let d = S::sub(S::load(x.add(i)), c);
            acc[0] = S::fma(d, d, acc[0]);
            i += S::LANES;
        }
        let mut rest = 0.0;
        while i < n {
            let d = *x.add(i) - centre;
            rest += d * d;
            i += 1;
        }
        S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]))) + rest
    }
}

for_each_level! {
    /// The greatest of `n` floats; NaN if any is; minus infinity of none.
    ///
    /// # Safety
    /// `x` must be valid for `n` floats; the processor must have `level`.
    pub unsafe fn max<S>(x: *const f32, n: usize) -> f32 {
        let mut acc = S::splat(f32::NEG_INFINITY);
        let mut i = 0;
        while i + S::LANES <= n {
            acc = S::max_nan(acc, S::load(x.add(i)));
            i += S::LANES;
        }
        let mut greatest = S::greatest(acc);
        while i < n {
            let v = *x.add(i);
            if v > greatest || v.is_nan() {
                greatest = v;
            }
            i += 1;
        }
        greatest
    }
}

for_each_level! {
    /// The least of `n` floats; NaN if any is; infinity of none.
    ///
    /// # Safety
    /// `x` must be valid for `n` floats; the processor must have `level`.
    pub unsafe fn min<S>(x: *const f32, n: usize) -> f32 {
        let mut acc = S::splat(f32::NEG_INFINITY);
        let mut i = 0;
        while i + S::LANES <= n {
            acc = S::max_nan(acc, S::sub(S::zero(), S::load(x.add(i))));
            i += S::LANES;
        }
        let mut least = -S::greatest(acc);
        while i < n {
            let v = *x.add(i);
            if v < least || v.is_nan() {
                least = v;
            }
            i += 1;
        }
        least
    }
}

for_each_level! {
    /// `y = e^(x - shift)` over `n` floats; returns the sum of `y`.
    ///
    /// # Safety
    /// Both must be valid for `n` floats, and the same or apart; the processor must have `level`.
    pub unsafe fn exp_shifted<S>(x: *const f32, y: *mut f32, n: usize, shift: f32) -> f32 {
        let shift = S::splat(shift);
        let mut acc = [S::zero(); 2];
        let mut i = 0;
        while i + 2 * S::LANES <= n {
            for (j, a) in acc.iter_mut().enumerate() {
                let at = i + j * S::LANES;
                let e = vecmath::exp::<S>(S::sub(S::load(x.add(at)), shift));
                S::store(y.add(at), e);
                *a = S::add(*a, e);
            }
            i += 2 * S::LANES;
        }
        while i < n {
            let rest = S::LANES.min(n - i);
            let e = vecmath::exp::<S>(S::sub(S::load_n(x.add(i), rest), shift));
            S::store_n(y.add(i), e, rest);
            acc[0] = S::add(acc[0], S::load_n(y.add(i), rest));
            i += S::LANES;
        }
        S::sum(S::add(acc[0], acc[1]))
    }
}

for_each_level! {
    /// `y = (x - mean) * factor [* gain] [+ bias]` over `n` floats; `gain` and `bias` may be null.
    ///
    /// # Safety
    /// The pointers that are not null must be valid for `n` floats, `x` and `y` the same or
    /// apart; the processor must have `level`.
    pub unsafe fn normalize<S>(
        x: *const f32,
        y: *mut f32,
        n: usize,
        mean: f32,
        factor: f32,
        gain: *const f32,
        bias: *const f32,
    ) {
        let (mean, factor) = (S::splat(mean), S::splat(factor));
        let mut i = 0;
        while i < n {
            let width = S::LANES.min(n - i);
            let mut v = S::mul(S::sub(S::load_n(x.add(i), width), mean), factor);
            if !gain.is_null() {
                v = S::mul(v, S::load_n(gain.add(i), width));
            }
            if !bias.is_null() {
                v = S::add(v, S::load_n(bias.add(i), width));
            }
            S::store_n(y.add(i), v, width);
            i += S::LANES;
        }
    }
}

for_each_level! {
    /// `y = x * factor` over `n` floats.
    ///
    /// # Safety
    /// Both must be valid for `n` floats, and the same or apart; the processor must have `level`.
    pub unsafe fn scale<S>(x: *const f32, y: *mut f32, n: usize, factor: f32) {
        let factor = S::splat(factor);
        let mut i = 0;
        while i < n {
            let width = S::LANES.min(n - i);
            S::store_n(y.add(i), S::mul(S::load_n(x.add(i), width), factor), width);
            i += S::LANES;
        }
    }
}

for_each_level! {
    /// `y = softmax(x)` over a row of `n` floats. A row with NaN or of minus infinities gives NaN.
    ///
    /// # Safety
    /// Both must be valid for `n` floats, and the same or apart; the processor must have `level`.
    pub unsafe fn softmax<S>(x: *const f32, y: *mut f32, n: usize) {
        // NaN may hide from the maximum: it comes back in the sum.
        let lowest = S::splat(f32::NEG_INFINITY);
        let mut top = [lowest; 4];
        let mut i = 0;
        while i + 4 * S::LANES <= n {
            for (j, t) in top.iter_mut().enumerate() {
                *t = S::max(*t, S::load(x.add(i + j * S::LANES)));
            }
            i += 4 * S::LANES;
        }
        while i + S::LANES <= n {
            top[0] = S::max(top[0], S::load(x.add(i)));
            i += S::LANES;
        }
        let mut greatest =
            S::greatest_number(S::max(S::max(top[0], top[1]), S::max(top[2], top[3])));
        while i < n {
            greatest = greatest.max(*x.add(i));
            i += 1;
        }
        let shift = S::splat(greatest);
        let mut acc = [S::zero(); 4];
        i = 0;
        while i + 4 * S::LANES <= n {
            for (j, a) in acc.iter_mut().enumerate() {
                let at = i + j * S::LANES;
                let e = vecmath::exp::<S>(S::sub(S::load(x.add(at)), shift));
                S::store(y.add(at), e);
                *a = S::add(*a, e);
            }
            i += 4 * S::LANES;
        }
        while i + S::LANES <= n {
            let e = vecmath::exp::<S>(S::sub(S::load(x.add(i)), shift));
            S::store(y.add(i), e);
            acc[0] = S::add(acc[0], e);
            i += S::LANES;
        }
        if i < n {
            let rest = n - i;
            let e = vecmath::exp::<S>(S::sub(S::load_n(x.add(i), rest), shift));
            S::store_n(y.add(i), e, rest);
            acc[1] = S::add(acc[1], S::load_n(y.add(i), rest));
        }
        let total = S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3])));
        let factor = S::splat(1.0 / total);
        i = 0;
        while i + S::LANES <= n {
            S::store(y.add(i), S::mul(S::load(y.add(i)), factor));
            i += S::LANES;
        }
        if i < n {
            let rest = n - i;
            S::store_n(y.add(i), S::mul(S::load_n(y.add(i), rest), factor), rest);
        }
    }
}

/// `y = log(softmax(x))` over a row of `n` floats.
///
/// # Safety
/// Both must be valid for `n` floats, and apart; the processor must have `level`.
pub unsafe fn log_softmax(level: Level, x: *const f32, y: *mut f32, n: usize) {
    // SAFETY: the caller's promises.
    unsafe {
        let greatest = max(level, x, n);
        let total = exp_shifted(level, x, y, n, greatest);
        normalize(
            level,
            x,
            y,
            n,
            greatest,
            1.0,
            std::ptr::null(),
            std::ptr::null(),
        );
        normalize(
            level,
            y,
            y,
            n,
            total.ln(),
            1.0,
            std::ptr::null(),
            std::ptr::null(),
        );
    }
}

/// Layer normalisation of a row: `(x - mean) / √(variance + epsilon) * gain + bias`. `gain` and
/// `bias` may be null. Returns mean and `1 / √(variance + epsilon)`.
///
/// # Safety
/// The pointers that are not null must be valid for `n >= 1` floats, `x` and `y` the same or
/// apart; the processor must have `level`.
#[allow(clippy::too_many_arguments, reason = "the operands of the operator")]
pub unsafe fn layer_norm(
    level: Level,
    x: *const f32,
    y: *mut f32,
    n: usize,
    epsilon: f32,
    gain: *const f32,
    bias: *const f32,
) -> (f32, f32) {
    // SAFETY: the caller's promises.
    unsafe {
        let mean = sum(level, x, n) / n as f32;
        let variance = sum_of_squares(level, x, n, mean) / n as f32;
        let factor = 1.0 / (variance + epsilon).sqrt();
        normalize(level, x, y, n, mean, factor, gain, bias);
        (mean, factor)
    }
}

/// Root-mean-square normalisation of a row: `x / √(mean(x²) + epsilon) * gain`.
///
/// # Safety
/// As for [`layer_norm`].
pub unsafe fn rms_norm(
    level: Level,
    x: *const f32,
    y: *mut f32,
    n: usize,
    epsilon: f32,
    gain: *const f32,
) {
    // SAFETY: the caller's promises.
    unsafe {
        let factor = 1.0 / (sum_of_squares(level, x, n, 0.0) / n as f32 + epsilon).sqrt();
        normalize(level, x, y, n, 0.0, factor, gain, std::ptr::null());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{Rng, assert_close};

    #[test]
    fn rows_agree_with_double_precision_at_every_level() {
        let mut rng = Rng::new(5);
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            for n in [1, 2, 7, 16, 31, 64, 100, 1000] {
                let x = rng.floats(n);
                let (gain, bias) = (rng.floats(n), rng.floats(n));
                let d: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
                let p = x.as_ptr();
                let mean = d.iter().sum::<f64>() / n as f64;
                let variance = d.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64;
                let top = d.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let low = d.iter().copied().fold(f64::INFINITY, f64::min);
                let total: f64 = d.iter().map(|v| (v - top).exp()).sum();
                let mut y = vec![0.0; n];
                // SAFETY: all rows hold `n` floats, and the level is available.
                unsafe {
                    assert_close(&[sum(level, p, n)], &[mean * n as f64], 1e-5);
                    assert_close(&[max(level, p, n), min(level, p, n)], &[top, low], 0.0);
                    softmax(level, p, y.as_mut_ptr(), n);
                    let want: Vec<f64> = d.iter().map(|v| (v - top).exp() / total).collect();
                    assert_close(&y, &want, 1e-6);
                    log_softmax(level, p, y.as_mut_ptr(), n);
                    let want: Vec<f64> = d.iter().map(|v| v - top - total.ln()).collect();
                    assert_close(&y, &want, 1e-6);
                    layer_norm(
                        level,
                        p,
                        y.as_mut_ptr(),
                        n,
                        1e-5,
                        gain.as_ptr(),
                        bias.as_ptr(),
                    );
                    let want: Vec<f64> = (0..n)
                        .map(|i| {
                            (d[i] - mean) / (variance + 1e-5).sqrt() * f64::from(gain[i])
                                + f64::from(bias[i])
                        })
                        .collect();
                    assert_close(&y, &want, 1e-5);
                    rms_norm(level, p, y.as_mut_ptr(), n, 1e-5, gain.as_ptr());
                    let square = d.iter().map(|v| v * v).sum::<f64>() / n as f64;
                    let want: Vec<f64> = (0..n)
                        .map(|i| d[i] / (square + 1e-5).sqrt() * f64::from(gain[i]))
                        .collect();
                    assert_close(&y, &want, 1e-5);
                }
            }
        }
    }

    #[test]
    fn softmax_of_a_row_with_nan_is_nan() {
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            for at in [0, 5, 17, 39, 80] {
                let mut x = [1.0_f32; 81];
                x[at] = f32::NAN;
                // SAFETY: 81 floats; the level is available.
                unsafe { softmax(level, x.as_ptr(), x.as_mut_ptr(), 81) };
                assert!(x.iter().all(|v| v.is_nan()), "{level:?} {at}");
            }
        }
    }

    #[test]
    fn extrema_of_rows_with_nan_are_nan() {
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            for at in [0, 5, 17, 39] {
                let mut x = [1.0_f32; 40];
                x[at] = f32::NAN;
                // SAFETY: 40 floats; the level is available.
                unsafe {
                    assert!(max(level, x.as_ptr(), 40).is_nan());
                    assert!(min(level, x.as_ptr(), 40).is_nan());
                }
            }
        }
    }
}
