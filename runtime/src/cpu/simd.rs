//! The vector operations that kernels are written in, and their three implementations.
//!
//! A kernel is a function generic over [`Simd`], always inlined into one function a level that
//! enables the level's instructions. Everything here is `unsafe` for one reason: the processor
//! must have the instructions of the level, which
//! [`is_available`](super::level::Level::is_available) tells; loads and stores
//! ask for valid pointers besides (of any alignment).

/// `LANES` floats at a time.
///
/// # Safety
/// Every function may be called only on a processor with the instructions of the level. Those with
/// pointers read or write `LANES` (or `n`) consecutive floats there.
pub(crate) trait Simd: Copy + 'static {
    /// `LANES` floats.
    type V: Copy;
    /// One truth value a lane.
    type M: Copy;
    const LANES: usize;

    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n <= LANES` lanes; the others are zero and not read.
    unsafe fn load_n(p: *const f32, n: usize) -> Self::V;
    /// The first `n <= LANES` lanes.
    unsafe fn store_n(p: *mut f32, v: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the level has such an instruction.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// The greater; `b` if either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The lesser; `b` if either is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn abs(a: Self::V) -> Self::V;
    unsafe fn floor(a: Self::V) -> Self::V;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `magnitude` (not negative) with the sign bit of `sign`.
    unsafe fn with_sign(magnitude: Self::V, sign: Self::V) -> Self::V;
    unsafe fn lt(a: Self::V, b: Self::V) -> Self::M;
    unsafe fn eq(a: Self::V, b: Self::V) -> Self::M;
    unsafe fn is_nan(a: Self::V) -> Self::M;
    unsafe fn any(m: Self::M) -> bool;
    /// `a` where `m`, else `b`.
    unsafe fn select(m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// `a * 2^n` for integral `n` from -252 to 254.
    unsafe fn scale2(a: Self::V, n: Self::V) -> Self::V;
    /// For positive normal `a = m * 2^e` with `0.75 <= m < 1.5`: `(m, e)`.
    unsafe fn split(a: Self::V) -> (Self::V, Self::V);

    /// Asks for the cache line at `p`, which need not be valid, to be brought near.
    #[inline(always)]
    fn prefetch(p: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE is part of x86-64, and prefetching never faults.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(p.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }
    #[inline(always)]
    unsafe fn zero() -> Self::V {
        // SAFETY: as the caller promises.
        unsafe { Self::splat(0.0) }
    }
    /// The greater; NaN if either is.
    #[inline(always)]
    unsafe fn max_nan(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as the caller promises.
        unsafe { Self::select(Self::is_nan(a), a, Self::max(a, b)) }
    }
    /// The lanes as an array; those past `LANES` are zero.
    #[inline(always)]
    unsafe fn to_array(v: Self::V) -> [f32; 16] {
        let mut out = [0.0; 16];
        // SAFETY: 16 >= LANES; the rest as the caller promises.
        unsafe { Self::store(out.as_mut_ptr(), v) };
        out
    }
    /// The sum of all lanes, in the order of a binary tree.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: as the caller promises.
        let mut lanes = unsafe { Self::to_array(v) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }
    /// The greatest lane; anything if one is NaN.
    #[inline(always)]
    unsafe fn greatest_number(v: Self::V) -> f32 {
        // SAFETY: as the caller promises.
        let mut lanes = unsafe { Self::to_array(v) };
        let mut half = Self::LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = if lanes[i] > lanes[i + half] {
                    lanes[i]
                } else {
                    lanes[i + half]
                };
            }
            half /= 2;
        }
        lanes[0]
    }
    /// The greatest lane; NaN if any is.
    #[inline(always)]
    unsafe fn greatest(v: Self::V) -> f32 {
        // SAFETY: as the caller promises.
        let lanes = unsafe { Self::to_array(v) };
        let mut greatest = lanes[0];
        for &x in &lanes[1..Self::LANES] {
            if x > greatest || x.is_nan() {
                greatest = x;
            }
        }
        greatest
    }
}

/// Lanes as plain floats, for the compiler to map to what the architecture has.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Four floats in one register.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Four([f(self.0[0]), f(self.0[1]), f(self.0[2]), f(self.0[3])])
    }
    #[inline(always)]
    fn zip(self, b: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let (a, b) = (self.0, b.0);
        Four([f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])])
    }
    #[inline(always)]
    fn test(self, b: Self, f: impl Fn(f32, f32) -> bool) -> [bool; 4] {
        let (a, b) = (self.0, b.0);
        [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
    }
}

/// `2^n` for integral `n` from -126 to 127.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// The exponent that [`Simd::split`] gives for the bits of a positive normal number.
#[inline(always)]
fn split_exponent(bits: u32) -> i32 {
    // 0x3f40_0000 is 0.75: numbers from 0.75 up to 1.5 get exponent 0.
    (bits.wrapping_sub(0x3f40_0000) as i32) >> 23
}

impl Simd for Portable {
    type V = Four;
    type M = [bool; 4];
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Four {
        Four([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Four {
        // SAFETY: the caller promises four floats at `p`.
        Four(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Four) {
        // SAFETY: the caller promises room for four floats at `p`.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v.0) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> Four {
        let mut v = [0.0; 4];
        for (i, x) in v.iter_mut().enumerate().take(n) {
            // SAFETY: the caller promises `n` floats at `p`.
            *x = unsafe { *p.add(i) };
        }
        Four(v)
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, v: Four, n: usize) {
        for (i, x) in v.0.into_iter().enumerate().take(n) {
            // SAFETY: the caller promises room for `n` floats at `p`.
            unsafe { *p.add(i) = x };
        }
    }
    #[inline(always)]
    unsafe fn add(a: Four, b: Four) -> Four {
        a.zip(b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: Four, b: Four) -> Four {
        a.zip(b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(a: Four, b: Four) -> Four {
        a.zip(b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn div(a: Four, b: Four) -> Four {
        a.zip(b, |x, y| x / y)
    }
    #[inline(always)]
    unsafe fn fma(a: Four, b: Four, c: Four) -> Four {
        // Without the instruction `mul_add` is a slow library call.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            let (a, b, c) = (a.0, b.0, c.0);
            Four([
                a[0].mul_add(b[0], c[0]),
                a[1].mul_add(b[1], c[1]),
                a[2].mul_add(b[2], c[2]),
                a[3].mul_add(b[3], c[3]),
            ])
        } else {
            a.zip(b, |x, y| x * y).zip(c, |x, y| x + y)
        }
    }
    #[inline(always)]
    unsafe fn sqrt(a: Four) -> Four {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn max(a: Four, b: Four) -> Four {
        a.zip(b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn min(a: Four, b: Four) -> Four {
        a.zip(b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    unsafe fn abs(a: Four) -> Four {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn floor(a: Four) -> Four {
        a.map(f32::floor)
    }
    #[inline(always)]
    unsafe fn round(a: Four) -> Four {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn with_sign(magnitude: Four, sign: Four) -> Four {
        magnitude.zip(sign, f32::copysign)
    }
    #[inline(always)]
    unsafe fn lt(a: Four, b: Four) -> [bool; 4] {
        a.test(b, |x, y| x < y)
    }
    #[inline(always)]
    unsafe fn eq(a: Four, b: Four) -> [bool; 4] {
        a.test(b, |x, y| x == y)
    }
    #[inline(always)]
    unsafe fn is_nan(a: Four) -> [bool; 4] {
        a.test(a, |x, _| x.is_nan())
    }
    #[inline(always)]
    unsafe fn any(m: [bool; 4]) -> bool {
        m[0] | m[1] | m[2] | m[3]
    }
    #[inline(always)]
    unsafe fn select(m: [bool; 4], a: Four, b: Four) -> Four {
        let pick = |i: usize| if m[i] { a.0[i] } else { b.0[i] };
        Four([pick(0), pick(1), pick(2), pick(3)])
    }
    #[inline(always)]
    unsafe fn scale2(a: Four, n: Four) -> Four {
        a.zip(n, |x, n| {
            let half = (n * 0.5).floor();
            x * power_of_two(half) * power_of_two(n - half)
        })
    }
    #[inline(always)]
    unsafe fn split(a: Four) -> (Four, Four) {
        let e = a.map(|x| split_exponent(x.to_bits()) as f32);
        let m = a.map(|x| {
            let bits = x.to_bits();
            f32::from_bits(bits.wrapping_sub((split_exponent(bits) as u32) << 23))
        });
        (m, e)
    }
}

/// Implements functions of [`Simd`] by one expression each.
#[cfg(target_arch = "x86_64")]
macro_rules! by_intrinsics {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the caller promises the instructions and, where there is a pointer, that
            // the floats behind it are valid; masked lanes are not accessed.
            unsafe { $body }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    impl Simd for Avx512 {
        type V = __m512;
        type M = __mmask16;
        const LANES: usize = 16;

        by_intrinsics! {
            splat(x: f32) -> __m512 = _mm512_set1_ps(x);
            load(p: *const f32) -> __m512 = _mm512_loadu_ps(p);
            store(p: *mut f32, v: __m512) = _mm512_storeu_ps(p, v);
            load_n(p: *const f32, n: usize) -> __m512 = _mm512_maskz_loadu_ps(first(n), p);
            store_n(p: *mut f32, v: __m512, n: usize) = _mm512_mask_storeu_ps(p, first(n), v);
            add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
            sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
            mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
            div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
            fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
            sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
            max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
            min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
            abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
            floor(a: __m512) -> __m512 = _mm512_roundscale_ps::<9>(a);
            round(a: __m512) -> __m512 = _mm512_roundscale_ps::<8>(a);
            with_sign(magnitude: __m512, sign: __m512) -> __m512 =
                _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0)));
            lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
            eq(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
            is_nan(a: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            select(m: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(m, b, a);
            scale2(a: __m512, n: __m512) -> __m512 = _mm512_scalef_ps(a, n);
            greatest_number(v: __m512) -> f32 = {
                let high = _mm512_extractf32x8_ps::<1>(v);
                super::Avx2Fma::greatest_number(_mm256_max_ps(_mm512_castps512_ps256(v), high))
            };
            sum(v: __m512) -> f32 = {
                let high = _mm512_extractf32x8_ps::<1>(v);
                super::Avx2Fma::sum(_mm256_add_ps(_mm512_castps512_ps256(v), high))
            };
        }
        #[inline(always)]
        unsafe fn any(m: __mmask16) -> bool {
            m != 0
        }
        #[inline(always)]
        unsafe fn split(a: __m512) -> (__m512, __m512) {
            // SAFETY: the caller promises the instructions.
            unsafe {
                let bits = _mm512_castps_si512(a);
                let e =
                    _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(0x3f40_0000)));
                let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(e));
                (_mm512_castsi512_ps(m), _mm512_cvtepi32_ps(e))
            }
        }
    }

    #[inline(always)]
    fn first(n: usize) -> __mmask16 {
        (0xffff_u32 >> (16 - n.min(16) as u32)) as __mmask16
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2Fma;

    /// Eight all-ones words, then eight zero words: masks for the first `n` lanes are windows.
    static LANE_MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn first_of_eight(n: usize) -> __m256i {
        // SAFETY: the caller promises AVX2, and 8 - n.min(8) + 8 <= 16.
        unsafe { _mm256_loadu_si256(LANE_MASKS.as_ptr().add(8 - n.min(8)).cast()) }
    }

    impl Simd for Avx2Fma {
        type V = __m256;
        type M = __m256;
        const LANES: usize = 8;

        by_intrinsics! {
            splat(x: f32) -> __m256 = _mm256_set1_ps(x);
            load(p: *const f32) -> __m256 = _mm256_loadu_ps(p);
            store(p: *mut f32, v: __m256) = _mm256_storeu_ps(p, v);
            load_n(p: *const f32, n: usize) -> __m256 = _mm256_maskload_ps(p, first_of_eight(n));
            store_n(p: *mut f32, v: __m256, n: usize) =
                _mm256_maskstore_ps(p, first_of_eight(n), v);
            add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
            sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
            mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
            div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
            fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
            sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
            max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
            min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
            abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
            floor(a: __m256) -> __m256 = _mm256_round_ps::<9>(a);
            round(a: __m256) -> __m256 = _mm256_round_ps::<8>(a);
            with_sign(magnitude: __m256, sign: __m256) -> __m256 =
                _mm256_or_ps(magnitude, _mm256_and_ps(sign, _mm256_set1_ps(-0.0)));
            lt(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
            eq(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
            is_nan(a: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
            any(m: __m256) -> bool = _mm256_movemask_ps(m) != 0;
            select(m: __m256, a: __m256, b: __m256) -> __m256 = _mm256_blendv_ps(b, a, m);
            scale2(a: __m256, n: __m256) -> __m256 = {
                let half = _mm256_floor_ps(_mm256_mul_ps(n, _mm256_set1_ps(0.5)));
                _mm256_mul_ps(
                    _mm256_mul_ps(a, power_of_two(half)),
                    power_of_two(_mm256_sub_ps(n, half)),
                )
            };
            greatest_number(v: __m256) -> f32 = {
                let four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
            };
            sum(v: __m256) -> f32 = {
                let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            };
        }
        #[inline(always)]
        unsafe fn split(a: __m256) -> (__m256, __m256) {
            // SAFETY: the caller promises the instructions.
            unsafe {
                let bits = _mm256_castps_si256(a);
                let e =
                    _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f40_0000)));
                let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e));
                (_mm256_castsi256_ps(m), _mm256_cvtepi32_ps(e))
            }
        }
    }

    #[inline(always)]
    unsafe fn power_of_two(n: __m256) -> __m256 {
        // SAFETY: the caller promises AVX2.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2Fma, Avx512};

/// Defines `unsafe fn name(level, arguments…)` whose body, generic over `S: Simd`, is compiled
/// once for every level. Besides what the body asks for, the caller promises that the processor
/// has `level`.
macro_rules! for_each_level {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident<$S:ident>(
        $($arg:ident: $ty:ty),* $(,)?
    ) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments, reason = "the kernel's operands")]
        $vis unsafe fn $name(level: $crate::cpu::level::Level, $($arg: $ty),*) $(-> $ret)? {
            #[allow(clippy::too_many_arguments, reason = "the kernel's operands")]
            #[inline(always)]
            unsafe fn generic<$S: $crate::cpu::simd::Simd>($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller of `name` keeps the promises of each operation.
                unsafe { $body }
            }

            #[allow(clippy::too_many_arguments, reason = "the kernel's operands")]
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller of `name` keeps the promises; the instructions are enabled.
                unsafe { generic::<$crate::cpu::simd::Avx2Fma>($($arg),*) }
            }

            #[allow(clippy::too_many_arguments, reason = "the kernel's operands")]
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: the caller of `name` keeps the promises; the instructions are enabled.
                unsafe { generic::<$crate::cpu::simd::Avx512>($($arg),*) }
            }

            // SAFETY: the caller keeps the promises, and the processor has `level`.
            unsafe {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::level::Level::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::level::Level::Avx2Fma => avx2($($arg),*),
                    _ => generic::<$crate::cpu::simd::Portable>($($arg),*),
                }
            }
        }
    };
}

pub(crate) use for_each_level;
