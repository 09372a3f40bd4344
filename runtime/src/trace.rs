//! A device that writes commands down.

use crate::cuda::is_on_device;
use crate::cuda::schedule::{
    Cut, Node, Part, Segment, What, copied_bytes, round_schedule, schedule,
};
use crate::device::Device;
use plans::spec::Role;
use plans::{BlockIndex, ModelIndex, Place, StepIndex, ValidPlan};
use std::convert::Infallible;
use std::fmt::Write;
use std::ops::Range;

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
///
/// Rounds come as blocks, with those that a block waits for beside the one before in its lane; all
/// blocks up to one that the host runs are one graph, in which small launches go first.
///
/// ```text
/// begin round 0
/// block 0 of resnet50 lane 0
/// graph of blocks 0, 2, 1
/// launch 0 lane 0 contract Conv+Relu: …
///   node 0: contract 8x1x1 blocks of 128x1x1 threads, urgency 5
/// block 2 of vgg19 lane 1
/// …
/// block 1 of resnet50 lane 0 after block 2
/// …
/// end round 0
/// ```
pub struct Trace<'a> {
    plan: &'a ValidPlan,
    text: String,
    /// The graphs of what runs, each with its first step and a line about it.
    graphs: Vec<(StepIndex, String, Segment)>,
}

/// Graphs as on a device whose kernels all wait for what came before.
const CUT: Cut<'static> = Cut {
    every_step: false,
    timed: false,
    waits: &|_| true,
};

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
            if node.urgency > 0 {
                text += &format!(", urgency {}", node.urgency);
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
        let parts = schedule(self.plan, model, CUT).parts.into_iter();
        self.graphs = parts
            .filter_map(|part| match part {
                Part::Device(segment) => {
                    let Range { start, end } = segment.steps;
                    let line = format!("graph of steps {start} to {}", end - 1);
                    Some((StepIndex(start as u32), line, segment))
                }
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
        let starts = self.graphs.iter().find(|(first, ..)| *first == step);
        if let Some(line) = starts.map(|(_, line, _)| line.clone()) {
            self.line(format_args!("{line}"));
        }
        self.line(format_args!(
            "launch {} lane {} {} {}: {}",
            step.0,
            launched.lane,
            kernel.class(),
            launched.label,
            args.join(", ")
        ));
        let graphs = self.graphs.iter().map(|(.., segment)| segment);
        let nodes: Vec<String> = graphs
            .filter(|graph| graph.steps.contains(&step.index()))
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

    fn begin_round(&mut self, round: usize) -> Result<(), Infallible> {
        self.line(format_args!("begin round {round}"));
        let Some(found) = self.plan.deploy.as_ref().and_then(|d| d.rounds.get(round)) else {
            return Ok(());
        };
        let parts = round_schedule(self.plan, found, CUT).parts.into_iter();
        let blocks = found.placed.iter().map(|p| p.block);
        let mut blocks = blocks.peekable();
        self.graphs = parts
            .filter_map(|part| match part {
                Part::Device(segment) => {
                    // Blocks of a graph stand side by side in the round.
                    let on_device = |b: &BlockIndex| {
                        is_on_device(
                            &self.plan.steps[self.plan.blocks[b.index()].first_step.index()],
                        )
                    };
                    let own: Vec<BlockIndex> =
                        std::iter::from_fn(|| blocks.next_if(on_device)).collect();
                    let first = self.plan.blocks[own.first()?.index()].first_step;
                    let own: Vec<String> = own.iter().map(|b| b.0.to_string()).collect();
                    Some((
                        first,
                        format!("graph of blocks {}", own.join(", ")),
                        segment,
                    ))
                }
                Part::Host(_) => {
                    blocks.next();
                    None
                }
            })
            .collect();
        Ok(())
    }

    fn block(&mut self, round: usize, position: usize) -> Result<(), Infallible> {
        let rounds = self.plan.deploy.as_ref().map(|d| &d.rounds);
        let Some(placed) = rounds.and_then(|r| r.get(round)?.placed.get(position)) else {
            return Ok(());
        };
        let model = self.plan.blocks[placed.block.index()].model;
        let mut line = format!(
            "block {} of {} lane {}",
            placed.block.0,
            self.plan.models[model.index()].name,
            placed.lane
        );
        for (i, &after) in placed.after.iter().enumerate() {
            line += if i == 0 { " after block " } else { " and " };
            let before = rounds.and_then(|r| r.get(round)?.placed.get(after as usize));
            line += &before.map_or_else(String::new, |b| b.block.0.to_string());
        }
        self.line(format_args!("{line}"));
        Ok(())
    }

    fn end_round(&mut self, round: usize) -> Result<(), Infallible> {
        self.line(format_args!("end round {round}"));
        Ok(())
    }
}
