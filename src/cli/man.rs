//! `dlirc man`: manual pages.

use crate::cli::Cli;
use crate::report::{Diagnostic, say, write_file};
use clap::{Args, CommandFactory};
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the manual pages, one a verb, into a folder.
#[derive(Args)]
#[command(after_help = "Examples:\n  dlirc man ~/.local/share/man/man1")]
pub(super) struct Man {
    /// The folder; it is made if it is not there.
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        std::fs::create_dir_all(&self.folder).map_err(|e| {
            Diagnostic::error("folder", format!("the folder can't be made: {e}"))
                .at(format!("folder {}", self.folder.display()))
        })?;
        let mut command = Cli::command();
        command.build();
        let mut n = 0;
        for page in std::iter::once(&command).chain(command.get_subcommands()) {
            let name = page
                .get_display_name()
                .unwrap_or(page.get_name())
                .to_string();
            if name.ends_with("help") {
                continue;
            }
            let mut text = vec![];
            let man = clap_mangen::Man::new(page.clone());
            man.render(&mut text)
                .map_err(|e| Diagnostic::error("man", e.to_string()))?;
            write_file(&self.folder.join(format!("{name}.1")), &text)?;
            n += 1;
        }
        say(&format!("wrote {n} pages to {}", self.folder.display()));
        Ok(ExitCode::SUCCESS)
    }
}
