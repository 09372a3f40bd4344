//! A plan as one page that needs nothing else.

use super::layout::layout;
use super::page::Page;
use crate::json::{EndJson, PlanJson};
use crate::plan::StepIndex;
use crate::validate::ValidPlan;
use serde::Serialize;

const STYLE: &str = include_str!("page/page.css");
const BODY: &str = include_str!("page/page.html");

/// The parts of the page's one script, in the order in which they build on each other.
const SCRIPTS: [&str; 7] = [
    include_str!("page/plan.js"),
    include_str!("page/graph.js"),
    include_str!("page/memory.js"),
    include_str!("page/timeline.js"),
    include_str!("page/tables.js"),
    include_str!("page/details.js"),
    include_str!("page/controls.js"),
];

/// What the page's script draws: the plan and where the parts of its graph go.
#[derive(Serialize)]
struct Data {
    plan: PlanJson,
    width: f64,
    height: f64,
    groups: Vec<(u32, [f64; 4])>,
    nodes: Vec<NodeJson>,
    edges: Vec<EdgeJson>,
    /// Of steps that a trace is of: the step, when it started, how long it took, in nanoseconds.
    measured: Vec<(u32, u64, u64)>,
}

/// When a step ran, by a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepTime {
    /// The step.
    pub step: StepIndex,
    /// When it started, in nanoseconds of any clock.
    pub start_ns: u64,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
}

#[derive(Serialize)]
struct NodeJson {
    end: EndJson,
    title: String,
    subtitle: String,
    /// Left, top, width, height.
    at: [f64; 4],
}

#[derive(Serialize)]
struct EdgeJson {
    from: usize,
    to: usize,
    /// The way as an SVG path.
    path: String,
    /// What it lies in: left, top, right, bottom.
    bounds: [f64; 4],
    /// The point of the arrow.
    tip: (f64, f64),
}

/// To a tenth of a pixel.
fn rounded(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

/// A page that shows a plan's graph with the operators of each step, memory over time, rounds over
/// time, steps, kernels and models. It is one file, asks nothing of any network, and takes all names
/// for text.
pub fn html(plan: &ValidPlan) -> String {
    html_with_trace(plan, &[])
}

/// As [`html`], with the times that steps ran at below those that were predicted.
pub fn html_with_trace(plan: &ValidPlan, trace: &[StepTime]) -> String {
    let layout = layout(plan);
    let data = Data {
        plan: PlanJson::new(plan),
        measured: trace
            .iter()
            .map(|t| (t.step.0, t.start_ns, t.duration_ns))
            .collect(),
        width: rounded(layout.width),
        height: rounded(layout.height),
        groups: layout
            .groups
            .iter()
            .map(|g| (g.model.0, [g.x, g.y, g.width, g.height].map(rounded)))
            .collect(),
        nodes: layout
            .nodes
            .into_iter()
            .map(|n| NodeJson {
                end: n.end.into(),
                at: [n.x - n.width / 2.0, n.y, n.width, n.height].map(rounded),
                title: n.title,
                subtitle: n.subtitle,
            })
            .collect(),
        edges: layout
            .edges
            .into_iter()
            .map(|e| {
                let bounds = e.points.iter().fold(
                    [f64::MAX, f64::MAX, f64::MIN, f64::MIN],
                    |[x0, y0, x1, y1], &(x, y)| [x0.min(x), y0.min(y), x1.max(x), y1.max(y)],
                );
                EdgeJson {
                    from: e.from,
                    to: e.to,
                    path: e.path(),
                    bounds: bounds.map(rounded),
                    tip: e
                        .points
                        .last()
                        .map_or((0.0, 0.0), |&(x, y)| (rounded(x), rounded(y))),
                }
            })
            .collect(),
    };
    let data = serde_json::to_string(&data).expect("the schema has no map and no other keys");
    let names: Vec<&str> = plan.models.iter().map(|m| m.name.as_str()).collect();
    let page = Page {
        title: &format!("{} · dlirc plan", names.join(", ")),
        style: STYLE,
        body: BODY,
        script: &SCRIPTS.concat(),
        data: &data,
    };
    page.html()
}
