//! Calls of NVRTC (NVRTC documentation, version 13.0, chapter 3).

use super::CompileError;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;

/// `nvrtcResult`; 0 is success.
type Code = c_int;

/// `NVRTC_ERROR_COMPILATION`.
const COMPILATION: Code = 6;

/// `nvrtcProgram`.
type Program = *mut c_void;

/// Declares the functions that are used, and how they are found in the library.
macro_rules! functions {
    ($($field:ident: fn($($arg:ty),*) -> $result:ty = $name:literal;)*) => {
        struct Functions {
            $($field: unsafe extern "C" fn($($arg),*) -> $result,)*
        }

        impl Functions {
            fn find(library: &Library) -> Result<Self, String> {
                Ok(Self {$(
                    // SAFETY: the type is that of NVRTC's documentation, the same in all its
                    // versions; the pointer is used as long as the library stays loaded, which is
                    // until the process ends.
                    $field: unsafe {
                        *library
                            .get::<unsafe extern "C" fn($($arg),*) -> $result>($name)
                            .map_err(said)?
                    },
                )*})
            }
        }
    };
}

functions! {
    version: fn(*mut c_int, *mut c_int) -> Code = b"nvrtcVersion\0";
    error_string: fn(Code) -> *const c_char = b"nvrtcGetErrorString\0";
    n_architectures: fn(*mut c_int) -> Code = b"nvrtcGetNumSupportedArchs\0";
    architectures: fn(*mut c_int) -> Code = b"nvrtcGetSupportedArchs\0";
    create: fn(*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char) -> Code = b"nvrtcCreateProgram\0";
    destroy: fn(*mut Program) -> Code = b"nvrtcDestroyProgram\0";
    compile: fn(Program, c_int, *const *const c_char) -> Code = b"nvrtcCompileProgram\0";
    log_size: fn(Program, *mut usize) -> Code = b"nvrtcGetProgramLogSize\0";
    log: fn(Program, *mut c_char) -> Code = b"nvrtcGetProgramLog\0";
    cubin_size: fn(Program, *mut usize) -> Code = b"nvrtcGetCUBINSize\0";
    cubin: fn(Program, *mut c_char) -> Code = b"nvrtcGetCUBIN\0";
    ptx_size: fn(Program, *mut usize) -> Code = b"nvrtcGetPTXSize\0";
    ptx: fn(Program, *mut c_char) -> Code = b"nvrtcGetPTX\0";
}

/// What the loader says, which the error alone does not.
fn said(error: libloading::Error) -> String {
    let source = std::error::Error::source(&error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

/// The library. Its calls may come from any thread; each program belongs to one.
pub(super) struct Nvrtc {
    functions: Functions,
    pub(super) version: (u32, u32),
}

/// What NVRTC made of a source.
pub(super) struct Compiled {
    pub(super) cubin: Vec<u8>,
    pub(super) ptx: Vec<u8>,
    pub(super) log: String,
}

/// A program, gone when it is dropped.
struct Owned<'a>(&'a Functions, Program);

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: the program was made by `create` and is destroyed once.
        unsafe { (self.0.destroy)(&mut self.1) };
    }
}

