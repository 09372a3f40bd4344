//! Kernels: images that fit the device, loaded.

use super::context::Context;
use super::driver::{DriverError, call};
use crate::error::{BindError, StepRef};
use crate::load::Loaded;
use crate::memory::{ALIGN, AlignedBytes};
use cudarc::driver::sys;
use plans::{CodeIndex, Image, ImageIndex, ImageKind, KernelSpec, StepIndex, ValidPlan};
use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_uint, c_void};
use std::sync::{Arc, OnceLock};

/// The images that a plan's codes run from on a device, and the kernels in them; each is loaded
/// once, when it is first asked for.
pub(crate) struct Images {
    context: Arc<Context>,
    /// Of each code that a step runs: the image.
    of_code: BTreeMap<CodeIndex, ImageIndex>,
    /// The images, in order, and what each holds.
    used: Vec<(ImageIndex, Used)>,
}

/// An image that is used.
struct Used {
    /// The first step that needs it.
    step: StepIndex,
    functions: Vec<Function>,
    loaded: OnceLock<Result<Library, BindError>>,
}

/// A function of an image, and what its launches ask for.
struct Function {
    name: String,
    n_params: usize,
    shared_bytes: u32,
}

/// A loaded image and its kernels, in the order of `Used::functions`.
struct Library {
    context: Arc<Context>,
    handle: sys::CUlibrary,
    kernels: Vec<sys::CUkernel>,
}

// SAFETY: libraries and kernels belong to the process and may be used by any thread (CUDA Driver
// API, "Library Management").
unsafe impl Send for Library {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Library {}

impl Drop for Library {
    fn drop(&mut self) {
        // An error leaves the library loaded, which hurts nobody.
        if let Ok(current) = self.context.enter() {
            // SAFETY: loaded in `load`; graphs that hold its kernels keep the images alive.
            let _ = unsafe { call!(current.driver(), cuLibraryUnload(self.handle)) };
        }
    }
}

/// The image of a code that runs best on a device: machine code for it or for the last architecture
/// before it of the same major number, else PTX for the last architecture up to it.
pub(crate) fn choose(images: &[Image], of: &[ImageIndex], arch: u32) -> Option<ImageIndex> {
    let rank = |&image: &ImageIndex| match images[image.index()].kind {
        ImageKind::Cubin(of) if of / 10 == arch / 10 && of <= arch => Some((1, of)),
        ImageKind::Ptx(of) if of <= arch => Some((0, of)),
        ImageKind::Cubin(_) | ImageKind::Ptx(_) => None,
    };
    // Of equals the first.
    let ranked = of.iter().rev().filter_map(|i| Some((rank(i)?, *i)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, i)| i)
}

/// The parameters of the functions of a code: pointers.
pub(crate) fn n_params(plan: &ValidPlan, code: CodeIndex) -> usize {
    let code = &plan.codes[code.index()];
    let spec: &KernelSpec = &plan.kernels[code.kernel.index()];
    spec.args().len()
        + usize::from(code.workspace > 0)
        + usize::from(code.counters > 0)
        + usize::from(code.may_fault)
}

impl Images {
    /// Chooses an image for each code that a step runs.
    ///
    /// # Errors
    ///
    /// If a code has none for the device.
    pub(crate) fn new(plan: &ValidPlan, context: &Arc<Context>) -> Result<Self, BindError> {
        let mut of_code: BTreeMap<CodeIndex, ImageIndex> = BTreeMap::new();
        let mut used: BTreeMap<ImageIndex, Used> = BTreeMap::new();
        for (i, step) in (0..).map(StepIndex).zip(&plan.steps) {
            let Some(step_code) = &step.code else {
                continue;
            };
            if of_code.contains_key(&step_code.code) {
                continue;
            }
            let code = &plan.codes[step_code.code.index()];
            let Some(image) = choose(&plan.images, &code.images, context.arch()) else {
                let kinds = code.images.iter().map(|i| plan.images[i.index()].kind);
                return Err(BindError::NoImage {
                    step: Box::new(StepRef::new(plan, i)),
                    arch: context.arch(),
                    images: kinds.collect(),
                });
            };
            of_code.insert(step_code.code, image);
            let used = used.entry(image).or_insert_with(|| Used {
                step: i,
                functions: vec![],
                loaded: OnceLock::new(),
            });
            let n_params = n_params(plan, step_code.code);
            for launch in &code.launches {
                let same = |f: &&mut Function| f.name == launch.function && f.n_params == n_params;
                match used.functions.iter_mut().find(same) {
                    Some(known) => {
                        known.shared_bytes = known.shared_bytes.max(launch.shared_bytes);
                    }
                    None => used.functions.push(Function {
                        name: launch.function.clone(),
                        n_params,
                        shared_bytes: launch.shared_bytes,
                    }),
                }
            }
        }
        Ok(Self {
            context: Arc::clone(context),
            of_code,
            used: used.into_iter().collect(),
        })
    }

