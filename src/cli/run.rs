//! `dlirc run`: a plan's models on inputs.

use crate::cli::models::{Machine, chosen};
use crate::cli::round;
use crate::cli::table::{mib, ty};
use crate::inputs::{self, InputFile};
use crate::measure::{Times, peak_memory};
use crate::npy;
use crate::report::{Diagnostic, data, data_json, say, write_file};
use clap::Args;
use ir::Tensor;
use plans::{Model, ModelIndex, ValidPlan};
use runtime::Session;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run the models of a plan, one after another.
///
/// Prints the largest values of each output, times and memory.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc run both.dlplan --random 1
  dlirc run both.dlplan --model resnet50 --input image=cat.npy --output results
  dlirc run resnet50.dlplan --random 1 --repeat 50 --threads 2 --json
  dlirc run both.dlplan --random 1 --device auto --trace both.trace.json
  dlirc run both.dlplan --random 1 --round --repeat 100")]
pub(super) struct Run {
    /// The plan.
    plan: PathBuf,
    /// Run this model only; may be given several times.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Run the models of this round of the plan together, as it interleaves them; the first round if
    /// no number is given. Their times are those of the round.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "0", conflicts_with = "models")]
    round: Option<usize>,
    /// An input from a file of NumPy's.
    #[arg(long = "input", value_name = "NAME=FILE.npy", value_parser = inputs::input_file)]
    inputs: Vec<InputFile>,
    /// Random values for the inputs that are not given; the same seed gives the same values.
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    /// Write each output to FOLDER/NAME.npy, or to FOLDER/MODEL/NAME.npy where several models run.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Run this many times; before more than one, once more to warm up.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    #[command(flatten)]
    machine: Machine,
    /// Write when each step ran, in one more run of each model, for Perfetto or Chrome's chrome://tracing.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What a run found, as JSON. Times of the object itself are those of all its models together.
#[derive(Serialize)]
struct Report {
    threads: usize,
    repeat: u32,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    mean_ms: f64,
    load_ms: f64,
    planned_bytes: u64,
    weight_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_bytes: Option<u64>,
    /// The round that was run.
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<RoundReport>,
    models: Vec<ModelReport>,
    outputs: Vec<OutputReport>,
}

#[derive(Serialize)]
struct RoundReport {
    number: usize,
    /// What the plan predicts it to take, without copies of inputs and outputs.
    predicted_ms: f64,
    /// On a GPU, from the start of the first step to the end of the last: medians of as many runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_ms: Option<f64>,
}

#[derive(Serialize)]
struct ModelReport {
    name: String,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    mean_ms: f64,
}

#[derive(Serialize)]
struct OutputReport {
    model: String,
    name: String,
    dtype: String,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// The positions of the largest values, in the flattened output.
    top: Vec<(usize, f64)>,
}

impl Run {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let started = Instant::now();
        let engine = self.machine.engine(&self.plan)?;
        let mut session = engine.session()?;
        let load = started.elapsed();
        let models = match self.round {
            None => chosen(engine.plan(), &self.models)?,
            Some(round) => {
                session.prepare_round(round)?;
                let of_round = session.models_of_round(round).into_iter();
                let plan = engine.plan();
                of_round.map(|m| (m, &plan.models[m.index()])).collect()
            }
        };
        let all: Vec<&Model> = models.iter().map(|&(_, m)| m).collect();
        inputs::check_names(&all, &self.inputs)?;
        for &(index, model) in &models {
            let values = inputs::gather(model, &self.inputs, self.random)?;
            inputs::set(&mut session, index, &values)?;
        }
        let indices: Vec<ModelIndex> = models.iter().map(|&(i, _)| i).collect();
        let rounds = match self.round {
            None => repeat(&mut session, &indices, self.repeat)?,
            Some(round) => round::repeat(&mut session, round, self.repeat)?
                .into_iter()
                .map(|time| vec![time; models.len()])
                .collect(),
        };

