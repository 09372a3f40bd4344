//! CUDA C to images, with NVRTC, on a machine that needs no GPU.
//!
//! NVRTC is a library of NVIDIA's; it is looked for when a [`Compiler`] is made. What was compiled once
//! is kept in a folder and never compiled again.

mod cache;
mod find;
mod log;
mod nvrtc;

use cache::Cache;
use nvrtc::Nvrtc;
use plans::{ImageKind, Resources};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use cache::default_folder;

/// The variable that names NVRTC's library or its folder.
pub const VARIABLE: &str = "DLIRC_NVRTC";

/// What images are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Machine code for each of these architectures: 90 for sm_90.
    pub archs: Vec<u32>,
    /// PTX for the newest of them, which later ones can run.
    pub ptx: bool,
    /// Threads that compile; 0 for as many as there are processors.
    pub threads: usize,
}

/// One image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// What the bytes are.
    pub kind: ImageKind,
    /// The image.
    pub bytes: Vec<u8>,
    /// What its functions take; of PTX nothing is known.
    pub resources: Vec<Resources>,
}

/// What [`Compiler::build`] made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Images {
    /// For each source its images: machine code in the order that was asked for, then PTX.
    pub of_source: Vec<Vec<Built>>,
    /// Pairs of a source and an architecture that were compiled.
    pub n_compiled: usize,
    /// Pairs that were there already.
    pub n_cached: usize,
}

/// Why there are no images.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompileError {
    /// There is no NVRTC.
    NotFound {
        /// Where it was looked for, and what was there.
        tried: Vec<String>,
    },
    /// NVRTC does not know an architecture.
    Arch {
        /// The architecture.
        arch: u32,
        /// NVRTC's version, major and minor.
        version: (u32, u32),
        /// Those that it knows.
        known: Vec<u32>,
    },
    /// NVRTC refused a source: a defect of whatever made it.
    Refused {
        /// Its number.
        source: usize,
        /// The architecture.
        arch: u32,
        /// What NVRTC says.
        log: String,
    },
    /// NVRTC failed otherwise.
    Failed {
        /// What it says.
        why: String,
    },
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::NotFound { .. } => {
                write!(f, "NVRTC, which compiles kernels for GPUs, was not found")
            }
            CompileError::Arch {
                arch,
                version: (major, minor),
                known,
            } => {
                let known: Vec<String> = known.iter().map(|a| format!("sm_{a}")).collect();
                write!(
                    f,
                    "NVRTC {major}.{minor} does not compile for sm_{arch}, only for {}",
                    known.join(", ")
                )
            }
            CompileError::Refused { arch, log, .. } => {
                write!(
                    f,
                    "NVRTC refused a kernel for sm_{arch}:\n{}",
                    log.trim_end()
                )
            }
            CompileError::Failed { why } => write!(f, "NVRTC failed: {why}"),
        }
    }
}

impl std::error::Error for CompileError {}

impl CompileError {
    /// What the user can do.
    pub fn help(&self) -> &'static str {
        match self {
            CompileError::NotFound { .. } => {
                "`pip install nvidia-cuda-nvrtc` installs it, as CUDA does; the variable DLIRC_NVRTC can name the library or its folder"
            }
            CompileError::Arch { .. } => {
                "install a newer one: `pip install --upgrade nvidia-cuda-nvrtc`"
            }
            CompileError::Refused { .. } => {
                "this is a defect of dlirc; please report it with the model"
            }
            CompileError::Failed { .. } => "install NVRTC again: `pip install nvidia-cuda-nvrtc`",
        }
    }
}

/// Told, from any thread, how many of how many pairs of a source and an architecture are done.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// NVRTC, and what it compiled before.
pub struct Compiler {
    nvrtc: Nvrtc,
    path: PathBuf,
    cache: Option<Cache>,
}

impl Compiler {
    /// Loads NVRTC: from `named`, a file or a folder, else from the variable [`VARIABLE`], else from
    /// CUDA's folders, those of the loader and those of Python's packages. What it compiles is kept in
    /// `cache`, if given.
    ///
    /// # Errors
    ///
    /// If it is nowhere.
    pub fn load(named: Option<&Path>, cache: Option<PathBuf>) -> Result<Self, CompileError> {
        let (nvrtc, path) = find::load(named)?;
        Ok(Self {
            nvrtc,
            path,
            cache: cache.map(Cache::new),
        })
    }

    /// NVRTC's version, major and minor.
    pub fn version(&self) -> (u32, u32) {
        self.nvrtc.version
    }

    /// The library that was loaded.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The oldest driver that runs what is compiled, as `cuDriverGetVersion` counts: machine code
    /// runs on every driver of NVRTC's major version.
    pub fn oldest_driver(&self) -> u32 {
        self.nvrtc.version.0 * 1000
    }

