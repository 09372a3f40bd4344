//! The example models on this machine's GPU: compiled, compared with ONNX Runtime, timed, and set beside
//! what other engines have measured on the same kind of GPU. `cargo bench --bench gpu -- --help`

#![allow(clippy::print_stdout, reason = "a table is what it is for")]
#![forbid(unsafe_code)]

mod examples;
mod origin;

use clap::Parser;
use dlirc::cli::progress;
use dlirc::cli::table::table;
use dlirc::measure::geometric_mean;
use dlirc::report::Diagnostic;
use examples::{chosen, failed, filled, finish, installed_library, status};
use origin::{Origin, target};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The largest relative error of an output that is accepted.
const TOLERANCE: f64 = 1e-4;

/// Milliseconds that the way from the file to the first result may take beside the weights' …
const START_MS: f64 = 20.0;
/// … which go over the bus at so many bytes a millisecond.
const BUS_BYTES_PER_MS: f64 = 55e6;

/// What engines of others measured on an H200.
const PEERS: &str = include_str!("results/peers_h200.json");

/// Times the example models on a GPU: device and wall time of runs whose inputs and outputs stay
/// there, the same with copies, and the way from the file to the first result.
///
/// Filled models and plans go to target/bench. The status is 1 if an output differs from ONNX Runtime's by
/// more than 1e-4.
#[derive(Parser)]
#[command(name = "gpu")]
struct Args {
    /// These models only: a,b
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// Also write the numbers as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What plans are compiled for.
    #[arg(long, value_name = "TARGET", default_value = "cuda:sm_90")]
    target: String,
    /// More options of `dlirc compile`, apart by spaces.
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "",
        allow_hyphen_values = true
    )]
    compile: String,
    /// The command, where it does not lie where it was built.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_dlirc"))]
    dlirc: PathBuf,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Milliseconds of other engines, by their names.
#[derive(Deserialize)]
struct Peers {
    models: BTreeMap<String, BTreeMap<String, f64>>,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    origin: Origin,
    gpu: Option<String>,
    compile: String,
    models: Vec<Row>,
    /// Our wall time over ONNX Runtime's in f32: below 1 is faster than it.
    geometric_mean_of_onnxruntime_fp32: Option<f64>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// The largest ‖out − ref‖ / ‖ref‖ of an output, against ONNX Runtime on the CPU.
    error: f64,
    /// Inputs and outputs on the GPU: by its clock, and from call to return.
    device_ms: f64,
    wall_ms: f64,
    wall_p99_ms: f64,
    /// Inputs and outputs on the host.
    host_ms: f64,
    /// From the file to the first result, and what it may take.
    start_ms: f64,
    start_allowed_ms: f64,
    start: Value,
    /// The least time that memory and arithmetic allow over the device's.
    of_limit: Option<f64>,
    /// Our wall time over ONNX Runtime's in f32.
    of_onnxruntime_fp32: Option<f64>,
}

