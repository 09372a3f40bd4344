//! What is known of a model's steps and blocks, and how far predictions are off.

use costs::fit::{Chain, Sample};
use costs::{Key, Source, Times, Work};
use passes::predict::{Costs, block_key, predict, step_key, work};
use plans::{ModelIndex, Step, StepIndex, ValidPlan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Where a time comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was measured just now.
    Measured,
    /// It had been measured before.
    Database,
    /// It is predicted.
    Predicted,
}

/// A step of a model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct StepRow {
    /// Which step of the plan.
    pub step: usize,
    /// The operators that it computes.
    pub label: String,
    /// What it does: the class of its kernel as device descriptions name it, operations, bytes and
    /// blocks.
    #[serde(flatten)]
    pub work: Work,
    /// Where its time comes from.
    pub origin: Origin,
    /// Its time: the mean of what was measured, or what is predicted.
    pub ns: f64,
    /// Its share of all steps' times.
    pub share: f64,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// What is predicted.
    pub predicted_ns: f64,
    /// How far the prediction is off, relative to what was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// What its measurement is kept under, in hexadecimal.
    pub key: String,
}

/// A block of a model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BlockRow {
    /// Which block of the plan.
    pub block: usize,
    /// Its first step.
    pub first_step: usize,
    /// The number of its steps.
    pub n_steps: usize,
    /// Where its time comes from.
    pub origin: Origin,
    /// Its time.
    pub ns: f64,
    /// What was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// What is predicted, from its steps' measured times where they were measured.
    pub predicted_ns: f64,
    /// How far that is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// The share of the device's multiprocessors that it takes.
    pub compute: f64,
    /// The share of its memory's bandwidth.
    pub memory: f64,
    /// What its measurement is kept under, in hexadecimal.
    pub key: String,
}

/// What was measured of a step or block.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[allow(missing_docs, reason = "the fields are those of `Times`")]
pub struct Measured {
    pub n: u64,
    pub mean_ns: f64,
    pub std_ns: f64,
    pub min_ns: f64,
    pub p50_ns: f64,
    pub p90_ns: f64,
    pub p99_ns: f64,
    pub max_ns: f64,
}

impl From<&Times> for Measured {
    fn from(t: &Times) -> Self {
        Self {
            n: t.n,
            mean_ns: t.mean_ns,
            std_ns: t.std_ns,
            min_ns: t.min_ns,
            p50_ns: t.p50_ns,
            p90_ns: t.p90_ns,
            p99_ns: t.p99_ns,
            max_ns: t.max_ns,
        }
    }
}

/// What is known of a model.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ModelProfile {
    /// Its name.
    pub name: String,
    /// Its steps.
    pub steps: Vec<StepRow>,
    /// Its blocks.
    pub blocks: Vec<BlockRow>,
}

/// What is known of a model of a plan; `fresh` is what was measured just now.
pub fn profile(
    plan: &ValidPlan,
    model: ModelIndex,
    costs: &Costs<'_>,
    fresh: &BTreeSet<Key>,
) -> ModelProfile {
    let own = &plan.models[model.index()];
    let origin = |key: &Key, is_measured: bool| match (is_measured, fresh.contains(key)) {
        (true, true) => Origin::Measured,
        (true, false) => Origin::Database,
        (false, _) => Origin::Predicted,
    };
    let mut keys = vec![];
    let mut steps = vec![];
    for i in own.steps() {
        let (index, step) = (StepIndex(i as u32), &plan.steps[i]);
        let key = step_key(plan, step);
        let alone = costs.step(plan, index).alone;
        let is_measured = matches!(alone.source, Source::Measured(_));
        let measured = costs.measured.and_then(|m| m.kernels.get(&key));
        let predicted_ns = costs.predicted_step(plan, index).alone.ns;
        steps.push(StepRow {
            step: i,
            label: step.label.clone(),
            work: work(plan, step, costs.arch),
            origin: origin(&key, is_measured),
            ns: alone.ns,
            share: 0.0,
            measured: measured.map(Measured::from),
            predicted_ns,
            error: is_measured.then(|| predicted_ns / alone.ns - 1.0),
            key: hex(&key),
        });
        keys.push(key);
    }
    let all: f64 = steps.iter().map(|s| s.ns).sum();
    for step in &mut steps {
        step.share = if all > 0.0 { step.ns / all } else { 0.0 };
    }
    let mut known = plans::Plan::clone(plan);
    predict(&mut known, costs);
    let first = own.steps().start;
    let numbered = known.blocks.iter().enumerate();
    let blocks = numbered.filter(|(_, b)| b.model == model).map(|(i, b)| {
        let range = b.steps();
        let key = block_key(&keys[range.start - first..range.end - first]);
        let measured = costs.measured.and_then(|m| m.blocks.get(&key));
        let predicted_ns = b.predicted_ns as f64;
        BlockRow {
            block: i,
            first_step: range.start,
            n_steps: range.len(),
            origin: origin(&key, measured.is_some()),
            ns: measured.map_or(predicted_ns, |t| t.mean_ns),
            measured: measured.map(Measured::from),
            predicted_ns,
            error: measured.map(|t| predicted_ns / t.mean_ns - 1.0),
            compute: f64::from(b.demand.compute) / 1000.0,
            memory: f64::from(b.demand.memory) / 1000.0,
            key: hex(&key),
        }
    });
    ModelProfile {
        name: own.name.clone(),
        blocks: blocks.collect(),
        steps,
    }
}

