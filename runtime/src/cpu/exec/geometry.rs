//! Loop nests over strided operands, made short and walked without allocation.

use std::marker::PhantomData;

/// A dimension of a loop nest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dim {
    pub(crate) extent: usize,
    /// The stride of each operand, in elements.
    pub(crate) strides: Vec<isize>,
    /// The dimension of the spec's domain that this is, if positions along it are asked for.
    pub(crate) index: Option<u16>,
}

impl Dim {
    /// The dimension of the blocks of `block` positions.
    pub(crate) fn blocks(&self, block: usize) -> Self {
        Self {
            extent: self.extent.div_ceil(block),
            strides: self.strides.iter().map(|s| s * block as isize).collect(),
            index: None,
        }
    }
}

/// The dimensions of `domain` (at least one position) without those of extent 1, each with the
/// strides of all operands.
///
/// `is_indexed` says along which dimensions of the domain positions are asked for.
pub(crate) fn dims(
    domain: &[u64],
    operands: &[&[i64]],
    is_indexed: impl Fn(u16) -> bool,
) -> Vec<Dim> {
    domain
        .iter()
        .enumerate()
        .filter(|&(_, &extent)| extent > 1)
        .map(|(d, &extent)| Dim {
            extent: extent as usize,
            strides: operands.iter().map(|s| s[d] as isize).collect(),
            index: Some(d as u16).filter(|&d| is_indexed(d)),
        })
        .collect()
}

/// Joins neighbours that all operands walk as one dimension.
pub(crate) fn coalesce(dims: Vec<Dim>) -> Vec<Dim> {
    let mut joined: Vec<Dim> = Vec::with_capacity(dims.len());
    for inner in dims {
        if let Some(outer) = joined.last_mut()
            && outer.index.is_none()
            && inner.index.is_none()
            && outer
                .strides
                .iter()
                .zip(&inner.strides)
                .all(|(&o, &i)| o == i * inner.extent as isize)
        {
            outer.extent *= inner.extent;
            outer.strides = inner.strides;
        } else {
            joined.push(inner);
        }
    }
    joined
}

/// Positions in a nest and the offsets of all operands there, in memory of a worker.
pub(crate) struct Walk<'a> {
    dims: &'a [Dim],
    positions: &'a mut [usize],
    /// One offset an operand, in elements.
    pub(crate) offsets: &'a mut [isize],
}

impl<'a> Walk<'a> {
    /// A walk that starts at the `first`-th position, in row-major order.
    pub(crate) fn new(
        dims: &'a [Dim],
        first: usize,
        positions: &'a mut [usize],
        offsets: &'a mut [isize],
    ) -> Self {
        offsets.fill(0);
        let mut rest = first;
        for (d, dim) in dims.iter().enumerate().rev() {
            positions[d] = rest % dim.extent;
            rest /= dim.extent;
            for (offset, stride) in offsets.iter_mut().zip(&dim.strides) {
                *offset += positions[d] as isize * stride;
            }
        }
        Self {
            dims,
            positions,
            offsets,
        }
    }

    /// The position along dimension `d` of the nest.
    pub(crate) fn position(&self, d: usize) -> usize {
        self.positions[d]
    }

    /// Steps to the next position; after the last, back to the first.
    pub(crate) fn advance(&mut self) {
        for (d, dim) in self.dims.iter().enumerate().rev() {
            self.positions[d] += 1;
            if self.positions[d] < dim.extent {
                for (offset, stride) in self.offsets.iter_mut().zip(&dim.strides) {
                    *offset += stride;
                }
                return;
            }
            let back = self.positions[d] as isize - 1;
            self.positions[d] = 0;
            for (offset, stride) in self.offsets.iter_mut().zip(&dim.strides) {
                *offset -= back * stride;
            }
        }
    }
}

/// Parts of a worker's memory, handed out in order.
pub(crate) struct Bump<'a> {
    at: *mut u8,
    left: usize,
    memory: PhantomData<&'a mut [u8]>,
}

/// What [`Bump`] aligns to.
pub(crate) const BUMP_ALIGN: usize = 64;

impl<'a> Bump<'a> {
    /// # Safety
    /// `len` bytes at `at`, which is aligned to [`BUMP_ALIGN`], belong to the caller for `'a`.
    pub(crate) unsafe fn new(at: *mut u8, len: usize) -> Self {
        Self {
            at,
            left: len,
            memory: PhantomData,
        }
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> *mut u8 {
        let len = bump_size(len);
        assert!(
            len <= self.left,
            "a kernel asks for the memory that it uses"
        );
        let at = self.at;
        // SAFETY: `len` bytes are left.
        self.at = unsafe { at.add(len) };
        self.left -= len;
        at
    }

    /// The next `len` numbers, 0.
    pub(crate) fn zeroed<T: Zero>(&mut self, len: usize) -> &'a mut [T] {
        let at = self.bytes(len * size_of::<T>()).cast::<T>();
        // SAFETY: the bytes were just taken, so that nobody else has them; all zeros are a `T`,
        // and `BUMP_ALIGN` aligns it.
        unsafe {
            at.write_bytes(0, len);
            std::slice::from_raw_parts_mut(at, len)
        }
    }
}

/// Bytes that [`Bump::bytes`] takes for `len`.
pub(crate) const fn bump_size(len: usize) -> usize {
    len.next_multiple_of(BUMP_ALIGN)
}

/// Numbers that are 0 where all bytes are.
pub(crate) trait Zero: Copy {}
impl Zero for usize {}
impl Zero for isize {}
impl Zero for f32 {}
impl Zero for f64 {}
impl Zero for i64 {}
