//! Examples in `--help` are command lines that exist.

use clap::{CommandFactory, Parser};
use dlirc::cli::Cli;

/// The words that stand before a redirection or a pipe, and the command after a pipe.
fn words(line: &str) -> Vec<&str> {
    line.split(['|', '>', '<'])
        .next()
        .unwrap()
        .split_whitespace()
        .collect()
}

#[test]
fn examples_can_be_typed() {
    let command = Cli::command();
    let mut n = 0;
    for verb in std::iter::once(&command).chain(command.get_subcommands()) {
        let help = verb
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        for line in help
            .lines()
            .map(str::trim)
            .filter(|l| l.starts_with("dlirc "))
        {
            if let Err(error) = Cli::try_parse_from(words(line)) {
                panic!("{line}\n{error}");
            }
            n += 1;
        }
    }
    assert!(n > 20, "{n} examples");
}
