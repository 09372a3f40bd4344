//! `dlirc compile`: models to a plan.

use crate::blocks::generation_log;
use crate::cli::blocks::{BlockArgs, block_table};
use crate::cli::deploy::{DeployArgs, chosen_splitter, chosen_target};
use crate::cli::models::arena_name;
use crate::cli::progress::{Bar, bar};
use crate::cli::table::{mib, table};
use crate::device_code::{Gpus, Workshop};
use crate::device_model::Sources;
use crate::driver::{self, Compiled, Request, Target, Watch};
use crate::measure::peak_memory;
use crate::report::{Diagnostic, data_json, draw, say, write_file};
use clap::Args;
use clap::builder::RangedI64ValueParser;
use kernels::cuda::Precision;
use passes::lower::{DEFAULT_LANES, MAX_LANES};
use passes::manager::Observer;
use passes::{Pass, Phase};
use plans::blocks::figures;
use plans::json::FiguresJson;
use plans::stats::stats;
use plans::{Device, ModelIndex};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Compile one or several ONNX models into one plan.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc compile resnet50.onnx -o resnet50.dlplan
  dlirc compile detect.onnx read.onnx -o both.dlplan --shape batch=1
  dlirc compile bert.onnx -o bert.dlplan --shape input_ids=1,128 --shape attention_mask=1,128
  dlirc compile resnet50.onnx -o resnet50.dlplan --target cuda:sm_90,sm_80
  dlirc compile --deploy deploy.toml --require-deadlines -o all.dlplan")]
pub(super) struct Compile {
    /// The models.
    #[arg(required_unless_present = "deploy")]
    models: Vec<PathBuf>,
    /// Where the plan goes.
    #[arg(short, long)]
    output: PathBuf,
    /// What the plan is for: cpu, which it is if not given, or cuda and the GPUs' architectures, the
    /// most important first, such as cuda:sm_90,sm_80. No GPU is needed to compile.
    #[arg(long, value_parser = target)]
    target: Option<Target>,
    /// How a GPU multiplies f32 in products and convolutions: as f32; as three products of tf32 on tensor
    /// cores, which errs about as little; or as one, which keeps 10 bits after the point.
    #[arg(long, value_name = "fp32|tf32x3|tf32", default_value_t)]
    precision: Precision,
    /// Leave out PTX of the newest architecture, which lets later GPUs run the plan.
    #[arg(long)]
    no_ptx: bool,
    /// NVIDIA's library that compiles kernels, or its folder; else that of the variable DLIRC_NVRTC,
    /// of CUDA or of Python's package nvidia-cuda-nvrtc.
    #[arg(long, value_name = "PATH")]
    nvrtc: Option<PathBuf>,
    /// Leave kernels of this class to the host, to find out whose device code is wrong; may be given several
    /// times.
    #[arg(long, value_name = "CLASS", value_parser = CLASSES)]
    on_host: Vec<String>,
    /// Compile every kernel anew, and keep none in the user's cache.
    #[arg(long)]
    no_kernel_cache: bool,
    /// Sizes that the models leave open: all dimensions of an input, or one named dimension.
    #[arg(long = "shape", value_name = "NAME=DIMS", value_parser = shape)]
    shapes: Vec<(String, Vec<usize>)>,
    /// The models never run at once: one arena serves them in turn.
    #[arg(long)]
    one_at_a_time: bool,
    /// Take the times of blocks from this database, which `dlirc profile` writes, where it has them.
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,
    /// Predict times for this device: h200, cpu, or a file that `dlirc profile device` wrote; else for
    /// one of the target.
    #[arg(long, value_name = "NAME")]
    device_model: Option<String>,
    /// The most branches of a model that a GPU runs at once; 1 runs its steps one after the other.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LANES, value_parser = lanes())]
    lanes: u16,
    /// Verify the program after each pass.
    #[arg(long)]
    verify: bool,
    /// Leave this phase out, to see what it is worth; may be given several times.
    #[arg(long, value_name = "PHASE", value_parser = optional_phase)]
    without: Vec<Phase>,
    /// Stop optimising after this many changes, to find the one that breaks a model.
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
    /// Write the program's text to stderr after this pass.
    #[arg(long, value_name = "PASS")]
    dump_after: Vec<String>,
    /// Say nothing but errors and warnings.
    #[arg(short, long)]
    quiet: bool,
    /// Print the summary as one JSON object instead of text.
    #[arg(long)]
    json: bool,
    // Headings of theirs would go on after them.
    #[command(flatten)]
    blocks: BlockArgs,
    #[command(flatten)]
    deploy: DeployArgs,
}

