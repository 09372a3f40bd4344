//! Device code in lines of text.

use crate::code::{Code, CodeIndex, ImageKind, Launch, StepCode};
use crate::describe::{extents, name};
use crate::occupancy::occupancy;
use crate::plan::Plan;
use std::fmt::{self, Write};

/// Images and codes of a plan, valid or not.
pub(crate) fn write(plan: &Plan, out: &mut String) -> fmt::Result {
    if !plan.images.is_empty() {
        let sum = plan
            .images
            .iter()
            .fold(0u64, |sum, i| sum.saturating_add(i.bytes));
        writeln!(out, "\nimages: {} of {sum} bytes", plan.images.len())?;
    }
    for (i, image) in plan.images.iter().enumerate() {
        let functions: Vec<String> = image.resources.iter().map(|r| name(&r.function)).collect();
        write!(
            out,
            "  {:>10} +{:<9} i{i} {}",
            image.offset, image.bytes, image.kind
        )?;
        if !functions.is_empty() {
            write!(out, ": {}", functions.join(", "))?;
        }
        writeln!(out)?;
    }
    if !plan.codes.is_empty() {
        writeln!(out, "\ncodes")?;
    }
    for (i, code) in plan.codes.iter().enumerate() {
        let images: Vec<String> = code.images.iter().map(|i| format!("i{}", i.0)).collect();
        writeln!(out, "  c{i} of k{}: {}", code.kernel.0, images.join(", "))?;
        for line in lines(plan, code) {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

/// Text on one line, without anything that a terminal would act on.
fn plain(text: &str) -> String {
    let kept = |c: char| c == ' ' || c.is_ascii_graphic();
    text.chars()
        .map(|c| {
            if kept(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// The lines about one code: schedule, memory, launches.
pub(crate) fn lines(plan: &Plan, code: &Code) -> Vec<String> {
    let mut lines = vec![];
    if !code.schedule.is_empty() {
        lines.push(format!("schedule {}", plain(&code.schedule)));
    }
    let mut needs = vec![];
    if code.workspace > 0 {
        needs.push(format!("{} bytes of workspace", code.workspace));
    }
    if code.counters > 0 {
        needs.push(format!("{} bytes of counters", code.counters));
    }
    if code.may_fault {
        needs.push("the fault word".to_owned());
    }
    if !needs.is_empty() {
        lines.push(format!("needs {}", needs.join(", ")));
    }
    for launch in &code.launches {
        lines.push(launch_line(launch));
        lines.extend(taken(plan, code, launch).map(|line| format!("  {line}")));
    }
    lines
}

/// `contract: 64 blocks of 256 threads, 16384 bytes of shared memory, starts early`.
fn launch_line(launch: &Launch) -> String {
    let trimmed = |dims: &[u32; 3]| {
        let last = dims.iter().rposition(|&n| n != 1).unwrap_or(0);
        let dims: Vec<u64> = dims[..=last].iter().map(|&n| u64::from(n)).collect();
        extents(&dims)
    };
    let mut line = format!(
        "{}: {} blocks of {} threads",
        name(&launch.function),
        trimmed(&launch.grid),
        trimmed(&launch.block)
    );
    if launch.cluster != [1; 3] {
        line += &format!(", clusters of {}", trimmed(&launch.cluster));
    }
    if launch.shared_bytes > 0 {
        line += &format!(", {} bytes of shared memory", launch.shared_bytes);
    }
    if launch.cooperative {
        line += ", all at once";
    }
    if launch.starts_early {
        line += ", starts early";
    }
    line
}

/// What a launch takes on each architecture: `sm_90: 40 registers, 1024 bytes of its own shared
/// memory, 3 blocks on a multiprocessor (37 %)`.
fn taken<'p>(
    plan: &'p Plan,
    code: &'p Code,
    launch: &'p Launch,
) -> impl Iterator<Item = String> + use<'p> {
    let images = code
        .images
        .iter()
        .filter_map(|i| plan.images.get(i.index()));
    images.filter_map(|image| {
        let ImageKind::Cubin(arch) = image.kind else {
            return None;
        };
        let found = |r: &&crate::Resources| r.function == launch.function;
        let resources = image.resources.iter().find(found)?;
        let mut line = format!("{}: {} registers", image.kind, resources.registers);
        if resources.spills > 0 {
            line += &format!(", {} bytes SPILLED", resources.spills);
        }
        if resources.stack_bytes > 0 {
            line += &format!(", {} bytes of stack", resources.stack_bytes);
        }
        if resources.shared_bytes > 0 {
            line += &format!(
                ", {} bytes of its own shared memory",
                resources.shared_bytes
            );
        }
        if let Some(occupancy) = occupancy(arch, resources, launch) {
            line += &format!(
                ", {} blocks on a multiprocessor ({} %)",
                occupancy.blocks,
                occupancy.percent()
            );
        }
        Some(line)
    })
}

/// What a step runs, behind its device: `c3, workspace b5, counters b6`.
pub(crate) fn of_step(code: &StepCode) -> String {
    let CodeIndex(c) = code.code;
    let mut text = format!("c{c}");
    for (what, buffer) in [("workspace", code.workspace), ("counters", code.counters)] {
        if let Some(b) = buffer {
            let _ = write!(text, ", {what} b{}", b.0);
        }
    }
    text
}