fn main() -> ExitCode {
    status(bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<ExitCode, Diagnostic> {
    let peers: Peers =
        serde_json::from_str(PEERS).map_err(|e| Diagnostic::error("json", e.to_string()))?;
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
    let chosen = chosen(&args.models)?;
    let bar = progress::bar("fill");
    let (mut rows, mut gpu) = (vec![], None);
    for (i, architecture) in chosen.iter().enumerate() {
        let file = filled(architecture, &folder, &bar)?;
        bar.say(architecture.name);
        bar.show(i as u64, chosen.len() as u64);
        let plan = file.with_extension("gpu.dlplan");
        let mut compile = args.command(&["compile", "--quiet", "--target", &args.target]);
        compile.arg(&file).arg("-o").arg(&plan);
        compile.args(args.compile.split_whitespace());
        run(&mut compile)?;
        let mut verify = args.command(&["verify", "--json", "--against"]);
        let verified = json(verify.arg(&file).arg(&plan))?;
        let mut bench = args.command(&["bench", "--json", "--start", "5"]);
        let measured = json(bench.arg(&plan))?;
        std::fs::remove_file(&plan).map_err(|e| failed(&plan, &e))?;
        gpu = measured["gpu"].as_str().map(str::to_owned);
        let peer = peers.models.get(architecture.name);
        let peer = peer.and_then(|p| p.get("onnxruntime_fp32")).copied();
        rows.push(row(architecture.name, &verified, &measured, peer));
    }
    bar.finish();
    let report = Report {
        origin: Origin::here(),
        gpu,
        compile: format!("--target {} {}", args.target, args.compile),
        geometric_mean_of_onnxruntime_fp32: geometric_mean(
            rows.iter().filter_map(|r| r.of_onnxruntime_fp32),
        ),
        models: rows,
    };
    let right = report.models.iter().all(|r| r.error <= TOLERANCE);
    finish(&text(&report), &report, args.json.as_deref(), right)
}

impl Args {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.dlirc);
        command.args(args);
        if let Some(library) = installed_library() {
            command.env("ORT_DYLIB_PATH", library);
        }
        command
    }
}

fn run(command: &mut Command) -> Result<Vec<u8>, Diagnostic> {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .map_err(|e| failed(Path::new(&shown), &e))?;
    // A verification that says no still says how far.
    if output.status.code().is_none_or(|code| code > 1) {
        return Err(Diagnostic::error(
            "command",
            format!("{shown}: {}", String::from_utf8_lossy(&output.stderr)),
        ));
    }
    Ok(output.stdout)
}

fn json(command: &mut Command) -> Result<Value, Diagnostic> {
    serde_json::from_slice(&run(command)?).map_err(|e| Diagnostic::error("json", e.to_string()))
}

fn row(name: &'static str, verified: &Value, measured: &Value, peer: Option<f64>) -> Row {
    let errors = verified["outputs"].as_array().into_iter().flatten();
    let errors = errors.map(|o| o["error"].as_f64().unwrap_or(f64::INFINITY));
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let (model, start) = (&measured["models"][0], &measured["start"]);
    let (on_gpu, weights) = (&model["on_gpu"], number(&start["weight_bytes"]));
    let wall_ms = number(&on_gpu["wall_median_ms"]);
    Row {
        name,
        error: errors.fold(0.0, f64::max),
        device_ms: number(&on_gpu["device_median_ms"]),
        wall_ms,
        wall_p99_ms: number(&on_gpu["wall_p99_ms"]),
        host_ms: number(&model["median_ms"]),
        start_ms: number(&start["total_ms"]),
        start_allowed_ms: START_MS + weights / BUS_BYTES_PER_MS,
        start: start.clone(),
        of_limit: on_gpu["of_limit"].as_f64(),
        of_onnxruntime_fp32: peer.map(|peer| wall_ms / peer),
    }
}

fn text(report: &Report) -> String {
    let header = [
        "model",
        "error",
        "GPU ms",
        "wall ms",
        "with copies",
        "of ORT fp32",
        "of limit",
        "start ms",
        "allowed",
    ];
    let optional = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.2}"));
    let rows: Vec<Vec<String>> = report
        .models
        .iter()
        .map(|r| {
            vec![
                r.name.to_string(),
                format!("{:.1e}", r.error),
                format!("{:.3}", r.device_ms),
                format!("{:.3}", r.wall_ms),
                format!("{:.3}", r.host_ms),
                optional(r.of_onnxruntime_fp32),
                optional(r.of_limit),
                format!("{:.1}", r.start_ms),
                format!("{:.1}", r.start_allowed_ms),
            ]
        })
        .collect();
    table(&header, &rows)
        + &format!(
            "geometric mean of ORT fp32: {}; {}, commit {}\n",
            optional(report.geometric_mean_of_onnxruntime_fp32),
            report.gpu.as_deref().unwrap_or("no GPU"),
            report.origin.commit,
        )
}
