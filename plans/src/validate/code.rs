//! Device code: images, launches, and the memory that steps give to it.

use super::error::{PlanErrorCode as Code, PlanPlace as At, Report};
use super::structure::MAX_BYTES;
use crate::code::{CodeIndex, Image, ImageIndex, ImageKind, Launch};
use crate::plan::{ArenaKind, BUFFER_ALIGN, BufferIndex, Device, Plan, Step, StepIndex};
use crate::spec::{ArgSpec, KernelSpec, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Blocks of a grid along x, y, z (CUDA programming guide, technical specifications of compute
/// capabilities 5.0 and later).
const MAX_GRID: [u32; 3] = [0x7fff_ffff, 0xffff, 0xffff];
/// Threads of a block along x, y, z; the same table.
const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];
/// Threads of a block together.
const MAX_THREADS: u64 = 1024;
/// Blocks of a cluster that every GPU with clusters can run.
const MAX_CLUSTER: u64 = 8;
/// Shared memory of a block: 227 KiB, the most of any GPU so far.
const MAX_SHARED: u32 = 227 << 10;
/// The longest name of a function.
const MAX_NAME: usize = 256;
/// The first architecture with clusters.
const FIRST_WITH_CLUSTERS: u32 = 90;

/// Checks lists and places of images and codes.
pub(super) fn lists(plan: &Plan, images_len: u64, report: &mut Report) {
    images(plan, images_len, report);
    for (i, code) in (0..).map(CodeIndex).zip(&plan.codes) {
        let at = At::Code(i);
        report.require(
            code.kernel.index() < plan.kernels.len(),
            Code::Missing,
            at,
            || format!("it computes kernel {}, which does not exist", code.kernel.0),
        );
        report.require(!code.images.is_empty(), Code::Missing, at, || {
            "it has no image".to_owned()
        });
        let mut kinds = BTreeSet::new();
        for image in &code.images {
            let Some(found) = plan.images.get(image.index()) else {
                report.add(
                    Code::Missing,
                    at,
                    format!("image {} does not exist", image.0),
                );
                continue;
            };
            report.require(kinds.insert(found.kind), Code::Duplicate, at, || {
                format!("image {} is for {}, as another one is", image.0, found.kind)
            });
        }
        for bytes in [code.workspace, code.counters] {
            report.require(bytes < MAX_BYTES, Code::Size, at, || {
                format!("it needs {bytes} bytes of memory, which are 2^52 or more")
            });
        }
        report.require(code.counters.is_multiple_of(4), Code::Size, at, || {
            format!(
                "its counters are words, which {} bytes are not",
                code.counters
            )
        });
    }
    for (i, step) in (0..).map(StepIndex).zip(&plan.steps) {
        let Some(code) = &step.code else { continue };
        report.require(
            code.code.index() < plan.codes.len(),
            Code::Missing,
            At::Step(i),
            || format!("it runs code {}, which does not exist", code.code.0),
        );
        for (buffer, at) in [
            (code.workspace, At::Workspace(i)),
            (code.counters, At::Counters(i)),
        ] {
            let missing = buffer.filter(|b| b.index() >= plan.buffers.len());
            report.require(missing.is_none(), Code::Missing, at, || {
                format!(
                    "buffer {} does not exist",
                    missing.unwrap_or(BufferIndex(0)).0
                )
            });
        }
    }
}

fn images(plan: &Plan, images_len: u64, report: &mut Report) {
    let mut placed = vec![];
    for (i, image) in (0..).map(ImageIndex).zip(&plan.images) {
        let at = At::Image(i);
        report.require(
            image.offset.is_multiple_of(BUFFER_ALIGN),
            Code::Alignment,
            at,
            || format!("offset {} is no multiple of {BUFFER_ALIGN}", image.offset),
        );
        let end = image.offset.checked_add(image.bytes);
        let inside = end.is_some_and(|end| end <= images_len);
        report.require(inside, Code::Bounds, at, || {
            format!(
                "its {} bytes at {} reach out of the {images_len} bytes of images",
                image.bytes, image.offset
            )
        });
        report.require(image.bytes > 0, Code::Size, at, || {
            "it has no bytes".to_owned()
        });
        let (ImageKind::Cubin(arch) | ImageKind::Ptx(arch)) = image.kind;
        report.require((10..1000).contains(&arch), Code::Code, at, || {
            format!("there is no architecture {arch}")
        });
        functions(image, at, report);
        if inside {
            placed.push((image.offset, image.offset + image.bytes, i));
        }
    }
    placed.sort_unstable();
    for pair in placed.windows(2) {
        let ((_, end, other), (start, _, i)) = (pair[0], pair[1]);
        report.require(start >= end, Code::Overlap, At::Image(i), || {
            format!("it shares bytes with image {}", other.0)
        });
    }
}

fn functions(image: &Image, at: At, report: &mut Report) {
    let mut names = BTreeSet::new();
    for resources in &image.resources {
        let name = &resources.function;
        report.require(is_name(name), Code::Code, at, || {
            format!("`{}` is no name of a function", name.escape_debug())
        });
        report.require(names.insert(name), Code::Duplicate, at, || {
            format!("it has two functions `{}`", name.escape_debug())
        });
    }
}

/// Whether a function in C can have this name.
fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=MAX_NAME).contains(&name.len())
        && name.chars().all(word)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Checks launches, and that steps on devices run code of their kernels with the memory that it needs.
