//! What steps read and write: a walk through each model's steps in order.

use super::coverage::{Budget, Coverage, Exhausted};
use super::error::{PlanErrorCode as Code, PlanPlace as At, Report};
use super::order::{MAX_LANES, Order};
use super::runs::{Runs, gcd};
use crate::plan::{ArenaIndex, BufferIndex, ModelIndex, Place, Plan, RunSize, Step, StepIndex};
use crate::spec::{ArgSpec, Role};
use std::collections::BTreeMap;
use std::ops::Range;

pub(super) fn check(plan: &Plan, kernels: &[Vec<ArgSpec>], report: &mut Report) {
    let mut budget = Budget::new();
    for model in (0..).map(ModelIndex).take(plan.models.len()) {
        let at = At::Model(model);
        let steps = plan.models[model.index()].steps();
        let Some(order) = Order::new(plan, steps) else {
            report.add(
                Code::TooComplex,
                at,
                format!("its steps use more than {MAX_LANES} lanes"),
            );
            continue;
        };
        let mut walk = Walk {
            plan,
            kernels,
            order,
            arenas: BTreeMap::new(),
            coverage: BTreeMap::new(),
            budget: &mut budget,
            report,
        };
        if let Err(Exhausted) = walk.model(model) {
            report.add(
                Code::TooComplex,
                at,
                "its steps touch memory in patterns that take too long to check",
            );
            return;
        }
    }
}

/// The state of memory in front of a step.
struct Walk<'a> {
    plan: &'a Plan,
    kernels: &'a [Vec<ArgSpec>],
    order: Order,
    /// For each arena, the pieces that have been touched, by where they start.
    arenas: BTreeMap<ArenaIndex, BTreeMap<u64, Piece>>,
    coverage: BTreeMap<BufferIndex, Coverage>,
    budget: &'a mut Budget,
    report: &'a mut Report,
}

/// A piece of an arena.
#[derive(Clone)]
struct Piece {
    end: u64,
    /// The buffer that was written there last.
    owner: Option<BufferIndex>,
    /// What has touched it since the last write to all of it, and that write. Empty if the steps
    /// are in total order anyway.
    accesses: Vec<Access>,
}

#[derive(Clone)]
struct Access {
    step: StepIndex,
    is_write: bool,
    /// What was touched; `None` stands for the whole piece.
    runs: Option<Runs>,
}

/// An argument in a buffer, with offsets in the buffer (`runs`) and in the arena (`placed`), or a
/// workspace.
struct Touch {
    /// The argument's number; none for a workspace.
    arg: Option<usize>,
    role: Role,
    buffer: BufferIndex,
    arena: ArenaIndex,
    runs: Runs,
    placed: Runs,
}

/// Beyond this many accesses to a piece, those of a lane that some step need not come after are taken
/// as one to the whole piece: a plan whose unordered lanes touch more slices that lie in turns is
/// refused, though it may be right.
const MAX_ACCESSES: usize = 2 * MAX_LANES;

impl Touch {
    fn at(&self, step: StepIndex) -> At {
        match self.arg {
            Some(n) => At::Argument(step, n),
            None => At::Workspace(step),
        }
    }
}

