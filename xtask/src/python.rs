//! Python wheels that tests compare with, installed below target/.

use crate::{Failed, run, target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// ONNX Runtime, whose library is the reference for whole models, `onnx`, whose wheel carries the
/// operators' conformance cases, and NVRTC, which compiles kernels for GPUs.
const WHEELS: [&str; 4] = [
    "onnxruntime==1.31.1",
    "onnx==1.22.0",
    "numpy",
    "nvidia-cuda-nvrtc==13.0.88",
];

/// What was installed.
pub struct Wheels {
    /// The folder that holds the packages.
    pub site: PathBuf,
    /// ONNX Runtime's library.
    pub onnxruntime: PathBuf,
}

/// Installs the wheels unless they are there.
pub fn wheels() -> Result<Wheels, Failed> {
    let site = target().join("python");
    let has_nvrtc = site.join("nvidia/cu13/lib/libnvrtc.so.13").exists();
    if library(&site).is_none() || !site.join("onnx").is_dir() || !has_nvrtc {
        eprintln!("Installing {} below {}", WHEELS.join(", "), site.display());
        let mut pip = Command::new("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        pip.args(["--root-user-action", "ignore", "--upgrade", "--target"])
            .arg(&site)
            .args(WHEELS);
        run(&mut pip)?;
    }
    let onnxruntime = library(&site)
        .ok_or_else(|| Failed(format!("no libonnxruntime.so below {}", site.display())))?;
    Ok(Wheels { site, onnxruntime })
}

fn library(site: &Path) -> Option<PathBuf> {
    let folder = site.join("onnxruntime").join("capi");
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            p.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("libonnxruntime.so"))
        })
        .collect();
    found.sort();
    found.pop()
}
