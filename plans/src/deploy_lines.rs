//! What is asked of the models together, and rounds, in lines of text.

use crate::deploy::{Deploy, Round};
use crate::describe::name;
use crate::plan::{ModelIndex, Plan};
use std::fmt::{self, Write};

/// The pairs of blocks and the deployment of a plan, valid or not.
pub(crate) fn write(plan: &Plan, out: &mut String) -> fmt::Result {
    if !plan.co_run.is_empty() {
        writeln!(out, "\nmeasured together")?;
    }
    for pair in &plan.co_run {
        let ([a, b], [x, y]) = (pair.blocks, pair.slowdown);
        let (x, y) = (thousandths(x), thousandths(y));
        writeln!(out, "  block {} x{x}, block {} x{y}", a.0, b.0)?;
    }
    match &plan.deploy {
        Some(deploy) => self::deploy(plan, deploy, out),
        None => Ok(()),
    }
}

/// `1.25` for 1250.
pub(crate) fn thousandths(n: impl Into<u64>) -> String {
    let n = n.into();
    let text = format!("{}.{:03}", n / 1000, n % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn model_name(plan: &Plan, model: ModelIndex) -> String {
    let found = plan.models.get(model.index());
    found.map_or_else(|| format!("?{}", model.0), |m| name(&m.name))
}

fn deploy(plan: &Plan, deploy: &Deploy, out: &mut String) -> fmt::Result {
    writeln!(out, "\ndeployed with policy {}", name(&deploy.policy))?;
    for service in &deploy.services {
        write!(out, "  {}:", model_name(plan, service.model))?;
        match service.rate_mhz {
            0 => write!(out, " rate unknown")?,
            rate => write!(out, " {} requests a second", thousandths(rate))?,
        }
        if let Some(deadline) = service.deadline_ns {
            write!(out, ", deadline {deadline} ns")?;
        }
        write!(out, ", priority {}", service.priority)?;
        match service.bound {
            Some(bound) => writeln!(
                out,
                "; waits at most {} ns, done after at most {} ns",
                bound.wait_ns, bound.response_ns
            )?,
            None => writeln!(out, "; no bound")?,
        }
    }
    for (r, round) in deploy.rounds.iter().enumerate() {
        self::round(plan, r, round, out)?;
    }
    Ok(())
}

fn round(plan: &Plan, r: usize, round: &Round, out: &mut String) -> fmt::Result {
    writeln!(out, "\nround {r}: {} ns", round.makespan_ns)?;
    for (p, placed) in round.placed.iter().enumerate() {
        let block = plan.blocks.get(placed.block.index());
        let model = block.map_or_else(|| "?".to_owned(), |b| model_name(plan, b.model));
        write!(
            out,
            "  {p}: {:>9} ..{:<9} lane {} block {} of {model}",
            placed.start_ns, placed.end_ns, placed.lane, placed.block.0
        )?;
        if !placed.after.is_empty() {
            let after: Vec<String> = placed.after.iter().map(u32::to_string).collect();
            write!(out, " after {}", after.join(", "))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