    /// The number of images.
    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }

    /// Loads an image, by its position among those used, unless that was done.
    ///
    /// # Errors
    ///
    /// If the driver refuses the image or a function of it.
    pub(crate) fn load(&self, position: usize, loaded: &Loaded) -> Result<(), BindError> {
        self.library(position, loaded).map(|_| ())
    }

    fn library(&self, position: usize, loaded: &Loaded) -> Result<&Library, BindError> {
        let (image, used) = &self.used[position];
        used.loaded
            .get_or_init(|| Library::load(&self.context, loaded, *image, used))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Whether functions of a code wait themselves for the launches before them where their launches
    /// say that they start early: what is compiled for older architectures can't.
    pub(crate) fn waits(&self, plan: &ValidPlan, code: CodeIndex) -> bool {
        let (ImageKind::Cubin(arch) | ImageKind::Ptx(arch)) =
            plan.images[self.of_code[&code].index()].kind;
        arch >= FIRST_THAT_WAITS
    }

    /// The kernel of a launch of a code; its image is loaded if need be.
    ///
    /// # Errors
    ///
    /// As [`Images::load`].
    pub(crate) fn kernel(
        &self,
        loaded: &Loaded,
        code: CodeIndex,
        launch: usize,
    ) -> Result<sys::CUkernel, BindError> {
        let plan = loaded.plan();
        let image = self.of_code[&code];
        let at = self.used.binary_search_by_key(&image, |(image, _)| *image);
        let position = at.expect("the image of every code is used");
        let library = self.library(position, loaded)?;
        let (function, n_params) = (
            &plan.codes[code.index()].launches[launch].function,
            n_params(plan, code),
        );
        let functions = &self.used[position].1.functions;
        let known = functions
            .iter()
            .position(|f| f.name == *function && f.n_params == n_params);
        Ok(library.kernels[known.expect("every launch has its function noted")])
    }
}

/// The first architecture with programmatic dependent launch.
const FIRST_THAT_WAITS: u32 = 90;

/// What the driver's compiler may say about PTX, in bytes.
const LOG_BYTES: usize = 8192;

impl Library {
    fn load(
        context: &Arc<Context>,
        loaded: &Loaded,
        image: ImageIndex,
        used: &Used,
    ) -> Result<Self, BindError> {
        let plan = loaded.plan();
        let described = &plan.images[image.index()];
        let failed = |error: DriverError, log: String| BindError::Image {
            step: Box::new(StepRef::new(plan, used.step)),
            error,
            log,
        };
        let current = context.enter().map_err(|e| failed(e, String::new()))?;
        let bytes = loaded.image(described);
        // Machine code says itself how long it is; text ends with a zero.
        let copy = match described.kind {
            ImageKind::Cubin(_) if bytes.as_ptr().align_offset(ALIGN) == 0 => None,
            ImageKind::Cubin(_) => AlignedBytes::copy_of(bytes),
            ImageKind::Ptx(_) => AlignedBytes::copy_of(&[bytes, &[0]].concat()),
        };
        let code = copy.as_ref().map_or(bytes, AlignedBytes::as_slice);
        let code: *const c_void = code.as_ptr().cast();
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values: [*mut c_void; 2] = [
            log.as_mut_ptr().cast(),
            std::ptr::without_provenance_mut(LOG_BYTES),
        ];
        let mut handle = std::ptr::null_mut();
        // SAFETY: the code is what a valid plan says that it is, whole, as far as that can be told:
        // device code is trusted (SECURITY.md). The options are a buffer and its size, which live
        // through the call.
        let result = current.keep(unsafe {
            call!(
                current.driver(),
                cuLibraryLoadData(
                    &raw mut handle,
                    code,
                    options.as_mut_ptr(),
                    values.as_mut_ptr(),
                    options.len() as c_uint,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    0,
                )
            )
        });
        result.map_err(|e| {
            let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
            failed(e, String::from_utf8_lossy(&log[..end]).trim().to_owned())
        })?;
        // From here on it is unloaded when it is dropped.
        let mut library = Self {
            context: Arc::clone(context),
            handle,
            kernels: vec![],
        };
        for function in &used.functions {
            let kernel = library
                .kernel(function)
                .map_err(|what| BindError::Function {
                    step: Box::new(StepRef::new(plan, used.step)),
                    function: function.name.clone(),
                    what,
                })?;
            library.kernels.push(kernel);
        }
        Ok(library)
    }

