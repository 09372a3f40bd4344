//! The suites on a machine with a GPU: here, or packed for a machine without cargo.

use crate::python::wheels;
use crate::test::{Counts, counted};
use crate::{Failed, cargo, root, run, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages whose suites use GPUs, and the suites.
const SUITES: [(&str, &[&str]); 2] = [
    ("dlirc", &["suite"]),
    ("dlirc-runtime", &["cuda", "sessions"]),
];

/// Of `dlirc`'s suite, what uses them; of the others, everything.
const OF_SUITE: [&str; 3] = ["conformance::", "models::", "gpu::"];

/// Runs the suites, or packs them for another machine if `args` say `--pack FOLDER`.
pub fn gpu(mut args: impl Iterator<Item = String>) -> Result<(), Failed> {
    match (args.next().as_deref(), args.next()) {
        (None, None) => here(),
        (Some("--pack"), Some(folder)) => pack(Path::new(&folder)),
        _ => Err(Failed("usage: cargo xtask gpu [--pack FOLDER]".into())),
    }
}

fn here() -> Result<(), Failed> {
    let wheels = wheels()?;
    let mut counts = Counts::default();
    let mut outcome = Ok(());
    for (package, suites) in SUITES {
        let mut tests = cargo();
        tests.args(["test", "--release", "--no-fail-fast", "--package", package]);
        for suite in suites {
            tests.args(["--test", suite]);
        }
        if package == "dlirc" {
            tests.arg("--").args(OF_SUITE);
        }
        tests.env("ORT_DYLIB_PATH", &wheels.onnxruntime);
        tests.env(
            "DLIRC_ONNX_CASES",
            wheels.site.join("onnx/backend/test/data/node"),
        );
        outcome = outcome.and(counted(&mut tests, &mut counts));
    }
    println!("{counts}");
    outcome?;
    match counts.without_gpu {
        0 => Ok(()),
        n => Err(Failed(format!("{n} tests found no CUDA device"))),
    }
}

/// Builds test binaries and `dlirc`, and copies them to `folder` with what they read.
fn pack(folder: &Path) -> Result<(), Failed> {
    let wheels = wheels()?;
    fs::create_dir_all(folder).map_err(failed(folder))?;
    run(cargo().args(["build", "--release", "--package", "dlirc", "--bin", "dlirc"]))?;
    copy_stripped(&target().join("release/dlirc"), &folder.join("dlirc"))?;
    let mut script = String::from(RUN);
    for (package, suites) in SUITES {
        let tests = [
            "test",
            "--release",
            "--no-run",
            "--tests",
            "--package",
            package,
        ];
        let binaries = binaries("test", &tests)?.into_iter();
        for (name, binary) in binaries.filter(|(name, _)| suites.contains(&name.as_str())) {
            let filter = match package {
                "dlirc" => format!(" {}", OF_SUITE.join(" ")),
                _ => String::new(),
            };
            let file = format!("{package}-{name}");
            copy_stripped(&binary, &folder.join(&file))?;
            script += &format!("suite {file}{filter}\n");
        }
    }
    let bench = ["bench", "--no-run", "--bench", "gpu", "--package", "dlirc"];
    for (_, binary) in binaries("bench", &bench)? {
        copy_stripped(&binary, &folder.join("bench-gpu"))?;
    }
    script += "exit $status\n";
    script = script.replace("@commit@", &commit());
    let file = folder.join("run.sh");
    fs::write(&file, script).map_err(failed(&file))?;
    for part in ["models", "tests/conformance"] {
        copy_data(&root().join(part), &folder.join("root").join(part))?;
    }
    copy_data(&root().join("models/src"), &folder.join("root/models/src"))?;
    let mut tar = Command::new("tar");
    tar.arg("czf")
        .arg(
            fs::canonicalize(folder)
                .map_err(failed(folder))?
                .join("cases.tar.gz"),
        )
        .arg("-C")
        .arg(wheels.site.join("onnx/backend/test/data"))
        .arg("node");
    run(&mut tar)?;
    let bytes = size(folder)?;
    println!(
        "{}: {} MiB; there, `sh run.sh`",
        folder.display(),
        bytes >> 20
    );
    match bytes {
        0..MAX_PACK => Ok(()),
        _ => Err(Failed(format!("that is more than {} MiB", MAX_PACK >> 20))),
    }
}

/// What can still be carried, in bytes.
const MAX_PACK: u64 = 60 << 20;

/// The start of the script that runs what was packed.
const RUN: &str = r#"#!/bin/sh
# Runs the suites that use a GPU; needs NVIDIA's driver, and NVRTC and ONNX Runtime from Python or by
# DLIRC_NVRTC and ORT_DYLIB_PATH. `sh run.sh FILTER` runs what has FILTER in its name,
# `sh run.sh bench` times the example models instead.
here=$(cd "$(dirname "$0")" && pwd)
export DLIRC_ROOT="$here/root" DLIRC_MODELS="$here/root/models"
export CARGO_TARGET_DIR="${DLIRC_OUT:-$here/out}"
export DLIRC_ONNX_CASES="$CARGO_TARGET_DIR/node"
mkdir -p "$CARGO_TARGET_DIR"
[ -d "$DLIRC_ONNX_CASES" ] || tar xzf "$here/cases.tar.gz" -C "$CARGO_TARGET_DIR"
if [ "$1" = bench ]; then
  shift
  export DLIRC_COMMIT="@commit@"
  exec "$here/bench-gpu" --dlirc "$here/dlirc" --json "$CARGO_TARGET_DIR/gpu.json" "$@"
fi
filter=$1
status=0
suite() {
  name=$1
  shift
  echo "== $name"
  (cd "$here/root" && "$here/$name" ${filter:-"$@"} --nocapture --test-threads "${DLIRC_TEST_THREADS:-4}") || status=1
}
"#;

fn failed(path: &Path) -> impl Fn(std::io::Error) -> Failed {
    let path = path.to_owned();
    move |e| Failed(format!("{}: {e}", path.display()))
}

/// The commit that is built, with `+` if files differ from it.
fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(root()).output();
        output.map_or_else(
            |_| String::new(),
            |o| String::from_utf8_lossy(&o.stdout).trim().to_string(),
        )
    };
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = if changes.is_empty() { "" } else { "+" };
    git(&["rev-parse", "--short=12", "HEAD"]) + mark
}

