//! Writes the sources of the best schedules of contractions, to be timed on a device.
//!
//! `contractions FOLDER SM PRECISION SHAPES SCHEDULES PLAN...` takes of each plan the so many contractions that
//! are predicted to take longest, and of each the so many schedules of the least predicted time, first those with
//! different tiles. The folder gets a `.cu` file a schedule and `list.json`, which says how each is launched,
//! and the contractions of each plan as JSON, which may be given instead of the plan.
//! Weights are taken as lying in the order that `weight_order` prefers.

use dlirc_kernels::cuda::contract::{
    Schedule, choose, generate_with, predict, ranked, weight_order,
};
use dlirc_kernels::cuda::{Generated, Target};
use plans::KernelSpec;
use plans::spec::{ContractSpec, Operand, Problem};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, arch, precision, shapes, schedules, plans @ ..] = words.as_slice() else {
        return Err("FOLDER SM PRECISION SHAPES SCHEDULES PLAN... are wanted".into());
    };
    let folder = Path::new(folder);
    let target = Target {
        precision: precision.parse()?,
        ..Target::of_arch(arch.parse()?)?
    };
    let (shapes, schedules): (usize, usize) = (shapes.parse()?, schedules.parse()?);
    std::fs::create_dir_all(folder)?;
    let mut list: Vec<Value> = vec![];
    let mut seen: Vec<ContractSpec> = vec![];
    for path in plans.iter().map(Path::new) {
        let model = path.file_stem().unwrap_or_default().to_string_lossy();
        let found = contractions(path)?;
        let text = serde_json::to_string(&found)?;
        std::fs::write(folder.join(format!("{model}.json")), text)?;
        for (uses, spec) in longest(found, &target)?.into_iter().take(shapes) {
            if seen.contains(&spec) {
                continue;
            }
            let name = format!("{model}-{}", seen.len());
            let mut candidates = vec![];
            for (n, (seconds, schedule)) in different(&ranked(&spec, &target)?, schedules)
                .into_iter()
                .enumerate()
            {
                let code = generate_with(&spec, &target, &schedule)?;
                candidates.push(write(folder, &format!("{name}.{n}"), &code, seconds)?);
            }
            let code = generate_with(&spec, &target, &Schedule::Direct)?;
            let reference = write(folder, &format!("{name}.reference"), &code, 0.0)?;
            let args: Vec<Value> = spec.args().iter().map(|a| {
                let (low, high) = a.reach.unwrap_or((0, -1));
                json!({"dtype": a.dtype.to_string(), "size": a.dtype.size(), "elements": high - low + 1, "start": -low, "role": format!("{:?}", a.role)})
            }).collect();
            list.push(json!({
                "name": name,
                "what": what(&spec),
                "uses": uses,
                "flop": flop(&spec.problem),
                "args": args,
                "reference": reference,
                "candidates": candidates,
            }));
            seen.push(spec);
        }
    }
    std::fs::write(
        folder.join("list.json"),
        serde_json::to_string_pretty(&list)?,
    )?;
    Ok(())
}

fn write(
    folder: &Path,
    name: &str,
    code: &Generated,
    seconds: f64,
) -> Result<Value, Box<dyn Error>> {
    std::fs::write(folder.join(format!("{name}.cu")), &code.source)?;
    let launch = code.launches.first().ok_or("no launch")?;
    Ok(json!({
        "file": name,
        "function": launch.function,
        "grid": launch.grid,
        "block": launch.block,
        "shared": launch.shared_bytes,
        "workspace": code.workspace,
        "counters": code.counters,
        "predicted": seconds,
        "schedule": code.schedule,
    }))
}

