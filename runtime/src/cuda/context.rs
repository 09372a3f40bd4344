//! A context of a device, and what lives in it.

use super::DeviceInfo;
use super::driver::{Driver, DriverError, NOT_READY, Unavailable, call};
use cudarc::driver::sys;
use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

/// A context of a device. Everything made in it keeps it alive.
///
/// An error after which nothing in the context works any more ([`DriverError::is_sticky`]) is kept,
/// so that no later call is made in vain.
pub(crate) struct Context {
    driver: &'static Driver,
    handle: sys::CUcontext,
    device: sys::CUdevice,
    ordinal: u16,
    arch: u32,
    lost: OnceLock<DriverError>,
}

// SAFETY: contexts, and all that the driver makes in them, may be used by any thread to which the
// context is current (CUDA Driver API, "Context Management"); `Context::enter` makes it current.
unsafe impl Send for Context {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Context {}

impl Context {
    /// The primary context of device `ordinal`, shared with all else in the process that uses the
    /// device.
    ///
    /// # Errors
    ///
    /// If there is no such device, or the driver fails.
    pub(crate) fn new(ordinal: u16) -> Result<Arc<Self>, Unavailable> {
        let driver = Driver::get()?;
        let failed = Unavailable::Failed;
        let device = device(driver, ordinal)?;
        let arch = arch(driver, device).map_err(failed)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: it writes a handle; it is released when the value is dropped.
        unsafe { call!(driver, cuDevicePrimaryCtxRetain(&raw mut handle, device)) }
            .map_err(failed)?;
        Ok(Arc::new(Self {
            driver,
            handle,
            device,
            ordinal,
            arch,
            lost: OnceLock::new(),
        }))
    }

    pub(crate) fn handle(&self) -> sys::CUcontext {
        self.handle
    }

    /// Ten times the major number of the device's compute capability plus the minor one.
    pub(crate) fn arch(&self) -> u32 {
        self.arch
    }

    /// The device, as the driver numbers it.
    pub(crate) fn device(&self) -> sys::CUdevice {
        self.device
    }

    /// The device's number.
    pub(crate) fn ordinal(&self) -> u16 {
        self.ordinal
    }

    /// The error that the context was lost by.
    pub(crate) fn lost(&self) -> Option<DriverError> {
        self.lost.get().copied()
    }

    /// Makes the context current to this thread until the guard is dropped.
    ///
    /// # Errors
    ///
    /// If the context is lost.
    pub(crate) fn enter(&self) -> Result<Current<'_>, DriverError> {
        if let Some(error) = self.lost() {
            return Err(error);
        }
        self.push()
    }

    fn push(&self) -> Result<Current<'_>, DriverError> {
        // SAFETY: the context is alive.
        self.keep(unsafe { call!(self.driver, cuCtxPushCurrent_v2(self.handle)) })?;
        Ok(Current {
            context: self,
            this_thread: PhantomData,
        })
    }

    /// Does `release` with the context current, as well as it can be done.
    pub(super) fn release(&self, release: impl FnOnce(&Driver)) {
        // A lost context still has its memory freed, where the driver can.
        if let Ok(current) = self.push() {
            release(current.driver());
        }
    }

    /// Remembers an error that the context is lost by.
    fn keep<T>(&self, result: Result<T, DriverError>) -> Result<T, DriverError> {
        if let Err(error) = &result
            && error.is_sticky()
        {
            let _ = self.lost.set(*error);
        }
        result
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `new`. Nothing can be done about an error.
        let _ = unsafe { call!(self.driver, cuDevicePrimaryCtxRelease_v2(self.device)) };
    }
}

/// What device `ordinal` is.
pub(super) fn describe(ordinal: u16) -> Result<DeviceInfo, Unavailable> {
    let driver = Driver::get()?;
    let device = device(driver, ordinal)?;
    let failed = Unavailable::Failed;
    let mut name = [0 as c_char; 128];
    // SAFETY: it writes text that ends with a zero, no longer than the array.
    unsafe {
        call!(
            driver,
            cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, device)
        )
    }
    .map_err(failed)?;
    let mut memory_bytes = 0;
    // SAFETY: it writes a number.
    unsafe { call!(driver, cuDeviceTotalMem_v2(&raw mut memory_bytes, device)) }.map_err(failed)?;
    use sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as N_SMS;
    // SAFETY: as above.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok(DeviceInfo {
        name: name.to_string_lossy().into_owned(),
        arch: arch(driver, device).map_err(failed)?,
        n_sms: attribute(driver, device, N_SMS)
            .map_err(failed)?
            .unsigned_abs(),
        memory_bytes: memory_bytes as u64,
    })
}

