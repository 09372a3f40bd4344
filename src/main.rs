//! `dlirc`: compiles several neural networks into one plan that runs them together.

use clap::Parser;
use dlirc::{cli, report};
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(status) => status,
        Err(diagnostic) => {
            report::draw(&diagnostic);
            ExitCode::from(report::FAILURE)
        }
    }
}
