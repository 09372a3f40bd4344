//! Plans with device code: on the GPU, where there is one, and compiled for GPUs that are not here.

use dlirc::device_code::Workshop;
use ir::Program;
use kernels::cuda::Target;
use kernels::cuda::compile::{Built, Compiler, Wanted};
use runtime::{Engine, Options, RunOn};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

/// A GPU of this machine, and what compiles for it.
pub(crate) struct Gpu {
    pub(crate) target: Target,
    compiler: Compiler,
}

/// The first GPU, or why none is tested.
static GPU: LazyLock<Result<Gpu, String>> = LazyLock::new(|| {
    runtime::cuda::n_devices().map_err(|why| format!("no CUDA device: {why}"))?;
    let info = runtime::cuda::device(0).map_err(|why| format!("no CUDA device: {why}"))?;
    let known = Target::of_arch(info.arch).map_err(|e| e.to_string())?;
    Ok(Gpu {
        target: Target {
            n_sms: info.n_sms,
            ..known
        },
        compiler: compiler()?,
    })
});

/// NVRTC as `cargo xtask test` installs it, or wherever else it is, and what it compiled in earlier
/// runs of the tests.
pub(crate) fn workshop() -> Workshop {
    let installed: PathBuf = crate::target().join("python/nvidia/cu13/lib");
    Workshop {
        nvrtc: installed.is_dir().then_some(installed),
        cache: Some(crate::target().join("kernel-cache")),
    }
}

/// The same, ready to compile.
pub(crate) fn compiler() -> Result<Compiler, String> {
    let Workshop { nvrtc, cache } = workshop();
    Compiler::load(nvrtc.as_deref(), cache).map_err(|e| e.to_string())
}

/// The first GPU; where there is none, says so.
pub(crate) fn gpu() -> Option<&'static Gpu> {
    match &*GPU {
        Ok(gpu) => Some(gpu),
        Err(why) => {
            crate::skipped(why);
            None
        }
    }
}

/// Whether there is a GPU, without a word.
pub(crate) fn is_there() -> bool {
    GPU.is_ok()
}

impl Gpu {
    /// A plan of an optimised program for this GPU, bound to it.
    pub(crate) fn engine(&self, program: &Program, threads: usize) -> Result<Arc<Engine>, String> {
        let lowered = crate::plan::lowered_for(program, Some(self.target), &[])?;
        let wanted = Wanted {
            archs: vec![self.target.arch],
            ptx: false,
            threads: 1,
        };
        let loaded = crate::plan::loaded_with(lowered, |source| {
            let images = self
                .compiler
                .build(&[&source.text], &wanted, &|_, _| {})
                .map_err(|e| format!("{e}\n{}", source.text))?;
            let built = images.of_source.into_iter().flatten();
            Ok(built
                .map(|Built { kind, bytes, .. }| (kind, bytes))
                .collect())
        })?;
        let options = Options {
            threads,
            device: RunOn::Cuda(0),
            ..Options::default()
        };
        let engine = Engine::bind(Arc::new(loaded), &options).map_err(|e| e.to_string())?;
        Ok(Arc::new(engine))
    }
}

/// Of the classes of kernels, those that `pattern` leaves to the host.
pub(crate) fn some_classes(pattern: u64) -> Vec<String> {
    let classes = [
        "map",
        "row",
        "contract",
        "attention",
        "window",
        "movement",
        "recurrent",
        "library",
    ];
    let chosen = |i: usize| pattern >> (2 * i) & 3 == 0;
    (0..classes.len())
        .filter(|&i| chosen(i))
        .map(|i| classes[i].to_string())
        .collect()
}