/// The contractions of a plan with how often each is used.
fn contractions(path: &Path) -> Result<Vec<(usize, ContractSpec)>, Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    if path.extension().is_some_and(|e| e == "json") {
        return Ok(serde_json::from_slice(&bytes)?);
    }
    let plan = plans::file::read_without_weights_check(&bytes)?.plan;
    let mut found: Vec<(usize, ContractSpec)> = vec![];
    for (n, kernel) in plan.kernels.iter().enumerate() {
        let KernelSpec::Contract(spec) = kernel else {
            continue;
        };
        let uses = plan.steps.iter().filter(|s| s.kernel.index() == n).count();
        let mut spec = spec.clone();
        lay_weight(&mut spec.problem);
        found.push((uses, spec));
    }
    Ok(found)
}

/// Contractions with how often each is used, those that take longest in all first.
fn longest(
    found: Vec<(usize, ContractSpec)>,
    target: &Target,
) -> Result<Vec<(usize, ContractSpec)>, Box<dyn Error>> {
    let mut timed = vec![];
    for (uses, spec) in found {
        let seconds = predict(&spec, target, &choose(&spec, target)?)?;
        timed.push((seconds * uses as f64, uses, spec));
    }
    timed.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    Ok(timed
        .into_iter()
        .map(|(_, uses, spec)| (uses, spec))
        .collect())
}

/// The weight in the order that code reads best.
fn lay_weight(problem: &mut Problem) {
    let Some(order) = weight_order(problem) else {
        return;
    };
    let [_, (_, extents)] = problem.operands();
    let (Problem::Conv { w, .. } | Problem::ConvTranspose { w, .. }) = problem else {
        return;
    };
    let mut distance = 1;
    let mut strides = vec![0; extents.len()];
    for d in order.into_iter().rev() {
        strides[d] = distance;
        distance *= extents[d] as i64;
    }
    *w = Operand {
        dtype: w.dtype,
        strides,
    };
}

fn flop(problem: &Problem) -> u64 {
    let depth = match problem {
        Problem::MatMul { k, .. } => *k,
        Problem::Conv {
            in_channels,
            window,
            ..
        } => in_channels * window.kernel.iter().product::<u64>(),
        Problem::ConvTranspose {
            in_channels,
            window,
            ..
        } => {
            let taps: u64 = window.kernel.iter().product();
            in_channels * taps / window.strides.iter().product::<u64>()
        }
    };
    2 * depth * problem.domain().iter().product::<u64>()
}

/// The first schedules of a ranking: first those of different tiles, then those that differ in more
/// than in how many blocks share a sum.
fn different(all: &[(f64, Schedule)], n: usize) -> Vec<(f64, Schedule)> {
    let tile = |s: &Schedule| match s {
        Schedule::Tiled(t) => [
            t.rows,
            t.cols,
            t.thread_rows,
            t.thread_cols,
            t.slices.min(2),
        ],
        Schedule::Stream(t) => [t.warps, t.cols, t.split, 0, 0],
        Schedule::Direct => [0; 5],
    };
    let parts = |s: &Schedule| match s {
        Schedule::Tiled(t) => (tile(s), t.slices, t.depth, t.stages, t.registers),
        Schedule::Stream(_) | Schedule::Direct => (tile(s), 0, 0, 0, 0),
    };
    let mut picked: Vec<(f64, Schedule)> = vec![];
    for by_tile in [true, false] {
        for &(seconds, schedule) in all.iter().filter(|(_, s)| *s != Schedule::Direct) {
            let is_new = picked.iter().all(|(_, s)| {
                if by_tile {
                    tile(s) != tile(&schedule)
                } else {
                    parts(s) != parts(&schedule)
                }
            });
            if picked.len() < n && is_new {
                picked.push((seconds, schedule));
            }
        }
    }
    picked
}

fn what(spec: &ContractSpec) -> String {
    match &spec.problem {
        Problem::MatMul { batch, m, n, k, .. } => format!("{batch:?} {m}x{k} * {k}x{n}"),
        Problem::Conv {
            groups,
            in_channels,
            out_channels,
            window,
            ..
        }
        | Problem::ConvTranspose {
            groups,
            in_channels,
            out_channels,
            window,
            ..
        } => format!(
            "{:?}/{:?} {groups} x {in_channels} -> {out_channels}, {:?}",
            window.kernel, window.strides, window.output
        ),
    }
}
