//! `dlirc`: compiles several neural networks into one plan that runs them together.

mod cli;
mod driver;
mod report;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(status) => status,
        Err(diagnostic) => {
            report::draw(&diagnostic);
            ExitCode::from(report::FAILURE)
        }
    }
}
