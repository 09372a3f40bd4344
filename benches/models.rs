//! The example models on this machine: compiled, loaded, bound, compared with ONNX Runtime and timed
//! beside it. `cargo bench --bench models -- --help`

#![allow(clippy::print_stdout, reason = "a table is what it is for")]
#![forbid(unsafe_code)]

mod examples;
mod origin;

use clap::Parser;
use dlirc::beside::{self, Effort};
use dlirc::cli::progress;
use dlirc::cli::table::table;
use dlirc::inputs;
use dlirc::measure::{Times, geometric_mean};
use dlirc::oracle::Oracle;
use dlirc::report::Diagnostic;
use examples::{chosen, failed, filled, finish, installed_library, status};
use models::Architecture;
use origin::{Origin, root, target};
use plans::ModelIndex;
use runtime::{Engine, Loaded, Options};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Times that a model is compiled, loaded and bound.
const REPEATS: usize = 3;

/// The time for runs of one model, of both sides together.
const BUDGET: Duration = Duration::from_secs(6);

/// What peak memory is compared with: this many times the file …
const FILES_IN_MEMORY: u64 = 2;
/// … and this many bytes.
const MEMORY_BESIDE: u64 = 200_000_000;

/// The largest relative error of an output that is accepted.
const TOLERANCE: f64 = 1e-4;

/// Times the example models: compiled in a process of its own, loaded, bound, and run in turns with
/// ONNX Runtime on as many threads. Filled models and plans go to target/bench.
///
/// The status is 1 if an output differs from ONNX Runtime's by more than 1e-4.
#[derive(Parser)]
#[command(name = "models")]
struct Args {
    /// These models only: a,b
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// Also write the numbers as JSON to this file, relative to the root of the repository.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads of either side.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// ONNX Runtime's library; else ORT_DYLIB_PATH, what `cargo xtask test` installed, or Python's.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    origin: Origin,
    level: String,
    threads: u16,
    onnxruntime: String,
    models: Vec<Row>,
    geometric_mean_ratio: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    file_mb: f64,
    /// Wall time of the process, its start and the plan's writing included.
    compile_ms: f64,
    compile_phases_ms: Value,
    compile_peak_mb: f64,
    /// The peak over twice the file and 200 MB.
    compile_peak_share: f64,
    load_ms: f64,
    bind_ms: f64,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    onnxruntime_open_ms: f64,
    onnxruntime_median_ms: f64,
    /// ONNX Runtime's median over ours: above 1 is faster than it.
    ratio: f64,
    /// The largest ‖out − ref‖ / ‖ref‖ of an output.
    error: f64,
}

