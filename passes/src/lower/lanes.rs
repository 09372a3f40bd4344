//! Branches of a model that a GPU runs at once: a lane for each step, and what it waits for.
//!
//! Small kernels leave most of a GPU idle, and take as long as their latency lasts; several at once
//! take little longer than one. A step that waits for steps of other lanes starts later, though. So
//! steps are spread over lanes where the time that this is expected to save is more than it costs, and
//! stay in one lane everywhere else.

use super::estimate::{Estimate, estimate};
use super::order::{Clocks, dependencies};
use super::steps::ModelDraft;
use costs::Predict;
use kernels::cuda::{Generated, Target};
use plans::Device;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

/// Lanes that a model gets at most if nobody asks for another number: with more branches, an H200
/// starts kernels later than they could.
pub const DEFAULT_LANES: u16 = 8;

/// The most lanes that may be asked for.
pub const MAX_LANES: u16 = plans::validate::MAX_LANES as u16;

/// Nanoseconds that a step starts later because it waits for one step of another lane, on an H200.
const FORK: f64 = 300.0;
/// The same if it waits for several steps.
const JOIN: f64 = 1000.0;
/// What steps that run at once may keep busy together, so that one that has all of a GPU runs alone.
const FULL: f64 = 1.25;
/// Steps that are looked at for one that fits beside those that run.
const MAX_TRIED: usize = 16;
/// What lanes must be expected to save: nanoseconds, and a share of the time in one lane.
const MIN_SAVED: f64 = 1500.0;
const MIN_SHARE: f64 = 0.03;

/// Lanes for the branches of models on a GPU.
#[derive(Clone, Copy, Debug)]
pub struct Lanes<'a> {
    /// The most that a model gets; with one, its steps run one after the other.
    pub most: u16,
    /// Predicts what its steps take.
    pub predict: &'a dyn Predict,
}

/// What is expected of the lanes of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Branches {
    /// The number of lanes.
    pub lanes: u16,
    /// Nanoseconds that the steps on the GPU take one after the other, as they were estimated to
    /// tell which to run at once.
    pub in_line_ns: u64,
    /// Nanoseconds that they take in their lanes.
    pub spread_ns: u64,
}

/// Gives the steps of `draft` lanes and what they wait for; where there are several lanes, steps come
/// in the order in which they are expected to start.
pub(super) fn assign(
    draft: &mut ModelDraft,
    codes: &[Generated],
    target: &Target,
    lanes: Lanes<'_>,
) -> Branches {
    let most = usize::from(lanes.most.min(MAX_LANES));
    let (mut in_line, mut saved) = (0.0, 0.0);
    // For each step of the new order: the step, its lane, and what comes before it.
    let mut new: Vec<(usize, usize)> = vec![];
    let mut after: Vec<Vec<usize>> = vec![vec![]; draft.steps.len()];
    let mut start = 0;
    let runs = draft.steps.chunk_by(|a, b| a.device == b.device);
    for run in runs.map(<[_]>::len).collect::<Vec<_>>() {
        let range = start..start + run;
        start += run;
        if draft.steps[range.start].device == Device::Cpu {
            new.extend(range.map(|i| (i, 0)));
            continue;
        }
        let graph = Graph::new(draft, codes, target, lanes.predict, range.clone());
        in_line += graph.estimates.iter().map(|e| e.ns).sum::<f64>();
        for piece in graph.pieces() {
            match graph.spread(piece.clone(), most) {
                Some((spread, gain)) => {
                    new.extend(spread.iter().map(|&(i, lane)| (range.start + i, lane)));
                    saved += gain;
                }
                None => new.extend(piece.map(|i| (range.start + i, 0))),
            }
        }
        for (i, before) in graph.after.into_iter().enumerate() {
            after[range.start + i] = before.into_iter().map(|b| range.start + b).collect();
        }
    }
    let n_lanes = new.iter().map(|n| n.1 + 1).max().unwrap_or(1);
    if n_lanes > 1 {
        apply(draft, &new, &after, n_lanes);
    }
    Branches {
        lanes: n_lanes as u16,
        in_line_ns: in_line as u64,
        spread_ns: (in_line - saved) as u64,
    }
}

