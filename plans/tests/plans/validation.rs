//! Plans that are refused, and why.

use crate::samples::{self, ColumnStep, Sample};
use crate::{interleavings, random_plans, zoo};
use plans::spec::Role;
use plans::validate::{PlanErrorCode as Code, PlanPlace as At};
use plans::{
    ArenaIndex, ArenaKind, BufferIndex, DType, Device, KernelIndex, KernelSpec, Lengths,
    ModelIndex, Place, Plan, PlanError, StepIndex, WeightIndex, validate,
};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Instant;

fn errors(plan: Plan) -> Vec<PlanError> {
    let lengths = Lengths::needed(&plan);
    validate(plan, lengths).err().unwrap_or_default()
}

/// Checks that `change` makes a valid plan invalid, for the reason `code` at `place`.
#[track_caller]
pub(crate) fn refused(
    sample: fn() -> Sample,
    change: impl FnOnce(&mut Plan),
    code: Code,
    place: At,
) {
    let mut plan = sample().plan;
    let lengths = Lengths::needed(&plan);
    change(&mut plan);
    let errors = validate(plan, lengths).expect_err("the plan must be refused");
    assert!(
        errors.iter().any(|e| e.code == code && e.place == place),
        "expected {} at {place}, found {errors:#?}",
        code.name()
    );
    assert!(errors.iter().all(|e| !e.help().is_empty()));
}

#[test]
fn samples_are_valid() {
    for sample in [
        samples::mlp(),
        samples::branches(),
        samples::growing(),
        samples::pair(),
        zoo::zoo(),
        samples::chain(5, 64),
        samples::device(),
        samples::deployed(),
    ] {
        assert_eq!(errors(sample.plan), []);
    }
}

#[test]
fn lists_and_names() {
    let at = At::Argument(StepIndex(0), 0);
    let buffer = Place::Buffer(BufferIndex(99));
    refused(
        samples::mlp,
        |p| p.steps[0].args[0].place = buffer,
        Code::Missing,
        at,
    );
    let weight = Place::Weight(WeightIndex(99));
    refused(
        samples::mlp,
        |p| p.steps[0].args[0].place = weight,
        Code::Missing,
        at,
    );
    let at = At::Step(StepIndex(1));
    refused(
        samples::mlp,
        |p| p.steps[1].kernel = KernelIndex(9),
        Code::Missing,
        at,
    );
    refused(
        samples::mlp,
        |p| p.steps[1].model = ModelIndex(9),
        Code::Partition,
        at,
    );
    let at = At::Buffer(BufferIndex(0));
    refused(
        samples::mlp,
        |p| p.buffers[0].arena = ArenaIndex(9),
        Code::Missing,
        at,
    );
    refused(
        samples::mlp,
        |p| p.buffers[0].model = ModelIndex(9),
        Code::Missing,
        at,
    );
    let at = At::Arena(ArenaIndex(1));
    refused(
        samples::mlp,
        |p| p.arenas[1].models.push(ModelIndex(3)),
        Code::Missing,
        at,
    );
    refused(
        samples::mlp,
        |p| p.arenas[1].models.push(ModelIndex(0)),
        Code::Duplicate,
        at,
    );
    let at = At::Input(ModelIndex(0), 0);
    refused(
        samples::mlp,
        |p| p.models[0].inputs[0].buffer.0 = 7,
        Code::Missing,
        at,
    );
    let at = At::Model(ModelIndex(1));
    refused(
        samples::pair,
        |p| p.models[1].name = "mlp".into(),
        Code::Duplicate,
        at,
    );
    let twice = |p: &mut Plan| p.weights[1].hash = p.weights[0].hash;
    refused(
        samples::mlp,
        twice,
        Code::Duplicate,
        At::Weight(WeightIndex(1)),
    );
    refused(
        samples::mlp,
        |p| p.fingerprint.models.clear(),
        Code::Missing,
        At::Plan,
    );
}