/// The driver's handle of a device.
fn device(driver: &Driver, ordinal: u16) -> Result<sys::CUdevice, Unavailable> {
    if ordinal >= driver.n_devices() {
        return Err(Unavailable::NoSuchDevice {
            asked: ordinal,
            n_devices: driver.n_devices(),
        });
    }
    let mut device = 0;
    // SAFETY: it writes a device's number.
    unsafe { call!(driver, cuDeviceGet(&raw mut device, c_int::from(ordinal))) }
        .map_err(Unavailable::Failed)?;
    Ok(device)
}

fn attribute(
    driver: &Driver,
    device: sys::CUdevice,
    attribute: sys::CUdevice_attribute,
) -> Result<c_int, DriverError> {
    let mut value = 0;
    // SAFETY: it writes an int; the device is there.
    unsafe {
        call!(
            driver,
            cuDeviceGetAttribute(&raw mut value, attribute, device)
        )
    }?;
    Ok(value)
}

/// Ten times the major number of a device's compute capability plus the minor one.
fn arch(driver: &Driver, device: sys::CUdevice) -> Result<u32, DriverError> {
    use sys::CUdevice_attribute as Attribute;
    let major = Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    let minor = Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
    let major = attribute(driver, device, major)?;
    let arch = 10 * major + attribute(driver, device, minor)?;
    Ok(arch.unsigned_abs())
}

/// Proof that a context is current to this thread.
pub(crate) struct Current<'a> {
    context: &'a Context,
    /// What is current is so to one thread.
    this_thread: PhantomData<*mut ()>,
}

impl Current<'_> {
    pub(crate) fn driver(&self) -> &'static Driver {
        self.context.driver
    }

    pub(crate) fn context(&self) -> &Context {
        self.context
    }

    /// The priorities that streams and launches may have, the most urgent first, which is the least
    /// number.
    pub(crate) fn priorities(&self) -> Result<RangeInclusive<c_int>, DriverError> {
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: it writes two ints.
        self.keep(unsafe {
            call!(
                self.driver(),
                cuCtxGetStreamPriorityRange(&raw mut least, &raw mut greatest)
            )
        })?;
        Ok(greatest..=least)
    }

    /// Passes the result of a call on; the context remembers what it is lost by.
    pub(crate) fn keep<T>(&self, result: Result<T, DriverError>) -> Result<T, DriverError> {
        self.context.keep(result)
    }

    /// Free and all memory of the device, in bytes; zeros where the driver can't say.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let (mut free, mut total) = (0, 0);
        // SAFETY: it writes two numbers.
        let known = unsafe {
            call!(
                self.driver(),
                cuMemGetInfo_v2(&raw mut free, &raw mut total)
            )
        };
        match known {
            Ok(()) => (free as u64, total as u64),
            Err(_) => (0, 0),
        }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let mut popped = std::ptr::null_mut();
        // SAFETY: pushed by `Context::push` on this thread, which the guard can't leave.
        let _ = unsafe { call!(self.context.driver, cuCtxPopCurrent_v2(&raw mut popped)) };
    }
}

/// Commands that run one after the other.
pub(crate) struct Stream {
    context: Arc<Context>,
    handle: sys::CUstream,
}

// SAFETY: as for `Context`: streams may be used by any thread.
unsafe impl Send for Stream {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Stream {}

impl Stream {
    /// A stream that does not wait for the default stream.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, DriverError> {
        let current = context.enter()?;
        let mut handle = std::ptr::null_mut();
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: it writes a handle.
        current.keep(unsafe { call!(current.driver(), cuStreamCreate(&raw mut handle, flags)) })?;
        Ok(Self {
            context: Arc::clone(context),
            handle,
        })
    }

    /// So many streams as [`Stream::new`], or as many as the device has priorities, the most urgent
    /// first, the last of the priority that all others have.
    pub(crate) fn by_priority(context: &Arc<Context>, n: u8) -> Result<Vec<Self>, DriverError> {
        let current = context.enter()?;
        let priorities = current.priorities()?;
        let least = *priorities.end();
        let n_priorities = least.saturating_sub(*priorities.start()).clamp(0, 254) + 1;
        let n = i32::from(n.max(1)).min(n_priorities);
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        let streams = (1..=n).map(|level| {
            let mut handle = std::ptr::null_mut();
            let priority = least - (n - level);
            // SAFETY: it writes a handle; the priority is in the range.
            current.keep(unsafe {
                call!(
                    current.driver(),
                    cuStreamCreateWithPriority(&raw mut handle, flags, priority)
                )
            })?;
            Ok(Self {
                context: Arc::clone(context),
                handle,
            })
        });
        streams.collect()
    }

    pub(crate) fn handle(&self) -> sys::CUstream {
        self.handle
    }

