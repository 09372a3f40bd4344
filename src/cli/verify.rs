//! `dlirc verify`: whether a plan file is whole, and computes what the model says.

use crate::beside;
use crate::cli::models::{Machine, sources};
use crate::cli::table::table;
use crate::inputs;
use crate::oracle::Oracle;
use crate::report::{Diagnostic, NO, data, data_json, say};
use clap::Args;
use plans::{Model, ModelIndex};
use runtime::Session;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check a plan file, and compare its models with ONNX Runtime on random inputs.
///
/// Every checksum and every rule of plans is checked. With --against, each output's relative error
/// ‖out − ref‖ / ‖ref‖ is printed; the status is 1 if one is above the tolerance.
#[derive(Args)]
#[command(after_help = "\
ONNX Runtime's library is taken from --onnxruntime, else from the variable ORT_DYLIB_PATH, else from
Python's package onnxruntime.

Examples:
  dlirc verify both.dlplan
  dlirc verify both.dlplan --against resnet50.onnx --against gpt2.onnx
  dlirc verify both.dlplan --against detect=yolo.onnx --seed 7 --tolerance 1e-5")]
pub(super) struct Verify {
    /// The plan.
    plan: PathBuf,
    /// The ONNX file of a model, as FILE or as MODEL=FILE; may be given several times.
    #[arg(long, value_name = "FILE")]
    against: Vec<String>,
    /// The largest relative error that is accepted.
    #[arg(long, value_name = "ERROR", default_value_t = 1e-4, value_parser = tolerance)]
    tolerance: f64,
    /// The seed of the first random inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many sets of random inputs.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    #[command(flatten)]
    machine: Machine,
    /// ONNX Runtime's library.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(t) if t >= 0.0 => Ok(t),
        _ => Err("expected a number of at least 0, such as 1e-4".into()),
    }
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    models: Vec<String>,
    steps: usize,
    tolerance: f64,
    outputs: Vec<Comparison>,
}

/// One output, the worst of all samples. An error that is no finite number is null.
#[derive(Serialize)]
struct Comparison {
    model: String,
    output: String,
    #[serde(rename = "type")]
    ty: String,
    error: f64,
    ok: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let engine = self.machine.engine(&self.plan)?;
        let plan = engine.plan();
        let mut outputs = vec![];
        if !self.against.is_empty() {
            let sources = sources(plan, &self.against)?;
            let oracle = Oracle::load(self.onnxruntime.as_deref())?;
            say(&format!("comparing with {}", oracle.library.display()));
            let mut session = engine.session()?;
            for (index, model, file) in &sources {
                outputs.extend(self.compare(&mut session, &oracle, (*index, model), file)?);
            }
        }
        let ok = outputs.iter().all(|c| c.ok);
        let report = Report {
            ok,
            models: plan.models.iter().map(|m| m.name.clone()).collect(),
            steps: plan.steps.len(),
            tolerance: self.tolerance,
            outputs,
        };
        if self.json {
            data_json(&report)?;
        } else {
            data(text(&report, &self.plan).as_bytes())?;
        }
        Ok(if ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NO)
        })
    }

    /// The outputs of `model` beside those of ONNX Runtime.
    fn compare(
        &self,
        session: &mut Session,
        oracle: &Oracle,
        (index, model): (ModelIndex, &Model),
        file: &Path,
    ) -> Result<Vec<Comparison>, Diagnostic> {
        let mut peer = oracle.open(file, self.machine.threads)?;
        let mut worst = vec![0.0f64; model.outputs.len()];
        for sample in 0..self.samples {
            let values = inputs::random(model, self.seed.wrapping_add(sample));
            let errors = beside::errors(session, index, &values, &mut peer).map_err(|e| {
                e.at(format!("model {}", model.name))
                    .at(format!("file {}", file.display()))
            })?;
            for (worst, error) in worst.iter_mut().zip(errors) {
                *worst = worst.max(error);
            }
        }
        let compared = model.outputs.iter().zip(worst);
        Ok(compared
            .map(|(port, error)| Comparison {
                model: model.name.clone(),
                output: port.name.clone(),
                ty: port.ty(),
                error,
                ok: error <= self.tolerance,
            })
            .collect())
    }
}

fn text(report: &Report, plan: &Path) -> String {
    let mut text = format!(
        "{} is whole: {} models, {} steps\n",
        plan.display(),
        report.models.len(),
        report.steps
    );
    if report.outputs.is_empty() {
        return text;
    }
    let rows: Vec<Vec<String>> = report
        .outputs
        .iter()
        .map(|c| {
            let verdict = if c.ok { "ok" } else { "TOO LARGE" };
            vec![
                format!("{}: {}", c.model, c.output),
                c.ty.clone(),
                format!("{:.2e}", c.error),
                verdict.into(),
            ]
        })
        .collect();
    text += &table(&["output", "type", "error", ""], &rows);
    text
}
