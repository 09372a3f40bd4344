//! SPLIT's set of models under load: every policy on the same requests, and a model that is urgent beside
//! models that keep the machine busy. `cargo bench --bench load -- --help`

#![allow(clippy::print_stdout, reason = "a table is what it is for")]
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "this bench compares with no other engine")]
mod examples;
mod origin;

use clap::Parser;
use dlirc::cli::progress;
use dlirc::cli::table::table;
use dlirc::report::Diagnostic;
use examples::{chosen, failed, filled, finish, status};
use origin::{Origin, target};
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The models of SPLIT (Luo et al., ICPP 2023), in the sizes that the examples have.
const SET: &str = "yolov2,googlenet,resnet50,vgg19,gpt2";

/// Multiples of the time alone for which late requests are counted.
const LIMITS: [f64; 3] = [2.0, 4.0, 8.0];

/// Sends the same Poisson requests to SPLIT's set of models under every policy, at several loads, and
/// then with one model urgent. Filled models, the plan and the scenes go to target/bench.
///
/// The status is 1 if an output is not that of the model alone, or a stated bound did not hold.
#[derive(Parser)]
#[command(name = "load")]
struct Args {
    /// The models: a,b
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = SET)]
    models: Vec<String>,
    /// A plan of the models that is there already.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// What the plan is compiled for: cpu, or cuda:sm_90 and the like.
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
    /// Shares of solo capacity.
    #[arg(long, value_name = "X[,X…]", default_value = "0.5,0.7,0.9,1.2,1.5")]
    load: String,
    /// The load at which one model is urgent.
    #[arg(long, value_name = "X", default_value = "1.5")]
    busy: String,
    /// The urgent model; none if empty.
    #[arg(long, value_name = "NAME", default_value = "googlenet")]
    urgent: String,
    /// Requests of each scene.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    requests: u64,
    /// The policies.
    #[arg(long, value_name = "P[,P…]", default_value = "all")]
    policy: String,
    /// In simulated time only, with the plan's block times.
    #[arg(long)]
    simulate: bool,
    /// More options of `dlirc load`, apart by spaces.
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "",
        allow_hyphen_values = true
    )]
    options: String,
    /// Also write the numbers as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write pages with curves, to FILE and beside it.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The command, where it does not lie where it was built.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_dlirc"))]
    dlirc: PathBuf,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    origin: Origin,
    /// What ran the plan; empty if nothing did.
    device: String,
    compile: String,
    requests: u64,
    solo: Vec<Solo>,
    scenes: Vec<Row>,
    /// The same with one model of higher priority.
    urgent: Option<Urgent>,
}

#[derive(Serialize)]
struct Solo {
    model: String,
    ms: f64,
}

#[derive(Serialize)]
struct Urgent {
    model: String,
    scenes: Vec<Row>,
}

/// A scene.
#[derive(Serialize)]
struct Row {
    kind: String,
    policy: String,
    load: f64,
    ratio_mean: f64,
    ratio_std: f64,
    ratio_p50: f64,
    ratio_p99: f64,
    ratio_p999: f64,
    ratio_max: f64,
    worst_p99: f64,
    /// The shares of requests over 2, 4 and 8 × solo.
    over: Vec<f64>,
    finished: u64,
    refused: u64,
    per_second: f64,
    busy: f64,
    at_once: f64,
    outputs_checked: u64,
    outputs_wrong: u64,
    models: Vec<ModelRow>,
}

#[derive(Serialize)]
struct ModelRow {
    model: String,
    ratio_mean: f64,
    ratio_p99: f64,
    over: Vec<f64>,
}

fn main() -> ExitCode {
    status(bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<ExitCode, Diagnostic> {
    let plan = match &args.plan {
        Some(plan) => plan.clone(),
        None => compiled(args)?,
    };
    let (all, mut right) = play(args, &plan, &args.load, "", args.html.as_deref())?;
    let urgent = match args.urgent.as_str() {
        "" => None,
        model => {
            let html = args.html.as_ref().map(|f| f.with_extension("urgent.html"));
            let priority = format!("--priority {model}=9");
            let (found, held) = play(args, &plan, &args.busy, &priority, html.as_deref())?;
            right &= held;
            Some(Urgent {
                model: model.into(),
                scenes: rows(&found),
            })
        }
    };
    let first = &all["scenes"][0]["scene"];
    let services = first["services"].as_array().into_iter().flatten();
    let report = Report {
        origin: Origin::here(),
        device: text(&first["device"]),
        compile: format!("--target {} {}", args.target, args.compile),
        requests: args.requests,
        solo: services
            .map(|s| Solo {
                model: text(&s["model"]),
                ms: number(&s["solo_ns"]) / 1e6,
            })
            .collect(),
        scenes: rows(&all),
        urgent,
    };
    finish(&shown(&report), &report, args.json.as_deref(), right)
}

/// The plan of the set, compiled.
fn compiled(args: &Args) -> Result<PathBuf, Diagnostic> {
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, &e))?;
    let bar = progress::bar("fill");
    let plan = folder.join("load.dlplan");
    let mut compile = Command::new(&args.dlirc);
    compile.args(["compile", "--quiet", "--target", &args.target]);
    for architecture in chosen(&args.models)? {
        compile.arg(filled(architecture, &folder, &bar)?);
    }
    bar.finish();
    compile.arg("-o").arg(&plan);
    compile.args(args.compile.split_whitespace());
    run(&mut compile)?;
    Ok(plan)
}

