//! The register tile: `MR` rows by `NV` vectors of the product, summed over all of K in order.
//!
//! One family serves every product. A row of A is not one run of memory but a list of *segments*
//! (one for a matrix, one a kernel tap for a convolution), each given by a pointer to `segment`
//! consecutive floats, or, for operands without consecutive floats, by a table of offsets.
//! Each element is one chain of multiply-adds over k in ascending order, whatever the tile, so
//! neither the split into tasks nor the blocking of K shows in the result.

use crate::cpu::level::Level;
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{Avx2Fma, Avx512};
use crate::cpu::simd::{Portable, Simd};

/// The most rows of a tile, at any level.
pub(crate) const MAX_MR: usize = 12;

/// Rows of B that are fetched into the first-level cache ahead of their use.
const PREFETCH_AHEAD: usize = 6;

/// What one call of a tile kernel computes: `C = clip(scale * (start + A B) + bias + residual)`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// `n_segments * MR` pointers, those of a segment side by side. With `offsets`: `MR`.
    pub(crate) rows: *const *const f32,
    pub(crate) n_segments: usize,
    /// Floats of a segment; with `offsets` the whole depth.
    pub(crate) segment: usize,
    /// Added to every pointer, in floats.
    pub(crate) skip: usize,
    /// If not null: element k of row i is `rows[i][offsets[k]]`.
    pub(crate) offsets: *const i32,
    pub(crate) b: *const f32,
    /// Floats from one k to the next in B.
    pub(crate) b_stride: usize,
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    /// Valid columns, from `(NV - 1) * LANES + 1` to `NV * LANES`.
    pub(crate) n_columns: usize,
    /// Null, or what sums start from, in rows of `start_stride`; may be C itself.
    pub(crate) start: *const f32,
    pub(crate) start_stride: usize,
    /// Null, or an addend a column.
    pub(crate) bias: *const f32,
    /// Null, or addends in rows of `residual_stride`.
    pub(crate) residual: *const f32,
    pub(crate) residual_stride: usize,
    pub(crate) scale: f32,
    /// Bounds of the result; infinite for none. NaN stays.
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// A tile kernel.
///
/// # Safety
/// The processor must have the kernel's level; the pointers of the [`Tile`] must be valid for
/// what its fields say, B for `LANES * NV` floats at every k.
pub(crate) type TileFn = unsafe fn(&Tile);