        let mut outputs = vec![];
        for &(index, model) in &models {
            let folder = self.output.as_ref().map(|folder| {
                if models.len() > 1 {
                    folder.join(file_name(&model.name))
                } else {
                    folder.clone()
                }
            });
            let tensors = inputs::outputs(&session, index)?;
            outputs.extend(report_outputs(model, &tensors, folder.as_deref())?);
        }
        let together: Vec<Duration> = match self.round {
            None => rounds.iter().map(|r| r.iter().sum()).collect(),
            Some(_) => rounds.iter().filter_map(|r| r.first().copied()).collect(),
        };
        let times = |runs: &[Duration]| Times::of(runs).expect("a round was run");
        let own: Vec<Times> = (0..models.len())
            .map(|m| times(&rounds.iter().map(|r| r[m]).collect::<Vec<_>>()))
            .collect();
        let total = times(&together);
        let plan = engine.plan();
        let report = Report {
            threads: engine.n_threads(),
            repeat: self.repeat,
            median_ms: total.median_ms,
            min_ms: total.min_ms,
            p99_ms: total.p99_ms,
            mean_ms: total.mean_ms,
            load_ms: load.as_secs_f64() * 1e3,
            planned_bytes: plan.arenas.iter().map(|a| a.bytes).sum(),
            weight_bytes: plan.weights.iter().map(|w| w.bytes).sum(),
            peak_bytes: peak_memory(),
            round: match self.round {
                None => None,
                Some(number) => Some(RoundReport {
                    number,
                    predicted_ms: session.rounds()[number].makespan_ns as f64 / 1e6,
                    device_ms: round::device_ms(&mut session, number, self.repeat)?,
                }),
            },
            models: all
                .iter()
                .zip(&own)
                .map(|(m, t)| ModelReport {
                    name: m.name.clone(),
                    median_ms: t.median_ms,
                    min_ms: t.min_ms,
                    p99_ms: t.p99_ms,
                    mean_ms: t.mean_ms,
                })
                .collect(),
            outputs,
        };
        if self.json {
            data_json(&report)?;
        } else {
            data(text(&report, plan).as_bytes())?;
        }
        if let Some(file) = &self.trace {
            let text = match self.round {
                None => trace(&mut session, &indices)?,
                Some(round) => round::trace(&mut session, round)?,
            };
            write_file(file, text.as_bytes())?;
            say(&format!("wrote {}", file.display()));
        }
        for output in report.outputs.iter().filter_map(|o| o.file.as_ref()) {
            say(&format!("wrote {}", output.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs `models` one after another, `n` times; before more than one, once more to warm up.
///
/// The times of each round, by model.
fn repeat(
    session: &mut Session,
    models: &[ModelIndex],
    n: u32,
) -> Result<Vec<Vec<Duration>>, Diagnostic> {
    let bar = crate::cli::progress::bar("run");
    let mut round = || {
        let mut times = vec![];
        for &model in models {
            let started = Instant::now();
            session.run(model)?;
            times.push(started.elapsed());
        }
        Ok::<_, Diagnostic>(times)
    };
    if n > 1 {
        round()?;
    }
    let mut rounds = vec![];
    for i in 0..n {
        rounds.push(round()?);
        bar.show(u64::from(i) + 1, u64::from(n));
    }
    bar.finish();
    Ok(rounds)
}

/// One run of each of `models` as a trace, one after another.
fn trace(session: &mut Session, models: &[ModelIndex]) -> Result<String, Diagnostic> {
    let started = Instant::now();
    let mut runs = vec![];
    for &model in models {
        let began = started.elapsed();
        runs.push((began, session.run_spans(model)?));
    }
    Ok(runtime::timeline::chrome_trace(session.plan(), &runs))
}

/// A name as a file's: other characters than letters, digits, `_`, `.` and `-` become `_`.
fn file_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "_.-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let plain: String = name.chars().map(plain).collect();
    // Names of nothing but dots are folders.
    if plain.chars().all(|c| c == '.') {
        "_".repeat(plain.len().max(1))
    } else {
        plain
    }
}

fn report_outputs(
    model: &Model,
    tensors: &[Tensor],
    folder: Option<&Path>,
) -> Result<Vec<OutputReport>, Diagnostic> {
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(|e| {
            Diagnostic::error("folder", format!("the folder can't be made: {e}"))
                .at(format!("folder {}", folder.display()))
        })?;
    }
    let mut taken = BTreeSet::new();
    let mut reports = vec![];
    for (port, tensor) in model.outputs.iter().zip(tensors) {
        let file = folder.map(|folder| {
            let mut name = file_name(&port.name);
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            folder.join(format!("{name}.npy"))
        });
        if let Some(file) = &file {
            let mut bytes = vec![];
            npy::write(tensor, &mut bytes).map_err(|e| Diagnostic::error("npy", e.to_string()))?;
            write_file(file, &bytes)?;
        }
        reports.push(OutputReport {
            model: model.name.clone(),
            name: port.name.clone(),
            dtype: port.dtype.to_string(),
            shape: tensor.dims().to_vec(),
            file,
            top: top(tensor, 5),
        });
    }
    Ok(reports)
}

/// The `n` largest elements that are finite, largest first, the earlier of equals first.
fn top(tensor: &Tensor, n: usize) -> Vec<(usize, f64)> {
    let Some(values) = tensor.to_f64() else {
        return vec![];
    };
    let mut top: Vec<(usize, f64)> = vec![];
    for (i, v) in values
        .into_iter()
        .enumerate()
        .filter(|(_, v)| v.is_finite())
    {
        let at = top.partition_point(|&(_, t)| t >= v);
        if at < n {
            top.insert(at, (i, v));
            top.truncate(n);
        }
    }
    top
}

fn text(report: &Report, plan: &ValidPlan) -> String {
    let mut text = String::new();
    for model in &report.models {
        let _ = writeln!(text, "{}", model.name);
        for output in report.outputs.iter().filter(|o| o.model == model.name) {
            let port = plan.models.iter().find(|m| m.name == model.name);
            let port = port.and_then(|m| m.outputs.iter().find(|p| p.name == output.name));
            let found: Vec<u64> = output.shape.iter().map(|&d| d as u64).collect();
            let kind = port.map_or_else(String::new, |p| ty(p.dtype, &found));
            let _ = writeln!(text, "  {} {kind}", output.name);
            let top: Vec<String> = output
                .top
                .iter()
                .map(|(i, v)| format!("{i}: {v:.5}"))
                .collect();
            let _ = writeln!(text, "    largest {}", top.join("  "));
        }
        if report.round.is_none() {
            let _ = writeln!(
                text,
                "  median {:.3} ms, fastest {:.3} ms, 99 % within {:.3} ms",
                model.median_ms, model.min_ms, model.p99_ms
            );
        }
    }
    if let Some(round) = &report.round {
        let device = round
            .device_ms
            .map_or_else(String::new, |ms| format!(", {ms:.3} ms on the device"));
        let _ = writeln!(
            text,
            "round {}: median {:.3} ms, fastest {:.3} ms{device}, predicted {:.3} ms",
            round.number, report.median_ms, report.min_ms, round.predicted_ms
        );
    } else if report.models.len() > 1 {
        let _ = writeln!(
            text,
            "all: median {:.3} ms, fastest {:.3} ms",
            report.median_ms, report.min_ms
        );
    }
    let runs = if report.repeat == 1 {
        "1 run".to_string()
    } else {
        format!("{} runs", report.repeat)
    };
    let peak = report.peak_bytes.map_or_else(String::new, |b| {
        format!(", {} at most in this process", mib(b))
    });
    let _ = writeln!(
        text,
        "{runs} on {} threads; loaded in {:.1} ms; memory: {} of tensors, {} of weights{peak}",
        report.threads,
        report.load_ms,
        mib(report.planned_bytes),
        mib(report.weight_bytes),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_file_names() {
        assert_eq!(file_name("a/b:0"), "a_b_0");
        assert_eq!(file_name("../x"), ".._x");
        assert_eq!(file_name(".."), "__");
        assert_eq!(file_name("wörter-1.x"), "w_rter-1.x");
    }

    #[test]
    fn the_largest_come_first() {
        let t = Tensor::from_slice(&[6], &[1.0f32, f32::NAN, 3.0, 3.0, f32::INFINITY, -1.0]);
        assert_eq!(top(&t, 3), vec![(2, 3.0), (3, 3.0), (0, 1.0)]);
    }
}