/// Puts the steps in their new order and lanes, waiting for those `after` which they come.
fn apply(draft: &mut ModelDraft, new: &[(usize, usize)], after: &[Vec<usize>], n_lanes: usize) {
    let mut place = vec![0; new.len()];
    for (at, &(old, _)) in new.iter().enumerate() {
        place[old] = at;
    }
    let mut clocks = Clocks::new(n_lanes);
    let mut old_steps: Vec<_> = draft.steps.drain(..).map(Some).collect();
    // The last step on the host: whatever comes later follows it.
    let mut host = None;
    for (at, &(old, lane)) in new.iter().enumerate() {
        let Some(mut step) = old_steps[old].take() else {
            continue;
        };
        let before: Vec<usize> = if step.device == Device::Cpu {
            clocks.last().collect()
        } else {
            let own = after[old].iter().map(|&b| place[b]);
            own.chain(host).collect()
        };
        if step.device == Device::Cpu {
            host = Some(at);
        }
        let waits = clocks.push(lane, &before);
        step.lane = lane as u16;
        // The lane itself orders its steps.
        step.waits = waits
            .into_iter()
            .filter(|&w| clocks.lane(w) != lane)
            .collect();
        draft.steps.push(step);
    }
}

/// Consecutive steps on a GPU.
struct Graph {
    estimates: Vec<Estimate>,
    /// For each step, what must have finished before it.
    after: Vec<Vec<usize>>,
    /// For each step, what comes after it.
    then: Vec<Vec<usize>>,
}

impl Graph {
    fn new(
        draft: &ModelDraft,
        codes: &[Generated],
        target: &Target,
        predict: &dyn Predict,
        range: Range<usize>,
    ) -> Self {
        let steps = &draft.steps[range.clone()];
        let code = |i: usize| steps[i].code.map(|c| &codes[c]);
        let estimates = (0..steps.len())
            .map(|i| estimate(draft, &steps[i], code(i), target, predict))
            .collect();
        let mut after = dependencies(draft, range);
        // Two launches whose blocks all wait for each other could each have room for a part only.
        let cooperative =
            |i: &usize| code(*i).is_some_and(|c| c.launches.iter().any(|l| l.cooperative));
        let all: Vec<usize> = (0..steps.len()).filter(cooperative).collect();
        for pair in all.windows(2) {
            after[pair[1]].push(pair[0]);
        }
        Self::of(estimates, after)
    }

    fn of(estimates: Vec<Estimate>, after: Vec<Vec<usize>>) -> Self {
        let mut then = vec![vec![]; after.len()];
        for (i, before) in after.iter().enumerate() {
            for &b in before {
                then[b].push(i);
            }
        }
        Self {
            estimates,
            after,
            then,
        }
    }

    /// Cuts the steps where one comes after all before it and before all after it: such a step is a
    /// piece by itself, and so are those between two of them.
    fn pieces(&self) -> Vec<Range<usize>> {
        let n = self.after.len();
        // Whether all steps before one lead to it: it alone of those so far leads to no other.
        let only = |order: &mut dyn Iterator<Item = usize>, edges: &[Vec<usize>]| {
            let mut is_end = vec![false; n];
            let mut n_ends = 0;
            let mut only = vec![false; n];
            for i in order {
                for &b in &edges[i] {
                    n_ends -= usize::from(is_end[b]);
                    is_end[b] = false;
                }
                is_end[i] = true;
                n_ends += 1;
                only[i] = n_ends == 1;
            }
            only
        };
        let last = only(&mut (0..n), &self.after);
        let first = only(&mut (0..n).rev(), &self.then);
        let mut pieces = vec![];
        let mut start = 0;
        for i in (0..n).filter(|&i| last[i] && first[i]) {
            if start < i {
                pieces.push(start..i);
            }
            pieces.push(i..i + 1);
            start = i + 1;
        }
        if start < n {
            pieces.push(start..n);
        }
        pieces
    }

    /// The steps of a piece in the order of their starts, with their lanes, and the nanoseconds that
    /// this saves; `None` if one lane is as good.
    fn spread(&self, piece: Range<usize>, most: usize) -> Option<(Vec<(usize, usize)>, f64)> {
        if piece.len() < 2 || most < 2 {
            return None;
        }
        let alone: f64 = self.estimates[piece.clone()].iter().map(|e| e.ns).sum();
        let (order, end) = Simulation::new(self, piece, most).run();
        let saved = alone - end - JOIN;
        (saved > MIN_SAVED.max(MIN_SHARE * alone)).then_some((order, saved))
    }
}

