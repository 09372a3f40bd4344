//! Programs to plans in memory.

use ir::Program;
use passes::PassCx;
use passes::lower::{DEFAULT_LANES, Lanes, LowerOptions, Lowered, Source, lower};
use plans::{Image, ImageIndex, ImageKind, Plan, StepIndex, ValidPlan};
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
    let Lowered { plan, weights, .. } = lowered_for(program, None, &[])?;
    let section = section(&plan, &weights);
    Ok((valid(plan)?, section))
}

/// The same, ready to bind.
pub(crate) fn loaded(program: &Program) -> Result<Loaded, String> {
    let (plan, section) = lowered(program)?;
    Loaded::from_parts(plan.into_inner(), &section).map_err(|e| e.to_string())
}

/// A plan for a GPU, but for kernels of `host_classes`, whose images hold nothing: it can be validated, and
/// run on the host.
pub(crate) fn loaded_for_no_gpu(
    program: &Program,
    host_classes: &[String],
) -> Result<Loaded, String> {
    let target = kernels::cuda::Target::of_arch(90).map_err(|e| e.to_string())?;
    let lowered = lowered_for(program, Some(target), host_classes)?;
    loaded_with(lowered, |_| Ok(vec![(ImageKind::Cubin(90), vec![0])]))
}

/// The same, its steps in another order that their lanes and waits allow, drawn by `random`.
pub(crate) fn loaded_in_any_order(
    program: &Program,
    host_classes: &[String],
    random: &mut dyn FnMut(usize) -> usize,
) -> Result<Loaded, String> {
    let target = kernels::cuda::Target::of_arch(90).map_err(|e| e.to_string())?;
    let mut lowered = lowered_for(program, Some(target), host_classes)?;
    reorder(&mut lowered.plan, random);
    loaded_with(lowered, |_| Ok(vec![(ImageKind::Cubin(90), vec![0])]))
}

/// Puts the steps of each block in another order that their lanes and waits allow.
fn reorder(plan: &mut Plan, random: &mut dyn FnMut(usize) -> usize) {
    for block in &plan.blocks {
        let first = block.first_step.index();
        let range = first..first + block.n_steps as usize;
        let steps = plan.steps[range.clone()].to_vec();
        let mut place: Vec<Option<usize>> = vec![None; steps.len()];
        let mut order = vec![];
        while order.len() < steps.len() {
            let is_ready = |&i: &usize| {
                let lane = steps[..i].iter().zip(&place);
                let own = lane.filter(|(s, _)| s.lane == steps[i].lane);
                let waits = steps[i].waits.iter().filter(|w| w.index() >= first);
                place[i].is_none()
                    && own.map(|(_, done)| done).all(Option::is_some)
                    && waits
                        .map(|w| place[w.index() - first])
                        .all(|done| done.is_some())
            };
            let ready: Vec<usize> = (0..steps.len()).filter(is_ready).collect();
            let next = ready[random(ready.len())];
            place[next] = Some(order.len());
            order.push(next);
        }
        for (at, &old) in order.iter().enumerate() {
            let mut step = steps[old].clone();
            for wait in &mut step.waits {
                if let Some(Some(place)) = wait.index().checked_sub(first).map(|w| place[w]) {
                    *wait = StepIndex((first + place) as u32);
                }
            }
            plan.steps[first + at] = step;
        }
        // Steps of later blocks that wait for these find them where they are now.
        for step in &mut plan.steps[range.end..] {
            for wait in &mut step.waits {
                if range.contains(&wait.index())
                    && let Some(place) = place[wait.index() - first]
                {
                    *wait = StepIndex((first + place) as u32);
                }
            }
        }
    }
}

/// A plan with the images that `compile` makes of each source, ready to bind.
pub(crate) fn loaded_with(
    lowered: Lowered,
    mut compile: impl FnMut(&Source) -> Result<Vec<(ImageKind, Vec<u8>)>, String>,
) -> Result<Loaded, String> {
    let Lowered {
        mut plan,
        weights,
        sources,
        ..
    } = lowered;
    let mut images = vec![];
    for source in &sources {
        for (kind, bytes) in compile(source)? {
            let index = ImageIndex(plan.images.len() as u32);
            for code in &source.codes {
                plan.codes[code.index()].images.push(index);
            }
            let offset = images.len() as u64;
            plan.images.push(Image {
                kind,
                offset,
                bytes: bytes.len() as u64,
                crc: 0,
                resources: vec![],
            });
            images.extend(bytes);
            images.resize(images.len().next_multiple_of(256), 0);
        }
    }
    let section = section(&plan, &weights);
    let plan = valid(plan)?.into_inner();
    Loaded::from_parts_with_images(plan, &section, &images).map_err(|e| e.to_string())
}

/// A plan, not yet validated.
pub(crate) fn lowered_for(
    program: &Program,
    gpu: Option<kernels::cuda::Target>,
    host_classes: &[String],
) -> Result<Lowered, String> {
    lowered_with(program, gpu, host_classes, DEFAULT_LANES)
}

/// The same, with at most so many lanes.
pub(crate) fn lowered_with(
    program: &Program,
    gpu: Option<kernels::cuda::Target>,
    host_classes: &[String],
    lanes: u16,
) -> Result<Lowered, String> {
    let device =
        costs::Device::of_arch(gpu.map_or(0, |gpu| gpu.arch)).map_err(|e| e.to_string())?;
    let predict = costs::Roofline::new(device);
    let options = LowerOptions {
        target: if gpu.is_some() { "cuda:sm_90" } else { "cpu" }.into(),
        gpu,
        host_classes: host_classes.to_vec(),
        lanes: Some(Lanes {
            most: lanes,
            predict: &predict,
        }),
        n_nodes: vec![0; program.graphs.len()],
        hashes: vec![[0; 32]; program.graphs.len()],
        compiler: "test".into(),
        ..LowerOptions::default()
    };
    lower(program, &options).map_err(|e| e.to_string())
}

fn valid(plan: Plan) -> Result<ValidPlan, String> {
    let lengths = plans::Lengths::needed(&plan);
    plans::validate(plan, lengths).map_err(|errors| {
        let errors: Vec<String> = errors.iter().take(3).map(ToString::to_string).collect();
        format!("INVALID PLAN: {}", errors.join("; "))
    })
}

/// The weights, each where the plan says.
fn section(plan: &Plan, weights: &[bytes::Bytes]) -> Vec<u8> {
    let mut section = vec![0; plans::Lengths::needed(plan).weights as usize];
    for (weight, data) in plan.weights.iter().zip(weights) {
        let start = weight.offset as usize;
        section[start..start + data.len()].copy_from_slice(data);
    }
    section
}
