//! Programs to plan files.

use ir::Program;
use passes::lower::{LowerOptions, lower};
use passes::{PassCx, Phase};
use plans::file::{to_bytes, weights_len};

/// The plan of `program` as a file, if it has one with little enough memory.
pub fn compile(mut program: Program, max_weights: u64, max_arenas: u64) -> Option<Vec<u8>> {
    let mut cx = PassCx::new(passes::Options::default());
    for phase in [Phase::Normalise, Phase::Algebra, Phase::Layout, Phase::Fuse] {
        passes::manager::run(phase, &mut program, &mut cx).ok()?;
    }
    let options = LowerOptions {
        target: "cpu".into(),
        one_at_a_time: false,
        n_nodes: program.graphs.iter().map(|_| 1).collect(),
        hashes: program.graphs.iter().map(|_| [0; 32]).collect(),
        options: String::new(),
        compiler: "seeds".into(),
    };
    let lowered = lower(&program, &options).ok()?;
    let arenas: u64 = lowered.plan.arenas.iter().map(|a| a.bytes).sum();
    if weights_len(&lowered.plan) > max_weights || arenas > max_arenas {
        return None;
    }
    to_bytes(&lowered.plan, |w| lowered.weights[w.index()].clone()).ok()
}
