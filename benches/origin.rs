//! Where numbers come from: the commit and the machine.

use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a file of results says about how it was made.
#[derive(Serialize)]
pub(crate) struct Origin {
    /// The commit; with `+` where files under version control differ from it.
    pub commit: String,
    /// The processor's name, where the system tells it.
    pub processor: Option<String>,
    /// Processors that the process may use.
    pub processors: usize,
}

impl Origin {
    /// Of this build on this machine.
    pub(crate) fn here() -> Self {
        Self {
            commit: commit().unwrap_or_else(|| "unknown".into()),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where builds go, and what benches make.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(args)
        .current_dir(root())
        .output()
        .ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_string())
}

/// The commit, which the environment says where there is no repository.
fn commit() -> Option<String> {
    if let Ok(commit) = std::env::var("DLIRC_COMMIT") {
        return Some(commit);
    }
    let hash = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { hash } else { hash + "+" })
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let of = |key: &str| {
        let line = text.lines().find(|l| l.starts_with(key))?;
        Some(line.split_once(':')?.1.trim())
    };
    let numbers = (of("cpu family"), of("model\t"), of("stepping"));
    let name = of("model name")?;
    Some(match numbers {
        (Some(family), Some(model), Some(stepping)) => {
            format!("{name}, family {family} model {model} stepping {stepping}")
        }
        _ => name.to_string(),
    })
}
