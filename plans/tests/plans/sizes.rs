//! Outputs whose size a run decides.

use crate::samples::{Sample, at, f32s, operand, port};
use crate::validation::refused;
use plans::spec::{KernelSpec, LibrarySpec, NonMaxSuppressionSpec};
use plans::validate::{PlanErrorCode as Code, PlanPlace as At};
use plans::{
    ArenaKind, BufferIndex, DType, Device, Lengths, ModelIndex, Place, Port, RunSize, validate,
};

const OUTPUT: At = At::Output(ModelIndex(0), 0);

/// A model that picks at most 8 of 6 boxes of 2 classes.
fn selection() -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let boxes = s.buffer(io, "boxes", 6 * 4 * 4);
    let scores = s.buffer(io, "scores", 2 * 6 * 4);
    let picked = s.buffer(io, "picked", 8 * 3 * 8);
    let count = s.buffer(io, "size of picked", RunSize::BYTES);
    let spec = NonMaxSuppressionSpec {
        batch: 1,
        classes: 2,
        boxes: 6,
        max_output: 4,
        iou_threshold: 0.5,
        score_threshold: None,
        center_point: false,
        boxes_in: f32s(&[1, 6, 4]),
        scores: f32s(&[1, 2, 6]),
        out: operand(DType::I64, &[8, 3]),
    };
    s.step(
        "NonMaxSuppression",
        KernelSpec::Library(LibrarySpec::NonMaxSuppression(spec)),
        &[at(boxes), at(scores), at(picked), at(count)],
    );
    let inputs = vec![
        port("boxes", DType::F32, &[1, 6, 4], boxes),
        port("scores", DType::F32, &[1, 2, 6], scores),
    ];
    let output = Port {
        size: Some(RunSize { axis: 0, count }),
        ..port("picked", DType::I64, &[8, 3], picked)
    };
    s.finish_model("selection", inputs, vec![output], &[1]);
    s
}

/// A selection whose output's size is `change`d.
#[track_caller]
fn refused_size(change: impl FnOnce(&mut RunSize), code: Code) {
    let change = |p: &mut plans::Plan| {
        let size = p.models[0].outputs[0].size.as_mut();
        change(size.expect("the sample has one"));
    };
    refused(selection, change, code, OUTPUT);
}

#[test]
fn a_size_may_be_decided_by_a_run() {
    let plan = selection().plan;
    let lengths = Lengths::needed(&plan);
    let plan = validate(plan, lengths).unwrap();
    assert_eq!(plan.models[0].outputs[0].ty(), "i64[<=8,3]");
    let text = plans::text::text(&plan);
    assert!(
        text.contains("output picked: i64[<=8,3] in b2, size in b3"),
        "{text}"
    );
}

#[test]
fn sizes_are_clamped() {
    let port = &selection().plan.models[0].outputs[0];
    for (count, rows) in [(0, 0), (5, 5), (8, 8), (9, 8), (i64::MAX, 8), (-1, 0)] {
        assert_eq!(port.dims_after(count), [rows, 3], "{count}");
    }
}

#[test]
fn sizes_are_dimensions_of_outputs() {
    refused_size(|s| s.axis = 2, Code::Size);
    let size = |p: &mut plans::Plan| p.models[0].inputs[0].size = p.models[0].outputs[0].size;
    let at = At::Input(ModelIndex(0), 0);
    refused(selection, size, Code::Size, at);
}

#[test]
fn sizes_lie_in_buffers_of_their_own() {
    refused_size(|s| s.count = BufferIndex(9), Code::Missing);
    refused_size(|s| s.count = BufferIndex(2), Code::Size);
    // A tensor of 8 bytes is no size either.
    refused(
        selection,
        |p| {
            p.buffers[0].bytes = 8;
            p.models[0].inputs[0].dims = vec![2];
            if let Some(size) = &mut p.models[0].outputs[0].size {
                size.count = BufferIndex(0);
            }
        },
        Code::Duplicate,
        OUTPUT,
    );
    refused(selection, |p| p.buffers[3].bytes = 4, Code::Size, OUTPUT);
    // Without the port's word for it, the count has no place among inputs and outputs.
    let orphan = At::Buffer(BufferIndex(3));
    let forget = |p: &mut plans::Plan| p.models[0].outputs[0].size = None;
    refused(selection, forget, Code::Owner, orphan);
}

#[test]
fn sizes_are_on_the_host() {
    let away = |p: &mut plans::Plan| p.arenas[0].device = Device::Cuda(0);
    refused(selection, away, Code::Owner, OUTPUT);
}

#[test]
fn sizes_are_written_in_every_run() {
    // The count goes to scratch memory instead.
    let elsewhere = |p: &mut plans::Plan| {
        let scratch = plans::ArenaIndex(p.arenas.len() as u32);
        p.arenas.push(plans::Arena {
            device: Device::Cpu,
            bytes: 8,
            kind: ArenaKind::Scratch,
            models: vec![ModelIndex(0)],
        });
        p.buffers.push(plans::Buffer {
            arena: scratch,
            offset: 0,
            bytes: 8,
            model: ModelIndex(0),
            name: "elsewhere".into(),
        });
        p.steps[0].args[3].place = Place::Buffer(BufferIndex(4));
    };
    refused(selection, elsewhere, Code::Unwritten, OUTPUT);
}