pub(super) fn check(plan: &Plan, kernels: &[Vec<ArgSpec>], report: &mut Report) {
    for (i, code) in (0..).map(CodeIndex).zip(&plan.codes) {
        let at = At::Code(i);
        let specs = &kernels[code.kernel.index()];
        let writes = |s: &ArgSpec| s.role != Role::Read && s.reach.is_some();
        report.require(
            !code.launches.is_empty() || !specs.iter().any(writes),
            Code::Code,
            at,
            || "it launches nothing, and its kernel writes something".to_owned(),
        );
        let archs: Vec<u32> = code
            .images
            .iter()
            .map(|image| match plan.images[image.index()].kind {
                ImageKind::Cubin(arch) | ImageKind::Ptx(arch) => arch,
            })
            .collect();
        for (n, l) in code.launches.iter().enumerate() {
            if let Err(why) = launch(l, &archs) {
                report.add(Code::Code, at, format!("launch {n}: {why}"));
            }
            for image in &code.images {
                let known = &plan.images[image.index()].resources;
                let has = known.is_empty() || known.iter().any(|r| r.function == l.function);
                report.require(has, Code::Missing, at, || {
                    format!("launch {n}: image {} has no such function", image.0)
                });
            }
        }
        let ptx_first = code.images.windows(2).any(|pair| {
            let kind = |i: ImageIndex| plan.images[i.index()].kind;
            matches!(
                (kind(pair[0]), kind(pair[1])),
                (ImageKind::Ptx(_), ImageKind::Cubin(_))
            )
        });
        report.require(!ptx_first, Code::Order, at, || {
            "machine code comes after PTX".to_owned()
        });
    }
    let mut users: BTreeMap<BufferIndex, StepIndex> = BTreeMap::new();
    for (i, step) in (0..).map(StepIndex).zip(&plan.steps) {
        device(plan, i, step, report);
        memory(plan, i, step, &mut users, report);
    }
    for (i, buffer) in (0..).map(BufferIndex).zip(&plan.buffers) {
        let arena = &plan.arenas[buffer.arena.index()];
        report.require(
            arena.kind != ArenaKind::Counters || users.contains_key(&i),
            Code::Owner,
            At::Buffer(i),
            || "it lies in an arena of counters and is no step's".to_owned(),
        );
    }
}