impl Nvrtc {
    /// Loads the library at `path`, and the one beside it that holds what is built into the language.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        for builtins in beside(path) {
            // NVRTC looks for its other half by name, and finds it if it is loaded already. Where
            // that fails, it still looks in the loader's folders.
            //
            // SAFETY: running the code of a library that the user has installed, or named, for this
            // is what was asked for; NVIDIA's does nothing when it is loaded.
            if let Ok(library) = unsafe { Library::new(&builtins) } {
                std::mem::forget(library);
            }
        }
        // SAFETY: as above.
        let library = unsafe { Library::new(path) }.map_err(said)?;
        let functions = Functions::find(&library)?;
        // Threads of the library may outlive every call: it is never unloaded.
        std::mem::forget(library);
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to numbers that live until the call returns.
        let code = unsafe { (functions.version)(&mut major, &mut minor) };
        if code != 0 {
            return Err(format!("it does not say its version: error {code}"));
        }
        Ok(Self {
            functions,
            version: (
                major.try_into().unwrap_or_default(),
                minor.try_into().unwrap_or_default(),
            ),
        })
    }

    fn check(&self, code: Code, what: &str) -> Result<(), CompileError> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: for every code, NVRTC gives a constant text that ends with a zero.
        let text = unsafe { CStr::from_ptr((self.functions.error_string)(code)) };
        Err(CompileError::Failed {
            why: format!("{what}: {}", text.to_string_lossy()),
        })
    }

    /// The architectures that it compiles for: 90 for sm_90.
    pub(super) fn architectures(&self) -> Result<Vec<u32>, CompileError> {
        let mut n = 0;
        // SAFETY: the pointer is to a number that lives until the call returns.
        let code = unsafe { (self.functions.n_architectures)(&mut n) };
        self.check(code, "number of architectures")?;
        let mut archs: Vec<c_int> = vec![0; n.try_into().unwrap_or_default()];
        // SAFETY: NVRTC writes as many numbers as it said before, and there is room for them.
        let code = unsafe { (self.functions.architectures)(archs.as_mut_ptr()) };
        self.check(code, "architectures")?;
        Ok(archs
            .into_iter()
            .filter_map(|a| a.try_into().ok())
            .collect())
    }

    /// Compiles `source`; the inner error is what NVRTC says about it.
    pub(super) fn compile(
        &self,
        source: &str,
        options: &[String],
    ) -> Result<Result<Compiled, String>, CompileError> {
        let zero = |_| CompileError::Failed {
            why: "a source or an option holds a zero byte".into(),
        };
        let text = CString::new(source).map_err(zero)?;
        let options = options
            .iter()
            .map(|o| CString::new(o.as_str()).map_err(zero))
            .collect::<Result<Vec<_>, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let f = &self.functions;
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: text and name end with a zero and live until the call returns, which copies them;
        // without headers their lists may be null.
        let code = unsafe {
            (f.create)(
                &mut program,
                text.as_ptr(),
                c"kernel.cu".as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        self.check(code, "create")?;
        let program = Owned(f, program);
        // SAFETY: the program was made above, and there are as many options as is said, each ending
        // with a zero.
        let code = unsafe { (f.compile)(program.1, options.len() as c_int, options.as_ptr()) };
        let log = self.text(&program, f.log_size, f.log)?;
        let log = String::from_utf8_lossy(&log)
            .trim_end_matches('\0')
            .to_string();
        if code == COMPILATION {
            return Ok(Err(log));
        }
        self.check(code, "compile")?;
        let mut ptx = self.text(&program, f.ptx_size, f.ptx)?;
        // The driver takes PTX that ends with a zero.
        if ptx.last() != Some(&0) {
            ptx.push(0);
        }
        Ok(Ok(Compiled {
            cubin: self.text(&program, f.cubin_size, f.cubin)?,
            ptx,
            log,
        }))
    }

    /// Bytes that NVRTC gives by a pair of functions: how many, and what.
    fn text(
        &self,
        program: &Owned<'_>,
        size: unsafe extern "C" fn(Program, *mut usize) -> Code,
        get: unsafe extern "C" fn(Program, *mut c_char) -> Code,
    ) -> Result<Vec<u8>, CompileError> {
        let mut n = 0;
        // SAFETY: the program is alive, and the pointer is to a number that lives until the call
        // returns.
        let code = unsafe { size(program.1, &mut n) };
        self.check(code, "size of a result")?;
        let mut bytes = vec![0u8; n];
        // SAFETY: NVRTC writes as many bytes as it said before, and there is room for them.
        let code = unsafe { get(program.1, bytes.as_mut_ptr().cast()) };
        self.check(code, "result")?;
        Ok(bytes)
    }
}

/// Libraries beside `path` with what is built into the language.
fn beside(path: &Path) -> Vec<std::path::PathBuf> {
    let Some(folder) = path.parent() else {
        return vec![];
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|e| e.path())
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libnvrtc-builtins.so")
        })
        .collect();
    found.sort();
    found
}
