//! The driver library: looked for when a plan asks for it, and used through one table of functions.
//!
//! The bindings come from cudarc, its opening of the library too; its calls do not. They panic when
//! the library or a function of it is missing, and they take what a call returns for one of the
//! errors known when they were made. Here every function is looked up before the first is called,
//! and what calls return is a number. The compiler compares each signature with cudarc's.

use cudarc::driver::sys;
use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void};
use std::fmt;
use std::sync::OnceLock;

/// The oldest driver that will do, as `cuDriverGetVersion` counts: 13.0.
const MIN_VERSION: i32 = 13_000;

/// Why there is no CUDA device to run on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// The driver library is not there.
    NoLibrary,
    /// The driver is too old.
    OldDriver {
        /// Its version, as `cuDriverGetVersion` counts: 1000 times the major number plus 10 times
        /// the minor one.
        found: i32,
        /// The one that is needed.
        needed: i32,
    },
    /// The driver library lacks functions.
    MissingSymbols(Vec<&'static str>),
    /// The driver finds no device.
    NoDevice,
    /// There are fewer devices.
    NoSuchDevice {
        /// The device asked for.
        asked: u16,
        /// How many there are.
        n_devices: u16,
    },
    /// The driver failed.
    Failed(DriverError),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::NoLibrary => f.write_str("there is no CUDA driver on this machine"),
            Unavailable::OldDriver { found, needed } => write!(
                f,
                "the driver knows CUDA {}.{}; {}.{} is needed",
                found / 1000,
                found % 1000 / 10,
                needed / 1000,
                needed % 1000 / 10
            ),
            Unavailable::MissingSymbols(names) => {
                write!(f, "the driver library has no {}", names.join(", "))
            }
            Unavailable::NoDevice => f.write_str("the driver finds no CUDA device"),
            Unavailable::NoSuchDevice { asked, n_devices } => {
                write!(f, "there is no CUDA device {asked}; there are {n_devices}")
            }
            Unavailable::Failed(error) => write!(f, "the CUDA driver does not start: {error}"),
        }
    }
}

impl std::error::Error for Unavailable {}

impl Unavailable {
    /// What the user can do.
    pub fn help(&self) -> &'static str {
        match self {
            Unavailable::NoLibrary => {
                "install NVIDIA's driver 580 or later (libcuda.so.1), or run on the CPU"
            }
            Unavailable::OldDriver { .. } | Unavailable::MissingSymbols(_) => {
                "install NVIDIA's driver 580 or later, or run on the CPU"
            }
            Unavailable::NoDevice => {
                "check `nvidia-smi` and CUDA_VISIBLE_DEVICES, or run on the CPU"
            }
            Unavailable::NoSuchDevice { .. } => "choose a device that `nvidia-smi -L` lists",
            Unavailable::Failed(_) => {
                "check `nvidia-smi`; after an update of the driver its kernel module must be loaded again"
            }
        }
    }
}

/// A call of the driver that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DriverError {
    /// The function.
    pub call: &'static str,
    /// The number of the error.
    pub code: i32,
    /// Its name, as the driver says.
    pub name: &'static str,
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.call, self.name, self.code)
    }
}

impl std::error::Error for DriverError {}

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: i32 = 2;
/// `CUDA_ERROR_NOT_READY`.
pub(crate) const NOT_READY: i32 = 600;
/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: i32 = 100;

impl DriverError {
    /// Whether there was no room.
    pub fn is_out_of_memory(&self) -> bool {
        self.code == OUT_OF_MEMORY
    }

    /// Whether everything in this process that uses the device from now on fails too (CUDA Driver API,
    /// "CUresult": the errors that leave the process in an inconsistent state).
    pub fn is_sticky(&self) -> bool {
        // Deinitialized; uncorrectable memory and links; contained; illegal address, timeout;
        // context destroyed, assertion; hardware stack to launch failure; tensor memory leak;
        // unknown.
        matches!(
            self.code,
            4 | 214 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 | 721 | 999
        )
    }
}

