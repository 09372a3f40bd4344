//! Every fuzz target for some minutes each.

use crate::{Failed, cargo, root, run};
use std::process::Command;

/// The targets, as `fuzz/Cargo.toml` lists them.
const TARGETS: [&str; 3] = ["read_onnx", "parse_text", "load_plan"];

/// The version that the targets are run with.
const CARGO_FUZZ: &str = "0.13.2";

/// How long to fuzz if nothing is said.
const MINUTES: u64 = 20;

/// Fuzzes; `args` are what follows the name of the chore.
pub fn fuzz(args: impl Iterator<Item = String>) -> Result<(), Failed> {
    let minutes = minutes(args)?;
    let folder = root().join("fuzz");
    if !run_quietly(cargo().args(["fuzz", "--version"])) {
        return Err(Failed(format!(
            "cargo-fuzz is not there; `cargo install cargo-fuzz --locked --version {CARGO_FUZZ}`"
        )));
    }
    let corpus = folder.join("corpus");
    let mut seeds = cargo();
    seeds
        .args(["run", "--release", "--quiet", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .args(["--package", "dlirc-fuzz-seeds", "--"])
        .arg(root())
        .arg(&corpus)
        .env_remove("CARGO_TARGET_DIR");
    let cases = crate::target().join("python/onnx/backend/test/data/node");
    if std::env::var_os("DLIRC_ONNX_CASES").is_none() && cases.is_dir() {
        seeds.env("DLIRC_ONNX_CASES", cases);
    }
    run(&mut seeds)?;
    for target in TARGETS {
        let mut fuzz = cargo();
        // Sanitizers and coverage are unstable flags of the compiler.
        fuzz.env("RUSTC_BOOTSTRAP", "1")
            .env_remove("CARGO_TARGET_DIR")
            .args(["fuzz", "run", "--fuzz-dir"])
            .arg(&folder)
            .args([target, "--", "-rss_limit_mb=2048", "-timeout=10"])
            .arg(format!("-max_total_time={}", minutes.saturating_mul(60)))
            .arg(format!("-max_len={}", max_len(target)));
        run(&mut fuzz)?;
    }
    Ok(())
}

/// The longest input, in bytes.
fn max_len(target: &str) -> usize {
    match target {
        // Weights start at a multiple of 4,096.
        "load_plan" => 32 << 10,
        _ => 8 << 10,
    }
}

fn minutes(mut args: impl Iterator<Item = String>) -> Result<u64, Failed> {
    let usage = || Failed("usage: cargo xtask fuzz [--minutes N]".into());
    match (args.next().as_deref(), args.next(), args.next()) {
        (None, None, None) => Ok(MINUTES),
        // libFuzzer takes 0 for no limit.
        (Some("--minutes"), Some(n), None) => n.parse().ok().filter(|&n| n > 0).ok_or_else(usage),
        _ => Err(usage()),
    }
}

/// Whether `command` succeeds; its output is not shown.
fn run_quietly(command: &mut Command) -> bool {
    command.output().is_ok_and(|out| out.status.success())
}
