//! The images of a plan: device code that lowering left as source, compiled.

use crate::report::Diagnostic;
use kernels::cuda::compile::{Built, CompileError, Compiler, Images, Wanted, default_folder};
use passes::lower::Source;
use plans::{Image, ImageIndex, ImageKind, Plan};
use std::path::PathBuf;

/// The GPUs that a plan is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gpus {
    /// Architectures with machine code, as the user gave them: 90 for sm_90. The first is the one
    /// that launches are shaped for.
    pub archs: Vec<u32>,
    /// PTX of the newest of them too, for later ones.
    pub ptx: bool,
    /// How contractions multiply f32.
    pub precision: kernels::cuda::Precision,
}

impl Gpus {
    /// With PTX, and f32 multiplied as f32.
    pub fn new(archs: Vec<u32>) -> Self {
        Self {
            archs,
            ptx: true,
            precision: kernels::cuda::Precision::default(),
        }
    }

    /// What kernels are generated for: instructions and shared memory that all of them have.
    ///
    /// # Errors
    /// An architecture that is not known.
    pub fn target(&self) -> Result<kernels::cuda::Target, kernels::cuda::Refused> {
        let known = self
            .archs
            .iter()
            .map(|&a| kernels::cuda::Target::of_arch(a))
            .collect::<Result<Vec<_>, _>>()?;
        let first = known.first().copied();
        let first =
            first.ok_or_else(|| kernels::cuda::Refused("no architecture is given".into()))?;
        let least = |a: u32, b: u32| a.min(b);
        Ok(kernels::cuda::Target {
            arch: known.iter().map(|t| t.arch).fold(first.arch, least),
            n_sms: first.n_sms,
            precision: self.precision,
            max_shared: known
                .iter()
                .map(|t| t.max_shared)
                .fold(first.max_shared, least),
        })
    }
}

/// Where kernels are compiled and kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workshop {
    /// NVRTC's library or its folder; found where it usually is if not given.
    pub nvrtc: Option<PathBuf>,
    /// Where compiled kernels are kept; nowhere if not given.
    pub cache: Option<PathBuf>,
}

impl Default for Workshop {
    /// NVRTC where it usually is, and the user's own cache.
    fn default() -> Self {
        Self {
            nvrtc: None,
            cache: default_folder(),
        }
    }
}

/// How the images of a plan came about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compilation {
    /// Distinct sources.
    pub n_sources: usize,
    /// Images that were compiled, each a source for an architecture.
    pub n_compiled: usize,
    /// Images that an earlier compilation had left.
    pub n_cached: usize,
    /// NVRTC's version.
    pub version: (u32, u32),
    /// NVRTC's library.
    pub library: PathBuf,
}

/// Compiles `sources` into images of `plan`. Gives their bytes in the plan's order.
///
/// # Errors
/// If there is no NVRTC, it is too old, or it refuses a source.
pub fn add_images(
    plan: &mut Plan,
    sources: &[Source],
    gpus: &Gpus,
    workshop: &Workshop,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(Vec<Vec<u8>>, Compilation), Diagnostic> {
    let compiler = Compiler::load(workshop.nvrtc.as_deref(), workshop.cache.clone())?;
    let texts: Vec<&str> = sources.iter().map(|s| s.text.as_str()).collect();
    let wanted = Wanted {
        archs: gpus.archs.clone(),
        ptx: gpus.ptx,
        threads: 0,
    };
    let Images {
        of_source,
        n_compiled,
        n_cached,
    } = compiler
        .build(&texts, &wanted, progress)
        .map_err(|error| named(error, plan, sources))?;
    let mut data = vec![];
    for (source, images) in sources.iter().zip(of_source) {
        for Built {
            kind,
            bytes,
            resources,
        } in images
        {
            let index = ImageIndex(plan.images.len() as u32);
            for code in &source.codes {
                let code = &mut plan.codes[code.index()];
                code.images.push(index);
                let spilled: u32 = resources
                    .iter()
                    .filter(|r| code.launches.iter().any(|l| l.function == r.function))
                    .map(|r| r.spills)
                    .max()
                    .unwrap_or(0);
                if let (ImageKind::Cubin(arch), 1..) = (kind, spilled) {
                    plan.warnings.push(format!(
                        "kernel {} ({}) spills {spilled} bytes a thread on sm_{arch}",
                        code.kernel.0,
                        plan.kernels[code.kernel.index()].summary()
                    ));
                }
            }
            plan.images.push(Image {
                kind,
                offset: 0,
                bytes: bytes.len() as u64,
                crc: crc32fast::hash(&bytes),
                resources,
            });
            data.push(bytes);
        }
    }
    plans::file::place_images(&mut plan.images);
    plan.fingerprint.cuda_driver = compiler.oldest_driver();
    let compilation = Compilation {
        n_sources: sources.len(),
        n_compiled,
        n_cached,
        version: compiler.version(),
        library: compiler.path().into(),
    };
    Ok((data, compilation))
}

/// The error with the nodes whose kernel was refused.
fn named(error: CompileError, plan: &Plan, sources: &[Source]) -> Diagnostic {
    let refused = match &error {
        CompileError::Refused { source, .. } => sources.get(*source),
        _ => None,
    };
    let mut diagnostic = Diagnostic::from(error);
    let runs = |step: &&plans::Step| {
        let code = step.code.as_ref().map(|c| c.code);
        refused.is_some_and(|r| code.is_some_and(|c| r.codes.contains(&c)))
    };
    if let Some(step) = plan.steps.iter().find(runs) {
        let model = plan.models.get(step.model.index());
        let name = model.map_or("?", |m| m.name.as_str());
        diagnostic = diagnostic.at(format!(
            "model {name}: {} ({})",
            step.label,
            step.origin.join(", ")
        ));
    }
    diagnostic
}

impl From<CompileError> for Diagnostic {
    fn from(error: CompileError) -> Self {
        let code = match &error {
            CompileError::NotFound { .. } => "no-nvrtc",
            _ => "nvrtc",
        };
        let mut diagnostic = Diagnostic::error(code, error.to_string()).help(error.help());
        if let CompileError::NotFound { tried } = error {
            diagnostic.notes = tried;
        }
        diagnostic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_what_all_have() {
        let gpus = |archs: &[u32]| Gpus::new(archs.to_vec());
        let hopper = kernels::cuda::Target::of_arch(90).unwrap();
        assert_eq!(gpus(&[90]).target(), Ok(hopper));
        let both = gpus(&[90, 80]).target().unwrap();
        assert_eq!((both.arch, both.n_sms), (80, hopper.n_sms));
        assert_eq!(both.max_shared, 163 << 10);
        assert!(gpus(&[90, 7]).target().is_err());
        assert!(gpus(&[]).target().is_err());
    }
}