/// A function of the driver. Each result is a `CUresult`, which is an int.
macro_rules! functions {
    ($($name:ident($($arg:ty),*);)*) => {
        /// The driver's functions that are used, by their symbols in the library.
        #[allow(non_snake_case, reason = "the driver's names")]
        pub(crate) struct Functions {
            $(pub(crate) $name: unsafe extern "C" fn($($arg),*) -> c_int,)*
            cuGetErrorName: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int,
        }

        // The signatures are those of the bindings.
        const _: () = {
            $(let _: unsafe fn($($arg),*) -> sys::CUresult = sys::$name;)*
            assert!(size_of::<sys::CUresult>() == size_of::<c_int>());
        };

        impl Functions {
            /// Looks all of them up.
            #[allow(non_snake_case, reason = "the driver's names")]
            fn load() -> Result<Self, Unavailable> {
                let mut missing = vec![];
                $(let $name: Option<unsafe extern "C" fn($($arg),*) -> c_int> =
                    // SAFETY: the signature is that of the driver's function, as compared above.
                    unsafe { symbol(stringify!($name)) };
                if $name.is_none() {
                    missing.push(stringify!($name));
                })*
                // SAFETY: the signature is that of the driver's function.
                let cuGetErrorName = unsafe { symbol("cuGetErrorName") };
                if cuGetErrorName.is_none() {
                    missing.push("cuGetErrorName");
                }
                match ($($name,)* cuGetErrorName,) {
                    ($(Some($name),)* Some(cuGetErrorName),) => Ok(Self { $($name,)* cuGetErrorName }),
                    _ => Err(Unavailable::MissingSymbols(missing)),
                }
            }
        }
    };
}

functions! {
    cuInit(c_uint);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut sys::CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, sys::CUdevice);
    cuDeviceGetAttribute(*mut c_int, sys::CUdevice_attribute, sys::CUdevice);
    cuDeviceTotalMem_v2(*mut usize, sys::CUdevice);
    cuDevicePrimaryCtxRetain(*mut sys::CUcontext, sys::CUdevice);
    cuDevicePrimaryCtxRelease_v2(sys::CUdevice);
    cuCtxPushCurrent_v2(sys::CUcontext);
    cuCtxPopCurrent_v2(*mut sys::CUcontext);
    cuMemGetInfo_v2(*mut usize, *mut usize);
    cuMemAlloc_v2(*mut sys::CUdeviceptr, usize);
    cuMemFree_v2(sys::CUdeviceptr);
    cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    cuMemFreeHost(*mut c_void);
    cuMemHostRegister_v2(*mut c_void, usize, c_uint);
    cuMemHostUnregister(*mut c_void);
    cuMemHostGetDevicePointer_v2(*mut sys::CUdeviceptr, *mut c_void, c_uint);
    cuMemsetD8Async(sys::CUdeviceptr, c_uchar, usize, sys::CUstream);
    cuMemcpyHtoDAsync_v2(sys::CUdeviceptr, *const c_void, usize, sys::CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, sys::CUdeviceptr, usize, sys::CUstream);
    cuMemcpyDtoDAsync_v2(sys::CUdeviceptr, sys::CUdeviceptr, usize, sys::CUstream);
    cuStreamCreate(*mut sys::CUstream, c_uint);
    cuStreamCreateWithPriority(*mut sys::CUstream, c_uint, c_int);
    cuCtxGetStreamPriorityRange(*mut c_int, *mut c_int);
    cuStreamWaitEvent(sys::CUstream, sys::CUevent, c_uint);
    cuStreamDestroy_v2(sys::CUstream);
    cuStreamSynchronize(sys::CUstream);
    cuEventCreate(*mut sys::CUevent, c_uint);
    cuEventDestroy_v2(sys::CUevent);
    cuEventRecord(sys::CUevent, sys::CUstream);
    cuEventSynchronize(sys::CUevent);
    cuEventQuery(sys::CUevent);
    cuEventElapsedTime_v2(*mut f32, sys::CUevent, sys::CUevent);
    cuLibraryLoadData(
        *mut sys::CUlibrary, *const c_void,
        *mut sys::CUjit_option, *mut *mut c_void, c_uint,
        *mut sys::CUlibraryOption, *mut *mut c_void, c_uint
    );
    cuLibraryUnload(sys::CUlibrary);
    cuLibraryGetKernel(*mut sys::CUkernel, sys::CUlibrary, *const c_char);
    cuKernelSetAttribute(sys::CUfunction_attribute, c_int, sys::CUkernel, sys::CUdevice);
    cuKernelGetParamInfo(sys::CUkernel, usize, *mut usize, *mut usize);
    cuKernelGetFunction(*mut sys::CUfunction, sys::CUkernel);
    cuFuncLoad(sys::CUfunction);
    cuGraphCreate(*mut sys::CUgraph, c_uint);
    cuGraphDestroy(sys::CUgraph);
    cuGraphAddNode_v2(
        *mut sys::CUgraphNode, sys::CUgraph,
        *const sys::CUgraphNode, *const sys::CUgraphEdgeData, usize,
        *mut sys::CUgraphNodeParams
    );
    cuGraphKernelNodeSetAttribute(
        sys::CUgraphNode, sys::CUkernelNodeAttrID, *const sys::CUkernelNodeAttrValue
    );
    cuGraphInstantiateWithParams(
        *mut sys::CUgraphExec, sys::CUgraph, *mut sys::CUDA_GRAPH_INSTANTIATE_PARAMS
    );
    cuGraphExecDestroy(sys::CUgraphExec);
    cuGraphUpload(sys::CUgraphExec, sys::CUstream);
    cuGraphLaunch(sys::CUgraphExec, sys::CUstream);
}

