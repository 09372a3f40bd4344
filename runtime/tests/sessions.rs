//! Plans from files to results: loading, binding, naming, running side by side.
#![allow(clippy::unwrap_used, reason = "what panics fails the test")]

#[allow(dead_code, reason = "shared with the tests of kernels")]
#[path = "kernels/plan.rs"]
mod plan;
#[allow(dead_code, reason = "shared with the tests of kernels")]
#[path = "kernels/reference.rs"]
mod reference;
#[allow(dead_code, reason = "shared with the tests of kernels")]
#[path = "kernels/seeded.rs"]
mod seeded;

use dlirc_runtime::device::replay;
use dlirc_runtime::trace::Trace;
use dlirc_runtime::{BindError, Engine, LoadError, Loaded, Options, PortError, RunError};
use plan::Tensor;
use plans::file::FileError;
use plans::spec::{KernelSpec, MapInput, MapSpec, Operand};
use plans::tape::{BinaryFn, Reg, TapeOp, TapeStep};
use plans::{DType, ModelIndex, Plan, Tape};
use std::sync::Arc;

const N: usize = 100_000;

/// x + weight.
fn addition() -> (Plan, Vec<u8>) {
    let operand = Operand {
        dtype: DType::F32,
        strides: vec![1],
    };
    let step = |op| TapeStep {
        op,
        dtype: DType::F32,
    };
    let spec = KernelSpec::Map(MapSpec {
        domain: vec![N as u64],
        inputs: vec![
            MapInput::affine(operand.clone()),
            MapInput::affine(operand.clone()),
        ],
        tape: Tape {
            steps: vec![
                step(TapeOp::Input(0)),
                step(TapeOp::Input(1)),
                step(TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1))),
            ],
            results: vec![Reg(2)],
        },
        outputs: vec![operand],
    });
    let tensor = |value: f32| Tensor {
        dtype: DType::F32,
        data: value.to_ne_bytes().repeat(N),
        start: 0,
        is_weight: value == 2.0,
    };
    plan::plan_of(&spec, &[tensor(1.0), tensor(2.0), tensor(0.0)])
}

fn bound(threads: usize) -> Arc<Engine> {
    let (plan, weights) = addition();
    let loaded = Loaded::from_parts(plan, &weights).unwrap();
    let options = Options {
        threads,
        ..Options::default()
    };
    Arc::new(Engine::bind(Arc::new(loaded), &options).unwrap())
}

fn add(engine: &Arc<Engine>, x: f32) -> Vec<u8> {
    let mut session = engine.session().unwrap();
    let model = session.model("tested").unwrap();
    let data = x.to_ne_bytes().repeat(N);
    session
        .set_input(model, "arg0", DType::F32, &[N as u64], &data)
        .unwrap();
    session.run(model).unwrap();
    session.output(model, 0).unwrap().to_vec()
}

#[test]
fn sessions_of_one_engine_run_side_by_side() {
    for threads in [1, 3] {
        let engine = bound(threads);
        std::thread::scope(|scope| {
            for i in 0..4u8 {
                let engine = &engine;
                scope.spawn(move || {
                    for round in 0..20u8 {
                        let x = f32::from(i) * 100.0 + f32::from(round);
                        assert!(add(engine, x) == (x + 2.0).to_ne_bytes().repeat(N));
                    }
                });
            }
        });
    }
}

