//! `dlirc bench`: how fast a plan's models are, beside ONNX Runtime if asked.

use crate::beside::{self, Effort, Turns};
use crate::cli::models::{Machine, chosen, load_to_bind, sources};
use crate::cli::table::{mib, table};
use crate::inputs;
use crate::limits::Limits;
use crate::measure::{Times, geometric_mean};
use crate::oracle::Oracle;
use crate::profile::step_times;
use crate::report::{Diagnostic, data, data_json};
use clap::Args;
use plans::{ModelIndex, Step, StepIndex};
use runtime::{RunOn, Session};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Measure a plan's models on random inputs, one model at a time.
///
/// With --against, runs of ONNX Runtime alternate with ours, in the same process and on as many threads.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc bench both.dlplan --threads 2
  dlirc bench resnet50.dlplan --against resnet50.onnx --threads 2 --repeat 50
  dlirc bench both.dlplan --steps 10
  dlirc bench both.dlplan --round
  dlirc bench resnet50.dlplan --device cuda:0 --kernels 10 --json
  dlirc bench resnet50.dlplan --start 5")]
pub(super) struct Bench {
    /// The plan.
    plan: PathBuf,
    /// Measure this model only; may be given several times.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// Measure this round of the plan, the first if no number is given, beside its models one after
    /// another.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "0", conflicts_with_all = ["models", "against", "steps", "kernels", "start"])]
    round: Option<usize>,
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
    /// Also list the N kernels of each model that take longest, all their steps together.
    #[arg(long, value_name = "N", default_value_t = 0)]
    kernels: usize,
    /// Also time N times how long it takes from the file to the first result of the first model, beside
    /// the plan as it is bound, so that a GPU's context is there.
    #[arg(long, value_name = "N", default_value_t = 0)]
    start: usize,
    /// What the GPU's memory can do, to compare with; known for some GPUs.
    #[arg(long, value_name = "GB/S", requires = "peak")]
    bandwidth: Option<f64>,
    /// What the GPU can calculate with f32, to compare with; known for some GPUs.
    #[arg(long, value_name = "TFLOP/S", requires = "bandwidth")]
    peak: Option<f64>,
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
    /// The GPU, if one runs the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<StartReport>,
    models: Vec<ModelReport>,
}

/// From the file to the first result of a model; medians.
#[derive(Serialize)]
struct StartReport {
    model: String,
    runs: usize,
    /// The file mapped, checksums compared but that of the weights, the plan validated.
    load_ms: f64,
    /// Weights packed or uploaded, their checksum compared, device code loaded.
    bind_ms: f64,
    /// Memory for tensors, graphs built.
    session_ms: f64,
    /// The first run, inputs and outputs on the host.
    run_ms: f64,
    total_ms: f64,
    /// Of all weights of the plan.
    weight_bytes: u64,
}

#[derive(Serialize)]
struct ModelReport {
    name: String,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    gflop_per_s: f64,
    /// With inputs and outputs that stay on the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_gpu: Option<GpuReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    onnxruntime_median_ms: Option<f64>,
    /// ONNX Runtime's time over ours: above 1 is faster than it.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernels: Vec<StepReport>,
}

/// Runs whose inputs and outputs stay on the GPU.
#[derive(Serialize)]
struct GpuReport {
    /// From the start of the first step to the end of the last, by the GPU's clock.
    device_median_ms: f64,
    device_p99_ms: f64,
    /// From the call to its return.
    wall_median_ms: f64,
    wall_p99_ms: f64,
    /// The least time that the GPU's memory and arithmetic allow for all steps, over the GPU's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_limit: Option<f64>,
}

/// A step, or all steps of a kernel together.
#[derive(Serialize)]
struct StepReport {
    /// The step, or the kernel.
    index: usize,
    label: String,
    n_steps: usize,
    /// What computes it on this machine.
    implementation: &'static str,
    median_ms: f64,
    p99_ms: f64,
    share: f64,
    flop: u64,
    bytes: u64,
    gflop_per_s: f64,
    gb_per_s: f64,
    /// The least time that the GPU's memory and arithmetic allow over its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_limit: Option<f64>,
}

/// The time that runs of one model may take where their number is not given.
const BUDGET: Duration = Duration::from_secs(2);

