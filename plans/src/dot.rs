//! Plans as graphs in the dot language of Graphviz.

use crate::flow::{End, flows};
use crate::plan::{Device, ModelIndex, StepIndex};
use crate::validate::ValidPlan;
use std::fmt::{self, Write};

/// The graph of a plan's steps, a cluster a model: an edge is data that one step writes and
/// another one reads.
pub fn dot(plan: &ValidPlan) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_dot(plan, &mut out);
    out
}

/// The background of a class's steps.
fn colour(class: &str) -> &'static str {
    match class {
        "map" => "#d5e8f7",
        "row" => "#fbe3c4",
        "contract" => "#cfe9d0",
        "attention" => "#e5d5f3",
        "window" => "#d0ecea",
        "movement" => "#ececec",
        "recurrent" => "#f9d3dc",
        "transfer" => "#dcdcf5",
        _ => "#eee5c8",
    }
}

/// `text` inside a quoted string; `\n` breaks the line.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            c if c.is_control() => out.extend(c.escape_default().flat_map(|c| match c {
                '\\' => vec!['\\', '\\'],
                c => vec![c],
            })),
            c => out.push(c),
        }
    }
    out
}

fn id(end: End) -> String {
    match end {
        End::Input(m, n) => format!("in_{}_{n}", m.0),
        End::Step(s) => format!("step_{}", s.0),
        End::Output(m, n) => format!("out_{}_{n}", m.0),
    }
}

fn write_dot(plan: &ValidPlan, out: &mut String) -> fmt::Result {
    let uses_devices = plan.steps.iter().any(|s| s.device != Device::Cpu);
    writeln!(out, "digraph plan {{")?;
    writeln!(
        out,
        "  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=10];"
    )?;
    writeln!(out, "  edge [color=\"#777777\", arrowsize=0.6];")?;
    for (m, model) in (0..).map(ModelIndex).zip(&plan.models) {
        writeln!(out, "  subgraph cluster_{} {{", m.0)?;
        writeln!(
            out,
            "    label=\"{}\"; color=\"#bbbbbb\";",
            quoted(&model.name)
        )?;
        for (ports, is_input) in [(&model.inputs, true), (&model.outputs, false)] {
            for (n, port) in ports.iter().enumerate() {
                let end = if is_input {
                    End::Input(m, n)
                } else {
                    End::Output(m, n)
                };
                writeln!(
                    out,
                    "    {} [label=\"{}\\n{}\", shape=ellipse, fillcolor=\"#ffffff\"];",
                    id(end),
                    quoted(&port.name),
                    port.ty()
                )?;
            }
        }
        for i in model.steps() {
            let step = &plan.steps[i];
            let kernel = &plan.kernels[step.kernel.index()];
            let mut place = if uses_devices {
                format!("\\n{}", step.device)
            } else {
                String::new()
            };
            let mut border = String::new();
            if step.lane > 0 {
                place += &format!("\\nlane {}", step.lane);
                // Hues of neighbouring lanes are far apart.
                let hue = f64::from(step.lane) * 0.381 % 1.0;
                border = format!(", color=\"{hue:.3} 0.8 0.7\", penwidth=2");
            }
            writeln!(
                out,
                "    {} [label=\"{}\\n{}{place}\", tooltip=\"{}\", fillcolor=\"{}\"{border}];",
                id(End::Step(StepIndex(i as u32))),
                quoted(&step.label),
                quoted(&kernel.summary()),
                quoted(&step.origin.join(", ")),
                colour(kernel.class())
            )?;
        }
        writeln!(out, "  }}")?;
    }
    for flow in flows(plan) {
        let buffer = &plan.buffers[flow.buffer.index()];
        writeln!(
            out,
            "  {} -> {} [tooltip=\"{}, {} bytes\"];",
            id(flow.from),
            id(flow.to),
            quoted(&buffer.name),
            buffer.bytes
        )?;
    }
    writeln!(out, "}}")
}
