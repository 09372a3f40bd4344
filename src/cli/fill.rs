//! `dlirc fill`: an example architecture with random weights.

use crate::cli::table::table;
use crate::report::{Diagnostic, data, say};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Give an example architecture random weights, the same on every machine.
///
/// Without a name, lists the architectures.
#[derive(Args)]
#[command(after_help = "Examples:\n  dlirc fill\n  dlirc fill resnet50 -o resnet50.onnx")]
pub(super) struct Fill {
    /// The architecture, or the path of a graph without weights beside its NAME.stats.json.
    model: Option<String>,
    /// Where the model goes; NAME.onnx if left out.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// The folder of the architectures.
    #[arg(long)]
    models: Option<PathBuf>,
}

impl Fill {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let folder = self
            .models
            .unwrap_or_else(|| models::folder().to_path_buf());
        let Some(name) = self.model else {
            let rows: Vec<Vec<String>> = models::list()
                .iter()
                .map(|a| vec![format!("{}: {}", a.name, a.about)])
                .collect();
            data(table(&["architectures"], &rows).as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        };
        let graph = match models::find(&name) {
            Some(architecture) => architecture.graph_path(&folder),
            None if name.ends_with(".onnx") => PathBuf::from(&name),
            None => {
                let names: Vec<&str> = models::list().iter().map(|a| a.name).collect();
                let error = Diagnostic::error(
                    "unknown-model",
                    format!("no architecture is called `{name}`"),
                );
                return Err(error.help(format!("choose one of {}", names.join(", "))));
            }
        };
        let output = self
            .output
            .unwrap_or_else(|| PathBuf::from(format!("{name}.onnx")));
        let bar = crate::cli::progress::bar("fill");
        models::fill(&graph, &output, &mut |p| bar.show(p.done, p.total))?;
        bar.finish();
        say(&format!("wrote {}", output.display()));
        Ok(ExitCode::SUCCESS)
    }
}
