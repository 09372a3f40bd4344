//! Arguments that several verbs share: what runs a plan, which of its models, and which files they
//! came from.

use crate::report::{Diagnostic, draw};
use clap::Args;
use plans::{Arena, ArenaKind, Device, Model, ModelIndex, ValidPlan};
use runtime::{Engine, Loaded, Options, RunOn};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What runs a plan.
#[derive(Args)]
pub(super) struct Machine {
    /// Threads; 0 for as many as there are processors.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) threads: usize,
    /// What runs a plan that was made for GPUs: cuda:N for the GPU of that number, cpu, or auto for the
    /// first GPU if there is one and else the CPU.
    #[arg(long, value_name = "DEVICE", default_value = "cuda:0", value_parser = device)]
    pub(super) device: RunOn,
}

/// `cuda:0`, `cpu` or `auto`.
pub(super) fn device(text: &str) -> Result<RunOn, String> {
    match text {
        "cpu" => Ok(RunOn::Cpu),
        "auto" => Ok(RunOn::Auto),
        "cuda" => Ok(RunOn::Cuda(0)),
        _ => text
            .strip_prefix("cuda:")
            .and_then(|n| n.parse().ok())
            .map(RunOn::Cuda)
            .ok_or_else(|| format!("no device is called `{text}`; choose cuda:N, cpu or auto")),
    }
}

impl Machine {
    /// The plan at `path`, ready to be run.
    pub(super) fn engine(&self, path: &Path) -> Result<Arc<Engine>, Diagnostic> {
        self.bind(load_to_bind(path)?)
    }

    /// A plan, ready to be run.
    pub(super) fn bind(&self, loaded: Loaded) -> Result<Arc<Engine>, Diagnostic> {
        let options = Options {
            threads: self.threads,
            device: self.device,
            ..Default::default()
        };
        let engine = Engine::bind(Arc::new(loaded), &options)?;
        if let Some(why) = engine.fallback() {
            draw(
                &Diagnostic::warning("no-gpu", "the plan was made for GPUs, and the CPU runs it")
                    .note(why.to_string()),
            );
        }
        Ok(Arc::new(engine))
    }
}

/// The plan at `path`.
pub(super) fn load(path: &Path) -> Result<Loaded, Diagnostic> {
    Loaded::open(path).map_err(|e| Diagnostic::from(e).at(format!("file {}", path.display())))
}

/// The plan at `path`, for [`Machine::bind`] to compare the checksum of its weights.
pub(super) fn load_to_bind(path: &Path) -> Result<Loaded, Diagnostic> {
    Loaded::open_to_bind(path)
        .map_err(|e| Diagnostic::from(e).at(format!("file {}", path.display())))
}

/// The plan in the file at `path`, without its weights.
pub(super) fn plan_of(path: &Path) -> Result<ValidPlan, Diagnostic> {
    Loaded::open_plan(path).map_err(|e| Diagnostic::from(e).at(format!("file {}", path.display())))
}

/// What an arena holds, of which models, and on which device where the plan uses one.
pub(super) fn arena_name(plan: &ValidPlan, arena: &Arena) -> String {
    let kind = match arena.kind {
        ArenaKind::Io => "inputs and outputs",
        ArenaKind::Scratch => "intermediate results",
        ArenaKind::Counters => "counters of device code",
    };
    let name = |m: &ModelIndex| plan.models[m.index()].name.as_str();
    let models: Vec<&str> = arena.models.iter().map(name).collect();
    let place = match plan.arenas.iter().any(|a| a.device != Device::Cpu) {
        true => format!(", {}", arena.device),
        false => String::new(),
    };
    format!("{kind} of {}{place}", models.join(", "))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read() {
        assert_eq!(device("cpu"), Ok(RunOn::Cpu));
        assert_eq!(device("auto"), Ok(RunOn::Auto));
        assert_eq!(device("cuda:3"), Ok(RunOn::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:99999999"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
    }
}
