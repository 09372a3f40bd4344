//! Project chores: `cargo xtask CHORE`.

mod demo;
mod fuzz;
mod gpu;
mod python;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Project chores.

usage: cargo xtask CHORE

  demo   build dlirc, fill two example models with weights, compile both into one plan,
         run it, and draw it
  fuzz   every fuzz target, 20 minutes each or --minutes N; needs cargo-fuzz
  gpu    the suites on this machine's GPU; --pack FOLDER builds them for a machine with a
         GPU and without cargo
  test   every check: format, lints, licences, all tests, documentation; sets up what
         they need below target/
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let chore = args.next();
    let done = match chore.as_deref() {
        Some("demo") => demo::demo(),
        Some("fuzz") => fuzz::fuzz(args),
        Some("gpu") => gpu::gpu(args),
        Some("test") => test::test(),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(why)) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Why a chore was not done.
struct Failed(String);

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Where builds and everything that chores download go.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs `command` in the root, its output shown.
fn run(command: &mut Command) -> Result<(), Failed> {
    let shown = format!("{command:?}");
    let status = command
        .current_dir(root())
        .status()
        .map_err(|e| Failed(format!("{shown} could not be started: {e}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failed(format!("{shown} failed: {status}")))
    }
}

/// The cargo that runs this chore.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