#[test]
fn sizes_and_places() {
    let at = At::Input(ModelIndex(0), 0);
    refused(
        samples::mlp,
        |p| p.models[0].inputs[0].dims[0] = 3,
        Code::Size,
        at,
    );
    refused(
        samples::mlp,
        |p| p.models[0].inputs[0].dims = vec![1 << 63, 4],
        Code::Size,
        at,
    );
    let at = At::Weight(WeightIndex(0));
    refused(
        samples::mlp,
        |p| p.weights[0].dtype = DType::F64,
        Code::Size,
        at,
    );
    refused(
        samples::mlp,
        |p| p.weights[0].offset += 4,
        Code::Alignment,
        at,
    );
    refused(
        samples::mlp,
        |p| p.weights[0].offset = u64::MAX - 255,
        Code::Bounds,
        at,
    );
    let last = At::Weight(WeightIndex(3));
    refused(
        samples::mlp,
        |p| p.weights[3].offset += 256,
        Code::Bounds,
        last,
    );
    refused(
        samples::mlp,
        |p| p.weights[1].offset = p.weights[0].offset,
        Code::Overlap,
        At::Weight(WeightIndex(0)),
    );
    let at = At::Buffer(BufferIndex(2));
    refused(
        samples::mlp,
        |p| p.buffers[2].offset += 8,
        Code::Alignment,
        at,
    );
    refused(
        samples::mlp,
        |p| p.buffers[2].offset = 1 << 20,
        Code::Bounds,
        at,
    );
    refused(
        samples::mlp,
        |p| p.buffers[2].offset = u64::MAX - 255,
        Code::Bounds,
        at,
    );
    refused(
        samples::mlp,
        |p| p.arenas[1].models.clear(),
        Code::Owner,
        at,
    );
    refused(
        samples::mlp,
        |p| p.buffers[1].offset = p.buffers[0].offset,
        Code::Overlap,
        At::Buffer(BufferIndex(0)),
    );
    refused(
        samples::mlp,
        |p| p.arenas[1].bytes = 1 << 60,
        Code::Size,
        At::Arena(ArenaIndex(1)),
    );
    let io = |p: &mut Plan| p.arenas[1].kind = ArenaKind::Io;
    refused(samples::mlp, io, Code::Owner, At::Buffer(BufferIndex(2)));
    let scratch = |p: &mut Plan| p.arenas[0].kind = ArenaKind::Scratch;
    refused(
        samples::mlp,
        scratch,
        Code::Owner,
        At::Buffer(BufferIndex(0)),
    );
}

#[test]
fn steps_and_blocks_partition() {
    let at = At::Model(ModelIndex(1));
    refused(
        samples::pair,
        |p| p.models[1].first_step.0 = 2,
        Code::Partition,
        at,
    );
    refused(
        samples::pair,
        |p| p.models[1].n_steps = 99,
        Code::Missing,
        at,
    );
    refused(
        samples::pair,
        |p| p.models[1].n_steps = 3,
        Code::Partition,
        At::Plan,
    );
    let block = At::Block(plans::BlockIndex(1));
    refused(
        samples::mlp,
        |p| p.blocks[1].first_step.0 = 1,
        Code::Partition,
        block,
    );
    refused(
        samples::mlp,
        |p| p.blocks[1].n_steps = 0,
        Code::Partition,
        block,
    );
    refused(
        samples::mlp,
        |p| p.blocks[1].model.0 = 5,
        Code::Missing,
        block,
    );
    let at = At::Model(ModelIndex(0));
    refused(
        samples::mlp,
        |p| p.blocks[1].n_steps = 2,
        Code::Partition,
        at,
    );
    refused(samples::mlp, |p| p.blocks.truncate(1), Code::Partition, at);
}

#[test]
fn arguments() {
    let at = At::Argument(StepIndex(0), 0);
    refused(
        samples::mlp,
        |p| p.steps[0].args[0].offset = 4,
        Code::Bounds,
        at,
    );
    refused(
        samples::mlp,
        |p| p.steps[0].args[0].offset = 2,
        Code::Alignment,
        at,
    );
    refused(
        samples::mlp,
        |p| p.steps[0].args[0].offset = u64::MAX - 3,
        Code::Bounds,
        at,
    );
    let one_less = |p: &mut Plan| p.steps[0].args.truncate(3);
    refused(
        samples::mlp,
        one_less,
        Code::Argument,
        At::Step(StepIndex(0)),
    );
    let weight = Place::Weight(WeightIndex(0));
    let at = At::Argument(StepIndex(0), 3);
    refused(
        samples::mlp,
        |p| p.steps[0].args[3].place = weight,
        Code::ReadOnly,
        at,
    );
    let x = Place::Buffer(BufferIndex(0));
    refused(
        samples::mlp,
        |p| p.steps[1].args[3].place = x,
        Code::ReadOnly,
        At::Argument(StepIndex(1), 3),
    );
    let foreign = Place::Buffer(BufferIndex(6));
    refused(
        samples::pair,
        |p| p.steps[0].args[3].place = foreign,
        Code::Owner,
        at,
    );
    refused(
        samples::mlp,
        |p| p.arenas[1].device = Device::Cuda(0),
        Code::Owner,
        at,
    );
    let integers = |p: &mut Plan| p.models[0].outputs[0].dtype = DType::I32;
    refused(
        samples::mlp,
        integers,
        Code::Argument,
        At::Argument(StepIndex(2), 1),
    );
    // A negative stride that starts too early.
    let early = |p: &mut Plan| p.steps[1].args[0].offset = 16;
    refused(zoo::zoo, early, Code::Bounds, At::Argument(StepIndex(1), 0));
}

