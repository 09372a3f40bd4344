//! `dlirc completions`: what a shell needs to complete command lines.

use crate::cli::Cli;
use crate::report::{Diagnostic, data};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::process::ExitCode;

/// Print the completions of a shell.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc completions bash > ~/.local/share/bash-completion/completions/dlirc
  dlirc completions zsh > ~/.zfunc/_dlirc
  dlirc completions fish > ~/.config/fish/completions/dlirc.fish")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let mut text = vec![];
        clap_complete::generate(self.shell, &mut Cli::command(), "dlirc", &mut text);
        data(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