/// What was measured of a model's steps that `is_of_device` picks. Where a block is one chain of them,
/// and was measured too, its time goes with them.
pub fn chains(
    plan: &ValidPlan,
    profile: &ModelProfile,
    is_of_device: impl Fn(&Step) -> bool,
) -> Vec<Chain> {
    let of_block = |block: &BlockRow| {
        let all = block.first_step..block.first_step + block.n_steps;
        let rows = profile.steps.iter().filter(|row| all.contains(&row.step));
        let sample = |row: &StepRow| {
            let measured = row.measured.filter(|_| is_of_device(&plan.steps[row.step]));
            measured.map(|m| Sample {
                work: row.work.clone(),
                n: 1,
                ns: m.p50_ns,
            })
        };
        let samples: Vec<Sample> = rows.filter_map(sample).collect();
        let lane = plan.steps[block.first_step].lane;
        let is_chain = plan.steps[all].iter().all(|s| s.lane == lane);
        let is_whole = is_chain && samples.len() == block.n_steps;
        let ns = block
            .measured
            .filter(|_| is_whole)
            .map_or(0.0, |m| m.p50_ns);
        Chain { samples, ns }
    };
    profile.blocks.iter().map(of_block).collect()
}

fn hex(key: &Key) -> String {
    key.0.iter().map(|b| format!("{b:02x}")).collect()
}

/// How far predictions of a class are off.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ClassError {
    /// The class; `all` for all of them.
    pub class: String,
    /// Steps that were measured.
    pub n_steps: usize,
    /// The mean absolute error, relative to what was measured.
    pub mean: f64,
    /// The largest absolute error.
    pub max: f64,
    /// The predicted times of all of them over the measured ones, less 1.
    pub sum: f64,
}

/// How far predictions of each class are off, and of all, where anything was measured.
pub fn class_errors(models: &[ModelProfile]) -> Vec<ClassError> {
    let mut by_class: BTreeMap<&str, Vec<&StepRow>> = BTreeMap::new();
    let measured = || {
        models
            .iter()
            .flat_map(|m| &m.steps)
            .filter(|s| s.error.is_some())
    };
    for step in measured() {
        by_class.entry(&step.work.class).or_default().push(step);
    }
    let of = |class: &str, steps: Vec<&StepRow>| {
        let errors = || steps.iter().filter_map(|s| s.error).map(f64::abs);
        let sum = |of: fn(&StepRow) -> f64| steps.iter().map(|s| of(s)).sum::<f64>();
        ClassError {
            class: class.to_owned(),
            n_steps: steps.len(),
            mean: errors().sum::<f64>() / steps.len() as f64,
            max: errors().fold(0.0, f64::max),
            sum: sum(|s| s.predicted_ns) / sum(|s| s.ns) - 1.0,
        }
    };
    let mut errors: Vec<ClassError> = vec![];
    for (class, steps) in by_class {
        errors.push(of(class, steps));
    }
    if errors.len() > 1 {
        errors.push(of("all", measured().collect()));
    }
    errors
}
