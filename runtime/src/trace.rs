//! A device that writes commands down.

use crate::cuda::schedule::{Cut, Node, Part, Segment, What, copied_bytes, schedule};
use crate::device::Device;
use plans::spec::Role;
use plans::{ModelIndex, Place, StepIndex, ValidPlan};
use std::convert::Infallible;
use std::fmt::Write;

/// Writes down the commands it is given, one a line:
///
/// ```text
/// begin resnet50
/// launch 0 lane 0 contract Conv+Relu: read arena 0+0, read weight 3, write arena 1+512
/// wait 1 lane 1 on 0
/// …
/// end resnet50
/// ```
///
/// Places are bytes in an arena or in a weight. Steps on a CUDA device come with the nodes of the
/// graph that they are in, which may start `early`: while what they come after still runs.
///
/// ```text
/// graph of steps 0 to 1
/// launch 0 lane 0 map Add: read arena 0+0, read weight 0, write arena 1+0
///   node 0: add 8x1x1 blocks of 128x1x1 threads
/// launch 1 lane 0 map Add: read arena 1+0, read weight 1, write arena 0+4096
///   node 1: add 8x1x1 blocks of 128x1x1 threads, after 0 early
/// ```
pub struct Trace<'a> {
    plan: &'a ValidPlan,
    text: String,
    /// The graphs of the model that runs.
    graphs: Vec<Segment>,
}

impl<'a> Trace<'a> {
    /// A trace of commands for `plan`, empty so far.
    pub fn new(plan: &'a ValidPlan) -> Self {
        Self {
            plan,
            text: String::new(),
            graphs: vec![],
        }
    }

    /// What was commanded so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A node of a graph, for people.
fn described(plan: &ValidPlan, node: &Node) -> String {
    let step = &plan.steps[node.step.index()];
    let mut text = match (node.what, &step.code) {
        (What::Launch(n), Some(code)) => {
            let launch = &plan.codes[code.code.index()].launches[n];
            let by = |n: [u32; 3]| format!("{}x{}x{}", n[0], n[1], n[2]);
            let mut text = format!(
                "{} {} blocks of {} threads",
                launch.function,
                by(launch.grid),
                by(launch.block)
            );
            if launch.shared_bytes > 0 {
                text += &format!(", {} bytes shared", launch.shared_bytes);
            }
            if launch.cluster != [1; 3] {
                text += &format!(", clusters of {}", by(launch.cluster));
            }
            if launch.cooperative {
                text += ", all at once";
            }
            text
        }
        _ => format!("copy {} bytes", copied_bytes(plan, step)),
    };
    for (i, edge) in node.after.iter().enumerate() {
        text += if i == 0 { ", after " } else { " and " };
        text += &edge.node.to_string();
        text += if edge.early { " early" } else { "" };
    }
    text
}

impl Device for Trace<'_> {
    type Error = Infallible;

    fn begin(&mut self, model: ModelIndex) -> Result<(), Infallible> {
        let name = &self.plan.models[model.index()].name;
        self.line(format_args!("begin {name}"));
        let cut = Cut {
            every_step: false,
            timed: false,
            waits: &|_| true,
        };
        let parts = schedule(self.plan, model, cut).parts.into_iter();
        self.graphs = parts
            .filter_map(|part| match part {
                Part::Device(segment) => Some(segment),
                Part::Host(_) => None,
            })
            .collect();
        Ok(())
    }

    fn wait(&mut self, step: StepIndex, on: StepIndex) -> Result<(), Infallible> {
        let lane = self.plan.steps[step.index()].lane;
        self.line(format_args!("wait {} lane {lane} on {}", step.0, on.0));
        Ok(())
    }

    fn launch(&mut self, step: StepIndex) -> Result<(), Infallible> {
        let launched = &self.plan.steps[step.index()];
        let kernel = &self.plan.kernels[launched.kernel.index()];
        let args: Vec<String> = kernel
            .args()
            .iter()
            .zip(&launched.args)
            .map(|(spec, arg)| {
                let role = match spec.role {
                    Role::Read => "read",
                    Role::Write => "write",
                    Role::Update => "update",
                };
                match arg.place {
                    Place::Buffer(b) => {
                        let buffer = &self.plan.buffers[b.index()];
                        let offset = buffer.offset + arg.offset;
                        format!("{role} arena {}+{offset}", buffer.arena.0)
                    }
                    Place::Weight(w) if arg.offset == 0 => format!("{role} weight {}", w.0),
                    Place::Weight(w) => format!("{role} weight {}+{}", w.0, arg.offset),
                }
            })
            .collect();
        let starts = self.graphs.iter().find(|g| g.steps.start == step.index());
        if let Some(steps) = starts.map(|g| g.steps.clone()) {
            let last = steps.end - 1;
            self.line(format_args!("graph of steps {} to {last}", steps.start));
        }
        self.line(format_args!(
            "launch {} lane {} {} {}: {}",
            step.0,
            launched.lane,
            kernel.class(),
            launched.label,
            args.join(", ")
        ));
        let graph = self.graphs.iter().find(|g| g.steps.contains(&step.index()));
        let nodes: Vec<String> = graph
            .into_iter()
            .flat_map(|graph| graph.nodes.iter().enumerate())
            .filter(|(_, node)| node.step == step)
            .map(|(n, node)| format!("  node {n}: {}", described(self.plan, node)))
            .collect();
        for node in nodes {
            self.line(format_args!("{node}"));
        }
        Ok(())
    }

    fn end(&mut self, model: ModelIndex) -> Result<(), Infallible> {
        let name = &self.plan.models[model.index()].name;
        self.line(format_args!("end {name}"));
        Ok(())
    }
}
