//! Memory of the device, and of the host where the device can reach it.

use super::context::{Context, Current};
use super::driver::{DriverError, call};
use cudarc::driver::sys;
use memmap2::{Advice, MmapMut};
use std::ffi::c_void;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

/// Memory of the device.
pub(crate) struct DeviceMemory {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    bytes: u64,
}

impl DeviceMemory {
    /// So many bytes, at least one, aligned to 256.
    pub(crate) fn new(context: &Arc<Context>, bytes: u64) -> Result<Self, DriverError> {
        let current = context.enter()?;
        let mut address = 0;
        let size = usize::try_from(bytes.max(1)).unwrap_or(usize::MAX);
        // SAFETY: it writes an address; the context is current.
        current.keep(unsafe { call!(current.driver(), cuMemAlloc_v2(&raw mut address, size)) })?;
        Ok(Self {
            context: Arc::clone(context),
            address,
            bytes,
        })
    }

    /// Where it starts.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        self.context.release(|driver| {
            // SAFETY: allocated in `new`; whoever uses it in a stream waits before letting go.
            let _ = unsafe { call!(driver, cuMemFree_v2(self.address)) };
        });
    }
}

/// Zeroed host memory that the device can copy to and from while the host goes on, and that kernels
/// can write to. Aligned to a page.
pub(crate) struct PinnedMemory {
    context: Arc<Context>,
    at: *mut u8,
    bytes: usize,
    /// The memory, if it is not the driver's.
    own: Option<MmapMut>,
}

/// Bytes from which memory is taken from the system in huge pages: pinning it page by page costs half
/// a millisecond a megabyte.
const LARGE: usize = 2 << 20;

// SAFETY: the memory belongs to the value, like that of a `Vec<u8>`.
unsafe impl Send for PinnedMemory {}
// SAFETY: shared references give access to nothing but a pointer and bytes to read.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    /// So many bytes.
    pub(crate) fn new(context: &Arc<Context>, bytes: u64) -> Result<Self, DriverError> {
        let mut memory = Self::unzeroed(context, bytes)?;
        if memory.own.is_none() {
            memory.as_mut_slice().fill(0);
        }
        Ok(memory)
    }

    /// As [`PinnedMemory::new`]; what the bytes are is open.
    pub(crate) fn unzeroed(context: &Arc<Context>, bytes: u64) -> Result<Self, DriverError> {
        let current = context.enter()?;
        let mut at: *mut c_void = std::ptr::null_mut();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Some(own) = huge_pages(bytes) {
            return Self::registered(context, &current, own);
        }
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: it writes an address; the context is current.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuMemHostAlloc(&raw mut at, bytes.max(1), flags)
            )
        })?;
        Ok(Self {
            context: Arc::clone(context),
            at: at.cast(),
            bytes,
            own: None,
        })
    }

    /// Memory of the system, pinned.
    fn registered(
        context: &Arc<Context>,
        current: &Current<'_>,
        mut own: MmapMut,
    ) -> Result<Self, DriverError> {
        let flags = sys::CU_MEMHOSTREGISTER_PORTABLE | sys::CU_MEMHOSTREGISTER_DEVICEMAP;
        let (at, bytes) = (own.as_mut_ptr(), own.len());
        // SAFETY: the memory is the value's own, and unpinned before it is let go.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuMemHostRegister_v2(at.cast(), bytes, flags)
            )
        })?;
        Ok(Self {
            context: Arc::clone(context),
            at,
            bytes,
            own: Some(own),
        })
    }

    /// The first byte. Writing through it is up to who owns the value.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.at
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: so many bytes were allocated, and the driver and the system hand out memory that the
        // system has filled. While the device writes to them, the session that owns them is borrowed mutably.
        unsafe { std::slice::from_raw_parts(self.at, self.bytes) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the reference is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.bytes) }
    }

    /// Where kernels find it.
    pub(crate) fn device_address(&self) -> Result<u64, DriverError> {
        let current = self.context.enter()?;
        let mut address = 0;
        // SAFETY: the memory was allocated to be mapped.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuMemHostGetDevicePointer_v2(&raw mut address, self.at.cast(), 0)
            )
        })?;
        Ok(address)
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        self.context.release(|driver| {
            // The mapping goes after this.
            let _ = match self.own {
                // SAFETY: pinned in `registered`; whoever uses it in a stream waits before letting go.
                Some(_) => unsafe { call!(driver, cuMemHostUnregister(self.at.cast())) },
                // SAFETY: allocated in `unzeroed`; as above.
                None => unsafe { call!(driver, cuMemFreeHost(self.at.cast())) },
            };
        });
    }
}

/// Bytes from one write to the next that reach every page, be it huge or not.
const PAGE: usize = 4 << 10;

/// The most threads that pages are cleared by.
const MAX_THREADS: usize = 8;

/// Memory of the system in huge pages, if it is large enough and the system has them; zeros.
fn huge_pages(bytes: usize) -> Option<MmapMut> {
    if bytes < LARGE {
        return None;
    }
    let mut map = MmapMut::map_anon(bytes).ok()?;
    map.advise(Advice::HugePage).ok()?;
    clear(&mut map);
    Some(map)
}

/// Writes to every page of new memory, so that several threads of the system clear them now, and not one
/// when they are pinned.
fn clear(memory: &mut [u8]) {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let n_threads = processors.min(MAX_THREADS).min(memory.len() / LARGE).max(1);
    let part = memory.len().div_ceil(n_threads).next_multiple_of(LARGE);
    thread::scope(|scope| {
        for part in memory.chunks_mut(part) {
            let clear = || part.iter_mut().step_by(PAGE).for_each(|byte| *byte = 0);
            // Without a thread, whoever pins the pages has them cleared.
            let _ = thread::Builder::new().spawn_scoped(scope, clear);
        }
    });
}
