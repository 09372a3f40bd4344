//! The command line: one file a verb.

mod compile;
mod fill;
mod progress;

use crate::report::Diagnostic;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Compiles several neural networks into one plan that runs them together, fast and on time.
#[derive(Parser)]
#[command(name = "dlirc", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Compile(compile::Compile),
    Fill(fill::Fill),
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<ExitCode, Diagnostic> {
        match self.verb {
            Verb::Compile(verb) => verb.run(),
            Verb::Fill(verb) => verb.run(),
        }
    }
}