impl Bench {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let engine = self.machine.engine(&self.plan)?;
        let mut session = engine.session()?;
        if let Some(round) = self.round {
            return crate::cli::round::bench(&mut session, round, self.repeat, self.json);
        }
        let plan = engine.plan();
        let sources = sources(plan, &self.against)?;
        let oracle = match sources.is_empty() {
            true => None,
            false => Some(Oracle::load(self.onnxruntime.as_deref())?),
        };
        let models = chosen(plan, &self.models)?;
        let gpu = match (engine.uses_cuda(), self.machine.device) {
            (true, RunOn::Cuda(n)) => gpu_name(n),
            (true, _) => gpu_name(0),
            (false, _) => None,
        };
        let limits = self.limits(gpu.as_deref());
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
            reports.push(self.measure(&mut session, peer, index, limits)?);
        }
        bar.finish();
        let start = match self.start {
            0 => None,
            n => self.time_start(n, models[0].0)?,
        };
        let report = Report {
            threads: engine.n_threads(),
            gpu,
            start,
            models: reports,
        };
        if self.json {
            data_json(&report)?;
        } else {
            data(text(&report).as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// `n` times from the file to the first result of a model.
    fn time_start(&self, n: usize, index: ModelIndex) -> Result<Option<StartReport>, Diagnostic> {
        let mut phases: [Vec<Duration>; 5] = Default::default();
        let (mut name, mut weight_bytes) = (String::new(), 0);
        for _ in 0..n {
            let started = Instant::now();
            let loaded = load_to_bind(&self.plan)?;
            let was_loaded = Instant::now();
            let engine = self.machine.bind(loaded)?;
            let was_bound = Instant::now();
            let mut session = engine.session()?;
            let had_session = Instant::now();
            session.run(index)?;
            let ended = Instant::now();
            let marks = [started, was_loaded, was_bound, had_session, ended];
            for (phase, pair) in phases.iter_mut().zip(marks.windows(2)) {
                phase.push(pair[1] - pair[0]);
            }
            phases[4].push(ended - started);
            let plan = engine.plan();
            name.clone_from(&plan.models[index.index()].name);
            weight_bytes = plan.weights.iter().map(|w| w.bytes).sum();
        }
        let [load, bind, session, run, total] = phases.map(|runs| Times::of(&runs));
        let median = |times: Option<Times>| times.map(|t| t.median_ms);
        Ok(median(total).map(|total_ms| StartReport {
            model: name,
            runs: n,
            load_ms: median(load).unwrap_or_default(),
            bind_ms: median(bind).unwrap_or_default(),
            session_ms: median(session).unwrap_or_default(),
            run_ms: median(run).unwrap_or_default(),
            total_ms,
            weight_bytes,
        }))
    }

    /// What the GPU can do: as given, or as known.
    fn limits(&self, gpu: Option<&str>) -> Option<Limits> {
        match (self.bandwidth, self.peak) {
            (Some(bandwidth), Some(peak)) => Some(Limits {
                bytes_per_s: bandwidth * 1e9,
                flop_per_s: peak * 1e12,
            }),
            _ => Limits::of_gpu(gpu?),
        }
    }

    fn measure(
        &self,
        session: &mut Session,
        peer: Option<(&Oracle, &Path)>,
        index: ModelIndex,
        limits: Option<Limits>,
    ) -> Result<ModelReport, Diagnostic> {
        let engine = Arc::clone(session.engine());
        let model = &engine.plan().models[index.index()];
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
            on_gpu: on_gpu(session, index, ours.n, limits)?,
            steps: self.slowest(session, index, ours.n.min(20), limits, self.steps, |step| {
                step
            })?,
            kernels: self.slowest(
                session,
                index,
                ours.n.min(20),
                limits,
                self.kernels,
                |step| engine.plan().steps[step].kernel.index(),
            )?,
        })
    }

    /// The `most` groups of a model's steps that take longest, in the median of `n` runs; `group` says
    /// to which a step belongs.
    fn slowest(
        &self,
        session: &mut Session,
        index: ModelIndex,
        n: usize,
        limits: Option<Limits>,
        most: usize,
        group: impl Fn(usize) -> usize,
    ) -> Result<Vec<StepReport>, Diagnostic> {
        if most == 0 {
            return Ok(vec![]);
        }
        let range = session.plan().models[index.index()].steps();
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for step in range.clone() {
            members.entry(group(step)).or_default().push(step);
        }
        let mut runs: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
        for (step, times) in step_times(session, index, n)? {
            let sums = runs.entry(group(step.index()));
            let sums = sums.or_insert_with(|| vec![Duration::ZERO; n]);
            for (sum, time) in sums.iter_mut().zip(times) {
                *sum += time;
            }
        }
        let times = runs.iter().filter_map(|(&g, r)| Some((g, Times::of(r)?)));
        let mut times: Vec<(usize, Times)> = times.collect();
        let total: f64 = times.iter().map(|(_, t)| t.median_ms).sum();
        times.sort_by(|a, b| b.1.median_ms.total_cmp(&a.1.median_ms));
        let plan = session.plan();
        Ok(times
            .into_iter()
            .take(most)
            .map(|(group, times)| {
                let steps: Vec<&Step> = members[&group].iter().map(|&s| &plan.steps[s]).collect();
                let flop = steps.iter().map(|s| s.flop).sum();
                let bytes = steps.iter().map(|s| s.bytes_read + s.bytes_written).sum();
                let least: Option<f64> = limits.map(|l| {
                    let of = |s: &&Step| l.least_ms(s.flop, s.bytes_read + s.bytes_written);
                    steps.iter().map(of).sum()
                });
                let first = members[&group][0];
                let kernel = plan.steps[first].kernel.index();
                StepReport {
                    index: group,
                    label: match steps.len() {
                        1 => steps[0].label.clone(),
                        _ => plan.kernels[kernel].summary(),
                    },
                    n_steps: steps.len(),
                    implementation: session.engine().implementation(StepIndex(first as u32)),
                    median_ms: times.median_ms,
                    p99_ms: times.p99_ms,
                    share: times.median_ms / total,
                    flop,
                    bytes,
                    gflop_per_s: flop as f64 / times.median_ms / 1e6,
                    gb_per_s: bytes as f64 / times.median_ms / 1e6,
                    of_limit: least.map(|least| least / times.median_ms),
                }
            })
            .collect())
    }
}