#[test]
fn kernels_are_checked() {
    refused(
        samples::mlp,
        |p| {
            let KernelSpec::Row(row) = &mut p.kernels[2] else {
                panic!("the third kernel is a softmax");
            };
            row.phases.pop();
        },
        Code::Kernel,
        At::Kernel(KernelIndex(2)),
    );
}

#[test]
fn reads_follow_writes() {
    let at = At::Argument(StepIndex(2), 0);
    // The softmax reads what nothing wrote.
    refused(
        samples::mlp,
        |p| p.steps[1].args[3].place = Place::Buffer(BufferIndex(1)),
        Code::Unwritten,
        at,
    );
    // The output stays empty.
    refused(
        samples::mlp,
        |p| p.steps[2].args[1].place = Place::Buffer(BufferIndex(2)),
        Code::Unwritten,
        At::Output(ModelIndex(0), 0),
    );
    // Only one of the branches writes its half of the concatenation.
    refused(
        samples::branches,
        |p| p.steps[2].args[1].offset = 0,
        Code::Unwritten,
        At::Argument(StepIndex(3), 0),
    );
    // Layer 3 writes over layer 0, which layer 4 would still read.
    let late = |p: &mut Plan| p.steps[4].args[1] = p.steps[0].args[1];
    let chain = || samples::chain(6, 64);
    refused(
        chain,
        late,
        Code::Overwritten,
        At::Argument(StepIndex(4), 1),
    );
    // The concatenation lies over the stem that its second half is computed from.
    refused(
        samples::branches,
        |p| p.buffers[3].offset = 0,
        Code::Overlap,
        At::Argument(StepIndex(1), 3),
    );
    // What is updated was never written.
    let zoo = zoo::zoo().plan;
    let scatter = zoo.steps.iter().position(|s| s.label == "ScatterND");
    let scatter = scatter.unwrap();
    refused(
        zoo::zoo,
        |p| {
            let fill = p.steps[scatter - 1].kernel;
            let KernelSpec::Map(map) = &mut p.kernels[fill.index()] else {
                panic!("a fill is a map");
            };
            map.domain = vec![0];
        },
        Code::Unwritten,
        At::Argument(StepIndex(scatter as u32), 2),
    );
}

#[test]
fn a_step_writes_apart_from_what_it_reads() {
    let image = 8 * 8 * 4;
    let at = At::Argument(StepIndex(1), 1);
    // One channel too early, and over what it reads.
    refused(
        samples::growing,
        |p| p.steps[1].args[1].offset -= image,
        Code::Overlap,
        at,
    );
    refused(
        samples::growing,
        |p| p.steps[1].args[1].offset = 0,
        Code::Overlap,
        at,
    );
    // The second half stays as it is, and the first is read before it is written.
    let at = At::Argument(StepIndex(2), 0);
    refused(
        samples::growing,
        |p| p.steps[1].args[1] = p.steps[0].args[1],
        Code::Unwritten,
        at,
    );
    let at = At::Argument(StepIndex(1), 0);
    refused(
        samples::growing,
        |p| p.steps[0].args[1].offset = 4 * image,
        Code::Unwritten,
        at,
    );
}