/// The classes of kernels.
const CLASSES: [&str; 8] = [
    "map",
    "row",
    "contract",
    "attention",
    "window",
    "movement",
    "recurrent",
    "library",
];

/// `cpu`, or `cuda:sm_90,sm_80`.
pub(super) fn target(text: &str) -> Result<Target, String> {
    if text == "cpu" {
        return Ok(Target::Cpu);
    }
    let expected = || format!("no target is called `{text}`; choose cpu, or such as cuda:sm_90");
    let list = text.strip_prefix("cuda:").ok_or_else(expected)?;
    let mut archs = vec![];
    for name in list.split(',') {
        let arch = name.trim().strip_prefix("sm_").ok_or_else(expected)?;
        let arch = arch.parse().map_err(|_| expected())?;
        kernels::cuda::Target::of_arch(arch).map_err(|e| e.to_string())?;
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    Ok(Target::Cuda(Gpus::new(archs)))
}

fn no_tensor_cores(precision: Precision) -> Diagnostic {
    Diagnostic::error(
        "target",
        format!("the CPU does not multiply in {precision}"),
    )
    .help("leave --precision out, or name a GPU: --target cuda:sm_90")
}

fn lanes() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=i64::from(MAX_LANES))
}

/// A phase that can be left out.
fn optional_phase(text: &str) -> Result<Phase, String> {
    let found = driver::OPTIONAL.into_iter().find(|p| p.name() == text);
    let names = driver::OPTIONAL.map(Phase::name).join(", ");
    found.ok_or_else(|| format!("only {names} can be left out"))
}

/// `NAME=1,3,224,224`.
pub(super) fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let expected = "expected NAME=DIMS, such as input=1,3,224,224";
    let (name, dims) = text
        .rsplit_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or(expected)?;
    let dims = dims
        .split(&[',', 'x'])
        .map(|d| d.trim().parse().map_err(|_| format!("`{d}` is no size")))
        .collect::<Result<Vec<usize>, _>>()?;
    Ok((name.to_string(), dims))
}

