//! The example models, filled with weights once, and what else every bench of them needs.

use crate::origin::target;
use dlirc::cli::progress;
use dlirc::report::{Diagnostic, FAILURE, NO, draw, write_json};
use models::Architecture;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The status of a bench that ended with `result`.
pub(crate) fn status(result: Result<ExitCode, Diagnostic>) -> ExitCode {
    result.unwrap_or_else(|diagnostic| {
        draw(&diagnostic);
        ExitCode::from(FAILURE)
    })
}

/// Prints `report` as `text`, writes it as JSON to `file` if there is one, and says whether all was
/// `right`.
pub(crate) fn finish(
    text: &str,
    report: &impl Serialize,
    file: Option<&Path>,
    right: bool,
) -> Result<ExitCode, Diagnostic> {
    print!("{text}");
    if let Some(file) = file {
        write_json(file, report)?;
    }
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO)
    })
}

/// The models called by `names`, or all of them.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Architecture>, Diagnostic> {
    if names.is_empty() {
        return Ok(models::list().iter().collect());
    }
    let find = |name: &String| {
        models::find(name).ok_or_else(|| {
            let all: Vec<&str> = models::list().iter().map(|a| a.name).collect();
            Diagnostic::error(
                "unknown-model",
                format!("no architecture is called `{name}`"),
            )
            .help(format!("choose from {}", all.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// An error at a file.
pub(crate) fn failed(path: &Path, e: &dyn std::fmt::Display) -> Diagnostic {
    Diagnostic::error("file", e.to_string()).at(format!("file {}", path.display()))
}

/// The library that `cargo xtask test` installs, unless the variable names another.
pub(crate) fn installed_library() -> Option<PathBuf> {
    if std::env::var_os("ORT_DYLIB_PATH").is_some() {
        return None;
    }
    let folder = target().join("python/onnxruntime/capi");
    let files = std::fs::read_dir(folder).ok()?.flatten();
    files.map(|e| e.path()).find(|p| {
        p.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("libonnxruntime.so"))
    })
}

/// The model with weights: the file that is there, unless what makes it is newer.
pub(crate) fn filled(
    architecture: &Architecture,
    folder: &Path,
    bar: &progress::Bar,
) -> Result<PathBuf, Diagnostic> {
    let home = models::folder();
    let path = folder.join(format!("{}.onnx", architecture.name));
    let changed = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    let made_by = [
        architecture.graph_path(home),
        home.join(format!("{}.stats.json", architecture.name)),
        home.join("src/fill.rs"),
        home.join("src/random.rs"),
    ];
    let newest = made_by.iter().filter_map(|p| changed(p)).max();
    if changed(&path) < newest {
        bar.say(&format!("fill {}", architecture.name));
        models::fill(&architecture.graph_path(home), &path, &mut |p| {
            bar.show(p.done, p.total);
        })?;
    }
    Ok(path)
}
