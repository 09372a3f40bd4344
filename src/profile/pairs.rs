//! Blocks of different models side by side.

use super::measure::blocks_of;
use super::{Identity, Repeat};
use crate::inputs;
use crate::report::Diagnostic;
use costs::{Database, Key};
use passes::predict::{block_key, step_key};
use plans::{BlockIndex, ModelIndex, ValidPlan};
use runtime::cuda::Io;
use runtime::{Engine, Session, SessionOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A block of a model of a plan that is ready to run.
#[derive(Clone, Debug)]
pub struct Runnable {
    /// The plan.
    pub engine: Arc<Engine>,
    /// The model.
    pub model: ModelIndex,
    /// Which of the model's blocks it is.
    pub at: usize,
    /// Its index in the plan.
    pub block: BlockIndex,
}

/// Two blocks, and how many times as long each took beside the other.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The blocks.
    pub blocks: [Runnable; 2],
    /// How many times as long each took.
    pub slowdown: [f64; 2],
    /// Whether that was measured now, and not found in the database.
    pub is_new: bool,
}

impl Runnable {
    /// All blocks of all models of a plan.
    pub fn all(engine: &Arc<Engine>) -> Vec<Self> {
        let plan = engine.plan();
        let mut all = vec![];
        for model in (0..plan.models.len() as u32).map(ModelIndex) {
            let own = (0..).map(BlockIndex).zip(&plan.blocks);
            let own = own.filter(|(_, b)| b.model == model);
            all.extend(own.enumerate().map(|(at, (block, _))| Self {
                engine: Arc::clone(engine),
                model,
                at,
                block,
            }));
        }
        all
    }

    /// The plan.
    pub fn plan(&self) -> &ValidPlan {
        self.engine.plan()
    }

    /// What its measurements are kept under.
    pub fn key(&self) -> Key {
        let plan = self.plan();
        let steps = &plan.steps[plan.blocks[self.block.index()].steps()];
        let keys: Vec<Key> = steps.iter().map(|s| step_key(plan, s)).collect();
        block_key(&keys)
    }

    /// Its model's name and its number among the model's blocks.
    pub fn name(&self) -> String {
        let model = &self.plan().models[self.model.index()].name;
        format!("{model}[{}]", self.at)
    }

    fn is_of_same_model(&self, other: &Runnable) -> bool {
        Arc::ptr_eq(&self.engine, &other.engine) && self.model == other.model
    }
}

/// Measures all pairs of blocks of different models and keeps them in `database`. What it has is not
/// measured, unless `again`. `watch` is told how many of how many are done.
///
/// # Errors
///
/// If a run fails, or the database.
pub fn measure(
    blocks: &[Runnable],
    identity: &Identity,
    database: &Database,
    repeat: Repeat,
    again: bool,
    watch: &dyn Fn(usize, usize),
) -> Result<Vec<Pair>, Diagnostic> {
    let device = database.device(&identity.name, identity.kind, &identity.driver)?;
    let mut pairs = vec![];
    for (i, a) in blocks.iter().enumerate() {
        let others = blocks[i + 1..].iter().filter(|b| !a.is_of_same_model(b));
        pairs.extend(others.map(|b| [a.clone(), b.clone()]));
    }
    let n = pairs.len();
    let mut done = vec![];
    for (i, blocks) in pairs.into_iter().enumerate() {
        watch(i, n);
        let keys = [blocks[0].key(), blocks[1].key()];
        let keys = [&keys[0], &keys[1]];
        let known = match again {
            true => None,
            false => database.pair(device, keys)?,
        };
        let slowdown = match known {
            Some(slowdown) => slowdown,
            None => {
                let runs = side_by_side([&blocks[0], &blocks[1]], repeat)?;
                let slowdown = [0, 1].map(|side| median(runs.iter().map(|r| r[side])));
                database.put_pair(device, keys, slowdown, runs.len() as u64)?;
                slowdown
            }
        };
        done.push(Pair {
            blocks,
            slowdown,
            is_new: known.is_none(),
        });
    }
    Ok(done)
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(1.0)
}

/// A session in which a block can be run again and again.
struct Runner {
    session: Session,
    model: ModelIndex,
    at: usize,
}

