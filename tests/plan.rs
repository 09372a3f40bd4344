//! Programs to plans in memory.

use ir::Program;
use passes::PassCx;
use passes::lower::{LowerOptions, lower};
use plans::ValidPlan;
use runtime::Loaded;

/// Runs all passes, with the rules of programs checked after each.
pub(crate) fn optimise(program: &mut Program) -> Result<(), String> {
    let mut cx = PassCx::new(passes::Options {
        verify: true,
        ..passes::Options::default()
    });
    for &(phase, _) in passes::PIPELINE {
        passes::manager::run(phase, program, &mut cx).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// A valid plan of an optimised program, and its weights section.
pub(crate) fn lowered(program: &Program) -> Result<(ValidPlan, Vec<u8>), String> {
    let options = LowerOptions {
        target: "cpu".into(),
        n_nodes: vec![0; program.graphs.len()],
        hashes: vec![[0; 32]; program.graphs.len()],
        compiler: "test".into(),
        ..LowerOptions::default()
    };
    let lowered = lower(program, &options).map_err(|e| e.to_string())?;
    let lengths = plans::Lengths::needed(&lowered.plan);
    let plan = plans::validate(lowered.plan, lengths).map_err(|errors| {
        let errors: Vec<String> = errors.iter().take(3).map(ToString::to_string).collect();
        format!("INVALID PLAN: {}", errors.join("; "))
    })?;
    let mut section = vec![0; lengths.weights as usize];
    for (weight, data) in plan.weights.iter().zip(&lowered.weights) {
        let start = weight.offset as usize;
        section[start..start + data.len()].copy_from_slice(data);
    }
    Ok((plan, section))
}

/// The same, ready to bind.
pub(crate) fn loaded(program: &Program) -> Result<Loaded, String> {
    let (plan, section) = lowered(program)?;
    Loaded::from_parts(plan.into_inner(), &section).map_err(|e| e.to_string())
}