/// A function of the driver library, which is there.
///
/// # Safety
/// `F` is a function pointer with the signature of the function called `name`.
unsafe fn symbol<F: Copy>(name: &str) -> Option<F> {
    // SAFETY: the library is there, so that this does not panic; it is never closed. The signature
    // is right, as the caller says.
    unsafe { sys::culib().get::<F>(name.as_bytes()) }
        .ok()
        .map(|f| *f)
}

/// The driver, started.
pub(crate) struct Driver {
    pub(crate) functions: Functions,
    version: i32,
    n_devices: u16,
}

/// Calls a function of the driver: `call!(driver, cuInit(0))`.
macro_rules! call {
    ($driver:expr, $name:ident($($arg:expr),* $(,)?)) => {{
        let driver: &$crate::cuda::driver::Driver = $driver;
        driver.check(stringify!($name), (driver.functions.$name)($($arg),*))
    }};
}
pub(crate) use call;

impl Driver {
    /// The driver; it is looked for once in the life of the process.
    ///
    /// # Errors
    ///
    /// If there is none that will do, or no device.
    pub(crate) fn get() -> Result<&'static Self, Unavailable> {
        static DRIVER: OnceLock<Result<Driver, Unavailable>> = OnceLock::new();
        DRIVER
            .get_or_init(Self::start)
            .as_ref()
            .map_err(Clone::clone)
    }

    fn start() -> Result<Self, Unavailable> {
        // SAFETY: it opens libraries of the driver's names, whose initialisers are the driver's.
        if !unsafe { sys::is_culib_present() } {
            return Err(Unavailable::NoLibrary);
        }
        let mut version = 0;
        // SAFETY: `int cuDriverGetVersion(int *)`; it may be called before `cuInit`.
        let code = unsafe {
            match symbol::<unsafe extern "C" fn(*mut c_int) -> c_int>("cuDriverGetVersion") {
                Some(get_version) => get_version(&raw mut version),
                None => return Err(Unavailable::MissingSymbols(vec!["cuDriverGetVersion"])),
            }
        };
        if code == 0 && version < MIN_VERSION {
            return Err(Unavailable::OldDriver {
                found: version,
                needed: MIN_VERSION,
            });
        }
        let functions = Functions::load()?;
        let mut driver = Self {
            functions,
            version,
            n_devices: 0,
        };
        let mut n_devices = 0;
        let failed = |error: DriverError| match error.code {
            NO_DEVICE => Unavailable::NoDevice,
            _ => Unavailable::Failed(error),
        };
        driver.check("cuDriverGetVersion", code).map_err(failed)?;
        // SAFETY: no flags exist.
        unsafe { call!(&driver, cuInit(0)) }.map_err(failed)?;
        // SAFETY: it writes an int.
        unsafe { call!(&driver, cuDeviceGetCount(&raw mut n_devices)) }.map_err(failed)?;
        driver.n_devices = u16::try_from(n_devices).unwrap_or_default();
        if driver.n_devices == 0 {
            return Err(Unavailable::NoDevice);
        }
        Ok(driver)
    }

    /// The version, as `cuDriverGetVersion` counts.
    pub(crate) fn version(&self) -> i32 {
        self.version
    }

    /// The number of devices.
    pub(crate) fn n_devices(&self) -> u16 {
        self.n_devices
    }

    /// What a call returned.
    pub(crate) fn check(&self, call: &'static str, code: c_int) -> Result<(), DriverError> {
        if code == 0 {
            return Ok(());
        }
        let mut name = std::ptr::null();
        // SAFETY: it writes a pointer: to text that lasts as long as the library, or null.
        let known = unsafe { (self.functions.cuGetErrorName)(code, &raw mut name) };
        let name = if known == 0 && !name.is_null() {
            // SAFETY: as above; the library is never closed.
            unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default()
        } else {
            "an error without a name"
        };
        Err(DriverError { call, code, name })
    }
}
