//! The ways to compute a program, compared.

use super::draft::Draft;
use dlirc::inputs;
use ir::{Program, Tensor};
use plans::ModelIndex;
use runtime::{Engine, Options, RunOn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Compares all ways; the error holds the program as text.
pub(super) fn check(drafts: &[Draft]) -> Result<(), String> {
    let mut program = Program::default();
    for draft in drafts {
        let mut graph = draft.graph.clone();
        for (_, value) in graph.values.iter_mut() {
            if let ir::Def::Weight(w) = &mut value.def {
                *w = program.weights.add(draft.weights[*w].clone());
            }
        }
        program.graphs.push(graph);
    }
    program.compact();
    let text = ir::text::print(&program);
    let checked = catch_unwind(AssertUnwindSafe(|| all_ways(&program, drafts, &text)));
    let checked = checked.unwrap_or_else(|panic| Err(format!("PANIC: {}", crate::words(&*panic))));
    checked.map_err(|why| format!("{why}\n\n{text}"))
}

fn all_ways(program: &Program, drafts: &[Draft], text: &str) -> Result<(), String> {
    ir::verify::program(program).map_err(|v| format!("what was drawn is wrong: {}", v[0]))?;
    let parsed = ir::text::parse_with(text, &program.weights)
        .map_err(|e| format!("the text does not parse: {e}"))?;
    if parsed != *program {
        return Err("the text parses to another program".into());
    }
    evaluate(program, drafts, "the reference")?;

    let mut optimised = program.clone();
    crate::plan::optimise(&mut optimised)?;
    evaluate(&optimised, drafts, "the optimised program")
        .map_err(|why| format!("{why}\n\n{}", ir::text::print(&optimised)))?;

    run(&optimised, drafts).map_err(|why| format!("{why}\n\n{}", ir::text::print(&optimised)))
}

fn evaluate(program: &Program, drafts: &[Draft], way: &str) -> Result<(), String> {
    for ((_, graph), draft) in program.graphs.iter().zip(drafts) {
        let found = ir::eval::graph(graph, &program.weights, &draft.inputs)
            .map_err(|e| format!("{way}: {e}"))?;
        compare(&found, draft, way)?;
    }
    Ok(())
}

/// Compiles and runs, on one thread and on several, as a plan for a GPU on the host, in the order of
/// its list and in another one that its lanes allow, and on a GPU where there is one.
fn run(program: &Program, drafts: &[Draft]) -> Result<(), String> {
    let loaded = Arc::new(crate::plan::loaded(program)?);
    // Some kernels on either side of copies, others each time.
    let on_host = crate::gpu::some_classes(pattern(program));
    let moved = Arc::new(crate::plan::loaded_for_no_gpu(program, &on_host)?);
    let mut seed = pattern(program);
    let shuffled = crate::plan::loaded_in_any_order(program, &on_host, &mut |n| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        (seed >> 33) as usize % n
    });
    let shuffled = Arc::new(shuffled?);
    let mut first: Vec<Vec<Tensor>> = vec![];
    for (loaded, threads) in [(&loaded, 1), (&loaded, 3), (&moved, 1), (&shuffled, 1)] {
        let options = Options {
            threads,
            device: RunOn::Cpu,
            ..Options::default()
        };
        let engine = Engine::bind(Arc::clone(loaded), &options).map_err(|e| e.to_string())?;
        let mut session = Arc::new(engine).session().map_err(|e| e.to_string())?;
        for (i, draft) in drafts.iter().enumerate() {
            let model = ModelIndex(i as u32);
            inputs::set(&mut session, model, &draft.inputs).map_err(|e| e.text())?;
            session.run(model).map_err(|e| e.to_string())?;
        }
        for (i, draft) in drafts.iter().enumerate() {
            let found = inputs::outputs(&session, ModelIndex(i as u32)).map_err(|e| e.text())?;
            compare(&found, draft, "the plan")?;
            match first.get(i) {
                None => first.push(found),
                Some(first)
                    if first
                        .iter()
                        .zip(&found)
                        .any(|(a, b)| a.bytes() != b.bytes()) =>
                {
                    let what = match threads {
                        1 => "the plan for a GPU gives",
                        _ => "several threads give",
                    };
                    return Err(format!("{what} other bits than one thread"));
                }
                Some(_) => {}
            }
        }
    }
    match crate::gpu::is_there().then(crate::gpu::gpu).flatten() {
        Some(gpu) => on_gpu(gpu, program, drafts),
        None => Ok(()),
    }
}

/// A number that differs from program to program.
fn pattern(program: &Program) -> u64 {
    let text = ir::text::print(program);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Runs on the GPU, twice.
fn on_gpu(gpu: &crate::gpu::Gpu, program: &Program, drafts: &[Draft]) -> Result<(), String> {
    let engine = gpu.engine(program, 1)?;
    let mut session = engine.session().map_err(|e| e.to_string())?;
    for (i, draft) in drafts.iter().enumerate() {
        let model = ModelIndex(i as u32);
        inputs::set(&mut session, model, &draft.inputs).map_err(|e| e.text())?;
        session.run(model).map_err(|e| format!("on the GPU: {e}"))?;
        let found = inputs::outputs(&session, model).map_err(|e| e.text())?;
        compare(&found, draft, "the plan on the GPU")?;
        session.run(model).map_err(|e| e.to_string())?;
        let again = inputs::outputs(&session, model).map_err(|e| e.text())?;
        if found
            .iter()
            .zip(&again)
            .any(|(a, b)| a.bytes() != b.bytes())
        {
            return Err("a second run on the GPU gives other bits".into());
        }
    }
    Ok(())
}

fn compare(found: &[Tensor], draft: &Draft, way: &str) -> Result<(), String> {
    for (n, found) in found.iter().enumerate() {
        let (expected, allowed) = draft.expected(n);
        if found.ty() != expected.ty() {
            return Err(format!(
                "{way}: out{n} is {}, expected {}",
                found.ty(),
                expected.ty()
            ));
        }
        if found.bytes() == expected.bytes() {
            continue;
        }
        let (f, e) = (
            found.to_f64().unwrap_or_default(),
            expected.to_f64().unwrap_or_default(),
        );
        for (i, (f, e)) in f.iter().zip(&e).enumerate() {
            // NaN only where NaN is expected.
            if (f - e).abs() > allowed || f.is_nan() != e.is_nan() {
                return Err(format!(
                    "{way}: element {i} of out{n} is {f}, expected {e} up to {allowed:.1e}"
                ));
            }
        }
    }
    Ok(())
}
