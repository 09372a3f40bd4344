//! A case's way through the compiler.

use super::cases::{Case, initializer};
use super::compare::difference;
use dlirc::inputs::{self, plan_dtype};
use dlirc::oracle::relative_error;
use ir::{Program, Tensor};
use onnx::proto::ModelProto;
use onnx::{ReadOptions, Source};
use plans::ModelIndex;
use prost::Message;
use runtime::Engine;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What is done with a case, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    /// Reading the model, its inputs and expected outputs.
    Read,
    /// Evaluating what was read by the reference.
    Reference,
    /// Compiling it to a plan.
    Compile,
    /// Running the plan.
    Run,
    /// Running a plan for the GPU, where there is one.
    Gpu,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Reference => "evaluate",
            Stage::Compile => "compile",
            Stage::Run => "run",
            Stage::Gpu => "run on the GPU",
        }
    }
}

/// How far a case came.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Outcome {
    Passed,
    /// Where it failed and why.
    Failed(Stage, String),
}

/// A case that was tried.
pub(super) struct Tried {
    pub(super) outcome: Outcome,
    /// The inputs that were made constants.
    pub(super) baked: Vec<String>,
    pub(super) seen: Seen,
}

/// What was seen on the way.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Seen {
    /// Whether steps of its plan for a GPU run on the host; none if it has no such plan.
    pub(super) on_host: Option<bool>,
    /// The greatest relative error of an output on the CPU, if it ran there.
    pub(super) cpu_error: Option<f64>,
    /// The same on the GPU.
    pub(super) gpu_error: Option<f64>,
}

/// Tries `case` as it is and then, if it fails before it runs, with its control inputs known at
/// compile time; the better outcome counts.
///
/// The cases give everything as inputs of the graph, shapes and axes too, which in models are
/// constants or computed from shapes. Control inputs are those of at most one dimension that are
/// integers or bools, and floats where they are read by an operator that has its result's size from
/// them: Resize's scales and region, Range's bounds, OneHot's depth, NonMaxSuppression's thresholds.
pub(super) fn attempt(case: &Case) -> Tried {
    let (outcome, seen) = guarded(case, &[]);
    let baked = control_inputs(case);
    let early = matches!(
        outcome,
        Outcome::Failed(Stage::Read | Stage::Reference | Stage::Compile, _)
    );
    if early && !baked.is_empty() {
        let (again, seen) = guarded(case, &baked);
        if reach(&again) >= reach(&outcome) {
            let names = baked
                .iter()
                .map(|&n| input_name(&case.model, n).to_string())
                .collect();
            return Tried {
                outcome: again,
                baked: names,
                seen,
            };
        }
    }
    Tried {
        outcome,
        baked: vec![],
        seen,
    }
}

fn reach(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Failed(stage, _) => *stage as u8,
        Outcome::Passed => u8::MAX,
    }
}

fn input_name(model: &ModelProto, n: usize) -> &str {
    model
        .graph
        .as_ref()
        .and_then(|g| g.input[n].name.as_deref())
        .unwrap_or_default()
}

/// The numbers of the inputs that steer shapes.
fn control_inputs(case: &Case) -> Vec<usize> {
    let graph = case.model.graph.as_ref().unwrap();
    let takes_floats = |name: &str| {
        graph.node.iter().any(|n| {
            matches!(
                n.op_type(),
                "Resize" | "Range" | "OneHot" | "NonMaxSuppression"
            ) && n.input.iter().any(|i| i == name)
        })
    };
    let is_control = |n: &usize| {
        let Ok(tensor) = &case.inputs[*n] else {
            return false;
        };
        tensor.dims().len() <= 1
            && (!tensor.dtype().is_float() || takes_floats(input_name(&case.model, *n)))
    };
    (0..case.inputs.len()).filter(is_control).collect()
}

/// As [`through`]; a panic is a failure of the stage that it happens in.
fn guarded(case: &Case, baked: &[usize]) -> (Outcome, Seen) {
    let (mut stage, mut seen) = (Stage::Read, Seen::default());
    let tried = catch_unwind(AssertUnwindSafe(|| {
        through(case, baked, &mut stage, &mut seen)
    }));
    let outcome = match tried {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(why)) => Outcome::Failed(stage, why),
        Err(panic) => Outcome::Failed(stage, format!("PANIC: {}", crate::words(&*panic))),
    };
    (outcome, seen)
}

/// A case as a program, the values of its inputs, and what it must give.
struct Opened {
    program: Program,
    values: Vec<Tensor>,
    expected: Vec<Tensor>,
}

