//! `dlirc inspect`: what a plan holds.

use crate::cli::blocks::block_table;
use crate::cli::models::{arena_name, load};
use crate::cli::table::{mib, table};
use crate::driver::{self, Request};
use crate::report::{Diagnostic, data, say, write_file};
use clap::Args;
use plans::picture::StepTime;
use plans::stats::stats;
use plans::{StepIndex, ValidPlan};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show what a plan holds: as text, a graph, a picture, a page, or JSON. Without options, a summary.
///
/// Of an ONNX model, `--text` shows the program that it is read as.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc inspect both.dlplan
  dlirc inspect both.dlplan --text
  dlirc inspect both.dlplan --svg both.svg --html both.html
  dlirc inspect both.dlplan --html both.html --trace both.trace.json
  dlirc inspect both.dlplan --dot | dot -Tpdf > both.pdf
  dlirc inspect both.dlplan --json | jq .models
  dlirc inspect resnet50.onnx --text")]
pub(super) struct Inspect {
    /// The plan, or a model.
    plan: PathBuf,
    /// Print every step, buffer and kernel.
    #[arg(long, group = "printed")]
    text: bool,
    /// Print the graph of steps for Graphviz.
    #[arg(long, group = "printed")]
    dot: bool,
    /// Print everything as JSON.
    #[arg(long, group = "printed")]
    json: bool,
    /// Write a picture of the graph.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write a page that shows the graph, the memory over time, and every step; it needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show in that page when steps ran, by a trace that `dlirc run --trace` has written, below the
    /// predicted times of rounds.
    #[arg(long, value_name = "FILE", requires = "html")]
    trace: Option<PathBuf>,
}

impl Inspect {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        if self.plan.extension().is_some_and(|e| e == "onnx") {
            return self.model();
        }
        let loaded = load(&self.plan)?;
        let plan = loaded.plan();
        if self.text {
            data(plans::text::text(plan).as_bytes())?;
        } else if self.dot {
            data(plans::dot::dot(plan).as_bytes())?;
        } else if self.json {
            data(plans::json::json(plan).as_bytes())?;
        } else if self.svg.is_none() && self.html.is_none() {
            data(summary(plan).as_bytes())?;
        }
        if let Some(file) = &self.svg {
            write_file(file, plans::picture::svg(plan).as_bytes())?;
            say(&format!("wrote {}", file.display()));
        }
        if let Some(file) = &self.html {
            let times = self
                .trace
                .as_deref()
                .map(|t| step_times(t, plan))
                .transpose()?;
            let page = plans::picture::html_with_trace(plan, &times.unwrap_or_default());
            write_file(file, page.as_bytes())?;
            say(&format!("wrote {}", file.display()));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The program that a model is read as.
    fn model(self) -> Result<ExitCode, Diagnostic> {
        if !self.text || self.svg.is_some() || self.html.is_some() {
            return Err(Diagnostic::error("no-plan", "a model has only a text form")
                .at(format!("file {}", self.plan.display()))
                .help("use --text, or compile the model and inspect the plan"));
        }
        let request = Request {
            models: vec![self.plan],
            ..Default::default()
        };
        let program = driver::read(&request, &mut driver::Summary::default())?;
        data(ir::text::print(&program).as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// When the steps of a plan ran, by a trace in the Trace Event Format: the first run of each.
fn step_times(file: &Path, plan: &ValidPlan) -> Result<Vec<StepTime>, Diagnostic> {
    let wrong = |why: String| {
        Diagnostic::error("trace", why)
            .at(format!("file {}", file.display()))
            .help("give a trace of this plan that `dlirc run --trace` has written")
    };
    let text =
        std::fs::read_to_string(file).map_err(|e| wrong(format!("it can't be read: {e}")))?;
    let trace: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| wrong(format!("it is no trace: {e}")))?;
    let events = trace["traceEvents"].as_array();
    let events = events.ok_or_else(|| wrong("it is no trace: it has no `traceEvents`".into()))?;
    let mut seen = BTreeSet::new();
    let mut times = vec![];
    for event in events {
        let Some(step) = event["args"]["step"].as_u64() else {
            continue;
        };
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let named = event["name"].as_str();
        if plan.steps.get(step).map(|s| s.label.as_str()) != named {
            return Err(wrong(format!("its step {step} is none of this plan")));
        }
        let ns = |field: &str| (event[field].as_f64().unwrap_or(0.0).max(0.0) * 1e3).round() as u64;
        if seen.insert(step) {
            times.push(StepTime {
                step: StepIndex(step as u32),
                start_ns: ns("ts"),
                duration_ns: ns("dur"),
            });
        }
    }
    Ok(times)
}

fn summary(plan: &ValidPlan) -> String {
    let numbers = stats(plan);
    let mut text = String::new();
    let _ = writeln!(
        text,
        "plan for {} by {}",
        plan.fingerprint.target, plan.fingerprint.compiler
    );
    for (model, m) in plan.models.iter().zip(&numbers.models) {
        let _ = writeln!(
            text,
            "\nmodel {}: {} nodes in {} steps, {:.3} GFLOP, {} read and written",
            model.name,
            m.n_nodes,
            m.n_steps,
            m.flop as f64 / 1e9,
            mib(m.bytes)
        );
        for (kind, ports) in [("input", &model.inputs), ("output", &model.outputs)] {
            for port in ports {
                let _ = writeln!(text, "  {kind} {}: {}", port.name, port.ty());
            }
        }
    }
    let rows: Vec<Vec<String>> = numbers
        .classes
        .iter()
        .map(|c| {
            let gflop = format!("{:.3}", c.flop as f64 / 1e9);
            vec![
                c.class.into(),
                c.n_kernels.to_string(),
                c.n_steps.to_string(),
                gflop,
                mib(c.bytes),
            ]
        })
        .collect();
    text += "\n";
    text += &table(&["class", "kernels", "steps", "GFLOP", "traffic"], &rows);
    let rows: Vec<Vec<String>> = numbers
        .arenas
        .iter()
        .zip(&plan.arenas)
        .map(|(a, arena)| {
            vec![
                arena_name(plan, arena),
                a.n_buffers.to_string(),
                mib(a.planned_bytes),
                mib(a.sum_bytes),
                mib(a.live_bytes),
            ]
        })
        .collect();
    text += "\n";
    text += &table(
        &[
            "memory",
            "buffers",
            "planned",
            "side by side",
            "live at once",
        ],
        &rows,
    );
    let blocks = block_table(plan);
    if !blocks.is_empty() {
        text += &format!("\n{blocks}");
    }
    let _ = writeln!(
        text,
        "\n{} weights, {}",
        plan.weights.len(),
        mib(numbers.weights_bytes)
    );
    if !plan.images.is_empty() {
        let bytes: u64 = plan.images.iter().map(|i| i.bytes).sum();
        let kinds: BTreeSet<String> = plan.images.iter().map(|i| i.kind.to_string()).collect();
        let kinds: Vec<String> = kinds.into_iter().collect();
        let _ = writeln!(
            text,
            "{} images of device code, {}, for {}; `--text` shows what each kernel takes",
            plan.images.len(),
            mib(bytes),
            kinds.join(", ")
        );
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}
