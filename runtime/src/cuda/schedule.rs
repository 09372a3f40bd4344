//! What a GPU is given to do for a model or a round: graphs of launches and copies, and what the host does in
//! between. A function of the plan alone.

use plans::{
    CodeIndex, Device, KernelSpec, Launch, ModelIndex, Round, Step, StepCode, StepIndex, ValidPlan,
};
use std::collections::BTreeMap;
use std::ops::Range;

/// How a model or a round runs: its parts, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    pub(crate) parts: Vec<Part>,
    /// Of each block of the model, the number of parts up to its end; of a round nothing.
    pub(crate) block_ends: Vec<usize>,
}

/// Consecutive steps of a model, or steps of several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Steps of one block that the device runs, or of several of a round: one graph.
    Device(Segment),
    /// Steps that the host runs when all before is done.
    Host(Range<usize>),
}

/// What one graph holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    /// Its steps, by their positions in the plan; of a round, from the first to the last, though some
    /// in between may not be of it.
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
    /// How much sooner than others' its blocks get their turn: 0 as the stream says, at most
    /// [`MOST_URGENT`].
    pub(crate) urgency: u8,
}

/// The urgency of the smallest launches.
pub(crate) const MOST_URGENT: u8 = 5;

/// Threads that fill a large device once.
const LARGE: u64 = 1 << 17;

/// The urgency of a launch beside those of other models: small ones, which hold up others for a short
/// time and leave most of the device to them, go first. One level for each halving.
fn urgency(launch: &Launch) -> u8 {
    let sizes = launch.grid.iter().chain(&launch.block);
    let threads = sizes.fold(1u64, |all, &n| all.saturating_mul(n.into()));
    let halvings = LARGE.ilog2().saturating_sub(threads.max(1).ilog2());
    halvings.min(u32::from(MOST_URGENT)) as u8
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
    let mut block_ends = vec![];
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
        block_ends.push(parts.len());
    }
    Schedule { parts, block_ends }
}

/// How a round runs: graphs of all that the device runs up to where the host has to step in, with a
/// branch for each lane.
pub(crate) fn round_schedule(plan: &ValidPlan, round: &Round, cut: Cut<'_>) -> Schedule {
    let mut parts = vec![];
    let mut blocks: Vec<usize> = vec![];
    for (p, placed) in round.placed.iter().enumerate() {
        let steps = plan.blocks[placed.block.index()].steps();
        if cut.every_step {
            parts.extend(steps.map(|i| match is_on_device(&plan.steps[i]) {
                true => Part::Device(segment(plan, i..i + 1, cut)),
                false => Part::Host(i..i + 1),
            }));
        } else if is_on_device(&plan.steps[steps.start]) {
            blocks.push(p);
        } else {
            if !blocks.is_empty() {
                let before = std::mem::take(&mut blocks);
                parts.push(Part::Device(round_segment(plan, round, &before, cut)));
            }
            parts.push(Part::Host(steps));
        }
    }
    if !blocks.is_empty() {
        parts.push(Part::Device(round_segment(plan, round, &blocks, cut)));
    }
    Schedule {
        parts,
        block_ends: vec![],
    }
}

/// The graph of some blocks of a round, by their positions in it, ascending. What they wait for
/// outside of it is done before it starts.
fn round_segment(plan: &ValidPlan, round: &Round, blocks: &[usize], cut: Cut<'_>) -> Segment {
    let mut growing = Growing::new(plan, cut);
    // For each block of the graph, the last step of each of its lanes, by number in the graph.
    let mut lasts: Vec<Vec<usize>> = vec![];
    let mut of_lane: BTreeMap<u16, usize> = BTreeMap::new();
    let mut hull: Option<Range<usize>> = None;
    for &p in blocks {
        let placed = &round.placed[p];
        let steps = plan.blocks[placed.block.index()].steps();
        hull = Some(match hull {
            None => steps.clone(),
            Some(hull) => hull.start.min(steps.start)..hull.end.max(steps.end),
        });
        let waited = placed
            .after
            .iter()
            .filter_map(|&a| blocks.binary_search(&(a as usize)).ok());
        let waited: Vec<usize> = waited.chain(of_lane.get(&placed.lane).copied()).collect();
        let mut own: BTreeMap<u16, usize> = BTreeMap::new();
        let first = growing.n_steps();
        for i in steps.clone() {
            let step = &plan.steps[i];
            let within = step.waits.iter().filter(|w| steps.contains(&w.index()));
            let mut waits: Vec<usize> = within.map(|w| first + w.index() - steps.start).collect();
            if waits.is_empty() && !own.contains_key(&step.lane) {
                waits.extend(waited.iter().flat_map(|&b| lasts[b].iter().copied()));
            }
            own.insert(step.lane, growing.n_steps());
            growing.push(StepIndex(i as u32), (p, step.lane), waits.into_iter());
        }
        of_lane.insert(placed.lane, lasts.len());
        lasts.push(own.into_values().collect());
    }
    let mut nodes = growing.nodes;
    for node in &mut nodes {
        if let What::Launch(n) = node.what
            && let Some(code) = &plan.steps[node.step.index()].code
        {
            node.urgency = urgency(&plan.codes[code.code.index()].launches[n]);
        }
    }
    Segment {
        steps: hull.unwrap_or(0..0),
        nodes,
    }
}

