//! The right operand of a product, laid out in the order in which tiles read it.

use super::kernel;
use crate::cpu::level::Level;
use crate::memory::AlignedBytes;
use std::alloc::Layout;

/// Floats on the heap, aligned to a cache line.
pub(crate) struct Floats {
    bytes: AlignedBytes,
    len: usize,
}

impl std::fmt::Debug for Floats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Floats({})", self.len)
    }
}

impl Floats {
    /// `len` zeros; without room for them the process ends, as with a `Vec`.
    pub(crate) fn zeros(len: usize) -> Self {
        let bytes = len
            .checked_mul(size_of::<f32>())
            .and_then(AlignedBytes::new);
        let bytes = bytes.unwrap_or_else(|| {
            std::alloc::handle_alloc_error(Layout::new::<f32>());
        });
        Floats { bytes, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.bytes.as_ptr().cast_const().cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.bytes.as_ptr().cast()
    }
}

/// How the columns of B are cut into panels: each panel is `[k][nv * lanes]`, one after another;
/// missing columns of the last vector are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Panels {
    pub(crate) level: Level,
    pub(crate) k: usize,
    pub(crate) n: usize,
    n_vectors: usize,
    pub(crate) count: usize,
}

/// One panel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Panel {
    /// Vectors wide.
    pub(crate) nv: usize,
    /// First column.
    pub(crate) column: usize,
    /// Valid columns.
    pub(crate) n_columns: usize,
    /// Where it starts, in floats.
    pub(crate) offset: usize,
    /// Floats from one k to the next.
    pub(crate) width: usize,
}

impl Panels {
    /// Cuts `n` columns as evenly as vectors go.
    pub(crate) fn new(level: Level, k: usize, n: usize) -> Self {
        let n_vectors = n.div_ceil(level.lanes());
        let count = n_vectors.div_ceil(kernel::max_nv(level));
        Panels {
            level,
            k,
            n,
            n_vectors,
            count,
        }
    }

    /// Panel `p`; wider ones come first.
    pub(crate) fn get(&self, p: usize) -> Panel {
        let (base, n_wider) = (self.n_vectors / self.count, self.n_vectors % self.count);
        let first = p * base + p.min(n_wider);
        let nv = base + usize::from(p < n_wider);
        let lanes = self.level.lanes();
        let column = first * lanes;
        Panel {
            nv,
            column,
            n_columns: (nv * lanes).min(self.n - column),
            offset: column * self.k,
            width: nv * lanes,
        }
    }

    /// Vectors of the widest panel.
    pub(crate) fn widest(&self) -> usize {
        if self.count == 0 { 1 } else { self.get(0).nv }
    }

    /// Rows of the tiles that go with the widest panel.
    pub(crate) fn tile_rows(&self) -> usize {
        kernel::tiles(self.level, self.widest(), false).len()
    }

    /// Floats of all panels.
    pub(crate) fn n_floats(&self) -> usize {
        self.n_vectors * self.level.lanes() * self.k
    }
}

/// Where element (segment s, k, column n) of an operand lies: `s * segment + k * row + n * column`
/// floats from the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strides {
    pub(crate) segment: isize,
    pub(crate) row: isize,
    pub(crate) column: isize,
}

/// Packs panel `panel` of `[n_segments][depth]` rows to `to`.
///
/// # Safety
/// `from` must be valid for all elements that `strides` reaches, `to` for
/// `n_segments * depth * panel.width` floats.
pub(crate) unsafe fn pack_panel(
    panel: Panel,
    n_segments: usize,
    depth: usize,
    from: *const f32,
    strides: Strides,
    to: *mut f32,
) {
    let Strides {
        segment,
        row,
        column,
    } = strides;
    // SAFETY: every index below is under the extents that the caller promises.
    unsafe {
        let from = from.offset(panel.column as isize * column);
        if column == 1 {
            for s in 0..n_segments {
                for k in 0..depth {
                    let source = from.offset(s as isize * segment + k as isize * row);
                    let target = to.add((s * depth + k) * panel.width);
                    std::ptr::copy_nonoverlapping(source, target, panel.n_columns);
                    for n in panel.n_columns..panel.width {
                        *target.add(n) = 0.0;
                    }
                }
            }
            return;
        }
        // Reads that are neighbours in memory go first: over taps of a filter, then over rows.
        let (n_outer, n_inner, outer, inner, outer_to, inner_to) = if segment.abs() < row.abs() {
            (depth, n_segments, row, segment, 1, depth)
        } else {
            (n_segments, depth, segment, row, depth, 1)
        };
        // Sixteen columns at a time: their lines of source and target stay in the cache.
        for n0 in (0..panel.width).step_by(16) {
            let n1 = (n0 + 16).min(panel.width);
            for o in 0..n_outer {
                for i in 0..n_inner {
                    let target = to.add((o * outer_to + i * inner_to) * panel.width);
                    let source = from.offset(o as isize * outer + i as isize * inner);
                    for n in n0..n1.min(panel.n_columns).max(n0) {
                        *target.add(n) = *source.offset(n as isize * column);
                    }
                    for n in n1.min(panel.n_columns).max(n0)..n1 {
                        *target.add(n) = 0.0;
                    }
                }
            }
        }
    }
}

/// A constant right operand in panels.
#[derive(Debug)]
pub struct PackedB {
    pub(crate) panels: Panels,
    data: Floats,
}

impl PackedB {
    /// Packs a matrix of `[n_segments * depth, n]`.
    ///
    /// # Safety
    /// As for [`pack_panel`].
    pub(crate) unsafe fn new(
        level: Level,
        n_segments: usize,
        depth: usize,
        n: usize,
        from: *const f32,
        strides: Strides,
    ) -> Self {
        let panels = Panels::new(level, n_segments * depth, n);
        let mut data = Floats::zeros(panels.n_floats());
        for p in 0..panels.count {
            let panel = panels.get(p);
            // SAFETY: `data` has room for every panel at its offset; `from` as promised.
            unsafe {
                let to = data.as_mut_ptr().add(panel.offset);
                pack_panel(panel, n_segments, depth, from, strides, to);
            }
        }
        PackedB { panels, data }
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.data.as_ptr()
    }

    /// Bytes on the heap.
    pub fn n_bytes(&self) -> usize {
        self.data.len() * size_of::<f32>()
    }
}
