//! Which vector instructions the kernels use.

use std::sync::OnceLock;

/// A set of vector instructions. Every kernel exists once for each; results of one level are
/// bit-identical for any number of threads, results of two levels agree to rounding only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Level {
    /// What every processor of the architecture has: SSE2 on x86-64, NEON on AArch64.
    Portable,
    /// AVX2 and FMA.
    Avx2Fma,
    /// AVX-512 F, BW, DQ and VL as well.
    Avx512,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Level; 3] = [Level::Portable, Level::Avx2Fma, Level::Avx512];

    /// The best level of this processor; found out once.
    pub fn detect() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            Level::ALL
                .into_iter()
                .rev()
                .find(|level| level.is_available())
                .unwrap_or(Level::Portable)
        })
    }

    /// Whether this processor can run kernels of this level.
    pub fn is_available(self) -> bool {
        match self {
            Level::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2Fma => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => {
                Level::Avx2Fma.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2Fma | Level::Avx512 => false,
        }
    }

    /// This level if the processor has it, else the best one below it.
    pub fn or_lower(self) -> Self {
        Level::ALL
            .into_iter()
            .rev()
            .find(|level| *level <= self && level.is_available())
            .unwrap_or(Level::Portable)
    }

    /// `f32` lanes of a vector register.
    pub const fn lanes(self) -> usize {
        match self {
            Level::Portable => 4,
            Level::Avx2Fma => 8,
            Level::Avx512 => 16,
        }
    }
}
