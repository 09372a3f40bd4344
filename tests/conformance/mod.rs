//! ONNX's own cases for single operators: a model, inputs and the outputs that they must give.
//!
//! Every case is read, evaluated by the reference, and compiled and run on the CPU. What fails must
//! stand in `expectations.txt`, and what stands there must fail: `DLIRC_BLESS=1` writes the file
//! anew. `DLIRC_OPERATOR_TABLE=FILE` has a table of all operators written to that file.

mod cases;
mod compare;
mod expectations;
mod stages;
mod table;

use cases::Case;
use expectations::Expectations;
use stages::{Outcome, Stage, Tried};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases that pass must be more than these: what the best other engine in Rust passes.
const MUST_PASS: usize = 1_129;

/// The optimised programs of all cases that have a plan, by the cases' names; `None` if there are no
/// cases, which is said.
pub(crate) fn programs() -> Option<Vec<(String, ir::Program)>> {
    let Some(folder) = cases::folder() else {
        crate::skipped(NO_CASES);
        return None;
    };
    let program =
        |name: String| Some((name.clone(), stages::program(&Case::open(&folder, &name))?));
    Some(
        cases::list(&folder)
            .into_iter()
            .filter_map(program)
            .collect(),
    )
}

const NO_CASES: &str = "no ONNX cases: set DLIRC_ONNX_CASES, or `cargo xtask test` installs them";

#[test]
fn operators_conform() {
    let Some(folder) = cases::folder() else {
        crate::skipped(NO_CASES);
        return;
    };
    // Says so where there is none.
    let _ = crate::gpu::gpu();
    let names = cases::list(&folder);
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<String, (bool, Tried)>> = Mutex::default();
    let operators: Mutex<table::Table> = Mutex::default();
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let case = Case::open(&folder, name);
                    let tried = stages::attempt(&case);
                    operators.lock().unwrap().add(name, &case, &tried);
                    results
                        .lock()
                        .unwrap()
                        .insert(name.clone(), (case.is_core(), tried));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    operators.into_inner().unwrap().write();
    let n_passed = report(&results);
    let failures = results
        .iter()
        .filter_map(|(name, (_, tried))| match &tried.outcome {
            Outcome::Passed => None,
            Outcome::Failed(stage, why) => Some((name.as_str(), (*stage, why.as_str()))),
        });
    Expectations::load().check(&failures.collect());
    assert!(
        n_passed > MUST_PASS,
        "{n_passed} passed, and it must be more than {MUST_PASS}"
    );
}

/// Prints how many cases get how far; returns how many pass.
fn report(results: &BTreeMap<String, (bool, Tried)>) -> usize {
    let past = |tried: &Tried, stage: Stage| match tried.outcome {
        Outcome::Passed => true,
        Outcome::Failed(at, _) => at > stage,
    };
    let count =
        |which: &dyn Fn(&(bool, Tried)) -> bool| results.values().filter(|r| which(r)).count();
    let n_core = count(&|r| r.0);
    println!(
        "{} cases, {n_core} of them core: tensors of plain types, ONNX's own operators",
        results.len()
    );
    for (what, stage) in [
        ("read", Stage::Read),
        ("right in the reference", Stage::Reference),
        ("compiled", Stage::Compile),
        ("right on the CPU", Stage::Run),
        ("right on the GPU, where there is one", Stage::Gpu),
    ] {
        let all = count(&|r| past(&r.1, stage));
        let core = count(&|r| r.0 && past(&r.1, stage));
        println!("  {what}: {all}, core {core}");
    }
    let baked = count(&|r| r.1.outcome == Outcome::Passed && !r.1.baked.is_empty());
    println!("  of those that pass, {baked} with control inputs given at compile time");
    count(&|r| r.1.outcome == Outcome::Passed)
}
