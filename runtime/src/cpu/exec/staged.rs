//! Operands that a kernel wants dense: used where they lie if they are, else copied.

use super::Cx;
use super::geometry::{Dim, Walk, bump_size};
use plans::spec::Operand;

/// The most dimensions of a staged operand.
const MAX_RANK: usize = 8;

/// An operand of a kernel that works on dense rows.
pub(crate) struct Staged {
    arg: usize,
    dims: Vec<Dim>,
    n: usize,
    size: usize,
    dense: bool,
    /// Where the copy lies in the shared region.
    at: usize,
}

impl Staged {
    /// Argument `arg`, `operand` over `extents`; a copy would lie at `*end`, which moves on.
    pub(crate) fn new(arg: usize, operand: &Operand, extents: &[u64], end: &mut usize) -> Self {
        let n = extents.iter().map(|&e| e as usize).product();
        let mut distance = 1;
        let mut dense = true;
        for (&extent, &stride) in extents.iter().zip(&operand.strides).rev() {
            dense &= extent == 1 || stride == distance;
            distance *= extent as i64;
        }
        let size = operand.dtype.size();
        let at = *end;
        if !dense {
            *end += bump_size(n * size);
        }
        let dims = super::geometry::dims(extents, &[&operand.strides], |_| false);
        debug_assert!(
            dims.len() <= MAX_RANK,
            "operands of this class have few dimensions"
        );
        Self {
            arg,
            dims,
            n,
            size,
            dense,
            at,
        }
    }

    /// The elements, dense; copied to the shared region if they are not.
    ///
    /// # Safety
    /// As for [`Execute::run`](super::Execute::run), and the shared region holds the copy.
    pub(crate) unsafe fn read(&self, cx: &Cx<'_>) -> *const u8 {
        // SAFETY: the copy's place is within the shared region, and the walk visits elements of
        // the operand, whose reach the argument holds.
        unsafe {
            if self.dense {
                return cx.args[self.arg];
            }
            let copy = cx.shared.add(self.at);
            self.each(|i, offset| {
                let from = cx.args[self.arg].offset(offset * self.size as isize);
                copy.add(i * self.size)
                    .copy_from_nonoverlapping(from, self.size);
            });
            copy
        }
    }

    /// Where to write the elements, dense; [`finish`](Self::finish) brings them to their places.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    pub(crate) unsafe fn write(&self, cx: &Cx<'_>) -> *mut u8 {
        if self.dense {
            return cx.args[self.arg];
        }
        // SAFETY: the copy's place is within the shared region.
        unsafe { cx.shared.add(self.at) }
    }

    /// Brings what was written to [`write`](Self::write) to its place.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    pub(crate) unsafe fn finish(&self, cx: &Cx<'_>) {
        if self.dense {
            return;
        }
        // SAFETY: as in `read`, the other way round.
        unsafe {
            let copy = cx.shared.add(self.at);
            self.each(|i, offset| {
                let to = cx.args[self.arg].offset(offset * self.size as isize);
                to.copy_from_nonoverlapping(copy.add(i * self.size), self.size);
            });
        }
    }

    fn each(&self, mut f: impl FnMut(usize, isize)) {
        let (mut positions, mut offsets) = ([0; MAX_RANK], [0]);
        let mut walk = Walk::new(
            &self.dims,
            0,
            &mut positions[..self.dims.len()],
            &mut offsets,
        );
        for i in 0..self.n {
            f(i, walk.offsets[0]);
            walk.advance();
        }
    }
}
