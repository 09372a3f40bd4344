//! What a GPU is given to do for a model: graphs of launches and copies, and what the host does in
//! between. A function of the plan alone.

use plans::{CodeIndex, Device, KernelSpec, ModelIndex, Step, StepCode, StepIndex, ValidPlan};
use std::collections::BTreeMap;
use std::ops::Range;

/// How a model runs: its parts, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    pub(crate) parts: Vec<Part>,
}

/// Consecutive steps of a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Steps of one block that the device runs: one graph.
    Device(Segment),
    /// Steps that the host runs when all before is done.
    Host(Range<usize>),
}

/// What one graph holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// Its steps, by their positions in the plan.
    pub(crate) steps: Range<usize>,
    /// Its nodes, those that come first first.
    pub(crate) nodes: Vec<Node>,
}

/// A node of a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) step: StepIndex,
    pub(crate) what: What,
    pub(crate) after: Vec<Edge>,
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A launch of the step's code, by number.
    Launch(usize),
    /// A copy from one device to another.
    Copy,
    /// Takes the time at which the step starts.
    Begin,
    /// Takes the time at which the step ends.
    End,
}

/// A dependency on an earlier node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Edge {
    /// The node, by number in its segment.
    pub(crate) node: usize,
    /// Whether it need not have ended, because the one that depends on it waits for it itself.
    pub(crate) early: bool,
}

/// How parts are cut, and what may start early.
#[derive(Clone, Copy)]
pub(crate) struct Cut<'a> {
    /// Each step by itself.
    pub(crate) every_step: bool,
    /// The times of steps are taken; then nothing starts early.
    pub(crate) timed: bool,
    /// Whether a code, as it is loaded, waits for what came before where its launches say so.
    pub(crate) waits: &'a dyn Fn(CodeIndex) -> bool,
}

/// Whether a GPU does a step: its kernels, and copies from and to its memory.
pub(crate) fn is_on_device(step: &Step) -> bool {
    step.device != Device::Cpu
}

/// The bytes that a step copies; 0 if it is no copy.
pub(crate) fn copied_bytes(plan: &ValidPlan, step: &Step) -> u64 {
    match &plan.kernels[step.kernel.index()] {
        KernelSpec::Transfer(spec) => spec.len * spec.dtype.size() as u64,
        _ => 0,
    }
}

/// How `model` runs.
pub(crate) fn schedule(plan: &ValidPlan, model: ModelIndex, cut: Cut<'_>) -> Schedule {
    let mut parts = vec![];
    for block in plan.blocks.iter().filter(|b| b.model == model) {
        let first = block.first_step.index();
        let end = first + block.n_steps as usize;
        let mut start = first;
        while start < end {
            let on_device = is_on_device(&plan.steps[start]);
            let same = |i: &usize| is_on_device(&plan.steps[*i]) == on_device;
            let mut stop = (start + 1..end).find(|i| !same(i)).unwrap_or(end);
            if cut.every_step {
                stop = start + 1;
            }
            parts.push(if on_device {
                Part::Device(segment(plan, start..stop, cut))
            } else {
                Part::Host(start..stop)
            });
            start = stop;
        }
    }
    Schedule { parts }
}

/// The graph of `steps`. What they wait for outside of it is done before it starts.
fn segment(plan: &ValidPlan, steps: Range<usize>, cut: Cut<'_>) -> Segment {
    let timed = cut.timed;
    let mut nodes: Vec<Node> = vec![];
    let mut order = Order::default();
    // The nodes that a step ends with, by the step's position in the segment.
    let mut tails: Vec<Vec<usize>> = vec![];
    for i in steps.clone() {
        let step = &plan.steps[i];
        let index = StepIndex(i as u32);
        let within = step.waits.iter().filter(|w| steps.contains(&w.index()));
        let before = order.push(step.lane, within.map(|w| w.index() - steps.start));
        let mut after: Vec<usize> = before.into_iter().flat_map(|p| tails[p].clone()).collect();
        after.sort_unstable();
        after.dedup();
        let mut push = |what: What, after: &mut Vec<usize>| {
            let waits = |code: &StepCode| !timed && (cut.waits)(code.code);
            let early = step.code.as_ref().is_some_and(waits)
                && may_start_early(plan, step, what, after, &nodes);
            nodes.push(Node {
                step: index,
                what,
                after: after.iter().map(|&node| Edge { node, early }).collect(),
            });
            *after = vec![nodes.len() - 1];
        };
        if timed {
            push(What::Begin, &mut after);
        }
        match &step.code {
            Some(code) => {
                let launches = &plan.codes[code.code.index()].launches;
                for n in 0..launches.len() {
                    push(What::Launch(n), &mut after);
                }
            }
            None if copied_bytes(plan, step) > 0 => push(What::Copy, &mut after),
            None => {}
        }
        if timed {
            push(What::End, &mut after);
        }
        tails.push(after);
    }
    Segment { steps, nodes }
}