fn launch(launch: &Launch, archs: &[u32]) -> Result<(), String> {
    let Launch {
        function,
        grid,
        block,
        cluster,
        shared_bytes,
        cooperative: _,
        starts_early: _,
    } = launch;
    if !is_name(function) {
        return Err(format!(
            "`{}` is no name of a function",
            function.escape_debug()
        ));
    }
    let within =
        |n: &[u32; 3], most: &[u32; 3]| n.iter().zip(most).all(|(n, m)| (1..=*m).contains(n));
    let product = |n: &[u32; 3]| n.iter().fold(1u64, |p, &n| p.saturating_mul(u64::from(n)));
    if !within(grid, &MAX_GRID) {
        return Err(format!("no grid has {grid:?} blocks"));
    }
    if !within(block, &MAX_BLOCK) || product(block) > MAX_THREADS {
        return Err(format!("no block has {block:?} threads"));
    }
    let fits = cluster
        .iter()
        .zip(grid)
        .all(|(&c, &g)| c > 0 && g.is_multiple_of(c));
    if !fits || product(cluster) > MAX_CLUSTER {
        return Err(format!(
            "{grid:?} blocks do not form clusters of {cluster:?}"
        ));
    }
    if product(cluster) > 1 && archs.iter().any(|&arch| arch < FIRST_WITH_CLUSTERS) {
        return Err(format!(
            "there are no clusters before sm_{FIRST_WITH_CLUSTERS}"
        ));
    }
    if *shared_bytes > MAX_SHARED {
        return Err(format!(
            "{shared_bytes} bytes of shared memory; the most is {MAX_SHARED}"
        ));
    }
    Ok(())
}

/// That a step's device can run what it is given.
fn device(plan: &Plan, i: StepIndex, step: &Step, report: &mut Report) {
    let at = At::Step(i);
    let is_transfer = matches!(plan.kernels[step.kernel.index()], KernelSpec::Transfer(_));
    match (&step.code, step.device) {
        (None, Device::Cpu) => {}
        (None, Device::Cuda(_)) => {
            report.require(is_transfer, Code::Missing, at, || {
                format!("it has no code to run on {}", step.device)
            });
        }
        (Some(_), Device::Cpu) => {
            report.add(Code::Owner, at, "it has device code and runs on the host");
        }
        (Some(code), Device::Cuda(_)) => {
            let kernel = plan.codes[code.code.index()].kernel;
            report.require(!is_transfer, Code::Argument, at, || {
                "it has code, and is a transfer".to_owned()
            });
            report.require(kernel == step.kernel, Code::Argument, at, || {
                format!(
                    "its code {} is of kernel {}, not of kernel {}",
                    code.code.0, kernel.0, step.kernel.0
                )
            });
        }
    }
}

/// That a step's workspace and counters are what its code needs. What else touches a workspace is
/// found with all other accesses to memory.
fn memory(
    plan: &Plan,
    i: StepIndex,
    step: &Step,
    users: &mut BTreeMap<BufferIndex, StepIndex>,
    report: &mut Report,
) {
    let Some(step_code) = &step.code else { return };
    let code = &plan.codes[step_code.code.index()];
    let wanted = [
        (
            At::Workspace(i),
            step_code.workspace,
            code.workspace,
            ArenaKind::Scratch,
        ),
        (
            At::Counters(i),
            step_code.counters,
            code.counters,
            ArenaKind::Counters,
        ),
    ];
    for (at, buffer, bytes, kind) in wanted {
        report.require(
            buffer.is_some() == (bytes > 0),
            Code::Argument,
            at,
            || match buffer {
                Some(_) => "its code needs none".to_owned(),
                None => format!("there is none, and its code needs {bytes} bytes"),
            },
        );
        let Some(b) = buffer else { continue };
        let buffer = &plan.buffers[b.index()];
        let arena = &plan.arenas[buffer.arena.index()];
        report.require(buffer.bytes >= bytes, Code::Bounds, at, || {
            format!(
                "buffer {} has {} bytes, its code needs {bytes}",
                b.0, buffer.bytes
            )
        });
        report.require(
            arena.kind == kind && arena.device == step.device,
            Code::Owner,
            at,
            || {
                format!(
                    "buffer {} lies in an arena for {:?} on {}, the step runs on {}",
                    b.0, arena.kind, arena.device, step.device
                )
            },
        );
        report.require(buffer.model == step.model, Code::Owner, at, || {
            format!(
                "buffer {} belongs to model {}, the step to {}",
                b.0, buffer.model.0, step.model.0
            )
        });
        if kind == ArenaKind::Counters
            && let Some(other) = users.insert(b, i)
        {
            report.add(
                Code::Overlap,
                at,
                format!("buffer {} holds the counters of step {} too", b.0, other.0),
            );
        }
    }
}