/// Scenes at `loads`, as JSON, and whether all that was checked held.
fn play(
    args: &Args,
    plan: &Path,
    loads: &str,
    options: &str,
    html: Option<&Path>,
) -> Result<(Value, bool), Diagnostic> {
    let verb = if args.simulate { "simulate" } else { "load" };
    let mut command = Command::new(&args.dlirc);
    command.arg(verb).arg(plan);
    command.args(["--json", "--policy", &args.policy, "--load", loads]);
    command.args(["--requests", &args.requests.to_string()]);
    command.arg("--out").arg(target().join("bench/scenes"));
    command.args(options.split_whitespace());
    command.args(args.options.split_whitespace());
    if let Some(html) = html {
        command.arg("--html").arg(html);
    }
    let (json, is_right) = run(&mut command)?;
    let json = serde_json::from_slice(&json);
    let json = json.map_err(|e| Diagnostic::error("json", e.to_string()))?;
    Ok((json, is_right))
}

/// What a command prints, and whether its answer is not no. What it says goes to the terminal.
fn run(command: &mut Command) -> Result<(Vec<u8>, bool), Diagnostic> {
    let shown = format!("{command:?}");
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| failed(Path::new(&shown), &e))?;
    match output.status.code() {
        Some(code @ 0..=1) => Ok((output.stdout, code == 0)),
        _ => Err(Diagnostic::error("command", format!("{shown} failed"))),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

/// The shares of requests over each limit.
fn over(summary: &Value) -> Vec<f64> {
    let all = summary["violations"].as_array();
    let at = |k: f64| all?.iter().find(|v| v[0] == k);
    LIMITS
        .iter()
        .map(|&k| at(k).map_or(f64::NAN, |v| number(&v[1])))
        .collect()
}

fn rows(report: &Value) -> Vec<Row> {
    let scenes = report["scenes"].as_array().into_iter().flatten();
    scenes
        .map(|played| {
            let (scene, statistics) = (&played["scene"], &played["statistics"]);
            let total = &statistics["total"];
            let ratio = |key: &str| number(&total["ratio"][key]);
            let count = |key: &str| total[key].as_u64().unwrap_or(0);
            let models = statistics["models"].as_array().into_iter().flatten();
            let outputs = &played["outputs"];
            Row {
                kind: text(&scene["kind"]),
                policy: text(&scene["policy"]),
                load: number(&scene["load"]),
                ratio_mean: ratio("mean"),
                ratio_std: ratio("std"),
                ratio_p50: ratio("p50"),
                ratio_p99: ratio("p99"),
                ratio_p999: ratio("p999"),
                ratio_max: ratio("max"),
                worst_p99: number(&statistics["worst_p99"]),
                over: over(total),
                finished: count("finished"),
                refused: count("rejected") + count("dropped"),
                per_second: number(&total["throughput"]),
                busy: number(&total["utilisation"]),
                at_once: number(&statistics["side_by_side"]),
                outputs_checked: outputs["checked"].as_u64().unwrap_or(0),
                outputs_wrong: outputs["wrong"].as_array().map_or(0, |w| w.len() as u64),
                models: models
                    .map(|m| ModelRow {
                        model: text(&m["model"]),
                        ratio_mean: number(&m["ratio"]["mean"]),
                        ratio_p99: number(&m["ratio"]["p99"]),
                        over: over(m),
                    })
                    .collect(),
            }
        })
        .collect()
}

fn shown(report: &Report) -> String {
    let header = [
        "load and policy",
        "mean",
        "std",
        "p50",
        "p99",
        "p99.9",
        "worst p99",
        "over 2x",
        "over 4x",
        "over 8x",
        "done/s",
        "busy",
        "at once",
    ];
    let cells = |r: &Row| {
        let kind = if r.kind == "simulated" {
            " (simulated)"
        } else {
            ""
        };
        let mut cells = vec![format!("{} {}{kind}", r.load, r.policy)];
        let ratios = [
            r.ratio_mean,
            r.ratio_std,
            r.ratio_p50,
            r.ratio_p99,
            r.ratio_p999,
            r.worst_p99,
        ];
        cells.extend(ratios.iter().map(|v| format!("{v:.2}")));
        cells.extend(r.over.iter().map(|v| format!("{:.2} %", 100.0 * v)));
        cells.push(format!("{:.1}", r.per_second));
        cells.push(format!("{:.1} %", 100.0 * r.busy));
        cells.push(format!("{:.2}", r.at_once));
        cells
    };
    let rows: Vec<_> = report.scenes.iter().map(cells).collect();
    let mut text = table(&header, &rows);
    if let Some(urgent) = &report.urgent {
        let cells = |r: &Row| {
            let own = r.models.iter().find(|m| m.model == urgent.model);
            let ratio = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{v:.2}"));
            vec![
                format!("{} {}", r.load, r.policy),
                ratio(own.map(|m| m.ratio_mean)),
                ratio(own.map(|m| m.ratio_p99)),
                format!("{:.2}", r.ratio_p99),
                format!("{:.2}", r.worst_p99),
            ]
        };
        let name = format!("{} urgent", urgent.model);
        let header = [
            name.as_str(),
            "its mean",
            "its p99",
            "p99 of all",
            "worst p99",
        ];
        let rows: Vec<_> = urgent.scenes.iter().map(cells).collect();
        text += "\n";
        text += &table(&header, &rows);
    }
    let solo: Vec<String> = report
        .solo
        .iter()
        .map(|s| format!("{} {:.3} ms", s.model, s.ms))
        .collect();
    let device = match report.device.as_str() {
        "" => "simulated",
        device => device,
    };
    text + &format!(
        "\nalone: {}\n{} requests a scene, {device}, commit {}\n",
        solo.join(", "),
        report.requests,
        report.origin.commit
    )
}