/// Whether a launch may start while the only one that it depends on still runs: it waits for that
/// one itself. Blocks of cooperative launches wait for each other and must not wait for room that
/// others hold, so these are left out.
fn may_start_early(
    plan: &ValidPlan,
    step: &Step,
    what: What,
    after: &[usize],
    nodes: &[Node],
) -> bool {
    let launch = |step: &Step, what| match (&step.code, what) {
        (Some(code), What::Launch(n)) => Some(&plan.codes[code.code.index()].launches[n]),
        _ => None,
    };
    let [only] = after else {
        return false;
    };
    let before = &nodes[*only];
    let before = launch(&plan.steps[before.step.index()], before.what);
    match (before, launch(step, what)) {
        (Some(before), Some(launch)) => {
            launch.starts_early && !launch.cooperative && !before.cooperative
        }
        _ => false,
    }
}

/// Which steps of a segment have ended when another starts: vector clocks with lanes as processes
/// (Mattern, "Virtual time and global states of distributed systems", 1989).
#[derive(Default)]
struct Order {
    lanes: BTreeMap<u16, usize>,
    /// The last step of each lane.
    last: Vec<usize>,
    /// The lane of each step, by number, and for each lane one more than the last step of it that
    /// has ended when this one has.
    steps: Vec<(usize, Vec<usize>)>,
}

impl Order {
    /// Adds the next step. Gives the steps that it must wait for; those that another of them has
    /// waited for are left out.
    fn push(&mut self, lane: u16, waits: impl Iterator<Item = usize>) -> Vec<usize> {
        let next = self.lanes.len();
        let lane = *self.lanes.entry(lane).or_insert(next);
        let mut before: Vec<usize> = waits.collect();
        if lane < next {
            before.push(self.last[lane]);
        } else {
            self.last.push(0);
        }
        before.sort_unstable();
        before.dedup();
        let covered = |a: usize, b: usize| {
            let clock = &self.steps[b].1;
            a != b && clock.get(self.steps[a].0).is_some_and(|&end| end > a)
        };
        let needed: Vec<usize> = before
            .iter()
            .copied()
            .filter(|&a| !before.iter().any(|&b| covered(a, b)))
            .collect();
        let mut clock = vec![0; self.lanes.len()];
        for &step in &needed {
            for (own, other) in clock.iter_mut().zip(&self.steps[step].1) {
                *own = (*own).max(*other);
            }
        }
        clock[lane] = self.steps.len() + 1;
        self.last[lane] = self.steps.len();
        self.steps.push((lane, clock));
        needed
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn what_another_has_waited_for_is_left_out() {
        let mut order = Order::default();
        assert!(order.push(0, [].into_iter()).is_empty());
        // A second lane that nothing orders.
        assert!(order.push(1, [].into_iter()).is_empty());
        // The lane itself orders it; the wait adds nothing.
        assert_eq!(order.push(0, [0].into_iter()), [0]);
        // Two lanes join.
        assert_eq!(order.push(1, [2].into_iter()), [1, 2]);
        // Step 3 has waited for 1 and 2, and 2 for 0.
        assert_eq!(order.push(2, [0, 1, 2, 3].into_iter()), [3]);
        assert_eq!(order.push(0, [3, 4].into_iter()), [4]);
        // A new lane, shorter clocks of old steps.
        assert_eq!(order.push(7, [0, 1].into_iter()), [0, 1]);
    }
}