#[test]
fn a_plan_comes_from_a_file_or_from_bytes() {
    let (plan, weights) = addition();
    let data: Vec<&[u8]> = plan
        .weights
        .iter()
        .map(|w| &weights[w.offset as usize..][..w.bytes as usize])
        .collect();
    let mut plan = plan;
    for (weight, data) in plan.weights.iter_mut().zip(&data) {
        weight.crc = crc32(data);
    }
    let bytes = plans::file::to_bytes(&plan, |w| data[w.index()], plans::file::no_images).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("addition.plan");
    std::fs::write(&path, &bytes).unwrap();
    for loaded in [
        Loaded::open(&path),
        Loaded::open_to_bind(&path),
        Loaded::from_bytes(&bytes),
    ] {
        let loaded = Arc::new(loaded.unwrap());
        assert_eq!(loaded.weight(&loaded.plan().weights[0]), data[0]);
        let engine = Arc::new(Engine::bind(loaded, &Options::default()).unwrap());
        assert!(add(&engine, 1.0) == 3f32.to_ne_bytes().repeat(N));
    }

    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Loaded::open(&path).unwrap_err()
    };
    let is_cut = |e| matches!(e, LoadError::File(FileError::Length { .. }));
    assert!(is_cut(open(&bytes[..bytes.len() - 1])));
    assert!(is_cut(open(&[&bytes[..], &[0]].concat())));
    assert!(matches!(open(b""), LoadError::File(FileError::NotAPlan)));
    assert!(matches!(
        open(b"PK\x03\x04"),
        LoadError::File(FileError::NotAPlan)
    ));
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let error = open(&damaged);
    assert!(matches!(error, LoadError::File(FileError::Damaged { .. })));
    assert!(error.to_string().contains("the weights"), "{error}");
    let unchecked = Arc::new(Loaded::open_to_bind(&path).unwrap());
    let error = Engine::bind(unchecked, &Options::default()).unwrap_err();
    assert!(matches!(error, BindError::File { .. }), "{error}");
    assert!(error.to_string().contains("the weights"), "{error}");
    let missing = Loaded::open(folder.path().join("missing.plan")).unwrap_err();
    assert!(missing.to_string().contains("missing.plan"), "{missing}");
}

/// CRC-32 (ISO 3309), bit by bit.
fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_whole() {
    let (mut plan, weights) = addition();
    plan.buffers[0].offset = 1 << 40;
    plan.steps[0].args.pop();
    let error = Loaded::from_parts(plan, &weights).unwrap_err();
    let LoadError::Plan(errors) = &error else {
        panic!("{error}");
    };
    assert!(!errors.is_empty());
}

#[test]
fn more_memory_than_there_is_is_an_error() {
    let (mut plan, weights) = addition();
    plan.arenas[0].bytes = 1 << 51;
    let loaded = Loaded::from_parts(plan, &weights).unwrap();
    let engine = Arc::new(Engine::bind(Arc::new(loaded), &Options::default()).unwrap());
    let error = engine.session().unwrap_err();
    assert_eq!(error, BindError::OutOfMemory { bytes: 1 << 51 });
}

#[test]
fn errors_about_inputs_say_what_was_expected() {
    let engine = bound(1);
    let mut session = engine.session().unwrap();
    let model = session.model("tested").unwrap();
    let message = |e: PortError| e.to_string();
    assert_eq!(
        message(session.model("resnet").unwrap_err()),
        "no model resnet; the plan holds tested"
    );
    assert_eq!(
        message(session.input_mut(model, 1).unwrap_err()),
        "model tested has no input 1; its inputs are arg0"
    );
    assert_eq!(
        message(session.output(model, 7).unwrap_err()),
        "model tested has no output 7; its outputs are arg2"
    );
    let n = N as u64;
    let mut set =
        |name, dtype, dims: &[u64], data: &[u8]| session.set_input(model, name, dtype, dims, data);
    let data = vec![0; 4 * N];
    assert_eq!(set("arg0", DType::F32, &[n], &data), Ok(()));
    assert_eq!(
        message(set("arg9", DType::F32, &[n], &data).unwrap_err()),
        "model tested has no input arg9; its inputs are arg0"
    );
    assert_eq!(
        message(set("arg0", DType::I32, &[n], &data).unwrap_err()),
        "input arg0 of model tested is of type f32, not i32"
    );
    assert_eq!(
        message(set("arg0", DType::F32, &[1, n], &data).unwrap_err()),
        "input arg0 of model tested has dimensions [100000], not [1, 100000]"
    );
    assert_eq!(
        message(set("arg0", DType::F32, &[n], &data[1..]).unwrap_err()),
        "input arg0 of model tested takes 400000 bytes, not 399999"
    );
    let error = session.run(ModelIndex(3)).unwrap_err();
    assert!(matches!(error, RunError::Model(PortError::NoModel { .. })));
}

#[test]
fn the_trace_device_writes_the_schedule_down() {
    let (plan, weights) = addition();
    let loaded = Loaded::from_parts(plan, &weights).unwrap();
    let mut trace = Trace::new(loaded.plan());
    let Ok(()) = replay(loaded.plan(), ModelIndex(0), &mut trace);
    assert_eq!(
        trace.text(),
        "begin tested\n\
         launch 0 lane 0 map Tested: read arena 0+0, read weight 0, write arena 0+400128\n\
         end tested\n"
    );
}
