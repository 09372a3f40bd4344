//! Loops compiled once for each level of vector instructions.

/// Defines an unsafe function `name(level, arguments…)` whose body is compiled once for every
/// [`Level`](crate::cpu::level::Level). Besides what the body asks for, the caller promises that
/// the processor has the level.
macro_rules! for_each_level {
    ($(#[$meta:meta])* unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        pub(crate) unsafe fn $name(level: $crate::cpu::level::Level, $($arg: $ty),*) {
            #[inline(always)]
            unsafe fn body($($arg: $ty),*) $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: the caller keeps the promises of `body`.
                unsafe { body($($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: the caller keeps the promises of `body`.
                unsafe { body($($arg),*) }
            }

            // SAFETY: the caller keeps the promises of `body`, and the processor has the level.
            unsafe {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::level::Level::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::level::Level::Avx2Fma => avx2($($arg),*),
                    _ => body($($arg),*),
                }
            }
        }
    };
}

pub(crate) use for_each_level;