impl Runner {
    fn new(block: &Runnable) -> Result<Self, Diagnostic> {
        let model = block.model;
        let options = SessionOptions {
            models: vec![model],
            ..SessionOptions::default()
        };
        let mut session = block.engine.session_with(&options)?;
        let values = inputs::random(&block.plan().models[model.index()], 1);
        inputs::set(&mut session, model, &values)?;
        session.upload_inputs(model)?;
        debug_assert_eq!(blocks_of(&session, model)[block.at], block.block);
        Ok(Self {
            session,
            model,
            at: block.at,
        })
    }

    /// Runs what comes before the block, waits for `ready`, and times the block.
    fn once(&mut self, ready: impl FnOnce()) -> Result<Duration, Diagnostic> {
        if self.at > 0 {
            self.start(0..self.at)?;
        }
        ready();
        let started = Instant::now();
        self.start(self.at..self.at + 1)?;
        Ok(started.elapsed())
    }

    fn start(&mut self, blocks: std::ops::Range<usize>) -> Result<(), Diagnostic> {
        self.session
            .start_blocks(self.model, blocks, 0, Io::Device)?;
        self.session.wait_for_blocks()?;
        Ok(())
    }
}

/// How many times as long each of two blocks takes beside the other, run by run.
fn side_by_side(blocks: [&Runnable; 2], repeat: Repeat) -> Result<Vec<[f64; 2]>, Diagnostic> {
    let mut runners = [Runner::new(blocks[0])?, Runner::new(blocks[1])?];
    let mut alone = [0.0; 2];
    for (runner, alone) in runners.iter_mut().zip(&mut alone) {
        let runs = repeat.times(|| runner.once(|| ()))?;
        *alone = median(runs.iter().map(Duration::as_secs_f64));
    }
    let [mut first, mut second] = runners;
    repeat.times(|| {
        let arrived = AtomicUsize::new(0);
        // Both begin as close together as can be: nobody sleeps.
        let meet = || {
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < 2 {
                std::hint::spin_loop();
            }
        };
        let [a, b] = std::thread::scope(|scope| {
            let other = scope.spawn(|| arriving(&arrived, second.once(meet)));
            let own = arriving(&arrived, first.once(meet));
            [own, other.join().unwrap_or_else(|_| Err(lost_thread()))]
        });
        Ok(slowdowns(alone, [a?.as_secs_f64(), b?.as_secs_f64()]))
    })
}

/// Whoever fails before the meeting lets the other go on.
fn arriving<T>(arrived: &AtomicUsize, result: Result<T, Diagnostic>) -> Result<T, Diagnostic> {
    if result.is_err() {
        arrived.fetch_add(1, Ordering::AcqRel);
    }
    result
}

fn lost_thread() -> Diagnostic {
    Diagnostic::error("thread", "a thread that ran a block came to no end")
}

/// How many times as long each of two takes while both run, if they began together, and take `alone`
/// alone and `together` then: the one that ended last was alone after the other had ended.
fn slowdowns(alone: [f64; 2], together: [f64; 2]) -> [f64; 2] {
    let (short, long) = if together[0] <= together[1] {
        (0, 1)
    } else {
        (1, 0)
    };
    let both = together[short];
    let mut slowdown = [1.0; 2];
    slowdown[short] = both / alone[short];
    // What the longer one had done of its work when the shorter one ended.
    let done = alone[long] - (together[long] - both);
    slowdown[long] = match done > 0.0 {
        true => both / done,
        // It did not get to run at all.
        false => together[long] / alone[long],
    };
    slowdown.map(|s| s.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::slowdowns;

    #[test]
    fn who_ends_last_was_alone_in_the_end() {
        assert_eq!(slowdowns([2.0, 4.0], [2.0, 4.0]), [1.0, 1.0]);
        assert_eq!(slowdowns([2.0, 2.0], [4.0, 4.0]), [2.0, 2.0]);
        // The second does 2 of its 4 in the first 4, and the rest alone.
        assert_eq!(slowdowns([2.0, 4.0], [4.0, 6.0]), [2.0, 2.0]);
        assert_eq!(slowdowns([4.0, 2.0], [6.0, 4.0]), [2.0, 2.0]);
        // It came after the other.
        assert_eq!(slowdowns([2.0, 4.0], [2.0, 6.0]), [1.0, 1.5]);
    }
}
