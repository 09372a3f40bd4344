//! Device code in plans that are refused, and why.

use crate::samples;
use crate::validation;
use plans::validate::{PlanErrorCode as Code, PlanPlace as At};
use plans::{
    ArenaIndex, ArenaKind, BlockIndex, BufferIndex, CodeIndex, Device, ImageIndex, ImageKind,
    KernelIndex, Lengths, Plan, StepIndex, validate,
};

/// Checks that `change` makes the sample with device code invalid, for the reason `code` at `place`.
#[track_caller]
fn refused(change: impl FnOnce(&mut Plan), code: Code, place: At) {
    validation::refused(samples::device, change, code, place);
}

const IMAGE: At = At::Image(ImageIndex(1));
const CODE: At = At::Code(CodeIndex(0));
const STEP: At = At::Step(StepIndex(0));
const WORKSPACE: At = At::Workspace(StepIndex(0));
const COUNTERS: At = At::Counters(StepIndex(0));

#[test]
fn images() {
    refused(|p| p.images[1].offset += 8, Code::Alignment, IMAGE);
    refused(|p| p.images[1].offset = 256, Code::Overlap, IMAGE);
    refused(|p| p.images[1].offset = 1 << 40, Code::Bounds, IMAGE);
    refused(|p| p.images[1].bytes = u64::MAX, Code::Bounds, IMAGE);
    refused(|p| p.images[1].bytes = 0, Code::Size, IMAGE);
    refused(
        |p| p.images[1].kind = ImageKind::Cubin(0),
        Code::Code,
        IMAGE,
    );
    for name in ["", "two words", "1st", "f\0"] {
        let rename = |p: &mut Plan| p.images[1].resources[0].function = name.into();
        refused(rename, Code::Code, IMAGE);
    }
    let twice = |p: &mut Plan| p.images[1].resources[0] = p.images[1].resources[1].clone();
    refused(twice, Code::Duplicate, IMAGE);
}

#[test]
fn codes() {
    refused(|p| p.codes[0].kernel = KernelIndex(9), Code::Missing, CODE);
    refused(|p| p.codes[0].images.clear(), Code::Missing, CODE);
    refused(|p| p.codes[0].images[0].0 = 9, Code::Missing, CODE);
    refused(|p| p.codes[0].images[0].0 = 1, Code::Duplicate, CODE);
    refused(|p| p.codes[0].images.rotate_right(1), Code::Order, CODE);
    refused(|p| p.codes[0].workspace = 1 << 60, Code::Size, CODE);
    refused(|p| p.codes[0].counters = 6, Code::Size, CODE);
    refused(|p| p.codes[0].launches.clear(), Code::Code, CODE);
}

#[test]
fn launches() {
    let first =
        |change: fn(&mut plans::Launch)| move |p: &mut Plan| change(&mut p.codes[0].launches[0]);
    let changes: [fn(&mut plans::Launch); 10] = [
        |l| l.function.clear(),
        |l| l.grid[0] = 0,
        |l| l.grid[0] = 1 << 31,
        |l| l.grid[1] = 1 << 16,
        |l| l.block[2] = 0,
        |l| l.block = [1024, 2, 1],
        |l| l.block = [1, 1, 65],
        |l| l.shared_bytes = 300 << 10,
        |l| l.cluster[0] = 3,
        |l| l.cluster = [u32::MAX; 3],
    ];
    for change in changes {
        refused(first(change), Code::Code, CODE);
    }
    refused(first(|l| l.function = "other".into()), Code::Missing, CODE);
    // Clusters came with sm_90.
    refused(first(|l| l.cluster[0] = 2), Code::Code, CODE);
    let mut plan = samples::device().plan;
    plan.codes[0].images.remove(0);
    plan.codes[0].launches[0].cluster[0] = 2;
    let lengths = Lengths::needed(&plan);
    assert_eq!(validate(plan, lengths).map(|_| ()), Ok(()));
}

#[test]
fn steps_and_their_devices() {
    let code = |p: &mut Plan| p.steps[0].code.clone();
    refused(|p| p.steps[0].code = None, Code::Missing, STEP);
    refused(
        |p| p.steps[2].code = code(p),
        Code::Owner,
        At::Step(StepIndex(2)),
    );
    refused(
        |p| p.steps[1].code = code(p),
        Code::Argument,
        At::Step(StepIndex(1)),
    );
    let other = |p: &mut Plan| p.codes[0].kernel = KernelIndex(2);
    refused(other, Code::Argument, STEP);
    let missing = |p: &mut Plan| {
        if let Some(code) = &mut p.steps[0].code {
            code.code = CodeIndex(7);
        }
    };
    refused(missing, Code::Missing, STEP);
    // Only a transfer reaches the memory of the host, and no step that of another GPU.
    let host = At::Argument(StepIndex(0), 3);
    let reach = |p: &mut Plan| p.steps[0].args[3].place = p.steps[2].args[0].place;
    refused(reach, Code::Owner, host);
    let far = |p: &mut Plan| p.steps[3].device = Device::Cuda(1);
    refused(far, Code::Owner, At::Argument(StepIndex(3), 1));
    let home = |p: &mut Plan| p.steps[3].device = Device::Cpu;
    refused(home, Code::Owner, At::Argument(StepIndex(3), 1));
    let joined = |p: &mut Plan| {
        p.blocks[0].n_steps = 3;
        p.blocks.remove(1);
    };
    refused(joined, Code::Owner, At::Block(BlockIndex(0)));
}