#[test]
fn unordered_steps_do_not_conflict() {
    // The pool does not wait for the stem.
    let no_wait = |p: &mut Plan| p.steps[2].waits.clear();
    refused(
        samples::branches,
        no_wait,
        Code::Conflict,
        At::Argument(StepIndex(2), 0),
    );
    // The last step does not wait for the pool.
    let no_wait = |p: &mut Plan| p.steps[3].waits.clear();
    refused(
        samples::branches,
        no_wait,
        Code::Conflict,
        At::Argument(StepIndex(3), 0),
    );
    // Both branches write the same half.
    let same = |p: &mut Plan| p.steps[2].args[1].offset = 0;
    refused(
        samples::branches,
        same,
        Code::Conflict,
        At::Argument(StepIndex(2), 1),
    );
    // A step that waits for a later one, or for itself.
    for wait in [1, 3] {
        let wait = |p: &mut Plan| p.steps[1].waits.push(StepIndex(wait));
        refused(samples::branches, wait, Code::Order, At::Step(StepIndex(1)));
    }
    // A step of another model.
    let other = |p: &mut Plan| p.steps[4].waits.push(StepIndex(0));
    refused(samples::pair, other, Code::Order, At::Step(StepIndex(4)));
    // A wait that another one implies can be left out.
    let mut plan = samples::branches().plan;
    plan.steps[3].lane = 1;
    plan.steps[3].waits = vec![StepIndex(1)];
    assert_eq!(errors(plan), []);
    // More lanes than are followed.
    let lanes = |p: &mut Plan| (0..100).for_each(|i| p.steps[i].lane = i as u16);
    refused(
        || samples::chain(100, 4),
        lanes,
        Code::TooComplex,
        At::Model(ModelIndex(0)),
    );
}

#[test]
fn a_write_waits_for_unordered_reads() {
    // Layers 0 and 3 share a slot. Layer 2 reads layer 0 in a lane of its own; layer 3 reads layer
    // 1 only and so would write without waiting for layer 2.
    let mut plan = samples::chain(6, 64).plan;
    plan.steps[2].lane = 1;
    plan.steps[2].waits = vec![StepIndex(1)];
    plan.steps[3].args[0] = plan.steps[3].args[1];
    plan.steps[4].waits = vec![StepIndex(2)];
    let found = errors(plan.clone());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].code, Code::Conflict);
    assert_eq!(found[0].place, At::Argument(StepIndex(3), 2));
    plan.steps[3].waits = vec![StepIndex(2)];
    assert_eq!(errors(plan), []);
}

/// Lane, waits, columns that are read, column that is written.
type Given<'a> = (u16, &'a [u32], &'a [u64], Option<u64>);

/// The steps that conflict, and with which.
fn conflicts(steps: &[Given<'_>]) -> Vec<(u32, String)> {
    let steps: Vec<ColumnStep<'_>> = steps
        .iter()
        .map(|&(lane, waits, reads, writes)| ColumnStep {
            lane,
            waits,
            reads,
            writes,
        })
        .collect();
    errors(samples::columns(&steps).plan)
        .into_iter()
        .map(|e| match e.place {
            At::Argument(step, _) if e.code == Code::Conflict => (step.0, e.message),
            _ => panic!("{e}"),
        })
        .collect()
}

#[test]
fn the_last_read_of_a_lane_counts() {
    let write = (0, &[][..], &[][..], Some(0));
    let first = (1, &[0][..], &[0][..], None);
    let second = (1, &[][..], &[0][..], None);
    let found = conflicts(&[write, first, second, (0, &[1], &[], Some(0))]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0 == 3 && found[0].1.contains("step 2"),
        "{found:?}"
    );
    assert_eq!(
        conflicts(&[write, first, second, (0, &[2], &[], Some(0))]),
        []
    );
}

#[test]
fn all_reads_of_a_step_count() {
    let write = |c| (0, &[][..], &[][..], Some(c));
    let both = (1, &[1][..], &[0, 1][..], None);
    for c in [0, 1] {
        let found = conflicts(&[write(0), write(1), both, write(c)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].0 == 3 && found[0].1.contains("step 2"),
            "{found:?}"
        );
    }
    // What lies in turns with what is read can be written meanwhile, by another step or the same.
    assert_eq!(conflicts(&[write(0), write(1), both, write(2)]), []);
    let in_turns = (1, &[1][..], &[0, 1][..], Some(3));
    assert_eq!(conflicts(&[write(0), write(1), in_turns, write(2)]), []);
}

#[test]
fn reads_of_every_lane_count() {
    let write = (0, &[][..], &[][..], Some(0));
    let read = |lane| (lane, &[0][..], &[0][..], None);
    for (waits, missing) in [(&[2][..], "step 1"), (&[1], "step 2")] {
        let found = conflicts(&[write, read(1), read(2), (0, waits, &[], Some(0))]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].0 == 3 && found[0].1.contains(missing), "{found:?}");
    }
    assert_eq!(
        conflicts(&[write, read(1), read(2), (0, &[1, 2], &[], Some(0))]),
        []
    );
}

#[test]
fn writes_around_a_read_do_not_hide_it() {
    let write = |c| (0, &[][..], &[][..], Some(c));
    let read = (1, &[0][..], &[1][..], None);
    let found = conflicts(&[write(1), read, write(0), write(3), write(1)]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0 == 4 && found[0].1.contains("step 1"),
        "{found:?}"
    );
}

