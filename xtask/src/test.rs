//! Every check, and one line that counts the tests.

use crate::python::wheels;
use crate::{Failed, cargo, root, run, target};
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Tests that ran, by outcome.
#[derive(Default)]
pub(crate) struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Tests that say that they found no CUDA device.
    pub(crate) without_gpu: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            without_gpu: _,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

pub fn test() -> Result<(), Failed> {
    let wheels = wheels()?;
    run(cargo().args(["fmt", "--all", "--check"]))?;
    run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    let mut deny = deny()?;
    run(deny.args([
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    let mut counts = Counts::default();
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast"]);
    tests.env("ORT_DYLIB_PATH", &wheels.onnxruntime);
    tests.env(
        "DLIRC_ONNX_CASES",
        wheels.site.join("onnx/backend/test/data/node"),
    );
    let outcome = counted(&mut tests, &mut counts);
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--quiet"])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    println!("{counts}");
    outcome
}

/// cargo-deny, which reads deny.toml; built below target/ unless it is there.
fn deny() -> Result<Command, Failed> {
    const VERSION: &str = "0.20.2";
    let folder = target().join("tools");
    let program = folder.join("bin").join("cargo-deny");
    if !program.exists() {
        eprintln!("Building cargo-deny {VERSION} below {}", folder.display());
        let mut install = cargo();
        install.args([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            "--quiet",
        ]);
        run(install.arg("--root").arg(&folder))?;
    }
    let mut deny = Command::new(program);
    deny.env("CARGO", cargo().get_program());
    Ok(deny)
}

/// Runs `command`, shows its output, and adds up the result lines of the test harness and the
/// tests that say that they skipped themselves.
pub(crate) fn counted(command: &mut Command, counts: &mut Counts) -> Result<(), Failed> {
    let shown = format!("{command:?}");
    let failed = |e: std::io::Error| Failed(format!("{shown}: {e}"));
    let mut child = command
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(failed)?;
            println!("{line}");
            counts.add(&line);
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(Failed(format!("{shown} failed: {status}")))
    }
}

impl Counts {
    /// `test result: ok. 12 passed; 0 failed; 1 ignored; …`
    fn add(&mut self, line: &str) {
        if line.contains("skipped: no CUDA device") {
            self.without_gpu += 1;
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(n), Some(what)) = (
                words.next().and_then(|n| n.parse::<u64>().ok()),
                words.next(),
            ) else {
                continue;
            };
            match what {
                "passed" => self.passed += n,
                "failed" => self.failed += n,
                "ignored" => self.skipped += n,
                _ => {}
            }
        }
    }
}
