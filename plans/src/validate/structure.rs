//! Lists, names, sizes and places: everything about a plan but what its steps do.

use super::Lengths;
use super::error::{PlanErrorCode as Code, PlanPlace as At, Report};
use crate::DType;
use crate::plan::{
    ArenaIndex, ArenaKind, BUFFER_ALIGN, BlockIndex, BufferIndex, Device, Model, ModelIndex, Place,
    Plan, Port, RunSize, StepIndex, WeightIndex,
};
use std::collections::BTreeSet;

/// What every size and offset in bytes stays below.
pub(super) const MAX_BYTES: u64 = 1 << 52;

pub(super) fn check(plan: &Plan, lengths: Lengths, report: &mut Report) {
    let lists = [
        plan.models.len(),
        plan.arenas.len(),
        plan.buffers.len(),
        plan.weights.len(),
        plan.kernels.len(),
        plan.images.len(),
        plan.codes.len(),
        plan.steps.len(),
        plan.blocks.len(),
        plan.co_run.len(),
    ];
    if lists.iter().any(|&n| u32::try_from(n).is_err()) {
        report.add(Code::Size, At::Plan, "a list has 2^32 entries or more");
        return;
    }
    report.require(
        plan.fingerprint.models.len() == plan.models.len(),
        Code::Missing,
        At::Plan,
        || {
            format!(
                "the fingerprint names {} models, the plan holds {}",
                plan.fingerprint.models.len(),
                plan.models.len()
            )
        },
    );
    arenas(plan, report);
    buffers(plan, report);
    weights(plan, lengths.weights, report);
    models(plan, report);
    steps(plan, report);
    super::code::lists(plan, lengths.images, report);
    blocks(plan, report);
    super::deploy::lists(plan, report);
}

/// The bytes that a row-major tensor takes.
fn tensor_bytes(dtype: DType, dims: &[u64]) -> Option<u64> {
    let size = dtype.size() as u64;
    // Extents that a zero hides must not overflow elsewhere either.
    let product = |dims: &[u64]| dims.iter().try_fold(size, |n, &d| n.checked_mul(d.max(1)));
    let bytes = product(dims).filter(|&n| n < MAX_BYTES)?;
    Some(if dims.contains(&0) { 0 } else { bytes })
}

fn arenas(plan: &Plan, report: &mut Report) {
    for (i, arena) in (0..).map(ArenaIndex).zip(&plan.arenas) {
        let at = At::Arena(i);
        report.require(arena.bytes < MAX_BYTES, Code::Size, at, || {
            format!("its {} bytes are 2^52 or more", arena.bytes)
        });
        report.require(
            arena.kind != ArenaKind::Counters || arena.device != Device::Cpu,
            Code::Owner,
            at,
            || "it holds counters of device code and is on the host".to_owned(),
        );
        let mut seen = BTreeSet::new();
        for model in &arena.models {
            report.require(model.index() < plan.models.len(), Code::Missing, at, || {
                format!("it serves model {}, which does not exist", model.0)
            });
            report.require(seen.insert(*model), Code::Duplicate, at, || {
                format!("it lists model {} twice", model.0)
            });
        }
    }
}

fn buffers(plan: &Plan, report: &mut Report) {
    let mut kept: Vec<Vec<(u64, u64, BufferIndex)>> = vec![vec![]; plan.arenas.len()];
    for (i, buffer) in (0..).map(BufferIndex).zip(&plan.buffers) {
        let at = At::Buffer(i);
        report.require(
            buffer.model.index() < plan.models.len(),
            Code::Missing,
            at,
            || {
                format!(
                    "it belongs to model {}, which does not exist",
                    buffer.model.0
                )
            },
        );
        report.require(
            buffer.offset.is_multiple_of(BUFFER_ALIGN),
            Code::Alignment,
            at,
            || format!("offset {} is no multiple of {BUFFER_ALIGN}", buffer.offset),
        );
        let Some(arena) = plan.arenas.get(buffer.arena.index()) else {
            report.add(
                Code::Missing,
                at,
                format!("it lies in arena {}, which does not exist", buffer.arena.0),
            );
            continue;
        };
        let end = buffer.offset.checked_add(buffer.bytes);
        let inside = end.is_some_and(|end| end <= arena.bytes);
        report.require(inside, Code::Bounds, at, || {
            format!(
                "its {} bytes at {} reach out of arena {} of {} bytes",
                buffer.bytes, buffer.offset, buffer.arena.0, arena.bytes
            )
        });
        report.require(
            arena.models.contains(&buffer.model),
            Code::Owner,
            at,
            || {
                format!(
                    "it belongs to model {}, which arena {} does not serve",
                    buffer.model.0, buffer.arena.0
                )
            },
        );
        if arena.kind != ArenaKind::Scratch && inside && buffer.bytes > 0 {
            kept[buffer.arena.index()].push((buffer.offset, buffer.offset + buffer.bytes, i));
        }
    }
    for mut placed in kept {
        placed.sort_unstable();
        let mut reached = (0, BufferIndex(0));
        for (start, end, i) in placed {
            report.require(start >= reached.0, Code::Overlap, At::Buffer(i), || {
                format!(
                    "what its arena holds stays between runs, but it shares bytes with buffer {}",
                    reached.1.0
                )
            });
            reached = reached.max((end, i));
        }
    }
}

