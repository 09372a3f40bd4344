//! Registers of a block filled from memory and stored to it.

use super::access::{self, Pattern};
use super::program::{CHUNK, Frame, Load, ResultReg, is_native};
use plans::DType;

/// An element type and the strides inside of a block, in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided {
    pub(crate) dtype: DType,
    pub(crate) row_stride: isize,
    pub(crate) col_stride: isize,
}

/// The extents of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Area {
    pub(crate) fn n_chunks(self) -> usize {
        (self.rows * self.cols).div_ceil(CHUNK)
    }

    /// Whether the block ends where a chunk does, so that registers may be memory of its size.
    pub(crate) fn is_whole(self) -> bool {
        (self.rows * self.cols).is_multiple_of(CHUNK)
    }
}

impl Strided {
    pub(crate) fn pattern(self, area: Area) -> Pattern {
        Pattern {
            rows: area.rows,
            cols: area.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }

    /// Whether a register may be the operand's memory.
    fn is_register(self, area: Area) -> bool {
        area.is_whole() && is_native(self.dtype) && self.pattern(area).is_dense()
    }

    /// Fills the register of `load` with the block at `at`, or points it there.
    ///
    /// # Safety
    /// The block at `at` can be read until the register is filled again or reset; the register
    /// belongs to `frame` and the block fits it.
    #[inline]
    pub(crate) unsafe fn load(self, frame: &Frame<'_>, load: &Load, area: Area, at: *const u8) {
        if load.uniform {
            let first = Pattern {
                rows: 1,
                cols: CHUNK,
                row_stride: 0,
                col_stride: 0,
            };
            // SAFETY: the first element is the block's; uniform registers hold a chunk.
            unsafe { access::load(self.dtype, first, at, frame.pointer(load.reg)) };
        } else if self.is_register(area) {
            frame.point(load.reg, at.cast_mut());
        } else {
            frame.reset(load.reg);
            // SAFETY: the caller's promise.
            unsafe { access::load(self.dtype, self.pattern(area), at, frame.pointer(load.reg)) };
        }
    }

    /// Points the register of a result at its place in memory, if it may lie there.
    #[inline]
    pub(crate) fn aim(self, frame: &Frame<'_>, result: ResultReg, area: Area, at: *mut u8) {
        if result.direct {
            if self.is_register(area) {
                frame.point(result.reg, at);
            } else {
                frame.reset(result.reg);
            }
        }
    }

    /// Stores the block of a result, unless [`Strided::aim`] has put its register there.
    ///
    /// # Safety
    /// The block at `at` can be written; the register belongs to `frame` and holds the block.
    #[inline]
    pub(crate) unsafe fn store(
        self,
        frame: &Frame<'_>,
        result: ResultReg,
        area: Area,
        at: *mut u8,
    ) {
        if result.direct && self.is_register(area) {
            return;
        }
        let lanes = frame.pointer(result.reg);
        let register = &frame.program.registers[usize::from(result.reg)];
        // SAFETY: the caller's promise; a uniform register holds a chunk, and no more is read of it.
        unsafe {
            if !register.uniform {
                access::store(self.dtype, self.pattern(area), lanes, at);
                return;
            }
            let size = self.dtype.size() as isize;
            for r in 0..area.rows {
                for c in (0..area.cols).step_by(CHUNK) {
                    let part = Pattern {
                        rows: 1,
                        cols: CHUNK.min(area.cols - c),
                        row_stride: 0,
                        col_stride: self.col_stride,
                    };
                    let offset = r as isize * self.row_stride + c as isize * self.col_stride;
                    access::store(self.dtype, part, lanes, at.offset(offset * size));
                }
            }
        }
    }
}

/// How positions along a dimension run over a block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Positions {
    /// From so many on, one more each row.
    Rows(usize),
    /// From so many on, one more each column.
    Cols(usize),
    /// The same everywhere.
    Fixed(usize),
}

/// Fills the register of a load of positions.
///
/// # Safety
/// The register belongs to `frame`; the block fits it, or the positions are fixed and it is uniform.
pub(crate) unsafe fn load_positions(
    frame: &Frame<'_>,
    load: &Load,
    area: Area,
    positions: Positions,
) {
    let lanes = frame.pointer(load.reg).cast::<i64>();
    let area = if load.uniform {
        Area {
            rows: 1,
            cols: CHUNK,
        }
    } else {
        area
    };
    for r in 0..area.rows {
        for c in 0..area.cols {
            let position = match positions {
                Positions::Rows(first) => first + r,
                Positions::Cols(first) => first + c,
                Positions::Fixed(position) => position,
            };
            // SAFETY: the register holds the block.
            unsafe {
                lanes
                    .add(r * area.cols + c)
                    .write_unaligned(position as i64);
            }
        }
    }
}