    /// Finds a function, checks its parameters and allows what its launches ask for.
    fn kernel(&self, function: &Function) -> Result<sys::CUkernel, String> {
        let said = |e: DriverError| e.to_string();
        let current = self.context.enter().map_err(said)?;
        let driver = current.driver();
        let name = CString::new(function.name.as_str())
            .map_err(|_| "its name holds a zero byte".to_owned())?;
        let mut kernel = std::ptr::null_mut();
        // SAFETY: it writes a handle; the name ends with a zero.
        let found = current.keep(unsafe {
            call!(
                driver,
                cuLibraryGetKernel(&raw mut kernel, self.handle, name.as_ptr())
            )
        });
        found.map_err(said)?;
        // The driver reads as many parameters as the function has.
        for n in 0..=function.n_params {
            let (mut offset, mut size) = (0, 0);
            // SAFETY: it writes two numbers; the kernel is the library's.
            let result = current.keep(unsafe {
                call!(
                    driver,
                    cuKernelGetParamInfo(kernel, n, &raw mut offset, &raw mut size)
                )
            });
            let is_pointer = result.is_ok() && size == 8 && offset == 8 * n;
            if n < function.n_params && !is_pointer {
                return Err(format!(
                    "it should take {} pointers; parameter {n} is none",
                    function.n_params
                ));
            }
            if n == function.n_params && result.is_ok() {
                return Err(format!("it takes more than {n} parameters"));
            }
        }
        if function.shared_bytes > 0 {
            use sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
            let bytes = c_int::try_from(function.shared_bytes).unwrap_or(c_int::MAX);
            // SAFETY: the kernel is the library's, the device the context's.
            let allowed = current.keep(unsafe {
                call!(
                    driver,
                    cuKernelSetAttribute(SHARED, bytes, kernel, self.context.device())
                )
            });
            allowed.map_err(|e| format!("it can't have {bytes} bytes of shared memory: {e}"))?;
        }
        // Load it now, not in its first launch.
        let mut loaded = std::ptr::null_mut();
        // SAFETY: the kernel is the library's; it writes a handle.
        let got =
            current.keep(unsafe { call!(driver, cuKernelGetFunction(&raw mut loaded, kernel)) });
        got.map_err(said)?;
        // SAFETY: the function is the kernel's in the current context.
        let ready = current.keep(unsafe { call!(driver, cuFuncLoad(loaded)) });
        ready.map_err(said)?;
        Ok(kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_closest_to_the_device_is_chosen() {
        use ImageKind::{Cubin, Ptx};
        let kinds = [
            Cubin(80),
            Cubin(86),
            Cubin(90),
            Ptx(90),
            Ptx(80),
            Cubin(100),
        ];
        let images: Vec<Image> = kinds
            .iter()
            .map(|&kind| Image {
                kind,
                offset: 0,
                bytes: 0,
                crc: 0,
                resources: vec![],
            })
            .collect();
        let all: Vec<ImageIndex> = (0..6).map(ImageIndex).collect();
        let chosen = |arch| choose(&images, &all, arch).map(|i| kinds[i.index()]);
        assert_eq!(chosen(75), None);
        assert_eq!(chosen(80), Some(Cubin(80)));
        assert_eq!(chosen(87), Some(Cubin(86)));
        assert_eq!(chosen(90), Some(Cubin(90)));
        assert_eq!(chosen(103), Some(Cubin(100)));
        assert_eq!(chosen(120), Some(Ptx(90)));
        assert_eq!(choose(&images, &all[..2], 90), None);
    }
}
