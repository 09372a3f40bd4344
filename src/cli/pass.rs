//! `dlirc pass`: one pass over a program's text.

use crate::cli::table::table;
use crate::report::{Diagnostic, data, say};
use clap::Args;
use passes::manager::{self, Observer};
use passes::{Pass as OnePass, PassCx};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run one pass, or all passes of a phase, on a program's text, and print the result.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc pass --list
  dlirc pass fold_constants before.dlir > after.dlir
  dlirc pass normalise < before.dlir")]
pub(super) struct Pass {
    /// The pass, or a phase.
    #[arg(required_unless_present = "list")]
    pass: Option<String>,
    /// The program's text; standard input if left out, or `-`.
    file: Option<PathBuf>,
    /// List phases and passes.
    #[arg(long)]
    list: bool,
    /// Say on standard error what the pass left alone, and why.
    #[arg(long)]
    explain: bool,
    /// Stop after this many changes.
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
}

/// What a name on the command line stands for.
pub(super) enum Named {
    /// A pass.
    Pass(OnePass),
    /// A phase's whole list.
    Phase(passes::Phase),
}

/// The pass or phase called `name`.
pub(super) fn find(name: &str) -> Result<Named, Diagnostic> {
    let phase = passes::PIPELINE
        .iter()
        .map(|(p, _)| *p)
        .find(|p| p.name() == name);
    manager::find(name)
        .map(Named::Pass)
        .or(phase.map(Named::Phase))
        .ok_or_else(|| {
            Diagnostic::error(
                "unknown-pass",
                format!("no pass and no phase is called {name}"),
            )
            .help("`dlirc pass --list` lists them")
        })
}

struct Silent;
impl Observer for Silent {}

impl Pass {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let Some(name) = self.pass.filter(|_| !self.list) else {
            let rows: Vec<Vec<String>> = manager::all()
                .map(|p| vec![p.name.into(), p.phase.name().into()])
                .collect();
            data(table(&["pass", "phase"], &rows).as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        };
        let named = find(&name)?;
        let text = read(self.file.as_deref())?;
        let mut program = ir::text::parse(&text).map_err(|e| {
            let file = self.file.as_deref().unwrap_or(Path::new("-"));
            Diagnostic::error("syntax", e.message.clone())
                .at(format!("{}:{}:{}", file.display(), e.line, e.column))
                .note(e.text)
                .help("`dlirc inspect MODEL.onnx --text` shows what programs look like")
        })?;
        ir::verify::program(&program).map_err(|violations| {
            let mut error = Diagnostic::error("program", "the program breaks the rules");
            error.notes = violations.iter().map(ToString::to_string).collect();
            error
        })?;
        let mut silent = Silent;
        let options = passes::Options {
            verify: true,
            explain: self.explain,
            stop_after: self.stop_after,
            dump_after: vec![],
        };
        let mut cx = PassCx::new(options).observed_by(&mut silent);
        let changed = match &named {
            Named::Pass(pass) => manager::run_pass(pass, &mut program, &mut cx)?,
            Named::Phase(phase) => manager::run(*phase, &mut program, &mut cx)?,
        };
        data(ir::text::print(&program).as_bytes())?;
        for refusal in &cx.refusals {
            say(&refusal.to_string());
        }
        say(&format!("{} changes", changed.0));
        Ok(ExitCode::SUCCESS)
    }
}

fn read(file: Option<&Path>) -> Result<String, Diagnostic> {
    let failed = |e: std::io::Error, place: String| {
        Diagnostic::error("read", format!("the text can't be read: {e}")).at(place)
    };
    match file.filter(|f| *f != Path::new("-")) {
        Some(file) => {
            std::fs::read_to_string(file).map_err(|e| failed(e, format!("file {}", file.display())))
        }
        None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| failed(e, "standard input".into()))?;
            Ok(text)
        }
    }
}
