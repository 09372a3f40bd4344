//! The command line: one file a verb.

mod bench;
mod blocks;
mod compile;
mod completions;
mod deploy;
mod explain;
mod fill;
mod inspect;
mod load;
mod man;
mod models;
mod pass;
mod profile;
mod profile_text;
pub mod progress;
mod round;
mod run;
mod scenes;
mod simulate;
pub mod table;
mod verify;

use crate::report::Diagnostic;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Compiles several neural networks into one plan that runs them together, fast and on time.
#[derive(Parser)]
#[command(name = "dlirc", version, max_term_width = 100)]
#[command(after_help = "\
Exit status: 0 done, 1 the answer is no (a check failed), 2 failure.
Data goes to standard output, everything else to standard error.

Examples:
  dlirc fill squeezenet1_1 -o a.onnx
  dlirc fill mobilenet_v2 -o b.onnx
  dlirc compile a.onnx b.onnx -o both.dlplan
  dlirc run both.dlplan --random 1
  dlirc inspect both.dlplan --html both.html")]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Compile(compile::Compile),
    Run(run::Run),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    Bench(bench::Bench),
    Profile(profile::Profile),
    Explain(explain::Explain),
    Pass(pass::Pass),
    Load(load::Load),
    Simulate(simulate::Simulate),
    Fill(fill::Fill),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// What could not be done; status 2.
    pub fn run(self) -> Result<ExitCode, Diagnostic> {
        match self.verb {
            Verb::Compile(verb) => verb.run(),
            Verb::Run(verb) => verb.run(),
            Verb::Inspect(verb) => verb.run(),
            Verb::Verify(verb) => verb.run(),
            Verb::Bench(verb) => verb.run(),
            Verb::Profile(verb) => verb.run(),
            Verb::Explain(verb) => verb.run(),
            Verb::Pass(verb) => verb.run(),
            Verb::Load(verb) => verb.run(),
            Verb::Simulate(verb) => verb.run(),
            Verb::Fill(verb) => verb.run(),
            Verb::Completions(verb) => verb.run(),
            Verb::Man(verb) => verb.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_an_example() {
        for verb in super::Cli::command().get_subcommands() {
            let help = verb
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains(&format!("dlirc {}", verb.get_name())),
                "{}",
                verb.get_name()
            );
        }
    }
}