impl Walk<'_> {
    fn model(&mut self, model: ModelIndex) -> Result<(), Exhausted> {
        let plan = self.plan;
        let range = plan.models[model.index()].steps();
        let steps = || {
            (range.start as u32..)
                .map(StepIndex)
                .zip(&plan.steps[range.clone()])
        };
        self.prepare(steps())?;
        for port in &plan.models[model.index()].inputs {
            let bytes = plan.buffers[port.buffer.index()].bytes;
            if bytes > 0 {
                let mut whole = Coverage::stretches();
                whole.add(&dense(0..bytes), self.budget)?;
                self.coverage.insert(port.buffer, whole);
            }
        }
        for (i, step) in steps() {
            self.step(i, step)?;
        }
        for (n, port) in plan.models[model.index()].outputs.iter().enumerate() {
            let bytes = plan.buffers[port.buffer.index()].bytes;
            if bytes > 0 && !self.covers(port.buffer, &dense(0..bytes))? {
                let written = self.coverage.contains_key(&port.buffer);
                self.report.add(
                    Code::Unwritten,
                    At::Output(model, n),
                    format!(
                        "{} of `{}` is written by no step",
                        if written { "a part" } else { "nothing" },
                        port.name
                    ),
                );
            }
            if let Some(size) = port.size
                && !self.covers(size.count, &dense(0..RunSize::BYTES))?
            {
                self.report.add(
                    Code::Unwritten,
                    At::Output(model, n),
                    format!("the size of `{}` is written by no step", port.name),
                );
            }
        }
        Ok(())
    }

    /// Chooses how to note what is written to each buffer.
    fn prepare<'s>(
        &mut self,
        steps: impl Iterator<Item = (StepIndex, &'s Step)>,
    ) -> Result<(), Exhausted> {
        let mut writes: BTreeMap<BufferIndex, (bool, u64)> = BTreeMap::new();
        for (_, step) in steps {
            let specs = &self.kernels[step.kernel.index()];
            for (arg, spec) in step.args.iter().zip(specs) {
                let (Place::Buffer(b), Role::Write) = (arg.place, spec.role) else {
                    continue;
                };
                let runs = Runs::new(spec, arg.offset);
                if !runs.is_empty() {
                    let (all_dense, granule) = writes.entry(b).or_insert((true, 0));
                    *all_dense &= runs.is_dense();
                    *granule = gcd(*granule, runs.granule());
                }
            }
        }
        for (b, (all_dense, granule)) in writes {
            let coverage = if all_dense {
                Coverage::stretches()
            } else {
                let bytes = self.plan.buffers[b.index()].bytes;
                Coverage::granules(granule, bytes, self.budget)?
            };
            self.coverage.insert(b, coverage);
        }
        Ok(())
    }

    fn covers(&mut self, buffer: BufferIndex, runs: &Runs) -> Result<bool, Exhausted> {
        match self.coverage.get(&buffer) {
            Some(coverage) => coverage.covers(runs, self.budget),
            None => Ok(false),
        }
    }

    fn step(&mut self, i: StepIndex, step: &Step) -> Result<(), Exhausted> {
        let touch = |arg, role, b: BufferIndex, runs: Runs| {
            let buffer = &self.plan.buffers[b.index()];
            (!runs.is_empty()).then(|| Touch {
                arg,
                role,
                buffer: b,
                arena: buffer.arena,
                placed: runs.at(buffer.offset),
                runs,
            })
        };
        let mut touches: Vec<Touch> = step
            .args
            .iter()
            .zip(&self.kernels[step.kernel.index()])
            .enumerate()
            .filter_map(|(n, (arg, spec))| {
                let Place::Buffer(b) = arg.place else {
                    return None;
                };
                touch(Some(n), spec.role, b, Runs::new(spec, arg.offset))
            })
            .collect();
        if let Some(b) = step.code.as_ref().and_then(|c| c.workspace) {
            let all = dense(0..self.plan.buffers[b.index()].bytes);
            touches.extend(touch(None, Role::Write, b, all));
        }
        for touch in &touches {
            if touch.role != Role::Write {
                self.read(i, touch)?;
            }
            self.budget.spend(touches.len() as u64)?;
            self.against_the_others(i, touch, &touches);
        }
        for touch in &touches {
            if touch.role != Role::Read {
                self.write(i, touch)?;
            }
        }
        Ok(())
    }

    /// Checks that what a step writes is apart from whatever else it touches.
    fn against_the_others(&mut self, i: StepIndex, touch: &Touch, touches: &[Touch]) {
        if touch.role == Role::Read {
            return;
        }
        for other in touches {
            let counted = other.role != Role::Read && other.arg <= touch.arg;
            if !counted
                && other.arg != touch.arg
                && other.arena == touch.arena
                && !touch.placed.is_disjoint(&other.placed)
            {
                self.report.add(
                    Code::Overlap,
                    touch.at(i),
                    match other.arg {
                        Some(n) => format!("it is written, and shares bytes with argument {n}"),
                        None => "it is written, and shares bytes with the workspace".to_owned(),
                    },
                );
            }
        }
    }

    fn read(&mut self, i: StepIndex, touch: &Touch) -> Result<(), Exhausted> {
        if !self.covers(touch.buffer, &touch.runs)? {
            let overwriter = self.overwriter(touch)?;
            let name = &self.plan.buffers[touch.buffer.index()].name;
            let at = touch.at(i);
            let b = touch.buffer.0;
            match overwriter {
                Some(other) => self.report.add(
                    Code::Overwritten,
                    at,
                    format!(
                        "it reads buffer {b} (`{name}`) after buffer {} was written over it",
                        other.0
                    ),
                ),
                None => self.report.add(
                    Code::Unwritten,
                    at,
                    format!("it reads bytes of buffer {b} (`{name}`) that no earlier step wrote"),
                ),
            }
        }
        if self.order.is_total() {
            return Ok(());
        }
        self.conflicts(i, touch)?;
        let pieces = self.arenas.entry(touch.arena).or_default();
        let hull = touch.placed.hull();
        split(pieces, &hull);
        fill_gaps(pieces, &hull);
        for (_, piece) in pieces.range_mut(hull) {
            self.budget.spend(1 + piece.accesses.len() as u64)?;
            let order = &self.order;
            let lane = order.lane(i);
            // A later read of the same in the same lane stands for the earlier one.
            let earlier = piece.accesses.iter_mut().find(|a| {
                !a.is_write && order.lane(a.step) == lane && a.runs.as_ref() == Some(&touch.placed)
            });
            match earlier {
                Some(access) => access.step = i,
                None => piece.add(
                    Access {
                        step: i,
                        is_write: false,
                        runs: Some(touch.placed.clone()),
                    },
                    order,
                ),
            }
        }
        Ok(())
    }

    /// Another buffer that was written last to some of what `touch` touches.
    fn overwriter(&mut self, touch: &Touch) -> Result<Option<BufferIndex>, Exhausted> {
        let Some(pieces) = self.arenas.get(&touch.arena) else {
            return Ok(None);
        };
        let hull = touch.placed.hull();
        for (_, piece) in pieces.range(..hull.end).rev() {
            self.budget.spend(1)?;
            if piece.end <= hull.start {
                break;
            }
            if piece.owner.is_some_and(|owner| owner != touch.buffer) {
                return Ok(piece.owner);
            }
        }
        Ok(None)
    }

    fn write(&mut self, i: StepIndex, touch: &Touch) -> Result<(), Exhausted> {
        if !self.order.is_total() {
            self.conflicts(i, touch)?;
        }
        let plan = self.plan;
        let pieces = self.arenas.entry(touch.arena).or_default();
        let hull = touch.placed.hull();
        split(pieces, &hull);
        for (&start, piece) in pieces.range(hull.clone()) {
            self.budget.spend(1)?;
            let Some(owner) = piece.owner.filter(|&owner| owner != touch.buffer) else {
                continue;
            };
            let offset = plan.buffers[owner.index()].offset;
            if let Some(coverage) = self.coverage.get_mut(&owner) {
                coverage.remove(start - offset..piece.end - offset, self.budget)?;
            }
        }
        let access = Access {
            step: i,
            is_write: true,
            runs: Some(touch.placed.clone()),
        };
        let is_total = self.order.is_total();
        if touch.placed.is_dense() || is_total {
            let covered: Vec<u64> = pieces.range(hull.clone()).map(|(&s, _)| s).collect();
            for start in covered {
                pieces.remove(&start);
            }
            pieces.insert(
                hull.start,
                Piece {
                    end: hull.end,
                    owner: Some(touch.buffer),
                    accesses: if is_total { vec![] } else { vec![access] },
                },
            );
        } else {
            fill_gaps(pieces, &hull);
            for (_, piece) in pieces.range_mut(hull) {
                self.budget.spend(1 + piece.accesses.len() as u64)?;
                piece.owner = Some(touch.buffer);
                piece.add(access.clone(), &self.order);
            }
        }
        let Some(coverage) = self.coverage.get_mut(&touch.buffer) else {
            return Ok(());
        };
        match (touch.arg, touch.role) {
            // What code leaves in its workspace is nobody else's.
            (None, _) => coverage.remove(touch.runs.hull(), self.budget),
            (Some(_), Role::Write) => coverage.add(&touch.runs, self.budget),
            (Some(_), _) => Ok(()),
        }
    }

    /// Reports every step that touches the same bytes, is not ordered before step `i`, and writes
    /// them, or touches them while `i` writes.
    fn conflicts(&mut self, i: StepIndex, touch: &Touch) -> Result<(), Exhausted> {
        let Some(pieces) = self.arenas.get(&touch.arena) else {
            return Ok(());
        };
        let hull = touch.placed.hull();
        let mut found: Vec<StepIndex> = vec![];
        for (_, piece) in pieces.range(..hull.end).rev() {
            if piece.end <= hull.start {
                break;
            }
            self.budget.spend(1 + piece.accesses.len() as u64)?;
            for access in &piece.accesses {
                let matters = access.is_write || touch.role != Role::Read;
                if matters
                    && access.step != i
                    && !self.order.precedes(access.step, i)
                    && !access
                        .runs
                        .as_ref()
                        .is_some_and(|runs| runs.is_disjoint(&touch.placed))
                    && !found.contains(&access.step)
                {
                    found.push(access.step);
                }
            }
        }
        for other in found {
            self.report.add(
                Code::Conflict,
                touch.at(i),
                format!(
                    "nothing orders it and step {}, which uses the same bytes of arena {}",
                    other.0, touch.arena.0
                ),
            );
        }
        Ok(())
    }
}

