//! `dlirc bench`: how fast a plan's models are, beside ONNX Runtime if asked.

use crate::beside::{self, Effort, Turns};
use crate::cli::models::{Machine, chosen, sources};
use crate::cli::table::table;
use crate::inputs;
use crate::measure::{Times, geometric_mean};
use crate::oracle::Oracle;
use crate::report::{Diagnostic, data};
use clap::Args;
use plans::{Model, ModelIndex, StepIndex};
use runtime::Session;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Measure a plan's models on random inputs, one model at a time.
///
/// With --against, runs of ONNX Runtime alternate with ours, in the same process and on as many threads.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc bench both.dlplan --threads 2
  dlirc bench resnet50.dlplan --against resnet50.onnx --threads 2 --repeat 50
  dlirc bench both.dlplan --steps 10")]
pub(super) struct Bench {
    /// The plan.
    plan: PathBuf,
    /// Measure this model only; may be given several times.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// The ONNX file of a model, as FILE or as MODEL=FILE; may be given several times.
    #[arg(long, value_name = "FILE")]
    against: Vec<String>,
    #[command(flatten)]
    machine: Machine,
    /// Runs of each model; as many as fit into two seconds, and at least 5, if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,
    /// Also list the N steps of each model that take longest.
    #[arg(long, value_name = "N", default_value_t = 0)]
    steps: usize,
    /// ONNX Runtime's library.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    threads: usize,
    models: Vec<ModelReport>,
}

#[derive(Serialize)]
struct ModelReport {
    name: String,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    gflop_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    onnxruntime_median_ms: Option<f64>,
    /// ONNX Runtime's time over ours: above 1 is faster than it.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepReport>,
}

#[derive(Serialize)]
struct StepReport {
    step: usize,
    label: String,
    /// What computes it on this machine.
    implementation: &'static str,
    median_ms: f64,
    share: f64,
    gflop_per_s: f64,
    gb_per_s: f64,
}

/// The time that runs of one model may take where their number is not given.
const BUDGET: Duration = Duration::from_secs(2);