#[allow(
    clippy::needless_range_loop,
    reason = "lanes of one array beside addresses"
)]
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const BY_OFFSETS: bool>(t: &Tile) {
    // SAFETY: the caller promises the level and the extents behind every pointer; the last
    // vector of a row of C, bias and residual is accessed up to `n_columns` only.
    unsafe {
        let last = t.n_columns - (NV - 1) * S::LANES;
        let mut acc = [[S::zero(); NV]; MR];
        if !t.start.is_null() {
            for i in 0..MR {
                for j in 0..NV {
                    let p = t.start.add(i * t.start_stride + j * S::LANES);
                    acc[i][j] = if j + 1 == NV {
                        S::load_n(p, last)
                    } else {
                        S::load(p)
                    };
                }
            }
        }
        let mut b = t.b;
        for s in 0..t.n_segments {
            let mut rows = [std::ptr::null::<f32>(); MR];
            for i in 0..MR {
                rows[i] = (*t.rows.add(s * MR + i)).add(t.skip);
            }
            for k in 0..t.segment {
                let at = if BY_OFFSETS {
                    *t.offsets.add(k) as isize
                } else {
                    k as isize
                };
                let mut bv = [S::zero(); NV];
                for j in 0..NV {
                    bv[j] = S::load(b.add(j * S::LANES));
                    S::prefetch(b.wrapping_add(j * S::LANES + PREFETCH_AHEAD * t.b_stride));
                }
                for i in 0..MR {
                    let a = S::splat(*rows[i].offset(at));
                    for j in 0..NV {
                        acc[i][j] = S::fma(a, bv[j], acc[i][j]);
                    }
                }
                b = b.add(t.b_stride);
            }
        }
        if t.scale != 1.0 {
            let scale = S::splat(t.scale);
            for row in &mut acc {
                for v in row {
                    *v = S::mul(*v, scale);
                }
            }
        }
        if !t.bias.is_null() {
            for j in 0..NV {
                let p = t.bias.add(j * S::LANES);
                let bias = if j + 1 == NV {
                    S::load_n(p, last)
                } else {
                    S::load(p)
                };
                for i in 0..MR {
                    acc[i][j] = S::add(acc[i][j], bias);
                }
            }
        }
        if !t.residual.is_null() {
            for i in 0..MR {
                for j in 0..NV {
                    let p = t.residual.add(i * t.residual_stride + j * S::LANES);
                    let v = if j + 1 == NV {
                        S::load_n(p, last)
                    } else {
                        S::load(p)
                    };
                    acc[i][j] = S::add(acc[i][j], v);
                }
            }
        }
        let (low, high) = (S::splat(t.low), S::splat(t.high));
        for i in 0..MR {
            let c = t.c.add(i * t.c_stride);
            for j in 0..NV {
                let v = S::min(high, S::max(low, acc[i][j]));
                if j + 1 == NV && last < S::LANES {
                    S::store_n(c.add(j * S::LANES), v, last);
                } else {
                    S::store(c.add(j * S::LANES), v);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn tile_avx512<const MR: usize, const NV: usize, const BY_OFFSETS: bool>(t: &Tile) {
    // SAFETY: the instructions are enabled; the rest is the caller's promise.
    unsafe { tile::<Avx512, MR, NV, BY_OFFSETS>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2<const MR: usize, const NV: usize, const BY_OFFSETS: bool>(t: &Tile) {
    // SAFETY: the instructions are enabled; the rest is the caller's promise.
    unsafe { tile::<Avx2Fma, MR, NV, BY_OFFSETS>(t) }
}

unsafe fn tile_portable<const MR: usize, const NV: usize, const BY_OFFSETS: bool>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<Portable, MR, NV, BY_OFFSETS>(t) }
}

/// A table of tile functions by rows, for one width: entry `r - 1` has `r` rows.
macro_rules! by_rows {
    ($f:ident, $nv:literal, $by_offsets:literal: $($mr:literal)*) => {
        &[$($f::<$mr, $nv, $by_offsets> as TileFn),*]
    };
}

macro_rules! table {
    ($f:ident: $($nv:literal => $($mr:literal)*;)*) => {
        ([$(by_rows!($f, $nv, false: $($mr)*)),*], [$(by_rows!($f, $nv, true: $($mr)*)),*])
    };
}

type Widths<const N: usize> = ([&'static [TileFn]; N], [&'static [TileFn]; N]);

// 24 sums in flight hide the latency of two multiply-add units and leave 8 registers of 32.
#[cfg(target_arch = "x86_64")]
static AVX512: Widths<4> = table!(tile_avx512:
    1 => 1 2 3 4 5 6 7 8 9 10 11 12;
    2 => 1 2 3 4 5 6 7 8 9 10 11 12;
    3 => 1 2 3 4 5 6 7 8;
    4 => 1 2 3 4 5 6;
);

#[cfg(target_arch = "x86_64")]
static AVX2: Widths<2> = table!(tile_avx2:
    1 => 1 2 3 4 5 6 7 8;
    2 => 1 2 3 4 5 6;
);

static PORTABLE: Widths<2> = table!(tile_portable:
    1 => 1 2 3 4 5 6;
    2 => 1 2 3 4;
);

/// The tile kernels of `level` of `nv` vectors, fewest rows first; the last is the best to use.
pub(crate) fn tiles(level: Level, nv: usize, by_offsets: bool) -> &'static [TileFn] {
    let pick = |plain: &[&'static [TileFn]], offset: &[&'static [TileFn]]| {
        if by_offsets {
            offset[nv - 1]
        } else {
            plain[nv - 1]
        }
    };
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => pick(&AVX512.0, &AVX512.1),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2Fma => pick(&AVX2.0, &AVX2.1),
        _ => pick(&PORTABLE.0, &PORTABLE.1),
    }
}

/// The most vectors of a panel at `level`.
pub(crate) const fn max_nv(level: Level) -> usize {
    match level {
        Level::Avx512 => 4,
        Level::Avx2Fma | Level::Portable => 2,
    }
}
