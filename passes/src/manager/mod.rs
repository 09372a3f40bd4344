//! The pass manager: order, verification, timing, dumps, bisection, refusals, statistics.

mod context;
mod error;
mod list;

pub use context::{Execution, Observer, Options, PassCx, Refusal, node_name};
pub use error::{Cause, PassError};
pub use list::{Changed, Pass, Phase, Stage};
pub(crate) use list::{passes, phase_of};

use ir::Program;
use ir::verify::{self, Violation};
use std::time::Instant;

/// The pass called `name`.
pub fn find(name: &str) -> Option<Pass> {
    all().find(|p| p.name == name)
}

/// Every pass once, in the order of its first run.
pub fn all() -> impl Iterator<Item = Pass> {
    let mut seen = std::collections::BTreeSet::new();
    crate::PIPELINE
        .iter()
        .flat_map(|(_, stages)| stages.iter())
        .flat_map(|stage| match stage {
            Stage::Once(pass) => std::slice::from_ref(pass),
            Stage::Repeat { passes, .. } => passes,
        })
        .copied()
        .filter(move |p| seen.insert(p.name))
}

/// Runs the list of `phase` on `program`.
///
/// # Errors
/// The first pass that fails, or, with [`Options::verify`], the first that breaks a rule; a phase
/// that comes before one that has run in this context.
pub fn run(phase: Phase, program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    let stages = crate::PIPELINE
        .iter()
        .find(|(p, _)| *p == phase)
        .map_or(&[][..], |(_, stages)| *stages);
    run_stages(phase, stages, program, cx)
}

/// Runs `stages`, which belong to `phase`, on `program`; see [`run`].
pub fn run_stages(
    phase: Phase,
    stages: &[Stage],
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    if let Some(done) = cx.last_phase.filter(|&done| done > phase) {
        return Err(PassError {
            pass: phase.name(),
            model: None,
            node: None,
            cause: Box::new(Cause::PhaseOrder { done, asked: phase }),
        });
    }
    cx.last_phase = Some(phase);
    check(phase.name(), program, cx)?;
    let mut total = Changed::default();
    for stage in stages {
        match stage {
            Stage::Once(pass) => total += run_pass(pass, program, cx)?,
            Stage::Repeat { limit, passes } => {
                for _ in 0..*limit {
                    let mut round = Changed::default();
                    for pass in *passes {
                        round += run_pass(pass, program, cx)?;
                    }
                    total += round;
                    if !round.any() {
                        break;
                    }
                }
            }
        }
    }
    Ok(total)
}

/// Runs one pass on `program`, with everything that [`Options`] asks for around it.
pub fn run_pass(
    pass: &Pass,
    program: &mut Program,
    cx: &mut PassCx<'_>,
) -> Result<Changed, PassError> {
    let n_nodes = |p: &Program| p.graphs.iter().map(|(_, g)| g.order.len()).sum();
    if let Some(observer) = &mut cx.observer {
        observer.started(pass);
    }
    let nodes_before = n_nodes(program);
    cx.pass = pass.name;
    cx.notes.clear();
    let start = Instant::now();
    let changed = (pass.run)(program, cx)?;
    let execution = Execution {
        pass: pass.name,
        phase: pass.phase,
        changes: changed.0,
        changes_so_far: cx.changes,
        nodes_before,
        nodes_after: n_nodes(program),
        time: start.elapsed(),
        notes: std::mem::take(&mut cx.notes),
    };
    check(pass.name, program, cx)?;
    if let Some(observer) = &mut cx.observer {
        observer.finished(&execution);
        if cx.options.dump_after.iter().any(|name| name == pass.name) {
            observer.dump(pass, &ir::text::print(program));
        }
    }
    cx.executions.push(execution);
    Ok(changed)
}

fn check(pass: &'static str, program: &Program, cx: &PassCx<'_>) -> Result<(), PassError> {
    if !cx.options.verify {
        return Ok(());
    }
    verify::program(program).map_err(|violations| {
        let first = violations.first();
        let graph = |v: &Violation| program.graphs.get(v.graph);
        PassError {
            pass,
            model: first.map(|v| v.model.clone()),
            node: first.and_then(|v| Some(node_name(graph(v)?, v.node?))),
            cause: Box::new(Cause::Invalid(violations)),
        }
    })
}