fn open(case: &Case, baked: &[usize]) -> Result<Opened, String> {
    let mut values = vec![];
    let mut model = case.model.clone();
    let mut options = ReadOptions {
        name: Some("case".into()),
        ..ReadOptions::default()
    };
    for (n, input) in case.inputs.iter().enumerate() {
        let tensor = input.clone()?;
        let name = input_name(&case.model, n);
        if baked.contains(&n) {
            let graph = model.graph.get_or_insert_default();
            graph.initializer.push(initializer(name, &tensor));
            graph.input.retain(|i| i.name.as_deref() != Some(name));
        } else {
            let declared = &case.model.graph.as_ref().unwrap().input[n];
            if has_open_dimensions(declared) {
                options.bind.insert(name.into(), tensor.dims().to_vec());
            }
            values.push(tensor);
        }
    }
    let mut expected = vec![];
    for output in &case.outputs {
        expected.push(output.clone()?);
    }
    let mut program = Program::default();
    let source = Source::from_bytes("model.onnx", model.encode_to_vec());
    onnx::read_source(&source, &options, &mut program).map_err(|e| chain(&e))?;
    ir::verify::program(&program)
        .map_err(|violations| format!("breaks a rule of programs: {}", violations[0]))?;
    Ok(Opened {
        program,
        values,
        expected,
    })
}

/// The optimised program of a case that has a plan.
pub(super) fn program(case: &Case) -> Option<Program> {
    let optimised = |baked: &[usize]| {
        let mut program = open(case, baked).ok()?.program;
        crate::plan::optimise(&mut program).ok()?;
        crate::plan::lowered(&program).ok()?;
        Some(program)
    };
    let tried = catch_unwind(AssertUnwindSafe(|| {
        optimised(&[]).or_else(|| optimised(&control_inputs(case)))
    }));
    tried.ok().flatten()
}

fn through(case: &Case, baked: &[usize], stage: &mut Stage, seen: &mut Seen) -> Result<(), String> {
    let Opened {
        mut program,
        values,
        expected,
    } = open(case, baked)?;

    *stage = Stage::Reference;
    let graph = &program.graphs[program.graphs.ids().next().unwrap()];
    let found = ir::eval::graph(graph, &program.weights, &values).map_err(|e| e.to_string())?;
    check(&found, &expected)?;

    *stage = Stage::Compile;
    let engine = compile(&mut program)?;

    *stage = Stage::Run;
    seen.cpu_error = Some(run(&engine, &values, &expected)?);

    *stage = Stage::Gpu;
    if super::table::is_wanted() {
        seen.on_host = Some(needs_the_host(&program)?);
    }
    if let Some(gpu) = crate::gpu::is_there().then(crate::gpu::gpu).flatten() {
        seen.gpu_error = Some(run(&gpu.engine(&program, 1)?, &values, &expected)?);
    }
    Ok(())
}

/// Whether steps of the program's plan for a GPU run on the host.
fn needs_the_host(program: &Program) -> Result<bool, String> {
    let target = kernels::cuda::Target::of_arch(90).map_err(|e| e.to_string())?;
    let lowered = crate::plan::lowered_for(program, Some(target), &[])?;
    let mut steps = lowered.plan.steps.iter();
    Ok(steps.any(|s| s.device == plans::Device::Cpu))
}

/// Runs a plan and compares with what it must give; the greatest relative error of an output.
fn run(engine: &Arc<Engine>, values: &[Tensor], expected: &[Tensor]) -> Result<f64, String> {
    let model = ModelIndex(0);
    let mut session = engine.session().map_err(|e| e.to_string())?;
    for (n, value) in values.iter().enumerate() {
        let port = &session.plan().models[0].inputs[n];
        if port.dtype != plan_dtype(value.dtype()) || inputs::dims(port) != value.dims() {
            return Err(format!(
                "input {n} of the plan is {}{:?}",
                port.dtype, port.dims
            ));
        }
    }
    inputs::set(&mut session, model, values).map_err(|e| e.text())?;
    session.run(model).map_err(|e| e.to_string())?;
    let found = inputs::outputs(&session, model).map_err(|e| e.text())?;
    check(&found, expected)?;
    let errors = found.iter().zip(expected);
    // Where zeros are expected, no error is relative to anything.
    let errors = errors
        .map(|(f, e)| relative_error(f, e))
        .filter(|e| e.is_finite());
    Ok(errors.fold(0.0, f64::max))
}

fn has_open_dimensions(input: &onnx::proto::ValueInfoProto) -> bool {
    let ty = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let shape = ty.and_then(|t| t.shape.as_ref());
    shape.is_none_or(|s| s.dim.iter().any(|d| d.dim_value.is_none()))
}

/// Optimises, lowers and binds, for one thread: the cases run side by side.
fn compile(program: &mut Program) -> Result<Arc<Engine>, String> {
    crate::plan::optimise(program)?;
    let loaded = crate::plan::loaded(program)?;
    let options = runtime::Options {
        threads: 1,
        ..runtime::Options::default()
    };
    let engine = Engine::bind(Arc::new(loaded), &options).map_err(|e| chain(&e))?;
    Ok(Arc::new(engine))
}

fn check(found: &[Tensor], expected: &[Tensor]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!(
            "{} outputs, expected {}",
            found.len(),
            expected.len()
        ));
    }
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        if let Some(difference) = difference(found, expected) {
            return Err(format!("output {n}: {difference}"));
        }
    }
    Ok(())
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