fn weights(plan: &Plan, weights_len: u64, report: &mut Report) {
    let mut hashes = BTreeSet::new();
    let mut placed = Vec::with_capacity(plan.weights.len());
    for (i, weight) in (0..).map(WeightIndex).zip(&plan.weights) {
        let at = At::Weight(i);
        report.require(
            tensor_bytes(weight.dtype, &weight.dims) == Some(weight.bytes),
            Code::Size,
            at,
            || {
                format!(
                    "{}{:?} does not take {} bytes",
                    weight.dtype, weight.dims, weight.bytes
                )
            },
        );
        report.require(
            weight.offset.is_multiple_of(BUFFER_ALIGN),
            Code::Alignment,
            at,
            || format!("offset {} is no multiple of {BUFFER_ALIGN}", weight.offset),
        );
        let end = weight.offset.checked_add(weight.bytes);
        let inside = end.is_some_and(|end| end <= weights_len);
        report.require(inside, Code::Bounds, at, || {
            format!(
                "its {} bytes at {} reach out of the {weights_len} bytes of weights",
                weight.bytes, weight.offset
            )
        });
        report.require(hashes.insert(weight.hash), Code::Duplicate, at, || {
            "another weight has the same content hash".to_owned()
        });
        if inside && weight.bytes > 0 {
            placed.push((weight.offset, weight.offset + weight.bytes, i));
        }
    }
    placed.sort_unstable();
    for pair in placed.windows(2) {
        let ((_, end, other), (start, _, i)) = (pair[0], pair[1]);
        report.require(start >= end, Code::Overlap, At::Weight(i), || {
            format!("it shares bytes with weight {}", other.0)
        });
    }
}

fn models(plan: &Plan, report: &mut Report) {
    let mut names = BTreeSet::new();
    let mut is_port = vec![false; plan.buffers.len()];
    let mut ranges = vec![];
    for (i, model) in (0..).map(ModelIndex).zip(&plan.models) {
        let at = At::Model(i);
        report.require(names.insert(&model.name), Code::Duplicate, at, || {
            format!("another model is called `{}` too", model.name)
        });
        let end = u64::from(model.first_step.0) + u64::from(model.n_steps);
        report.require(end <= plan.steps.len() as u64, Code::Missing, at, || {
            format!("its steps end at {end} of {}", plan.steps.len())
        });
        ranges.push((u64::from(model.first_step.0), end, i));
        ports(plan, i, model, &mut is_port, report);
    }
    ranges.sort_unstable();
    let mut reached = 0;
    for (start, end, i) in ranges.into_iter().filter(|(start, end, _)| start < end) {
        report.require(start == reached, Code::Partition, At::Model(i), || {
            format!("its steps start at {start}; those of the models before end at {reached}")
        });
        reached = end;
    }
    report.require(
        reached == plan.steps.len() as u64,
        Code::Partition,
        At::Plan,
        || {
            format!(
                "the models' steps end at {reached}; there are {}",
                plan.steps.len()
            )
        },
    );
    for (i, buffer) in (0..).map(BufferIndex).zip(&plan.buffers) {
        let Some(arena) = plan.arenas.get(buffer.arena.index()) else {
            continue;
        };
        let is_io = arena.kind == ArenaKind::Io;
        report.require(
            is_io == is_port[i.index()],
            Code::Owner,
            At::Buffer(i),
            || {
                if is_io {
                    "it lies in an arena of inputs and outputs and is neither".to_owned()
                } else {
                    "it is an input or output and lies in an arena of other things".to_owned()
                }
            },
        );
    }
}

fn ports(plan: &Plan, i: ModelIndex, model: &Model, is_port: &mut [bool], report: &mut Report) {
    let mut counts = BTreeSet::new();
    for (ports, is_input) in [(&model.inputs, true), (&model.outputs, false)] {
        let mut names = BTreeSet::new();
        for (n, port) in ports.iter().enumerate() {
            let at = if is_input {
                At::Input(i, n)
            } else {
                At::Output(i, n)
            };
            report.require(names.insert(&port.name), Code::Duplicate, at, || {
                format!("another one is called `{}` too", port.name)
            });
            let Some(buffer) = plan.buffers.get(port.buffer.index()) else {
                report.add(
                    Code::Missing,
                    at,
                    format!("it lies in buffer {}, which does not exist", port.buffer.0),
                );
                continue;
            };
            report.require(
                tensor_bytes(port.dtype, &port.dims) == Some(buffer.bytes),
                Code::Size,
                at,
                || {
                    format!(
                        "{}{:?} does not take the {} bytes of buffer {}",
                        port.dtype, port.dims, buffer.bytes, port.buffer.0
                    )
                },
            );
            report.require(buffer.model == i, Code::Owner, at, || {
                format!(
                    "buffer {} belongs to model {}",
                    port.buffer.0, buffer.model.0
                )
            });
            let taken = std::mem::replace(&mut is_port[port.buffer.index()], true);
            report.require(!taken, Code::Duplicate, at, || {
                format!("buffer {} is another input or output", port.buffer.0)
            });
            if let Some(size) = port.size {
                run_size(plan, i, at, port, size, report);
                if size.count.index() < plan.buffers.len() {
                    counts.insert((size.count, n));
                }
            }
        }
    }
    for (count, n) in counts {
        let is_tensor = model
            .inputs
            .iter()
            .chain(&model.outputs)
            .any(|p| p.buffer == count);
        report.require(!is_tensor, Code::Duplicate, At::Output(i, n), || {
            format!("its size, buffer {}, is another input or output", count.0)
        });
        is_port[count.index()] = true;
    }
}

