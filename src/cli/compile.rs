//! `dlirc compile`: models to a plan.

use crate::cli::progress::{bar, Bar};
use crate::driver::{self, Compiled, Request, Target, Watch};
use crate::report::{draw, say, Diagnostic};
use clap::Args;
use passes::Pass;
use passes::manager::Observer;
use plans::stats::stats;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compile one or several ONNX models into one plan.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc compile resnet50.onnx -o resnet50.dlplan
  dlirc compile detect.onnx read.onnx -o both.dlplan --shape batch=1
  dlirc compile bert.onnx -o bert.dlplan --shape input_ids=1,128 --shape attention_mask=1,128")]
pub struct Compile {
    /// The models.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Where the plan goes.
    #[arg(short, long)]
    output: PathBuf,
    /// The device that the plan is for.
    #[arg(long, default_value = "cpu", value_parser = target)]
    target: Target,
    /// Sizes that the models leave open: all dimensions of an input, or one named dimension.
    #[arg(long = "shape", value_name = "NAME=DIMS", value_parser = shape)]
    shapes: Vec<(String, Vec<usize>)>,
    /// The models never run at once: one arena serves them in turn.
    #[arg(long)]
    one_at_a_time: bool,
    /// Verify the program after each pass.
    #[arg(long)]
    verify: bool,
    /// Stop optimising after this many changes, to find the one that breaks a model.
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
    /// Write the program's text to stderr after this pass.
    #[arg(long, value_name = "PASS")]
    dump_after: Vec<String>,
    /// Say nothing but errors and warnings.
    #[arg(short, long)]
    quiet: bool,
}

/// `cpu`.
pub fn target(text: &str) -> Result<Target, String> {
    match text {
        "cpu" => Ok(Target::Cpu),
        other => Err(format!("no target is called `{other}`; choose cpu")),
    }
}

/// `NAME=1,3,224,224`.
pub fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, dims) = text.rsplit_once('=').ok_or("expected NAME=DIMS, such as input=1,3,224,224")?;
    let dims = dims
        .split(&[',', 'x'])
        .map(|d| d.trim().parse().map_err(|_| format!("`{d}` is no size")))
        .collect::<Result<Vec<usize>, _>>()?;
    Ok((name.to_string(), dims))
}

impl Compile {
    /// Does it.
    pub fn run(self) -> Result<ExitCode, Diagnostic> {
        let request = Request {
            models: self.models,
            shapes: self.shapes.into_iter().collect(),
            target: self.target,
            one_at_a_time: self.one_at_a_time,
            passes: passes::Options {
                verify: self.verify || cfg!(debug_assertions),
                stop_after: self.stop_after,
                dump_after: self.dump_after,
                explain: false,
            },
        };
        let mut watcher = Watcher { bar: bar("compile") };
        let compiled = driver::compile(&request, &mut watcher)?;
        watcher.phase("write");
        let started = std::time::Instant::now();
        driver::write(&compiled, &self.output)?;
        watcher.bar.finish();
        for warning in &compiled.plan.warnings {
            draw(&Diagnostic::warning("plan", warning));
        }
        for note in &compiled.summary.notes {
            draw(&Diagnostic::warning("model", note));
        }
        if !self.quiet {
            summary(&compiled, started.elapsed());
            say(&format!("wrote {}", self.output.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

struct Watcher {
    bar: Bar,
}

impl Watch for Watcher {
    fn phase(&mut self, name: &str) {
        const PHASES: [&str; 5] = ["read", "optimise", "lower", "validate", "write"];
        let at = PHASES.iter().position(|&p| p == name).unwrap_or(0);
        self.bar.say(name);
        self.bar.show(at as u64, PHASES.len() as u64);
    }

    fn passes(&mut self) -> &mut dyn Observer {
        self
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

fn summary(compiled: &Compiled, write: std::time::Duration) {
    let Compiled { plan, summary, .. } = compiled;
    for m in &summary.models {
        say(&format!(
            "{}: {} nodes, {} after optimisation, in {} regions",
            m.name, m.n_nodes, m.n_optimised, m.n_regions
        ));
    }
    let weights: u64 = plan.weights.iter().map(|w| w.bytes).sum();
    say(&format!(
        "{} steps over {} kernels; {} weights, {}",
        plan.steps.len(),
        plan.kernels.len(),
        plan.weights.len(),
        mib(weights)
    ));
    for (arena, a) in plan.arenas.iter().zip(stats(plan).arenas) {
        say(&format!(
            "{} memory: {} for buffers of {} in all, at least {} at once",
            match arena.kind {
                plans::ArenaKind::Io => "input and output",
                plans::ArenaKind::Scratch => "intermediate",
            },
            mib(a.planned_bytes),
            mib(a.sum_bytes),
            mib(a.live_bytes)
        ));
    }
    let mut times: Vec<String> =
        summary.phases.iter().map(|(name, t)| format!("{name} {}", ms(*t))).collect();
    times.push(format!("write {}", ms(write)));
    say(&times.join(", "));
}

fn ms(t: std::time::Duration) -> String {
    format!("{:.0} ms", t.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
