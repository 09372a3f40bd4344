//! The graph of a plan as SVG.

use super::escaped;
use super::layout::{Edge, Layout, Node, layout};
use crate::flow::End;
use crate::validate::ValidPlan;
use std::fmt::{self, Write};

/// The steps of a plan and the data that flows between them, as a picture. It shows light on dark
/// where the viewer asks for that.
pub fn svg(plan: &ValidPlan) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write_svg(plan, &layout(plan), &mut out);
    out
}

const STYLE: &str = include_str!("svg.css");

fn write_svg(plan: &ValidPlan, layout: &Layout, out: &mut String) -> fmt::Result {
    let mut classes: Vec<&str> = plan
        .steps
        .iter()
        .map(|s| plan.kernels[s.kernel.index()].class())
        .collect();
    classes.sort_unstable();
    classes.dedup();
    let legend_width = 24.0 + classes.len() as f64 * 96.0;
    let (width, height) = (layout.width.max(legend_width), layout.height + 40.0);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>\n{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>"
    )?;
    for group in &layout.groups {
        let model = &plan.models[group.model.index()];
        writeln!(
            out,
            "<g><rect class=\"group\" x=\"{:.0}\" y=\"{:.0}\" width=\"{:.0}\" height=\"{:.0}\" rx=\"10\"/><text class=\"model\" x=\"{:.0}\" y=\"{:.0}\">{}</text></g>",
            group.x,
            group.y,
            group.width,
            group.height,
            group.x + 16.0,
            group.y + 26.0,
            escaped(&model.name)
        )?;
    }
    for edge in &layout.edges {
        writeln!(out, "<path class=\"edge\" d=\"{}\"/>", path(edge))?;
    }
    for node in &layout.nodes {
        write_node(plan, node, out)?;
    }
    for (i, class) in classes.iter().enumerate() {
        let (x, y) = (24.0 + i as f64 * 96.0, height - 26.0);
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"10\" height=\"10\" rx=\"2\"/><text class=\"sub\" x=\"{:.0}\" y=\"{:.0}\">{class}</text>",
            x + 15.0,
            y + 9.0
        )?;
    }
    writeln!(out, "</svg>")
}

/// The way of an edge, with an arrow's head.
fn path(edge: &Edge) -> String {
    let mut d = edge.path();
    if let Some(&(x, y)) = edge.points.last() {
        d += &format!("m-3.5 -6L{x:.1} {y:.1}l3.5 -6");
    }
    d
}

/// The border of a step in a lane; hues of neighbouring lanes are far apart.
fn border(lane: u16) -> String {
    match lane {
        0 => String::new(),
        lane => format!(
            " style=\"stroke:hsl({} 60% 50%);stroke-width:2\"",
            u32::from(lane) * 137 % 360
        ),
    }
}

fn write_node(plan: &ValidPlan, node: &Node, out: &mut String) -> fmt::Result {
    let (left, top) = (node.x - node.width / 2.0, node.y);
    let (class, tooltip, badge) = match node.end {
        End::Step(i) => {
            let step = &plan.steps[i.index()];
            let n = step.origin.len();
            let lane = match step.lane {
                0 => String::new(),
                lane => format!(", lane {lane}"),
            };
            (
                plan.kernels[step.kernel.index()].class(),
                format!(
                    "step {} on {}{lane}: {}",
                    i.0,
                    step.device,
                    step.origin.join(", ")
                ),
                (n > 1).then(|| n.to_string()),
            )
        }
        End::Input(..) => ("port", "input".to_owned(), None),
        End::Output(..) => ("port", "output".to_owned(), None),
    };
    write!(out, "<g><title>{}</title>", escaped(&tooltip))?;
    let (width, height) = (node.width, node.height);
    if class == "port" {
        write!(
            out,
            "<rect class=\"port\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"22\"/>"
        )?;
    } else {
        let border = match node.end {
            End::Step(i) => border(plan.steps[i.index()].lane),
            End::Input(..) | End::Output(..) => String::new(),
        };
        write!(
            out,
            "<rect class=\"card\"{border} x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"6\"/><path class=\"{class}\" d=\"M{:.1} {top:.1}h-0.5a6 6 0 0 0 -6 6v{:.0}a6 6 0 0 0 6 6h0.5z\"/>",
            left + 6.5,
            height - 12.0
        )?;
    }
    let text = if class == "port" { node.x } else { left + 14.0 };
    let anchor = if class == "port" { " middle" } else { "" };
    write!(
        out,
        "<text class=\"title{anchor}\" x=\"{text:.1}\" y=\"{:.1}\">{}</text><text class=\"sub{anchor}\" x=\"{text:.1}\" y=\"{:.1}\">{}</text>",
        top + 18.0,
        escaped(&node.title),
        top + 34.0,
        escaped(&node.subtitle)
    )?;
    if let Some(n) = badge {
        write!(
            out,
            "<text class=\"badge\" x=\"{:.1}\" y=\"{:.1}\">{n}</text>",
            left + width - 8.0,
            top + 17.0
        )?;
    }
    writeln!(out, "</g>")
}