/// List scheduling by the longest way to the end (Graham, "Bounds on multiprocessing timing
/// anomalies", 1969; Hu, "Parallel sequencing and assembly line problems", 1961), with lanes instead
/// of machines, whose steps slow each other down when they want more than there is.
struct Simulation<'a> {
    graph: &'a Graph,
    piece: Range<usize>,
    /// Nanoseconds from each step's start to the end of what comes after it.
    rest: Vec<f64>,
    /// How many steps each one still waits for.
    missing: Vec<usize>,
    /// Steps that may start, the longest rest first.
    ready: BTreeSet<(Reverse<u64>, usize)>,
    running: Vec<Running>,
    lanes: Vec<Lane>,
    /// What has started, and where.
    order: Vec<(usize, usize)>,
    started: Vec<Started>,
    now: f64,
}

/// What is known of a step that has started.
#[derive(Clone, Default)]
struct Started {
    /// Its place in the order of starts.
    at: usize,
    lane: usize,
    /// Its number in its lane, from 1.
    number: usize,
    /// How many steps of each lane had finished then.
    clock: Vec<usize>,
}

struct Running {
    step: usize,
    lane: usize,
    /// Nanoseconds that it takes from now on, if it is not slowed down.
    left: f64,
    share: f64,
}

#[derive(Clone, Default)]
struct Lane {
    is_busy: bool,
    last: Option<usize>,
    n_steps: usize,
}

impl<'a> Simulation<'a> {
    fn new(graph: &'a Graph, piece: Range<usize>, most: usize) -> Self {
        let inside = |steps: &[usize]| -> Vec<usize> {
            steps
                .iter()
                .copied()
                .filter(|s| piece.contains(s))
                .collect()
        };
        let mut rest = vec![0f64; piece.len()];
        for i in piece.clone().rev() {
            let then = inside(&graph.then[i]).into_iter();
            let longest = then.map(|t| rest[t - piece.start]).fold(0.0, f64::max);
            rest[i - piece.start] = graph.estimates[i].ns + longest;
        }
        let missing: Vec<usize> = piece
            .clone()
            .map(|i| inside(&graph.after[i]).len())
            .collect();
        let mut simulation = Self {
            graph,
            rest,
            missing,
            ready: BTreeSet::new(),
            running: vec![],
            lanes: vec![Lane::default(); most],
            order: vec![],
            started: vec![Started::default(); piece.len()],
            now: 0.0,
            piece,
        };
        for i in simulation.piece.clone() {
            if simulation.missing[i - simulation.piece.start] == 0 {
                simulation.is_ready(i);
            }
        }
        simulation
    }

    fn is_ready(&mut self, step: usize) {
        let rest = self.rest[step - self.piece.start];
        self.ready.insert((Reverse(rest as u64), step));
    }

    /// What has started, in order, with its lane; and when the last step ends.
    fn run(mut self) -> (Vec<(usize, usize)>, f64) {
        while self.order.len() < self.piece.len() {
            while self.start_one() {}
            self.advance();
        }
        while !self.running.is_empty() {
            self.advance();
        }
        (self.order, self.now)
    }

    /// Starts the most urgent step that fits; whether there is one.
    fn start_one(&mut self) -> bool {
        if self.running.len() == self.lanes.len() {
            return false;
        }
        let busy: f64 = self.running.iter().map(|r| r.share).sum();
        let fits = |step: usize| {
            self.running.is_empty() || busy + self.graph.estimates[step].share <= FULL
        };
        let mut first = self.ready.iter().take(MAX_TRIED);
        let Some(&key) = first.find(|(_, step)| fits(*step)) else {
            return false;
        };
        self.ready.remove(&key);
        self.start(key.1);
        true
    }

    fn start(&mut self, step: usize) {
        let after = self.graph.after[step].iter().copied();
        let mut before: Vec<usize> = after.filter(|b| self.piece.contains(b)).collect();
        before.sort_unstable_by_key(|&b| Reverse(self.started(b).at));
        // How many steps of each lane those before imply.
        let mut clock = vec![0; self.lanes.len()];
        for &b in &before {
            self.merge(&mut clock, b);
        }
        // Best is the lane of a step that this one waits for anyway, of several the last one; then a
        // lane whose last step this one comes after; any other makes it wait for what it need not.
        let lane = (0..self.lanes.len())
            .filter(|&l| !self.lanes[l].is_busy)
            .min_by_key(|&l| match self.lanes[l].last {
                Some(last) if before.contains(&last) => (0, Reverse(self.started(last).at), l),
                Some(_) if clock[l] < self.lanes[l].n_steps => (2, Reverse(0), l),
                _ => (1, Reverse(0), l),
            })
            .unwrap_or(0);
        let mut clock = vec![0; self.lanes.len()];
        if let Some(last) = self.lanes[lane].last {
            self.merge(&mut clock, last);
        }
        let mut n_waits = 0;
        for &b in &before {
            let earlier = self.started(b);
            if clock[earlier.lane] < earlier.number {
                self.merge(&mut clock, b);
                n_waits += 1;
            }
        }
        // What comes before the piece is in lane 0.
        let follows = self.lanes[lane].last.is_some() || lane == 0;
        let late = match n_waits + usize::from(follows) {
            1 if follows => 0.0,
            0 | 1 => FORK,
            _ => JOIN,
        };
        let place = &mut self.lanes[lane];
        place.is_busy = true;
        place.last = Some(step);
        place.n_steps += 1;
        self.started[step - self.piece.start] = Started {
            at: self.order.len(),
            lane,
            number: place.n_steps,
            clock,
        };
        let Estimate { ns, share } = self.graph.estimates[step];
        self.running.push(Running {
            step,
            lane,
            left: ns + late,
            share,
        });
        self.order.push((step, lane));
    }

