//! Aligned memory.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Zeroed memory, aligned for vectors and to what buffers ask for.
pub(crate) struct AlignedBytes {
    at: NonNull<u8>,
    layout: Layout,
}

/// The alignment of [`AlignedBytes`].
pub(crate) const ALIGN: usize = 256;

const _: () = assert!(ALIGN as u64 >= plans::BUFFER_ALIGN);

// SAFETY: the memory belongs to the value, like that of a `Vec<u8>`.
unsafe impl Send for AlignedBytes {}
// SAFETY: shared references give access to nothing but a pointer and bytes to read.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` bytes, 0; `None` if there is no room for them.
    pub(crate) fn new(len: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len.max(1), ALIGN).ok()?;
        // SAFETY: the layout has a size.
        let at = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { at, layout })
    }

    /// A copy of `bytes`; `None` if there is no room for it.
    pub(crate) fn copy_of(bytes: &[u8]) -> Option<Self> {
        let mut copy = Self::new(bytes.len())?;
        copy.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
        Some(copy)
    }

    /// The first byte. Writing through it is up to who owns the value.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: so many bytes were allocated, zeroed.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.layout.size()) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the reference is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.layout.size()) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.at.as_ptr(), self.layout) }
    }
}