impl Compile {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        let deployment = self.deploy.read()?;
        let models = match &deployment {
            Some(deployment) => deployment.models.iter().map(|m| m.path.clone()).collect(),
            None => self.models,
        };
        check_output(&self.output, &models)?;
        let mut target = chosen_target(self.target, deployment.as_ref())?;
        if let Target::Cuda(gpus) = &mut target {
            gpus.ptx = !self.no_ptx;
            gpus.precision = self.precision;
        } else if self.precision != Precision::default() {
            return Err(no_tensor_cores(self.precision));
        }
        let splitter = self.blocks.splitter()?;
        let splitter = chosen_splitter(splitter, deployment.as_ref(), &target);
        let default = Workshop::default();
        let request = Request {
            models,
            shapes: self.shapes.into_iter().collect(),
            target,
            workshop: Workshop {
                nvrtc: self.nvrtc,
                cache: default.cache.filter(|_| !self.no_kernel_cache),
            },
            costs: Sources {
                device: self.device_model,
                database: self.costs,
            },
            on_host: self.on_host,
            one_at_a_time: self.one_at_a_time,
            splitter,
            deploy: deployment,
            lanes: Some(self.lanes),
            without: self.without,
            passes: passes::Options {
                verify: self.verify || cfg!(debug_assertions),
                stop_after: self.stop_after,
                dump_after: self.dump_after,
                explain: false,
            },
        };
        for pass in &request.passes.dump_after {
            super::pass::find(pass)?;
        }
        let mut watcher = Watcher {
            bar: bar("compile"),
        };
        let compiled = driver::compile(&request, &mut watcher)?;
        if let Some(status) = self.deploy.check(request.deploy.as_ref(), &compiled) {
            return Ok(status);
        }
        watcher.phase("write");
        let started = Instant::now();
        driver::write(&compiled, &self.output)?;
        let written = started.elapsed();
        if let Some(file) = &self.blocks.splitter_log {
            let log = generation_log(&compiled.plan, &compiled.summary.generations);
            write_file(file, log.as_bytes())?;
        }
        if let Some(folder) = &self.blocks.emit_children {
            for manifest in crate::children::emit(&compiled.plan, &request, folder)? {
                if !self.quiet {
                    say(&format!("wrote {}", manifest.display()));
                }
            }
        }
        watcher.bar.finish();
        for warning in &compiled.plan.warnings {
            draw(&Diagnostic::warning("plan", warning));
        }
        for note in &compiled.summary.notes {
            draw(&Diagnostic::warning("model", note));
        }
        if self.json {
            data_json(&summary_json(&compiled, written))?;
        } else if !self.quiet {
            say(&summary(&compiled, written));
        }
        if !self.quiet {
            say(&format!("wrote {}", self.output.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Refuses, before any work is done, an output that could not be written in the end.
fn check_output(output: &Path, models: &[PathBuf]) -> Result<(), Diagnostic> {
    let refused =
        |why: String| Diagnostic::error("output", why).at(format!("file {}", output.display()));
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return Err(refused(format!("there is no folder {}", folder.display()))
            .help("make the folder first"));
    }
    if output.is_dir() {
        return Err(refused("it is a folder".into()).help("give the name of a file"));
    }
    let real = std::fs::canonicalize(output).ok();
    if real.is_some() && models.iter().any(|m| std::fs::canonicalize(m).ok() == real) {
        return Err(refused("it is one of the models".into()).help("give the plan another name"));
    }
    Ok(())
}

struct Watcher {
    bar: Bar,
}

impl Watch for Watcher {
    fn phase(&mut self, name: &str) {
        let phases = driver::PHASES;
        let at = phases
            .iter()
            .position(|&p| p == name)
            .unwrap_or(phases.len());
        self.bar.say(name);
        self.bar.show(at as u64, phases.len() as u64 + 1);
    }

    fn passes(&mut self) -> &mut dyn Observer {
        self
    }

    fn kernels(&self) -> Box<dyn Fn(usize, usize) + Sync + '_> {
        Box::new(|done, total| self.bar.show(done as u64, total as u64))
    }
}

impl Observer for Watcher {
    fn started(&mut self, pass: &Pass) {
        self.bar.say(pass.name);
    }

    fn dump(&mut self, pass: &Pass, text: &str) {
        say(&format!("// after {}\n{text}", pass.name));
    }
}

fn summary(compiled: &Compiled, write: Duration) -> String {
    let Compiled { plan, summary, .. } = compiled;
    let numbers = stats(plan);
    let rows: Vec<Vec<String>> = summary
        .models
        .iter()
        .zip(&plan.models)
        .map(|(m, model)| {
            let counts = [
                m.n_nodes,
                m.n_optimised,
                m.n_regions,
                model.n_steps as usize,
            ];
            std::iter::once(m.name.clone())
                .chain(counts.map(|n| n.to_string()))
                .collect()
        })
        .collect();
    let mut text = table(
        &["model", "nodes", "after optimisation", "regions", "steps"],
        &rows,
    );
    let rows: Vec<Vec<String>> = numbers
        .classes
        .iter()
        .map(|c| {
            vec![
                c.class.into(),
                c.n_kernels.to_string(),
                c.n_steps.to_string(),
            ]
        })
        .collect();
    text += &table(&["class", "kernels", "steps"], &rows);
    let rows: Vec<Vec<String>> = plan
        .arenas
        .iter()
        .zip(&numbers.arenas)
        .map(|(arena, a)| {
            let label = arena_name(plan, arena);
            vec![
                label,
                mib(a.planned_bytes),
                mib(a.sum_bytes),
                mib(a.live_bytes),
            ]
        })
        .collect();
    text += &table(
        &["memory", "planned", "side by side", "live at once"],
        &rows,
    );
    text += &block_table(plan);
    text += &format!(
        "{} weights, {}\n",
        plan.weights.len(),
        mib(numbers.weights_bytes)
    );
    if let Some(algebra) = notes_of(compiled, "rewrite_algebra") {
        let notes: Vec<String> = algebra
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        text += &format!("algebra: {}\n", notes.join(", "));
    }
    if summary.n_split > 0 {
        text += &format!(
            "{} regions had to be split into their nodes\n",
            summary.n_split
        );
    }
    if let Some(code) = &summary.device_code {
        let (major, minor) = code.version;
        let bytes: u64 = plan.images.iter().map(|i| i.bytes).sum();
        text += &format!(
            "{} kernels in {} images, {}: {} compiled by NVRTC {major}.{minor}, {} from the cache\n",
            code.n_sources,
            plan.images.len(),
            mib(bytes),
            code.n_compiled,
            code.n_cached
        );
    }
    if let Some(outcome) = &summary.deploy {
        text += &crate::deploy::report::text(outcome, plan);
    }
    for (model, branches) in plan.models.iter().zip(&summary.branches) {
        if branches.lanes > 1 {
            text += &format!(
                "branches of {} in {} lanes: {} us of its kernels are expected to take {}\n",
                model.name,
                branches.lanes,
                branches.in_line_ns / 1000,
                branches.spread_ns / 1000
            );
        }
    }
    let on_host = plan
        .steps
        .iter()
        .filter(|s| s.device == Device::Cpu)
        .count();
    if on_host < plan.steps.len() {
        text += &format!("{on_host} of {} steps on the host\n", plan.steps.len());
    }
    let phases = summary.phases.iter().copied().chain([("write", write)]);
    let times: Vec<String> = phases
        .map(|(name, t)| format!("{name} {:.0} ms", t.as_secs_f64() * 1e3))
        .collect();
    text + &times.join(", ")
}

/// What the runs of `pass` noted, added up by name.
fn notes_of(compiled: &Compiled, pass: &str) -> Option<Vec<(&'static str, u64)>> {
    let mut notes: Vec<(&'static str, u64)> = vec![];
    let runs = compiled
        .summary
        .executions
        .iter()
        .filter(|e| e.pass == pass);
    for &(name, n) in runs.flat_map(|e| &e.notes) {
        match notes.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => *sum += n,
            None => notes.push((name, n)),
        }
    }
    (!notes.is_empty()).then_some(notes)
}

fn summary_json(compiled: &Compiled, write: Duration) -> serde_json::Value {
    let Compiled { plan, summary, .. } = compiled;
    let numbers = stats(plan);
    let ms = |t: Duration| t.as_secs_f64() * 1e3;
    let models: Vec<_> = summary
        .models
        .iter()
        .zip(&plan.models)
        .zip((0..).map(ModelIndex))
        .map(|((m, model), index)| {
            json!({
                "name": m.name, "nodes": m.n_nodes, "optimised_nodes": m.n_optimised,
                "regions": m.n_regions, "steps": model.n_steps,
                "blocks": FiguresJson::from(figures(plan, index)),
            })
        })
        .collect();
    let classes: Vec<_> = numbers
        .classes
        .iter()
        .map(|c| json!({ "class": c.class, "kernels": c.n_kernels, "steps": c.n_steps }))
        .collect();
    let arenas: Vec<_> = numbers
        .arenas
        .iter()
        .map(|a| {
            json!({
                "planned_bytes": a.planned_bytes, "sum_bytes": a.sum_bytes, "live_bytes": a.live_bytes,
            })
        })
        .collect();
    let phases = summary.phases.iter().copied().chain([("write", write)]);
    let times: serde_json::Map<String, serde_json::Value> = phases
        .map(|(name, t)| (name.to_string(), json!(ms(t))))
        .collect();
    let algebra: serde_json::Map<String, serde_json::Value> = notes_of(compiled, "rewrite_algebra")
        .unwrap_or_default()
        .into_iter()
        .map(|(name, n)| (name.to_string(), json!(n)))
        .collect();
    json!({
        "models": models,
        "kernel_classes": classes,
        "arenas": arenas,
        "weights": plan.weights.len(),
        "weight_bytes": numbers.weights_bytes,
        "split_regions": summary.n_split,
        "branches": summary.branches.iter().map(|b| json!({
            "lanes": b.lanes, "in_line_ns": b.in_line_ns, "spread_ns": b.spread_ns,
        })).collect::<Vec<_>>(),
        "phases_ms": times,
        "peak_bytes": peak_memory(),
        "algebra": algebra,
        "device_code": summary.device_code.as_ref().map(|code| json!({
            "sources": code.n_sources, "images": plan.images.len(),
            "image_bytes": plan.images.iter().map(|i| i.bytes).sum::<u64>(),
            "compiled": code.n_compiled, "cached": code.n_cached,
            "nvrtc": format!("{}.{}", code.version.0, code.version.1),
        })),
        "deploy": summary.deploy.as_ref().map(|o| crate::deploy::report::json(o, plan)),
        "host_steps": plan.steps.iter().filter(|s| s.device == Device::Cpu).count(),
        "warnings": plan.warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let gpus = |archs: &[u32]| Ok(Target::Cuda(Gpus::new(archs.to_vec())));
        assert_eq!(target("cpu"), Ok(Target::Cpu));
        assert_eq!(target("cuda:sm_90"), gpus(&[90]));
        assert_eq!(target("cuda:sm_90,sm_80,sm_90"), gpus(&[90, 80]));
        for wrong in [
            "cuda",
            "cuda:",
            "cuda:90",
            "cuda:sm_9",
            "cuda:sm_90,",
            "gpu",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        for name in ["cpu", "cuda:sm_90,sm_80"] {
            assert_eq!(target(name).unwrap().name(), name);
        }
    }

    #[test]
    fn shapes_are_read() {
        assert_eq!(shape("x=1,3,224"), Ok(("x".into(), vec![1, 3, 224])));
        assert_eq!(shape("a=b=1x2"), Ok(("a=b".into(), vec![1, 2])));
        assert!(shape("x").is_err());
        assert!(shape("x=1,-1").is_err());
        assert!(shape("=1").is_err());
    }
}