#[test]
fn of_many_accesses_none_is_forgotten() {
    let write = |c| (0, &[][..], &[][..], Some(c));
    let read = (1, &[0][..], &[1][..], None);
    for n in [10, 262] {
        let mut steps = vec![write(1), read];
        steps.extend((0..n).map(|i| write([0, 3][i % 2])));
        steps.push(write(1));
        let found = conflicts(&steps);
        let last = (n + 2) as u32;
        let is_found = |(step, why): &(u32, String)| *step == last && why.contains("step 1,");
        assert!(found.iter().any(is_found), "{n}: {found:?}");
    }
}

#[test]
fn every_violation_is_listed() {
    let mut plan = samples::mlp().plan;
    plan.buffers[2].offset += 8;
    plan.weights[0].offset += 8;
    plan.models[0].inputs[0].dims[0] = 7;
    let codes: Vec<_> = errors(plan).into_iter().map(|e| e.code).collect();
    assert_eq!(codes, [Code::Alignment, Code::Alignment, Code::Size]);
    let mut plan = samples::chain(1000, 4).plan;
    plan.buffers.iter_mut().for_each(|b| b.offset += 1);
    let found = errors(plan);
    assert_eq!(found.len(), 201);
    assert!(found[200].message.contains("not listed"));
}

#[test]
fn twenty_thousand_steps_in_a_moment() {
    let mut plan = samples::chain(20_000, 1 << 16).plan;
    let start = Instant::now();
    assert_eq!(errors(plan.clone()), []);
    let total = start.elapsed();
    for (i, step) in plan.steps.iter_mut().enumerate() {
        step.lane = (i % 8) as u16;
        step.waits = (i > 0)
            .then(|| StepIndex(i as u32 - 1))
            .into_iter()
            .collect();
    }
    let start = Instant::now();
    assert_eq!(errors(plan), []);
    println!("one lane {total:?}, eight {:?}", start.elapsed());
    // Generous: both take a few hundredths of a second.
    assert!(total.as_secs() < 2 && start.elapsed().as_secs() < 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_accepted_gives_one_result(seed in any::<u64>(), other in any::<u64>()) {
        let mut sample = random_plans::plan(seed);
        random_plans::spoil(&mut sample, other);
        if errors(sample.plan.clone()).is_empty() {
            interleavings::agree(&sample.plan, other);
        }
    }
}

#[test]
fn slices_that_are_accepted_give_one_result() {
    let mut n_valid = [0; 4];
    for seed in 0..40_000 {
        let (has_lanes, is_shared) = (seed % 2 == 1, seed % 4 > 1);
        let sample =
            random_plans::slices(crate::random(seed)(1 << 62) as u64, has_lanes, is_shared);
        let is_valid = errors(sample.plan.clone()).is_empty();
        if is_valid {
            n_valid[seed as usize % 4] += 1;
            interleavings::agree(&sample.plan, seed);
        }
        if !has_lanes && !is_shared {
            assert_eq!(is_valid, makes_sense(&sample.plan), "{seed}");
        }
    }
    println!("{n_valid:?}");
    assert!(n_valid.iter().all(|&n| n > 100), "{n_valid:?}");
}

/// Whether a plan of one model, without lanes and in buffers that share no bytes, reads nothing but
/// what was written, byte by byte.
fn makes_sense(plan: &Plan) -> bool {
    let model = &plan.models[0];
    let mut written = BTreeSet::new();
    let all = |b: BufferIndex| (0..plan.buffers[b.index()].bytes).map(move |at| (b, at));
    written.extend(model.inputs.iter().flat_map(|port| all(port.buffer)));
    for step in &plan.steps {
        let specs = plan.kernels[step.kernel.index()].args();
        let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
        for (arg, spec) in step.args.iter().zip(&specs) {
            let Place::Buffer(b) = arg.place else {
                continue;
            };
            let bytes = interleavings::touched_bytes(spec, arg.offset);
            let to = if spec.role == Role::Read {
                &mut reads
            } else {
                &mut writes
            };
            to.extend(bytes.into_iter().map(|at| (b, at)));
        }
        if !reads.is_subset(&written) || !reads.is_disjoint(&writes) {
            return false;
        }
        written.extend(writes);
    }
    model
        .outputs
        .iter()
        .flat_map(|port| all(port.buffer))
        .all(|byte| written.contains(&byte))
}
