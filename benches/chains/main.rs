//! What compiling costs a node: generated models of thousands of nodes, phase by phase.
//! `cargo bench --bench chains -- --help`

#![allow(clippy::print_stdout, reason = "tables are what it is for")]
#![forbid(unsafe_code)]

mod kinds;

use clap::Parser;
use dlirc::cli::progress;
use dlirc::cli::table::table;
use dlirc::driver::{self, Request, Watch};
use dlirc::report::{Diagnostic, draw};
use kinds::{KINDS, Kind};
use passes::manager::Observer;
use runtime::{Engine, Loaded, Options};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Compilations of a model; the shortest time of each part counts.
const REPEATS: usize = 3;

/// Compiles chains of more and more nodes, and prints for each phase its time and its time for
/// 1,000 nodes: where the latter grows with the model, the phase is not linear.
#[derive(Parser)]
#[command(name = "chains")]
struct Args {
    /// Numbers of nodes.
    #[arg(
        long,
        value_name = "N,N",
        value_delimiter = ',',
        default_value = "5000,10000,20000,40000"
    )]
    nodes: Vec<usize>,
    /// Kinds whose name contains this only.
    #[arg(long, value_name = "TEXT", default_value = "")]
    kind: String,
    /// Each pass as well.
    #[arg(long)]
    passes: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A compilation that nobody watches.
struct Unwatched;

impl Observer for Unwatched {}

impl Watch for Unwatched {
    fn phase(&mut self, _name: &str) {}

    fn passes(&mut self) -> &mut dyn Observer {
        self
    }
}

/// Times of parts of a compilation, in order: phases, or passes.
type Parts = Vec<(&'static str, Duration)>;

/// What one model cost.
struct Cost {
    n_nodes: usize,
    phases: Parts,
    passes: Parts,
}

fn main() -> ExitCode {
    match bench(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(diagnostic) => {
            draw(&diagnostic);
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<(), Diagnostic> {
    let folder = tempfile::tempdir().map_err(|e| Diagnostic::error("folder", e.to_string()))?;
    let bar = progress::bar("chains");
    let chosen: Vec<&Kind> = KINDS
        .iter()
        .filter(|k| k.name.contains(&args.kind))
        .collect();
    let total = (chosen.len() * args.nodes.len()) as u64;
    let mut done = 0;
    for kind in chosen {
        bar.say(kind.name);
        let mut costs = vec![];
        for &n_nodes in &args.nodes {
            bar.show(done, total);
            costs.push(cost(kind, n_nodes, folder.path())?);
            done += 1;
        }
        let parts = |c: &Cost| match args.passes {
            true => [&c.phases[..], &c.passes[..]].concat(),
            false => c.phases.clone(),
        };
        print!("{}", text(kind.name, &costs, parts));
    }
    bar.finish();
    Ok(())
}

/// Compiles, loads and binds a model of `n_nodes` nodes.
fn cost(kind: &Kind, n_nodes: usize, folder: &Path) -> Result<Cost, Diagnostic> {
    let (file, plan) = (folder.join("chain.onnx"), folder.join("chain.dlplan"));
    std::fs::write(&file, kind.model(n_nodes))
        .map_err(|e| Diagnostic::error("write", e.to_string()))?;
    let mut cost: Option<Cost> = None;
    for _ in 0..REPEATS {
        let again = compile(&file, &plan)?;
        match &mut cost {
            Some(cost) => {
                shorten(&mut cost.phases, &again.phases);
                shorten(&mut cost.passes, &again.passes);
            }
            None => cost = Some(again),
        }
    }
    Ok(cost.expect("it was compiled at least once"))
}

fn shorten(parts: &mut Parts, again: &Parts) {
    for ((_, time), (_, again)) in parts.iter_mut().zip(again) {
        *time = (*time).min(*again);
    }
}

fn compile(file: &Path, plan: &Path) -> Result<Cost, Diagnostic> {
    let request = Request {
        models: vec![file.to_path_buf()],
        ..Request::default()
    };
    let compiled = driver::compile(&request, &mut Unwatched)?;
    let mut phases = compiled.summary.phases.clone();
    let mut clock = Instant::now();
    let mut lap = |name, phases: &mut Parts| {
        phases.push((name, clock.elapsed()));
        clock = Instant::now();
    };
    driver::write(&compiled, plan)?;
    lap("write", &mut phases);
    let loaded = Arc::new(Loaded::open(plan)?);
    lap("load", &mut phases);
    Engine::bind(loaded, &Options::default())?;
    lap("bind", &mut phases);
    let total = phases.iter().map(|(_, t)| *t).sum();
    phases.push(("total", total));
    let mut passes: Parts = vec![];
    for run in &compiled.summary.executions {
        match passes.iter_mut().find(|(name, _)| *name == run.pass) {
            Some((_, time)) => *time += run.time,
            None => passes.push((run.pass, run.time)),
        }
    }
    let n_nodes = compiled.summary.models.iter().map(|m| m.n_nodes).sum();
    Ok(Cost {
        n_nodes,
        phases,
        passes,
    })
}

/// A row a part; a column a model, with milliseconds and, after a slash, those for 1,000 nodes.
fn text(name: &str, costs: &[Cost], parts: impl Fn(&Cost) -> Parts) -> String {
    let all: Vec<Parts> = costs.iter().map(parts).collect();
    let mut header = vec![name.to_string()];
    header.extend(costs.iter().map(|c| format!("{} nodes", c.n_nodes)));
    header.push("growth".into());
    let mut rows = vec![];
    for (i, (part, _)) in all.first().map_or(&[][..], |p| p).iter().enumerate() {
        let ms = all.iter().map(|p| p[i].1.as_secs_f64() * 1e3);
        let of_1000: Vec<f64> = ms
            .clone()
            .zip(costs)
            .map(|(ms, c)| 1e3 * ms / c.n_nodes as f64)
            .collect();
        let mut row = vec![part.to_string()];
        row.extend(
            ms.zip(&of_1000)
                .map(|(ms, of)| format!("{ms:.1} / {of:.3}")),
        );
        let growth = of_1000.last().zip(of_1000.first()).map(|(l, f)| l / f);
        row.push(growth.map_or_else(String::new, |g| format!("{g:.2}")));
        rows.push(row);
    }
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table(&header, &rows) + "\n"
}