/// The size of an output that a run decides.
fn run_size(plan: &Plan, i: ModelIndex, at: At, port: &Port, size: RunSize, report: &mut Report) {
    report.require(matches!(at, At::Output(..)), Code::Size, at, || {
        "a run decides its size, and it is an input".to_owned()
    });
    let rank = port.dims.len();
    report.require((size.axis as usize) < rank, Code::Size, at, || {
        format!(
            "a run decides the size of dimension {} of {rank}",
            size.axis
        )
    });
    let b = size.count.0;
    let Some(buffer) = plan.buffers.get(size.count.index()) else {
        report.add(
            Code::Missing,
            at,
            format!("its size lies in buffer {b}, which does not exist"),
        );
        return;
    };
    report.require(buffer.bytes == RunSize::BYTES, Code::Size, at, || {
        format!(
            "its size, an i64, does not take the {} bytes of buffer {b}",
            buffer.bytes
        )
    });
    let arena = plan.arenas.get(buffer.arena.index());
    let on_host = arena.is_none_or(|a| a.device == Device::Cpu);
    report.require(on_host, Code::Owner, at, || {
        format!("its size lies in buffer {b}, which is not in the host's memory")
    });
    report.require(buffer.model == i, Code::Owner, at, || {
        format!(
            "its size lies in buffer {b}, which belongs to model {}",
            buffer.model.0
        )
    });
}

fn steps(plan: &Plan, report: &mut Report) {
    for (i, step) in (0..).map(StepIndex).zip(&plan.steps) {
        let at = At::Step(i);
        report.require(
            step.kernel.index() < plan.kernels.len(),
            Code::Missing,
            at,
            || format!("it runs kernel {}, which does not exist", step.kernel.0),
        );
        let model = plan.models.get(step.model.index());
        report.require(
            model.is_some_and(|m| m.steps().contains(&i.index())),
            Code::Partition,
            at,
            || format!("it is none of the steps of model {}", step.model.0),
        );
        for (n, arg) in step.args.iter().enumerate() {
            let (what, index, len) = match arg.place {
                Place::Buffer(b) => ("buffer", b.index(), plan.buffers.len()),
                Place::Weight(w) => ("weight", w.index(), plan.weights.len()),
            };
            report.require(index < len, Code::Missing, At::Argument(i, n), || {
                format!("{what} {index} does not exist")
            });
        }
        for wait in &step.waits {
            let waited = plan.steps.get(wait.index());
            report.require(
                wait < &i && waited.is_some_and(|w| w.model == step.model),
                Code::Order,
                at,
                || {
                    format!(
                        "it waits for step {}, which is no earlier step of its model",
                        wait.0
                    )
                },
            );
        }
    }
}

fn blocks(plan: &Plan, report: &mut Report) {
    let mut reached: Vec<u64> = plan
        .models
        .iter()
        .map(|m| u64::from(m.first_step.0))
        .collect();
    for (i, block) in (0..).map(BlockIndex).zip(&plan.blocks) {
        let at = At::Block(i);
        let Some(reached) = reached.get_mut(block.model.index()) else {
            report.add(
                Code::Missing,
                at,
                format!(
                    "it belongs to model {}, which does not exist",
                    block.model.0
                ),
            );
            continue;
        };
        report.require(block.n_steps > 0, Code::Partition, at, || {
            "it has no steps".to_owned()
        });
        let first = u64::from(block.first_step.0);
        report.require(first == *reached, Code::Partition, at, || {
            format!(
                "it starts at step {first}; what came before of model {} ends at {reached}",
                block.model.0
            )
        });
        *reached = first + u64::from(block.n_steps);
        let steps = block.first_step.index()..;
        let mut devices = plan.steps.get(steps).unwrap_or_default().iter();
        let mut devices = devices
            .by_ref()
            .take(block.n_steps as usize)
            .map(|s| s.device);
        if let Some(device) = devices.next() {
            report.require(devices.all(|d| d == device), Code::Owner, at, || {
                "its steps run on different devices".to_owned()
            });
        }
    }
    for ((i, model), reached) in (0..).map(ModelIndex).zip(&plan.models).zip(reached) {
        let end = u64::from(model.first_step.0) + u64::from(model.n_steps);
        report.require(reached == end, Code::Partition, At::Model(i), || {
            format!("its blocks end at step {reached}, its steps at {end}")
        });
    }
}
