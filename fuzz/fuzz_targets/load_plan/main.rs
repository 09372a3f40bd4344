//! Any bytes as a plan file: loaded or refused; what is loaded is valid, and runs on the trace
//! device and on the CPU without a crash and without touching memory that is not its own.
//!
//! Checksums would stop nearly every mutation, so a mutation makes them right again, see [`mutate`].

#![no_main]

mod file;
mod mutate;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use plans::{KernelSpec, ModelIndex, ValidPlan};
use runtime::cpu::level::Level;
use runtime::device::replay;
use runtime::trace::Trace;
use runtime::{Engine, Loaded, Options, RunOn, Session};
use std::sync::Arc;

/// Plans with larger arenas than this, all together, are not run on the CPU.
const MAX_ARENAS: u64 = 1 << 20;

/// Plans whose steps walk more elements than this, all together, are not run on the CPU.
const MAX_WORK: u64 = 1 << 18;

fuzz_target!(|bytes: &[u8]| {
    let loaded = match Loaded::from_bytes(bytes) {
        Ok(loaded) => loaded,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    let plan = loaded.plan();
    let _ = plans::text::text(plan);
    let _ = plans::dot::dot(plan);
    let _ = plans::stats::stats(plan);
    let _ = plans::flow::flows(plan);
    let mut trace = Trace::new(plan);
    for model in models(plan) {
        let Ok(()) = replay(plan, model, &mut trace);
    }
    if is_small(plan) {
        run(loaded, crc32fast::hash(bytes));
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::mutate(data, size, max_size, seed)
});

fn models(plan: &ValidPlan) -> impl Iterator<Item = ModelIndex> + use<> {
    (0..plan.models.len() as u32).map(ModelIndex)
}

/// Whether running the plan takes no more than some milliseconds.
fn is_small(plan: &ValidPlan) -> bool {
    let arenas: Option<u64> = plan
        .arenas
        .iter()
        .try_fold(0u64, |sum, arena| sum.checked_add(arena.bytes));
    let work = plan.steps.iter().try_fold(0u64, |sum, step| {
        sum.checked_add(work(&plan.kernels[step.kernel.index()])?)
    });
    arenas.is_some_and(|a| a <= MAX_ARENAS) && work.is_some_and(|w| w <= MAX_WORK)
}

/// The most elements that any argument of the kernel walks, repeats included.
fn work(kernel: &KernelSpec) -> Option<u64> {
    kernel.args().iter().try_fold(1, |most: u64, arg| {
        let walked = arg
            .walk
            .iter()
            .try_fold(1u64, |n, &(extent, _)| n.checked_mul(extent.max(1)))?;
        Some(most.max(walked))
    })
}

/// Runs every model twice: inputs of small numbers, and of any.
fn run(loaded: Loaded, seed: u32) {
    // Device code runs outside of the sanitizer's reach, and is trusted.
    let options = Options {
        device: RunOn::Cpu,
        threads: 1,
        level: Some(Level::ALL[seed as usize % Level::ALL.len()]),
        ..Options::default()
    };
    let Ok(engine) = Engine::bind(Arc::new(loaded), &options) else {
        return;
    };
    let Ok(mut session) = Arc::new(engine).session() else {
        return;
    };
    let mut random = mutate::Random::new(seed);
    for model in models(&session.plan().clone()) {
        for is_small in [true, false] {
            fill_inputs(&mut session, model, is_small, &mut random);
            // Positions that point nowhere are a fault, and allowed.
            let _ = session.run(model);
        }
    }
}

fn fill_inputs(
    session: &mut Session,
    model: ModelIndex,
    is_small: bool,
    random: &mut mutate::Random,
) {
    let n_inputs = session.plan().models[model.index()].inputs.len();
    for n in 0..n_inputs {
        let size = session.plan().models[model.index()].inputs[n].dtype.size();
        let Ok(input) = session.input_mut(model, n) else {
            continue;
        };
        for element in input.chunks_mut(size) {
            element.fill(0);
            if is_small {
                // 0 to 3 as an integer, nearly 0 as a float.
                element[0] = random.below(4) as u8;
            } else {
                element.fill_with(|| random.below(256) as u8);
            }
        }
    }
}