    /// Lets what is commanded from now on wait for what `event` was recorded after.
    pub(crate) fn wait_for(&self, current: &Current<'_>, event: &Event) -> Result<(), DriverError> {
        // SAFETY: both are alive; no flags are the default.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuStreamWaitEvent(self.handle, event.handle, 0)
            )
        })
    }

    /// Waits for all that was commanded.
    pub(crate) fn synchronize(&self, current: &Current<'_>) -> Result<(), DriverError> {
        // SAFETY: the stream is alive.
        current.keep(unsafe { call!(current.driver(), cuStreamSynchronize(self.handle)) })
    }

    /// Zeros `bytes` from `address` on.
    ///
    /// # Safety
    /// They lie in device memory that is there until the stream was waited for.
    pub(crate) unsafe fn zero(
        &self,
        current: &Current<'_>,
        address: u64,
        bytes: u64,
    ) -> Result<(), DriverError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the memory is there, as the caller says.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuMemsetD8Async(address, 0, bytes as usize, self.handle)
            )
        })
    }

    /// Copies `bytes` from the host to the device.
    ///
    /// # Safety
    /// They lie in host memory and device memory that are there until the stream was waited for,
    /// and nobody writes them until then.
    pub(crate) unsafe fn upload(
        &self,
        current: &Current<'_>,
        to: u64,
        from: *const u8,
        bytes: usize,
    ) -> Result<(), DriverError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the memory is there, as the caller says.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuMemcpyHtoDAsync_v2(to, from.cast(), bytes, self.handle)
            )
        })
    }

    /// Copies `bytes` from the device to the host.
    ///
    /// # Safety
    /// As [`Stream::upload`]; nobody touches the host memory until the stream was waited for.
    pub(crate) unsafe fn download(
        &self,
        current: &Current<'_>,
        to: *mut u8,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the memory is there, as the caller says.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuMemcpyDtoHAsync_v2(to.cast(), from, bytes, self.handle)
            )
        })
    }

    /// Copies `bytes` from one place of the device to another.
    ///
    /// # Safety
    /// As [`Stream::upload`], with device memory on both sides.
    pub(crate) unsafe fn copy(
        &self,
        current: &Current<'_>,
        to: u64,
        from: u64,
        bytes: usize,
    ) -> Result<(), DriverError> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the memory is there, as the caller says.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuMemcpyDtoDAsync_v2(to, from, bytes, self.handle)
            )
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.context.release(|driver| {
            // SAFETY: alive until here. What is still running goes on, and is waited for so that
            // memory it uses can be let go.
            let _ = unsafe { call!(driver, cuStreamSynchronize(self.handle)) };
            // SAFETY: as above.
            let _ = unsafe { call!(driver, cuStreamDestroy_v2(self.handle)) };
        });
    }
}

/// A point in a stream or graph, and when it was reached.
pub(crate) struct Event {
    context: Arc<Context>,
    handle: sys::CUevent,
}

// SAFETY: as for `Context`: events may be used by any thread.
unsafe impl Send for Event {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Event {}

impl Event {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, DriverError> {
        let current = context.enter()?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: it writes a handle; no flags: the event takes the time.
        current.keep(unsafe { call!(current.driver(), cuEventCreate(&raw mut handle, 0)) })?;
        Ok(Self {
            context: Arc::clone(context),
            handle,
        })
    }

    pub(crate) fn handle(&self) -> sys::CUevent {
        self.handle
    }

    /// Takes the time when all that was commanded to `stream` is done.
    pub(crate) fn record(&self, current: &Current<'_>, stream: &Stream) -> Result<(), DriverError> {
        // SAFETY: both are alive.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuEventRecord(self.handle, stream.handle())
            )
        })
    }

    /// Whether all that it was recorded after is done.
    pub(crate) fn is_reached(&self, current: &Current<'_>) -> Result<bool, DriverError> {
        let driver = current.driver();
        // SAFETY: the event is alive.
        let code = unsafe { (driver.functions.cuEventQuery)(self.handle) };
        if code == NOT_READY {
            return Ok(false);
        }
        current.keep(driver.check("cuEventQuery", code))?;
        Ok(true)
    }

    /// Waits until it is reached.
    pub(crate) fn synchronize(&self, current: &Current<'_>) -> Result<(), DriverError> {
        // SAFETY: the event is alive.
        current.keep(unsafe { call!(current.driver(), cuEventSynchronize(self.handle)) })
    }

    /// Nanoseconds from `start` to this event; both were reached.
    pub(crate) fn since(&self, current: &Current<'_>, start: &Self) -> Result<u64, DriverError> {
        let mut milliseconds = 0f32;
        // SAFETY: it writes a number; the events are alive.
        current.keep(unsafe {
            call!(
                current.driver(),
                cuEventElapsedTime_v2(&raw mut milliseconds, start.handle, self.handle)
            )
        })?;
        Ok((f64::from(milliseconds.max(0.0)) * 1e6) as u64)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.context.release(|driver| {
            // SAFETY: alive until here.
            let _ = unsafe { call!(driver, cuEventDestroy_v2(self.handle)) };
        });
    }
}