fn dense(range: Range<u64>) -> Runs {
    Runs {
        start: range.start,
        len: range.end - range.start,
        repeats: vec![],
    }
}

/// Cuts pieces at both ends of `range`.
fn split(pieces: &mut BTreeMap<u64, Piece>, range: &Range<u64>) {
    for at in [range.start, range.end] {
        if let Some((_, piece)) = pieces.range_mut(..at).next_back()
            && piece.end > at
        {
            let rest = piece.clone();
            piece.end = at;
            pieces.insert(at, rest);
        }
    }
}

/// Makes pieces of what none covers in `range`, whose ends are ends of pieces already.
fn fill_gaps(pieces: &mut BTreeMap<u64, Piece>, range: &Range<u64>) {
    let mut gaps = vec![];
    let mut at = range.start;
    for (&start, piece) in pieces.range(range.clone()) {
        if start > at {
            gaps.push(at..start);
        }
        at = piece.end;
    }
    if at < range.end {
        gaps.push(at..range.end);
    }
    for gap in gaps {
        pieces.insert(
            gap.start,
            Piece {
                end: gap.end,
                owner: None,
                accesses: vec![],
            },
        );
    }
}

impl Piece {
    /// Notes an access. When there are many, those go that all later steps come after anyway; of too
    /// many others the last read and the last write of each lane stay, as accesses to the whole piece.
    fn add(&mut self, access: Access, order: &Order) {
        let now = access.step;
        self.accesses.push(access);
        if self.accesses.len() <= MAX_ACCESSES {
            return;
        }
        self.accesses.retain(|a| order.may_meet(a.step, now));
        if self.accesses.len() <= MAX_ACCESSES / 2 {
            return;
        }
        let mut last: BTreeMap<(bool, usize), StepIndex> = BTreeMap::new();
        for access in &self.accesses {
            let step = last
                .entry((access.is_write, order.lane(access.step)))
                .or_insert(access.step);
            *step = access.step.max(*step);
        }
        self.accesses = last
            .into_iter()
            .map(|((is_write, _), step)| Access {
                step,
                is_write,
                runs: None,
            })
            .collect();
    }
}