fn gpu_name(n: u16) -> Option<String> {
    runtime::cuda::device(n).ok().map(|info| info.name)
}

/// `n` runs of a model whose inputs and outputs stay on the GPU, if one runs it.
fn on_gpu(
    session: &mut Session,
    index: ModelIndex,
    n: usize,
    limits: Option<Limits>,
) -> Result<Option<GpuReport>, Diagnostic> {
    if !session.engine().uses_cuda() {
        return Ok(None);
    }
    session.upload_inputs(index)?;
    session.run_on_device_timed(index)?;
    let (mut device, mut wall) = (vec![], vec![]);
    for _ in 0..n {
        device.push(session.run_on_device_timed(index)?);
        let started = Instant::now();
        session.run_on_device(index)?;
        wall.push(started.elapsed());
    }
    let (Some(device), Some(wall)) = (Times::of(&device), Times::of(&wall)) else {
        return Ok(None);
    };
    let plan = session.plan();
    let steps = plan.models[index.index()].steps();
    let least: Option<f64> = limits.map(|l| {
        let of = |s: &Step| l.least_ms(s.flop, s.bytes_read + s.bytes_written);
        plan.steps[steps].iter().map(of).sum()
    });
    Ok(Some(GpuReport {
        device_median_ms: device.median_ms,
        device_p99_ms: device.p99_ms,
        wall_median_ms: wall.median_ms,
        wall_p99_ms: wall.p99_ms,
        of_limit: least.map(|least| least / device.median_ms),
    }))
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
    if let Some(start) = &report.start {
        text += &format!(
            "from the file to the first result of {}: {:.1} ms (load {:.1}, bind {:.1}, session {:.1}, run {:.1}; {} of weights)\n",
            start.model,
            start.total_ms,
            start.load_ms,
            start.bind_ms,
            start.session_ms,
            start.run_ms,
            mib(start.weight_bytes)
        );
    }
    let percent = |v: Option<f64>| v.map_or_else(|| "-".into(), |v| format!("{:.1} %", 100.0 * v));
    let rows = report.models.iter().filter_map(|m| {
        let gpu = m.on_gpu.as_ref()?;
        Some(vec![
            m.name.clone(),
            format!("{:.3}", gpu.device_median_ms),
            format!("{:.3}", gpu.device_p99_ms),
            format!("{:.3}", gpu.wall_median_ms),
            format!("{:.3}", gpu.wall_p99_ms),
            percent(gpu.of_limit),
        ])
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if let Some(gpu) = report.gpu.as_ref().filter(|_| !rows.is_empty()) {
        let header = [
            "model, inputs on the GPU",
            "GPU median ms",
            "p99 ms",
            "wall median ms",
            "p99 ms",
            "of the limit",
        ];
        text += &format!("\n{gpu}\n{}", table(&header, &rows));
    }
    for model in &report.models {
        for (what, list) in [("step", &model.steps), ("kernel", &model.kernels)] {
            if list.is_empty() {
                continue;
            }
            let rows: Vec<Vec<String>> = list
                .iter()
                .map(|s| {
                    vec![
                        format!("{}: {}", s.index, s.label),
                        s.n_steps.to_string(),
                        s.implementation.into(),
                        format!("{:.4}", s.median_ms),
                        format!("{:.4}", s.p99_ms),
                        format!("{:.1} %", 100.0 * s.share),
                        format!("{:.1}", s.gflop_per_s),
                        format!("{:.1}", s.gb_per_s),
                        percent(s.of_limit),
                    ]
                })
                .collect();
            text += &format!("\n{}\n", model.name);
            let header = [
                what,
                "steps",
                "computed by",
                "median ms",
                "p99 ms",
                "share",
                "GFLOP/s",
                "GB/s",
                "of the limit",
            ];
            text += &table(&header, &rows);
        }
    }
    text
}