impl Bench {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let engine = self.machine.engine(&self.plan)?;
        let mut session = engine.session()?;
        let plan = engine.plan();
        let sources = sources(plan, &self.against)?;
        let oracle = match sources.is_empty() {
            true => None,
            false => Some(Oracle::load(self.onnxruntime.as_deref())?),
        };
        let models = chosen(plan, &self.models)?;
        let bar = crate::cli::progress::bar("bench");
        let mut reports = vec![];
        for (i, &(index, model)) in models.iter().enumerate() {
            bar.say(&model.name);
            bar.show(i as u64, models.len() as u64);
            let file = sources
                .iter()
                .find(|(m, ..)| *m == index)
                .map(|(_, _, file)| file.as_path());
            let peer = oracle.as_ref().zip(file);
            reports.push(self.measure(&mut session, peer, index, model)?);
        }
        bar.finish();
        let report = Report {
            threads: engine.n_threads(),
            models: reports,
        };
        if self.json {
            let json = serde_json::to_string_pretty(&report)
                .map_err(|e| Diagnostic::error("json", e.to_string()))?;
            data(format!("{json}\n").as_bytes())?;
        } else {
            data(text(&report).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn measure(
        &self,
        session: &mut Session,
        peer: Option<(&Oracle, &Path)>,
        index: ModelIndex,
        model: &Model,
    ) -> Result<ModelReport, Diagnostic> {
        let values = inputs::random(model, 1);
        let mut peer = match peer {
            Some((oracle, file)) => Some(oracle.open(file, session.engine().n_threads())?),
            None => None,
        };
        let effort = match self.repeat {
            Some(runs) => Effort::Runs(runs as usize),
            None => Effort::Within(BUDGET),
        };
        let Turns { ours, theirs } = beside::times(session, index, &values, peer.as_mut(), effort)?;
        let flop: u64 = session.plan().steps[model.steps()]
            .iter()
            .map(|s| s.flop)
            .sum();
        let onnxruntime_median_ms = theirs.map(|t| t.median_ms);
        Ok(ModelReport {
            name: model.name.clone(),
            runs: ours.n,
            median_ms: ours.median_ms,
            min_ms: ours.min_ms,
            p99_ms: ours.p99_ms,
            gflop_per_s: flop as f64 / ours.median_ms / 1e6,
            onnxruntime_median_ms,
            speed: onnxruntime_median_ms.map(|theirs| theirs / ours.median_ms),
            steps: self.slowest(session, index, ours.n.min(20))?,
        })
    }

    /// The steps of a model that take longest, in the median of `n` runs.
    fn slowest(
        &self,
        session: &mut Session,
        index: ModelIndex,
        n: usize,
    ) -> Result<Vec<StepReport>, Diagnostic> {
        if self.steps == 0 {
            return Ok(vec![]);
        }
        let range = session.plan().models[index.index()].steps();
        let mut runs: Vec<Vec<Duration>> = vec![vec![]; range.len()];
        for _ in 0..n {
            session.run_observed(index, &mut |step, time| {
                runs[step.index() - range.start].push(time)
            })?;
        }
        let medians: Vec<f64> = runs
            .iter()
            .map(|r| Times::of(r).map_or(0.0, |t| t.median_ms))
            .collect();
        let total: f64 = medians.iter().sum();
        let mut order: Vec<usize> = (0..medians.len()).collect();
        order.sort_by(|&a, &b| medians[b].total_cmp(&medians[a]));
        let plan = session.plan();
        Ok(order
            .into_iter()
            .take(self.steps)
            .map(|i| {
                let step = &plan.steps[range.start + i];
                let bytes = step.bytes_read + step.bytes_written;
                StepReport {
                    step: range.start + i,
                    label: step.label.clone(),
                    implementation: session
                        .engine()
                        .implementation(StepIndex((range.start + i) as u32)),
                    median_ms: medians[i],
                    share: medians[i] / total,
                    gflop_per_s: step.flop as f64 / medians[i] / 1e6,
                    gb_per_s: bytes as f64 / medians[i] / 1e6,
                }
            })
            .collect())
    }
}

fn text(report: &Report) -> String {
    let optional =
        |v: Option<f64>, unit: &str| v.map_or_else(|| "-".into(), |v| format!("{v:.3}{unit}"));
    let rows: Vec<Vec<String>> = report
        .models
        .iter()
        .map(|m| {
            vec![
                m.name.clone(),
                m.runs.to_string(),
                format!("{:.3}", m.median_ms),
                format!("{:.3}", m.min_ms),
                format!("{:.3}", m.p99_ms),
                format!("{:.1}", m.gflop_per_s),
                optional(m.onnxruntime_median_ms, ""),
                optional(m.speed, "x"),
            ]
        })
        .collect();
    let header = [
        "model",
        "runs",
        "median ms",
        "min ms",
        "p99 ms",
        "GFLOP/s",
        "ORT median ms",
        "speed",
    ];
    let mut text = table(&header, &rows);
    let speeds: Vec<f64> = report.models.iter().filter_map(|m| m.speed).collect();
    if let (Some(mean), 2..) = (geometric_mean(speeds.iter().copied()), speeds.len()) {
        text += &format!("geometric mean of the speeds: {mean:.3}x\n");
    }
    text += &format!("{} threads\n", report.threads);
    for model in report.models.iter().filter(|m| !m.steps.is_empty()) {
        let rows: Vec<Vec<String>> = model
            .steps
            .iter()
            .map(|s| {
                vec![
                    format!("{}: {}", s.step, s.label),
                    s.implementation.into(),
                    format!("{:.3}", s.median_ms),
                    format!("{:.1} %", 100.0 * s.share),
                    format!("{:.1}", s.gflop_per_s),
                    format!("{:.1}", s.gb_per_s),
                ]
            })
            .collect();
        text += &format!("\n{}\n", model.name);
        let header = [
            "step",
            "computed by",
            "median ms",
            "share",
            "GFLOP/s",
            "GB/s",
        ];
        text += &table(&header, &rows);
    }
    text
}