    fn started(&self, step: usize) -> &Started {
        &self.started[step - self.piece.start]
    }

    /// Adds what has finished when `step` has.
    fn merge(&self, clock: &mut [usize], step: usize) {
        let Started {
            lane,
            number,
            clock: own,
            ..
        } = self.started(step);
        for (a, b) in clock.iter_mut().zip(own) {
            *a = (*a).max(*b);
        }
        clock[*lane] = clock[*lane].max(*number);
    }

    /// Goes on to when the next step ends.
    fn advance(&mut self) {
        let busy: f64 = self.running.iter().map(|r| r.share).sum();
        let slow = busy.max(1.0);
        let least = self
            .running
            .iter()
            .map(|r| r.left)
            .fold(f64::INFINITY, f64::min);
        if !least.is_finite() {
            return;
        }
        self.now += least * slow;
        let (done, running) = std::mem::take(&mut self.running)
            .into_iter()
            .map(|r| Running {
                left: r.left - least,
                ..r
            })
            .partition::<Vec<_>, _>(|r| r.left <= 0.0);
        self.running = running;
        for Running { step, lane, .. } in done {
            self.lanes[lane].is_busy = false;
            for &t in &self.graph.then[step] {
                if self.piece.contains(&t) {
                    let missing = &mut self.missing[t - self.piece.start];
                    *missing -= 1;
                    if *missing == 0 {
                        self.is_ready(t);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::{LowerOptions, lower};
    use costs::Work;

    /// Steps that take so many microseconds and keep busy such a share, after others.
    fn graph(steps: &[(f64, f64, &[usize])]) -> Graph {
        let estimates = steps
            .iter()
            .map(|&(us, share, _)| Estimate {
                ns: us * 1000.0,
                share,
            })
            .collect();
        Graph::of(estimates, steps.iter().map(|s| s.2.to_vec()).collect())
    }

    /// Four branches between two steps.
    const BRANCHES: [(f64, f64, &[usize]); 8] = [
        (5.0, 1.0, &[]),
        (6.0, 0.3, &[0]),
        (6.0, 0.3, &[0]),
        (12.0, 0.6, &[2]),
        (6.0, 0.2, &[0]),
        (6.0, 0.2, &[4]),
        (4.0, 0.2, &[0]),
        (5.0, 1.0, &[1, 3, 5, 6]),
    ];

    #[test]
    fn pieces_end_where_all_comes_together() {
        let found = graph(&BRANCHES).pieces();
        assert_eq!(found, [0..1, 1..7, 7..8]);
        // Two inputs, and two results.
        let open = graph(&[
            (1.0, 0.1, &[]),
            (1.0, 0.1, &[]),
            (1.0, 0.1, &[0, 1]),
            (1.0, 0.1, &[2]),
            (1.0, 0.1, &[2]),
        ]);
        assert_eq!(open.pieces(), [0..2, 2..3, 3..5]);
    }

    #[test]
    fn branches_run_at_once_and_the_longest_first() {
        let (spread, saved) = graph(&BRANCHES).spread(1..7, 8).unwrap();
        // The longest way takes 18 of 40 us, and some waits come to that.
        assert!((15_000.0..22_000.0).contains(&saved), "{saved}");
        let starts: Vec<usize> = spread.iter().map(|s| s.0).collect();
        assert_eq!(starts[..2], [2, 4], "{spread:?}");
        let lane = |step: usize| spread.iter().find(|s| s.0 == step).unwrap().1;
        // The way that takes longest stays where the step before is, and each branch in its lane.
        assert_eq!((lane(2), lane(3)), (0, 0));
        assert_eq!(lane(4), lane(5));
        assert!(lane(1) != 0 && lane(4) != 0, "{spread:?}");
        // With two lanes there are no more than two.
        let (two, _) = graph(&BRANCHES).spread(1..7, 2).unwrap();
        assert!(two.iter().all(|s| s.1 < 2));
    }

    #[test]
    fn large_steps_stay_in_line() {
        let large = BRANCHES.map(|(us, _, after)| (us, 1.0, after));
        assert_eq!(graph(&large).spread(1..7, 8), None);
        // Nor is it worth it for the smallest ones.
        let small = BRANCHES.map(|(us, share, after)| (us / 10.0, share, after));
        assert_eq!(graph(&small).spread(1..7, 8), None);
        // A chain has nothing to gain.
        let chain = graph(&[(9.0, 0.1, &[]), (9.0, 0.1, &[0]), (9.0, 0.1, &[1])]);
        assert_eq!(chain.pieces(), [0..1, 1..2, 2..3]);
    }

    /// Says the same of all kernels.
    #[derive(Debug)]
    struct Same {
        ns: f64,
        compute: f64,
        room: f64,
    }

    impl Predict for Same {
        fn alone(&self, _: &Work) -> costs::Estimate {
            costs::Estimate {
                ns: 2.0 * self.ns,
                std_ns: 0.0,
                source: costs::Source::Predicted,
            }
        }

        fn in_chain(&self, _: &Work, alone: costs::Estimate) -> costs::Estimate {
            costs::Estimate {
                ns: alone.ns / 2.0,
                ..alone
            }
        }

        fn demand(&self, _: &Work) -> costs::Demand {
            costs::Demand {
                compute: self.compute,
                memory: 0.0,
            }
        }

        fn room(&self, _: &Work) -> f64 {
            self.room
        }

        fn together(&self, _: &costs::Demand, _: &costs::Demand) -> [f64; 2] {
            [1.0; 2]
        }
    }

    #[test]
    fn lanes_are_as_predictions_say() {
        let text = "
weight w: f32[64, 64] = random 1
weight v: f32[64, 64] = random 2
model m {
  input %x: f32[64, 64]
  input %y: f32[64, 64]
  %1 = MatMul(%x, w) @\"left\"
  %2 = Softmax(%1) {axis = 1} @\"left\"
  %3 = MatMul(%y, v) @\"right\"
  %4 = Softmax(%3) {axis = 1} @\"right\"
  output \"left\" = %2
  output \"right\" = %4
}";
        let mut program = ir::text::parse(text).unwrap();
        let mut cx = crate::PassCx::new(crate::Options::default());
        for &(phase, _) in crate::PIPELINE {
            crate::manager::run(phase, &mut program, &mut cx).unwrap();
        }
        let lanes = |ns, compute, room| {
            let options = LowerOptions {
                gpu: Some(Target::of_arch(90).unwrap()),
                hashes: vec![[0; 32]],
                lanes: Some(Lanes {
                    most: 8,
                    predict: &Same { ns, compute, room },
                }),
                ..LowerOptions::default()
            };
            lower(&program, &options).unwrap().branches[0]
        };
        let found = lanes(10_000.0, 0.3, 0.2);
        assert_eq!((found.lanes, found.in_line_ns), (2, 40_000));
        // Half of it, what starting and joining takes aside.
        assert!((20_000..23_000).contains(&found.spread_ns), "{found:?}");
        // What takes all of a GPU, or no time, stays in line.
        for (ns, compute, room) in [(1e4, 1.0, 0.2), (1e4, 0.3, 1.0), (500.0, 0.3, 0.2)] {
            let found = lanes(ns, compute, room);
            assert_eq!((found.lanes, found.spread_ns), (1, found.in_line_ns));
        }
    }

    #[test]
    fn many_steps_take_little_time() {
        // A thousand steps a layer, each after two of the layer before.
        let after: Vec<Vec<usize>> = (0..20_000usize)
            .map(|i| match i.checked_sub(1000) {
                Some(before) => vec![before, before / 1000 * 1000 + (before + 7) % 1000],
                None => vec![],
            })
            .collect();
        let estimate = Estimate {
            ns: 5000.0,
            share: 0.1,
        };
        let graph = Graph::of(vec![estimate; after.len()], after);
        let (spread, _) = graph.spread(0..20_000, 8).unwrap();
        assert_eq!(spread.len(), 20_000);
        assert!(spread.iter().all(|s| s.1 < 8));
    }
}
