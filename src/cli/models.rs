//! Arguments that several verbs share: which models of a plan, and which files they came from.

use crate::report::Diagnostic;
use plans::{Model, ModelIndex, ValidPlan};
use runtime::{Engine, Loaded, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plan at `path`, bound to `threads` threads.
pub(super) fn engine(path: &Path, threads: usize) -> Result<Arc<Engine>, Diagnostic> {
    let loaded = load(path)?;
    Ok(Arc::new(Engine::bind(
        Arc::new(loaded),
        &Options {
            threads,
            ..Default::default()
        },
    )?))
}

/// The plan at `path`.
pub(super) fn load(path: &Path) -> Result<Loaded, Diagnostic> {
    Loaded::open(path).map_err(|e| Diagnostic::from(e).at(format!("file {}", path.display())))
}

/// The models called by `names`, or all of them.
pub(super) fn chosen<'p>(
    plan: &'p ValidPlan,
    names: &[String],
) -> Result<Vec<(ModelIndex, &'p Model)>, Diagnostic> {
    let numbered = || (0..).map(ModelIndex).zip(&plan.models);
    if names.is_empty() {
        return Ok(numbered().collect());
    }
    let mut chosen = vec![];
    for name in names {
        let found = numbered().find(|(_, m)| m.name == *name);
        chosen.push(found.ok_or_else(|| {
            let all: Vec<&str> = plan.models.iter().map(|m| m.name.as_str()).collect();
            Diagnostic::error(
                "unknown-model",
                format!("the plan has no model called {name}"),
            )
            .help(format!("choose one of {}", all.join(", ")))
        })?);
    }
    Ok(chosen)
}

/// Which model of the plan each file is: by `NAME=FILE`, else by the file's stem, else the only one.
pub(super) fn sources<'p>(
    plan: &'p ValidPlan,
    files: &[String],
) -> Result<Vec<(ModelIndex, &'p Model, PathBuf)>, Diagnostic> {
    let mut sources = vec![];
    for text in files {
        let numbered = || (0..).map(ModelIndex).zip(&plan.models);
        let by_name = |name: &str| numbered().find(|(_, m)| m.name == name);
        let named = text
            .split_once('=')
            .and_then(|(name, file)| Some((by_name(name)?, file)));
        let (found, file) = match named {
            Some((found, file)) => (Some(found), file),
            None => {
                let stem = Path::new(text)
                    .file_stem()
                    .map(|s| s.to_string_lossy().into_owned());
                let only = || numbered().next().filter(|_| plan.models.len() == 1);
                (stem.and_then(|s| by_name(&s)).or_else(only), text.as_str())
            }
        };
        let (index, model) = found.ok_or_else(|| {
            let all: Vec<&str> = plan.models.iter().map(|m| m.name.as_str()).collect();
            Diagnostic::error(
                "unknown-model",
                format!("which model of the plan {text} is can't be told"),
            )
            .help(format!(
                "say it by MODEL=FILE, with MODEL one of {}",
                all.join(", ")
            ))
        })?;
        sources.push((index, model, PathBuf::from(file)));
    }
    Ok(sources)
}