fn set_workspace(p: &mut Plan, buffer: Option<u32>) {
    if let Some(code) = &mut p.steps[0].code {
        code.workspace = buffer.map(BufferIndex);
    }
}

fn set_counters(p: &mut Plan, buffer: Option<u32>) {
    if let Some(code) = &mut p.steps[0].code {
        code.counters = buffer.map(BufferIndex);
    }
}

#[test]
fn workspaces() {
    refused(|p| set_workspace(p, None), Code::Argument, WORKSPACE);
    refused(|p| p.codes[0].workspace = 0, Code::Argument, WORKSPACE);
    refused(|p| set_workspace(p, Some(99)), Code::Missing, WORKSPACE);
    refused(|p| p.codes[0].workspace = 5000, Code::Bounds, WORKSPACE);
    // In memory of the host, and in that of counters.
    refused(|p| set_workspace(p, Some(5)), Code::Owner, WORKSPACE);
    refused(|p| set_workspace(p, Some(4)), Code::Owner, WORKSPACE);
    // On what the step writes.
    refused(|p| p.buffers[3].offset = 0, Code::Overlap, WORKSPACE);
    // On what a later step still reads of an earlier one.
    let mut plan = samples::device().plan;
    let again = plan.steps[0].clone();
    plan.steps.insert(1, again);
    plan.models[0].n_steps += 1;
    plan.blocks[0].n_steps += 1;
    for block in &mut plan.blocks[1..] {
        block.first_step.0 += 1;
    }
    plan.arenas[1].bytes += 512;
    plan.buffers.push(plans::Buffer {
        offset: plan.arenas[1].bytes.next_multiple_of(256) - 256,
        ..plan.buffers[2].clone()
    });
    plan.buffers.push(plan.buffers[4].clone());
    plan.buffers[8].offset = 256;
    plan.arenas[2].bytes = 512;
    let (result, counters) = (BufferIndex(7), BufferIndex(8));
    plan.steps[1].args[3].place = plans::Place::Buffer(result);
    if let Some(code) = &mut plan.steps[1].code {
        code.counters = Some(counters);
    }
    let valid = plan.clone();
    let lengths = Lengths::needed(&valid);
    assert_eq!(validate(valid, lengths).map(|_| ()), Ok(()));
    let mut over = plan.clone();
    over.buffers.push(plans::Buffer {
        offset: 0,
        ..plan.buffers[3].clone()
    });
    over.buffers[7].offset = over.buffers[9].bytes;
    over.arenas[1].bytes += 8192;
    if let Some(code) = &mut over.steps[1].code {
        code.workspace = Some(BufferIndex(9));
    }
    let errors = validate(over, lengths).expect_err("the workspace lies over the first result");
    assert!(
        errors
            .iter()
            .any(|e| e.code == Code::Overwritten && e.place == At::Argument(StepIndex(2), 0)),
        "{errors:?}"
    );
    // In a lane of its own, one step's workspace is that of the other at once.
    let mut lanes = plan;
    lanes.steps[1].lane = 1;
    lanes.steps[2].waits = vec![StepIndex(1)];
    let errors = validate(lanes, lengths).expect_err("both steps use one workspace");
    let at = At::Workspace(StepIndex(1));
    assert!(
        errors
            .iter()
            .any(|e| e.code == Code::Conflict && e.place == at),
        "{errors:?}"
    );
}

#[test]
fn counters() {
    refused(|p| set_counters(p, None), Code::Argument, COUNTERS);
    refused(|p| p.codes[0].counters = 0, Code::Argument, COUNTERS);
    refused(|p| set_counters(p, Some(99)), Code::Missing, COUNTERS);
    refused(|p| p.codes[0].counters = 12, Code::Bounds, COUNTERS);
    refused(|p| set_counters(p, Some(3)), Code::Owner, COUNTERS);
    let host = |p: &mut Plan| p.arenas[2].device = Device::Cpu;
    refused(host, Code::Owner, At::Arena(ArenaIndex(2)));
    // Nobody reads or writes counters but code.
    let read = |p: &mut Plan| p.steps[0].args[3].place = plans::Place::Buffer(BufferIndex(4));
    refused(read, Code::Owner, At::Argument(StepIndex(0), 3));
    let kind = |p: &mut Plan| p.arenas[1].kind = ArenaKind::Counters;
    refused(kind, Code::Owner, At::Argument(StepIndex(0), 3));
    // Two steps have each their own.
    let twice = |p: &mut Plan| {
        let again = p.steps[0].clone();
        p.steps.insert(1, again);
        p.models[0].n_steps += 1;
        p.blocks[0].n_steps += 1;
        p.blocks[1].first_step.0 += 1;
        p.blocks[2].first_step.0 += 1;
    };
    refused(twice, Code::Overlap, At::Counters(StepIndex(1)));
    let unused = |p: &mut Plan| {
        p.buffers.push(p.buffers[4].clone());
        p.buffers[7].offset = 256;
        p.arenas[2].bytes = 512;
    };
    refused(unused, Code::Owner, At::Buffer(BufferIndex(7)));
    let over = |p: &mut Plan| p.buffers.push(p.buffers[4].clone());
    refused(over, Code::Overlap, At::Buffer(BufferIndex(7)));
}