fn main() -> ExitCode {
    status(bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<ExitCode, Diagnostic> {
    let chosen = chosen(&args.models)?;
    let library = args.onnxruntime.clone().or_else(installed_library);
    let oracle = Oracle::load(library.as_deref())?;
    let folder = target().join("bench");
    let json = args.json.as_ref().map(|file| root().join(file));
    for needed in [
        Some(folder.as_path()),
        json.as_deref().and_then(Path::parent),
    ] {
        let needed = needed.unwrap_or(root());
        std::fs::create_dir_all(needed).map_err(|e| failed(needed, &e))?;
    }
    let bar = progress::bar("fill");
    let mut files = vec![];
    for architecture in &chosen {
        files.push(filled(architecture, &folder, &bar)?);
    }
    let mut rows = vec![];
    let mut level = String::new();
    for (i, (architecture, file)) in chosen.iter().zip(&files).enumerate() {
        bar.say(architecture.name);
        bar.show(i as u64, chosen.len() as u64);
        let (row, at) = measure(architecture, file, &oracle, args.threads)?;
        rows.push(row);
        level = at;
    }
    bar.finish();
    let report = Report {
        origin: Origin::here(),
        level,
        threads: args.threads,
        onnxruntime: oracle
            .library
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        geometric_mean_ratio: geometric_mean(rows.iter().map(|r| r.ratio)),
        models: rows,
    };
    let right = report.models.iter().all(|r| r.error <= TOLERANCE);
    finish(&text(&report), &report, json.as_deref(), right)
}

fn measure(
    architecture: &Architecture,
    file: &Path,
    oracle: &Oracle,
    threads: u16,
) -> Result<(Row, String), Diagnostic> {
    let plan = file.with_extension("dlplan");
    let compiled = compile(file, &plan)?;
    let options = Options {
        threads: usize::from(threads),
        ..Options::default()
    };
    let (mut loads, mut binds) = (vec![], vec![]);
    for _ in 0..REPEATS {
        let start = Instant::now();
        let loaded = Arc::new(Loaded::open(&plan)?);
        loads.push(start.elapsed());
        let start = Instant::now();
        Engine::bind(loaded, &options)?;
        binds.push(start.elapsed());
    }
    let engine = Arc::new(Engine::bind(Arc::new(Loaded::open(&plan)?), &options)?);
    let mut session = engine.session()?;
    let started = Instant::now();
    let mut peer = oracle.open(file, usize::from(threads))?;
    let open = started.elapsed();
    let model = ModelIndex(0);
    let values = inputs::random(&engine.plan().models[0], 1);
    let errors = beside::errors(&mut session, model, &values, &mut peer)?;
    let effort = Effort::Within(BUDGET);
    let turns = beside::times(&mut session, model, &values, Some(&mut peer), effort)?;
    let theirs = turns.theirs.expect("there is a peer");
    let file_bytes = file.metadata().map_err(|e| failed(file, &e))?.len();
    std::fs::remove_file(&plan).map_err(|e| failed(&plan, &e))?;
    let allowed = FILES_IN_MEMORY * file_bytes + MEMORY_BESIDE;
    let row = Row {
        name: architecture.name,
        file_mb: file_bytes as f64 / 1e6,
        compile_ms: compiled.ms,
        compile_phases_ms: compiled.phases_ms,
        compile_peak_mb: compiled.peak_bytes as f64 / 1e6,
        compile_peak_share: compiled.peak_bytes as f64 / allowed as f64,
        load_ms: median(&loads),
        bind_ms: median(&binds),
        runs: turns.ours.n,
        median_ms: turns.ours.median_ms,
        min_ms: turns.ours.min_ms,
        p99_ms: turns.ours.p99_ms,
        onnxruntime_open_ms: open.as_secs_f64() * 1e3,
        onnxruntime_median_ms: theirs.median_ms,
        ratio: theirs.median_ms / turns.ours.median_ms,
        error: errors.into_iter().fold(0.0, f64::max),
    };
    Ok((row, format!("{:?}", engine.level())))
}

fn median(times: &[Duration]) -> f64 {
    Times::of(times).map_or(f64::NAN, |t| t.median_ms)
}

struct Compilation {
    ms: f64,
    phases_ms: Value,
    peak_bytes: u64,
}

/// Compiles `file` to `plan` in processes of the command, and describes the one of the median time.
fn compile(file: &Path, plan: &Path) -> Result<Compilation, Diagnostic> {
    let mut compilations = vec![];
    for _ in 0..REPEATS {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dlirc"));
        command.arg("compile").arg(file).arg("-o").arg(plan);
        command.args(["--quiet", "--json"]);
        let started = Instant::now();
        let output = command.output().map_err(|e| failed(file, &e))?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        if !output.status.success() {
            return Err(failed(file, &String::from_utf8_lossy(&output.stderr)));
        }
        let mut summary: Value =
            serde_json::from_slice(&output.stdout).map_err(|e| failed(file, &e))?;
        compilations.push(Compilation {
            ms,
            phases_ms: summary["phases_ms"].take(),
            peak_bytes: summary["peak_bytes"].as_u64().unwrap_or(0),
        });
    }
    compilations.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    Ok(compilations.swap_remove(REPEATS / 2))
}

fn text(report: &Report) -> String {
    let header = [
        "model",
        "compile ms",
        "peak MB",
        "of allowed",
        "load ms",
        "bind ms",
        "median ms",
        "ORT ms",
        "ratio",
        "error",
    ];
    let cells = |r: &Row| {
        vec![
            r.name.to_string(),
            format!("{:.0}", r.compile_ms),
            format!("{:.0}", r.compile_peak_mb),
            format!("{:.2}", r.compile_peak_share),
            format!("{:.1}", r.load_ms),
            format!("{:.1}", r.bind_ms),
            format!("{:.3}", r.median_ms),
            format!("{:.3}", r.onnxruntime_median_ms),
            format!("{:.2}", r.ratio),
            format!("{:.1e}", r.error),
        ]
    };
    let mut rows: Vec<_> = report.models.iter().map(cells).collect();
    let mean = |of: fn(&Row) -> f64, digits: usize| {
        geometric_mean(report.models.iter().map(of))
            .map_or_else(String::new, |m| format!("{m:.digits$}"))
    };
    rows.push(vec![
        "geometric mean".into(),
        mean(|r| r.compile_ms, 0),
        mean(|r| r.compile_peak_mb, 0),
        mean(|r| r.compile_peak_share, 2),
        mean(|r| r.load_ms, 1),
        mean(|r| r.bind_ms, 1),
        mean(|r| r.median_ms, 3),
        mean(|r| r.onnxruntime_median_ms, 3),
        mean(|r| r.ratio, 2),
        String::new(),
    ]);
    let Origin {
        commit,
        processor,
        processors,
    } = &report.origin;
    table(&header, &rows)
        + &format!(
            "{} threads, {} of {processors} × {}, {}, commit {commit}\n",
            report.threads,
            report.level,
            processor.as_deref().unwrap_or("unknown processor"),
            report.onnxruntime,
        )
}
