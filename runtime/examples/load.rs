//! Times what happens before a plan's first run, and says what computes its steps:
//! `load PLAN [THREADS]`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use dlirc_runtime::{Engine, Loaded, Options};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: load PLAN [THREADS]")?;
    let threads = args.next().map_or(Ok(2), |n| n.parse())?;
    let options = Options {
        threads,
        ..Options::default()
    };
    for _ in 0..5 {
        let start = Instant::now();
        let loaded = Arc::new(Loaded::open(&path)?);
        let at_load = start.elapsed();
        let engine = Arc::new(Engine::bind(loaded, &options)?);
        let at_bind = start.elapsed();
        let mut session = engine.session()?;
        let at_session = start.elapsed();
        session.run(plans::ModelIndex(0))?;
        println!(
            "load {:.1} ms, bind {:.1} ms, session {:.1} ms, first run {:.1} ms",
            at_load.as_secs_f64() * 1e3,
            (at_bind - at_load).as_secs_f64() * 1e3,
            (at_session - at_bind).as_secs_f64() * 1e3,
            (start.elapsed() - at_session).as_secs_f64() * 1e3,
        );
    }
    let loaded = Arc::new(Loaded::open(&path)?);
    let engine = Engine::bind(loaded, &options)?;
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (i, step) in engine.plan().steps.iter().enumerate() {
        let class = engine.plan().kernels[step.kernel.index()].class();
        let implementation = engine.implementation(plans::StepIndex(i as u32));
        *counts.entry((class, implementation)).or_default() += 1;
    }
    for ((class, implementation), n) in counts {
        println!("{n:5} {class}: {implementation}");
    }
    Ok(())
}
