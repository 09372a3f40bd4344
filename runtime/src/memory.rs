//! Aligned memory.

use memmap2::MmapMut;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Zeroed memory, aligned for vectors and to what buffers ask for.
///
/// Pages that nobody touches cost nothing. Large memory is in huge pages where the system has them:
/// fewer faults when it is first written, fewer misses of the address cache ever after.
pub(crate) struct AlignedBytes {
    storage: Storage,
    /// The first aligned byte.
    at: NonNull<u8>,
    len: usize,
}

/// What keeps the memory.
enum Storage {
    Heap {
        allocation: NonNull<u8>,
        layout: Layout,
    },
    Mapped {
        _map: MmapMut,
    },
}

/// The alignment of [`AlignedBytes`].
pub(crate) const ALIGN: usize = 256;

const _: () = assert!(ALIGN as u64 >= plans::BUFFER_ALIGN);

/// The size of a huge page on x86-64, and on AArch64 with small pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// From here on memory is in huge pages: less than a tenth of it is lost at its end.
const LARGE: usize = 16 << 20;

// SAFETY: the memory belongs to the value, like that of a `Vec<u8>`.
unsafe impl Send for AlignedBytes {}
// SAFETY: shared references give access to nothing but a pointer and bytes to read.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` bytes, 0; `None` if there is no room for them.
    pub(crate) fn new(len: usize) -> Option<Self> {
        if len >= LARGE {
            Self::mapped(len)
        } else {
            Self::on_heap(len)
        }
    }

    fn on_heap(len: usize) -> Option<Self> {
        // Asking for more than the usual alignment would have all bytes written.
        let layout = Layout::from_size_align(len.checked_add(ALIGN)?, 16).ok()?;
        // SAFETY: the layout has a size.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let skipped = allocation.align_offset(ALIGN);
        // SAFETY: less than ALIGN bytes are skipped, and so many more than `len` were allocated.
        let at = unsafe { allocation.add(skipped) };
        let storage = Storage::Heap { allocation, layout };
        Some(Self { storage, at, len })
    }

    fn mapped(len: usize) -> Option<Self> {
        let mut map = MmapMut::map_anon(len.checked_add(HUGE_PAGE)?).ok()?;
        // Without huge pages the memory is as good, if slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = NonNull::new(map.as_mut_ptr())?;
        let skipped = start.align_offset(HUGE_PAGE);
        // SAFETY: less than HUGE_PAGE bytes are skipped, and so many more than `len` were mapped.
        let at = unsafe { start.add(skipped) };
        let storage = Storage::Mapped { _map: map };
        Some(Self { storage, at, len })
    }

    /// A copy of `bytes`; `None` if there is no room for it.
    pub(crate) fn copy_of(bytes: &[u8]) -> Option<Self> {
        let mut copy = Self::new(bytes.len())?;
        copy.as_mut_slice().copy_from_slice(bytes);
        Some(copy)
    }

    /// The first byte. Writing through it is up to who owns the value.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.at.as_ptr()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: so many bytes were allocated, zeroed.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the reference is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if let Storage::Heap { allocation, layout } = self.storage {
            // SAFETY: allocated in `on_heap` with this layout.
            unsafe { dealloc(allocation.as_ptr(), layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_zero() {
        for len in [0, 1, 255, 256, 100_003, LARGE + 1] {
            let mut bytes = AlignedBytes::new(len).unwrap();
            assert_eq!(bytes.as_ptr().align_offset(ALIGN), 0);
            assert_eq!(bytes.as_slice().len(), len);
            assert!(bytes.as_slice().iter().all(|&b| b == 0));
            bytes.as_mut_slice().fill(7);
        }
        assert!(AlignedBytes::new(usize::MAX).is_none());
        assert!(AlignedBytes::new(1 << 62).is_none());
        let copy = AlignedBytes::copy_of(b"plan").unwrap();
        assert_eq!(copy.as_slice(), b"plan");
    }
}
