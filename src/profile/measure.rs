//! Runs of models with the times of their steps and blocks taken.

use super::Identity;
use crate::inputs;
use crate::report::Diagnostic;
use costs::{Database, Key, Times};
use passes::predict::{block_key, step_key, work};
use plans::{BlockIndex, ModelIndex, StepIndex};
use runtime::Session;
use runtime::cuda::Io;
use runtime::timeline::{Span, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often things are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// So many runs, and at least one.
    Runs(usize),
    /// As many as fit into this time; at least 5 and at most 1,000.
    Within(Duration),
}

/// Runs that go before and are not counted.
const WARM_UP: usize = 2;

impl Repeat {
    /// Times runs of `once` until there are enough.
    pub(super) fn times<T>(
        self,
        mut once: impl FnMut() -> Result<T, Diagnostic>,
    ) -> Result<Vec<T>, Diagnostic> {
        for _ in 0..WARM_UP {
            once()?;
        }
        let started = Instant::now();
        let enough = |n: usize| match self {
            Repeat::Runs(runs) => n >= runs.max(1),
            Repeat::Within(time) => n >= 5 && (started.elapsed() > time || n >= 1000),
        };
        let mut runs = vec![];
        while !enough(runs.len()) {
            runs.push(once()?);
        }
        Ok(runs)
    }
}

/// What each step of a model took in `n` runs, by its index; a run's times stand at the same
/// position of each list. The inputs have been set.
///
/// # Errors
///
/// If a run fails.
pub fn step_times(
    session: &mut Session,
    model: ModelIndex,
    n: usize,
) -> Result<BTreeMap<StepIndex, Vec<Duration>>, Diagnostic> {
    let mut times: BTreeMap<StepIndex, Vec<Duration>> = BTreeMap::new();
    for _ in 0..n {
        session.run_observed(model, &mut |step, time| {
            times.entry(step).or_default().push(time);
        })?;
    }
    Ok(times)
}

/// Measures a model's steps and blocks on random inputs and keeps the times in `database`. What it
/// has of the device is not measured, unless `again`. Gives what was measured.
///
/// # Errors
///
/// If a run fails, or the database.
pub fn measure(
    session: &mut Session,
    model: ModelIndex,
    identity: &Identity,
    database: &Database,
    repeat: Repeat,
    again: bool,
) -> Result<BTreeSet<Key>, Diagnostic> {
    let device = database.device(&identity.name, identity.kind, &identity.driver)?;
    let engine = std::sync::Arc::clone(session.engine());
    let plan = engine.plan();
    let range = plan.models[model.index()].steps();
    let keys: Vec<Key> = range
        .clone()
        .map(|i| step_key(plan, &plan.steps[i]))
        .collect();
    let blocks: Vec<(BlockIndex, Key)> = (0..)
        .map(BlockIndex)
        .zip(&plan.blocks)
        .filter(|(_, block)| block.model == model)
        .map(|(index, block)| {
            let own = block.steps();
            let key = block_key(&keys[own.start - range.start..own.end - range.start]);
            (index, key)
        })
        .collect();
    let mut missing_steps = BTreeSet::new();
    for key in &keys {
        if again || database.kernel(device, key)?.is_none() {
            missing_steps.insert(*key);
        }
    }
    let mut missing_blocks = BTreeSet::new();
    for (_, key) in &blocks {
        if again || database.block(device, key)?.is_none() {
            missing_blocks.insert(*key);
        }
    }
    if missing_steps.is_empty() && missing_blocks.is_empty() {
        return Ok(BTreeSet::new());
    }
    let values = inputs::random(&plan.models[model.index()], 1);
    inputs::set(session, model, &values)?;
    let on_host = !session.engine().uses_cuda();
    let mut spans: Vec<Vec<Span>> = vec![];
    if !missing_steps.is_empty() || on_host {
        spans = repeat.times(|| Ok(session.run_spans(model)?))?;
    }
    let mut of_key: BTreeMap<Key, (StepIndex, Vec<Duration>)> = BTreeMap::new();
    for span in spans.iter().flatten() {
        if let Work::Step(step) = span.work {
            let key = keys[step.index() - range.start];
            let (_, times) = of_key.entry(key).or_insert((step, vec![]));
            times.push(span.duration);
        }
    }
    for (key, (step, times)) in &of_key {
        let Some(times) = Times::of(times).filter(|_| missing_steps.contains(key)) else {
            continue;
        };
        let step = &plan.steps[step.index()];
        let work = work(plan, step, identity.arch);
        database.put_kernel(device, key, &step.label, &work, &times)?;
    }
    for (index, key) in &blocks {
        if !missing_blocks.contains(key) {
            continue;
        }
        let block = &plan.blocks[index.index()];
        let runs = match on_host {
            true => spans.iter().map(|run| extent(run, block)).collect(),
            false => block_on_device(session, *index, repeat)?,
        };
        if let Some(times) = Times::of(&runs) {
            let name = &plan.models[model.index()].name;
            let label = format!("{name}, block {}", index.0);
            database.put_block(device, key, &label, &times)?;
        }
    }
    Ok(missing_steps.union(&missing_blocks).copied().collect())
}

/// From the start of a block's first step to the end of its last.
fn extent(run: &[Span], block: &plans::Block) -> Duration {
    let own = run.iter().filter(|span| match span.work {
        Work::Step(step) => block.steps().contains(&step.index()),
        Work::Inputs(_) | Work::Outputs(_) => false,
    });
    let mut extent: Option<(Duration, Duration)> = None;
    for span in own {
        let end = span.start + span.duration;
        extent = Some(match extent {
            None => (span.start, end),
            Some((first, last)) => (first.min(span.start), last.max(end)),
        });
    }
    extent.map_or(Duration::ZERO, |(start, end)| end - start)
}

/// What a block of a GPU's adds to a run. A model of one block is timed by the GPU's clock; of
/// several, what the run up to the end of the block takes longer than that up to its start.
fn block_on_device(
    session: &mut Session,
    block: BlockIndex,
    repeat: Repeat,
) -> Result<Vec<Duration>, Diagnostic> {
    let model = session.plan().blocks[block.index()].model;
    session.upload_inputs(model)?;
    let own = blocks_of(session, model);
    let at = own.iter().position(|&b| b == block).unwrap_or(0);
    if own.len() == 1 {
        return repeat.times(|| Ok(session.run_on_device_timed(model)?));
    }
    if at == 0 {
        // What a call takes beside is in the others' times twice, and here once.
        let whole = repeat.times(|| {
            let all = up_to(session, model, own.len())?;
            let others = all.saturating_sub(up_to(session, model, 1)?);
            let device = session.run_on_device_timed(model)?;
            Ok(device.saturating_sub(others))
        });
        return whole;
    }
    repeat.times(|| {
        let before = up_to(session, model, at)?;
        Ok(up_to(session, model, at + 1)?.saturating_sub(before))
    })
}

/// The blocks of a model, in order.
pub(super) fn blocks_of(session: &Session, model: ModelIndex) -> Vec<BlockIndex> {
    let numbered = (0..).map(BlockIndex).zip(&session.plan().blocks);
    numbered
        .filter(|(_, block)| block.model == model)
        .map(|(index, _)| index)
        .collect()
}

/// What the first `n` blocks of a model take, from the call to their end.
fn up_to(session: &mut Session, model: ModelIndex, n: usize) -> Result<Duration, Diagnostic> {
    let started = Instant::now();
    session.start_blocks(model, 0..n, 0, Io::Device)?;
    session.wait_for_blocks()?;
    Ok(started.elapsed())
}
