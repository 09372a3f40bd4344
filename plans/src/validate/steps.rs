//! Kernels, and the arguments that steps give them.

use super::error::{PlanErrorCode as Code, PlanPlace as At, Report};
use crate::DType;
use crate::plan::{ArenaKind, Device, KernelIndex, ModelIndex, Place, Plan, StepIndex};
use crate::spec::{ArgSpec, KernelSpec, Role};

/// The arguments of every kernel.
pub(super) fn check(plan: &Plan, report: &mut Report) -> Vec<Vec<ArgSpec>> {
    let kernels: Vec<Vec<ArgSpec>> = (0..)
        .map(KernelIndex)
        .zip(&plan.kernels)
        .map(|(i, kernel)| match kernel.check() {
            Ok(()) => kernel.args(),
            Err(error) => {
                report.add(
                    Code::Kernel,
                    At::Kernel(i),
                    format!("{} kernel: {error}", kernel.class()),
                );
                vec![]
            }
        })
        .collect();
    if report.is_empty() {
        arguments(plan, &kernels, report);
    }
    kernels
}

fn arguments(plan: &Plan, kernels: &[Vec<ArgSpec>], report: &mut Report) {
    let mut is_input = vec![false; plan.buffers.len()];
    let mut dtypes: Vec<Option<DType>> = vec![None; plan.buffers.len()];
    for model in &plan.models {
        for port in &model.inputs {
            is_input[port.buffer.index()] = true;
        }
        for port in model.inputs.iter().chain(&model.outputs) {
            dtypes[port.buffer.index()] = Some(port.dtype);
            if let Some(size) = port.size {
                dtypes[size.count.index()] = Some(DType::I64);
            }
        }
    }
    for (i, step) in (0..).map(StepIndex).zip(&plan.steps) {
        let specs = &kernels[step.kernel.index()];
        if step.args.len() != specs.len() {
            let class = plan.kernels[step.kernel.index()].class();
            report.add(
                Code::Argument,
                At::Step(i),
                format!(
                    "{} arguments for a {class} kernel that takes {}",
                    step.args.len(),
                    specs.len()
                ),
            );
            continue;
        }
        let is_transfer = matches!(plan.kernels[step.kernel.index()], KernelSpec::Transfer(_));
        for (n, (arg, spec)) in step.args.iter().zip(specs).enumerate() {
            let at = At::Argument(i, n);
            let (what, dtype, bytes) = match arg.place {
                Place::Weight(w) => {
                    let weight = &plan.weights[w.index()];
                    report.require(spec.role == Role::Read, Code::ReadOnly, at, || {
                        format!("`{}` writes to weight {}", spec.name, w.0)
                    });
                    (format!("weight {}", w.0), weight.dtype, weight.bytes)
                }
                Place::Buffer(b) => {
                    let buffer = &plan.buffers[b.index()];
                    report.require(
                        spec.role == Role::Read || !is_input[b.index()],
                        Code::ReadOnly,
                        at,
                        || format!("`{}` writes to buffer {}, an input", spec.name, b.0),
                    );
                    report.require(buffer.model == step.model, Code::Owner, at, || {
                        let ModelIndex(owner) = buffer.model;
                        format!(
                            "buffer {} belongs to model {owner}, the step to {}",
                            b.0, step.model.0
                        )
                    });
                    let arena = &plan.arenas[buffer.arena.index()];
                    let device = arena.device;
                    let reaches = device == step.device || is_transfer && device == Device::Cpu;
                    report.require(reaches, Code::Owner, at, || {
                        format!(
                            "buffer {} is in the memory of {device}, the step runs on {}",
                            b.0, step.device
                        )
                    });
                    report.require(arena.kind != ArenaKind::Counters, Code::Owner, at, || {
                        format!("buffer {} is for counters of device code", b.0)
                    });
                    let dtype = *dtypes[b.index()].get_or_insert(spec.dtype);
                    (format!("buffer {}", b.0), dtype, buffer.bytes)
                }
            };
            report.require(dtype == spec.dtype, Code::Argument, at, || {
                format!(
                    "{what} holds {dtype}; `{}` is of type {}",
                    spec.name, spec.dtype
                )
            });
            let size = spec.dtype.size() as u64;
            report.require(arg.offset.is_multiple_of(size), Code::Alignment, at, || {
                format!("offset {} is no multiple of {size}", arg.offset)
            });
            let touched = spec.touched(arg.offset);
            let inside = touched.as_ref().is_some_and(|t| t.end <= bytes);
            report.require(inside, Code::Bounds, at, || match touched {
                Some(t) => format!(
                    "`{}` touches bytes {} to {} of the {bytes} of {what}",
                    spec.name, t.start, t.end
                ),
                None => format!("`{}` touches bytes before {what}", spec.name),
            });
        }
    }
}