/// The graph of `steps`. What they wait for outside of it is done before it starts.
fn segment(plan: &ValidPlan, steps: Range<usize>, cut: Cut<'_>) -> Segment {
    let mut growing = Growing::new(plan, cut);
    for i in steps.clone() {
        let step = &plan.steps[i];
        let within = step.waits.iter().filter(|w| steps.contains(&w.index()));
        let waits = within.map(|w| w.index() - steps.start);
        growing.push(StepIndex(i as u32), (0, step.lane), waits);
    }
    Segment {
        steps,
        nodes: growing.nodes,
    }
}

/// A graph that steps are added to.
struct Growing<'a> {
    plan: &'a ValidPlan,
    cut: Cut<'a>,
    nodes: Vec<Node>,
    order: Order,
    /// The nodes that a step ends with, by the step's number in the graph.
    tails: Vec<Vec<usize>>,
}

impl<'a> Growing<'a> {
    fn new(plan: &'a ValidPlan, cut: Cut<'a>) -> Self {
        Self {
            plan,
            cut,
            nodes: vec![],
            order: Order::default(),
            tails: vec![],
        }
    }

    fn n_steps(&self) -> usize {
        self.tails.len()
    }

    /// Adds a step after those before it in its lane and those that it waits for, by number.
    fn push(&mut self, index: StepIndex, lane: LaneKey, waits: impl Iterator<Item = usize>) {
        let Cut {
            timed,
            waits: may_wait,
            ..
        } = self.cut;
        let (plan, tails) = (self.plan, &self.tails);
        let step = &plan.steps[index.index()];
        let before = self.order.push(lane, waits);
        let mut after: Vec<usize> = before.into_iter().flat_map(|p| tails[p].clone()).collect();
        after.sort_unstable();
        after.dedup();
        let nodes = &mut self.nodes;
        let mut push = |what: What, after: &mut Vec<usize>| {
            let waits = |code: &StepCode| !timed && may_wait(code.code);
            let early = step.code.as_ref().is_some_and(waits)
                && may_start_early(plan, step, what, after, nodes);
            nodes.push(Node {
                step: index,
                what,
                after: after.iter().map(|&node| Edge { node, early }).collect(),
                urgency: 0,
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
        self.tails.push(after);
    }
}

/// What tells lanes apart: the block of a round, and the lane in its model.
type LaneKey = (usize, u16);

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
    lanes: BTreeMap<LaneKey, usize>,
    /// The last step of each lane.
    last: Vec<usize>,
    /// The lane of each step, by number, and for each lane one more than the last step of it that
    /// has ended when this one has.
    steps: Vec<(usize, Vec<usize>)>,
}

impl Order {
    /// Adds the next step. Gives the steps that it must wait for; those that another of them has
    /// waited for are left out.
    fn push(&mut self, lane: LaneKey, waits: impl Iterator<Item = usize>) -> Vec<usize> {
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
    use super::{MOST_URGENT, Order, urgency};
    use plans::Launch;

    #[test]
    fn what_another_has_waited_for_is_left_out() {
        let mut order = Order::default();
        assert!(order.push((0, 0), [].into_iter()).is_empty());
        // A second lane that nothing orders.
        assert!(order.push((0, 1), [].into_iter()).is_empty());
        // The lane itself orders it; the wait adds nothing.
        assert_eq!(order.push((0, 0), [0].into_iter()), [0]);
        // Two lanes join.
        assert_eq!(order.push((0, 1), [2].into_iter()), [1, 2]);
        // Step 3 has waited for 1 and 2, and 2 for 0.
        assert_eq!(order.push((0, 2), [0, 1, 2, 3].into_iter()), [3]);
        assert_eq!(order.push((0, 0), [3, 4].into_iter()), [4]);
        // A new lane, shorter clocks of old steps.
        assert_eq!(order.push((0, 7), [0, 1].into_iter()), [0, 1]);
    }

    #[test]
    fn small_launches_are_urgent() {
        let of = |grid: [u32; 3], block: [u32; 3]| {
            let launch = Launch {
                grid,
                block,
                function: String::new(),
                cluster: [1; 3],
                shared_bytes: 0,
                cooperative: false,
                starts_early: false,
            };
            urgency(&launch)
        };
        assert_eq!(of([1024, 1, 1], [128, 1, 1]), 0);
        assert_eq!(of([u32::MAX, u32::MAX >> 16, 1], [1024, 1, 1]), 0);
        assert_eq!(of([511, 2, 1], [128, 1, 1]), 1);
        assert_eq!(of([132, 1, 1], [256, 1, 1]), 2);
        assert_eq!(of([1, 1, 1], [32, 1, 1]), MOST_URGENT);
    }
}