/// The binaries of one kind that cargo builds with `args`: names of targets, and files.
fn binaries(kind: &str, args: &[&str]) -> Result<Vec<(String, PathBuf)>, Failed> {
    let mut build = cargo();
    build
        .args(args)
        .args(["--message-format", "json-render-diagnostics"]);
    let output = build
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| Failed(format!("{build:?}: {e}")))?;
    if !output.status.success() {
        return Err(Failed(format!("{build:?} failed: {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Each line is an object; only those of binaries have an executable.
    let kind = format!("\"kind\":[\"{kind}\"]");
    let after = |line: &str, mark: &str| {
        let (_, rest) = line.split_once(mark)?;
        Some(rest.split('"').next()?.to_string())
    };
    Ok(text
        .lines()
        .filter(|l| l.contains(&kind))
        .filter_map(|l| {
            let target = l.split_once("\"target\":")?.1;
            Some((
                after(target, "\"name\":\"")?,
                after(l, "\"executable\":\"")?.into(),
            ))
        })
        .collect())
}

/// Copies a program, without what is there for debuggers.
fn copy_stripped(from: &Path, to: &Path) -> Result<(), Failed> {
    fs::copy(from, to).map_err(failed(from))?;
    run(Command::new("strip").arg(fs::canonicalize(to).map_err(failed(to))?))
}

/// Copies the files of a folder, but not its folders.
fn copy_data(from: &Path, to: &Path) -> Result<(), Failed> {
    fs::create_dir_all(to).map_err(failed(to))?;
    for entry in fs::read_dir(from).map_err(failed(from))?.flatten() {
        let path = entry.path();
        if path.is_file() {
            fs::copy(&path, to.join(entry.file_name())).map_err(failed(&path))?;
        }
    }
    Ok(())
}

fn size(folder: &Path) -> Result<u64, Failed> {
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(failed(folder))?.flatten() {
        let path = entry.path();
        sum += match path.is_dir() {
            true => size(&path)?,
            false => entry.metadata().map_err(failed(&path))?.len(),
        };
    }
    Ok(sum)
}