    /// Compiles `sources`, each for all that is `wanted`.
    ///
    /// # Errors
    ///
    /// If NVRTC does not know an architecture or refuses a source; of several, the first.
    pub fn build(
        &self,
        sources: &[&str],
        wanted: &Wanted,
        progress: Progress<'_>,
    ) -> Result<Images, CompileError> {
        let known = self.nvrtc.architectures()?;
        if let Some(&arch) = wanted.archs.iter().find(|a| !known.contains(a)) {
            return Err(CompileError::Arch {
                arch,
                version: self.nvrtc.version,
                known,
            });
        }
        let newest = wanted.archs.iter().copied().max();
        let with_ptx = |arch: u32| wanted.ptx && Some(arch) == newest;
        let jobs: Vec<(usize, u32)> = (0..sources.len())
            .flat_map(|s| wanted.archs.iter().map(move |&a| (s, a)))
            .collect();
        let done: Vec<OnceLock<Result<Unit, CompileError>>> =
            jobs.iter().map(|_| OnceLock::new()).collect();
        let (next, n_done, n_compiled) = (
            AtomicUsize::new(0),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        let first_failure = AtomicUsize::new(usize::MAX);
        let work = || {
            loop {
                let job = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(source, arch)) = jobs.get(job) else {
                    return;
                };
                // All before the first failure are done, so that it is the same one every time.
                if job > first_failure.load(Ordering::Relaxed) {
                    return;
                }
                let unit = self.unit(sources[source], arch, with_ptx(arch), &n_compiled);
                let unit = unit.map_err(|error| match error {
                    CompileError::Refused { arch, log, .. } => {
                        CompileError::Refused { source, arch, log }
                    }
                    other => other,
                });
                if unit.is_err() {
                    first_failure.fetch_min(job, Ordering::Relaxed);
                }
                // Nobody else has this job.
                let _ = done[job].set(unit);
                progress(n_done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
            }
        };
        run_on_threads(wanted.threads, jobs.len(), &work)?;
        let mut images = Images {
            of_source: vec![vec![]; sources.len()],
            n_compiled: n_compiled.into_inner(),
            ..Images::default()
        };
        images.n_cached = jobs.len() - images.n_compiled.min(jobs.len());
        let mut ptx: Vec<Option<Built>> = vec![None; sources.len()];
        // After a failure later jobs may be missing; all before it are there.
        for (&(source, arch), unit) in jobs.iter().zip(done) {
            let Some(unit) = unit.into_inner() else {
                continue;
            };
            let unit = unit?;
            images.of_source[source].push(Built {
                kind: ImageKind::Cubin(arch),
                bytes: unit.cubin,
                resources: unit.resources,
            });
            if with_ptx(arch) {
                ptx[source] = Some(Built {
                    kind: ImageKind::Ptx(arch),
                    bytes: unit.ptx,
                    resources: vec![],
                });
            }
        }
        for (of_source, ptx) in images.of_source.iter_mut().zip(ptx) {
            of_source.extend(ptx);
        }
        if let Some(cache) = self.cache.as_ref().filter(|_| images.n_compiled > 0) {
            cache.trim();
        }
        Ok(images)
    }

    /// One source for one architecture, from the cache or from NVRTC.
    fn unit(
        &self,
        source: &str,
        arch: u32,
        with_ptx: bool,
        n_compiled: &AtomicUsize,
    ) -> Result<Unit, CompileError> {
        let options = options(arch);
        let key = cache::key(source, &options, self.nvrtc.version, with_ptx);
        if let Some(unit) = self.cache.as_ref().and_then(|c| c.get(&key)) {
            return Ok(unit);
        }
        n_compiled.fetch_add(1, Ordering::Relaxed);
        let compiled = self.nvrtc.compile(source, &options)?;
        let compiled = compiled.map_err(|log| CompileError::Refused {
            source: 0,
            arch,
            log,
        })?;
        let unit = Unit {
            resources: log::resources(&compiled.log),
            cubin: compiled.cubin,
            ptx: if with_ptx { compiled.ptx } else { vec![] },
        };
        if let Some(cache) = &self.cache {
            cache.put(&key, &unit);
        }
        Ok(unit)
    }
}

/// A source compiled for one architecture. Without PTX where it is not wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Unit {
    cubin: Vec<u8>,
    ptx: Vec<u8>,
    resources: Vec<Resources>,
}

/// What NVRTC is told: strict arithmetic, which is its default, and to say what functions take.
fn options(arch: u32) -> Vec<String> {
    vec![
        format!("--gpu-architecture=sm_{arch}"),
        "--ptxas-options=-v".into(),
        "--disable-warnings".into(),
    ]
}

/// NVRTC recurses deeply on large sources.
const STACK_BYTES: usize = 32 << 20;

/// Runs `work` on as many threads as there are jobs for.
fn run_on_threads(
    threads: usize,
    n_jobs: usize,
    work: &(dyn Fn() + Sync),
) -> Result<(), CompileError> {
    let n = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    std::thread::scope(|scope| {
        for _ in 0..n.min(n_jobs) {
            std::thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, work)
                .map_err(|e| CompileError::Failed {
                    why: format!("a thread could not be started: {e}"),
                })?;
        }
        Ok(())
    })
}
