//! Plans on each CUDA device that there is.

use crate::allocations;
use crate::child;
use crate::plans::{self, BYTES, Builder, CUDA, N};
use ::plans::{DType, ModelIndex, Place};
use dlirc_runtime::cuda::{self, DevicePtr, dlpack};
use dlirc_runtime::timeline::{Work, chrome_trace};
use dlirc_runtime::{BindError, During, Engine, Fault, Loaded, Options, RunError, RunOn, Session};
use std::sync::Arc;

const MODEL: ModelIndex = ModelIndex(0);

/// Does `test` with each device.
pub(crate) fn on_each_device(test: impl Fn(RunOn)) {
    match cuda::n_devices() {
        Ok(n) => (0..n).for_each(|i| test(RunOn::Cuda(i))),
        Err(why) => println!("skipped: no CUDA device ({why})"),
    }
}

fn bind(
    loaded: &Arc<Loaded>,
    device: RunOn,
    cuda: cuda::Options,
) -> Result<Arc<Engine>, BindError> {
    let options = Options {
        device,
        cuda,
        threads: 2,
        ..Options::default()
    };
    Engine::bind(Arc::clone(loaded), &options).map(Arc::new)
}

fn session(loaded: &Arc<Loaded>, device: RunOn) -> Session {
    let engine = bind(loaded, device, cuda::Options::default()).unwrap();
    engine.session().unwrap()
}

/// 1024 different floats from `first` on.
pub(crate) fn ramp(first: f32) -> Vec<u8> {
    (0..N)
        .flat_map(|i| (first + i as f32).to_ne_bytes())
        .collect()
}

fn run(session: &mut Session, x: &[u8]) -> Vec<u8> {
    session.set_input(MODEL, "x0", DType::F32, &[N], x).unwrap();
    session.run(MODEL).unwrap();
    session.output(MODEL, 0).unwrap().to_vec()
}

fn all_plans() -> [(&'static str, Arc<Loaded>); 6] {
    [
        ("chain", plans::chain(&["add"])),
        ("in steps", plans::chain(&["fill", "use", "reset"])),
        ("checked", plans::chain(&["checked"])),
        ("lanes", plans::lanes()),
        ("branches", plans::branches()),
        ("mixed", plans::mixed()),
    ]
}

#[test]
fn results_are_those_of_the_host() {
    on_each_device(|device| {
        for (name, loaded) in all_plans() {
            let mut host = session(&loaded, RunOn::Cpu);
            let mut on_device = session(&loaded, device);
            assert!(on_device.engine().uses_cuda() && !host.engine().uses_cuda());
            for i in 0..20 {
                let x = ramp(i as f32);
                assert!(run(&mut on_device, &x) == run(&mut host, &x), "{name} {i}");
            }
        }
    });
}

#[test]
fn options_change_no_result() {
    on_each_device(|device| {
        let all = [
            cuda::Options {
                lazy: true,
                ..cuda::Options::default()
            },
            cuda::Options {
                step_by_step: true,
                ..cuda::Options::default()
            },
        ];
        for options in all {
            for (name, loaded) in all_plans() {
                let x = ramp(1.0);
                let engine = bind(&loaded, device, options).unwrap();
                let mut on_device = engine.session().unwrap();
                let expected = run(&mut session(&loaded, RunOn::Cpu), &x);
                assert!(run(&mut on_device, &x) == expected, "{name} {options:?}");
            }
        }
    });
}

#[test]
fn runs_allocate_nothing() {
    on_each_device(|device| {
        for (name, loaded) in all_plans() {
            let mut session = session(&loaded, device);
            // The driver's library is not this program; its first launch may be slow.
            session.run(MODEL).unwrap();
            let before = allocations::count();
            for _ in 0..3 {
                session.run(MODEL).unwrap();
                session.run_on_device(MODEL).unwrap();
                session.run_on_device_timed(MODEL).unwrap();
            }
            assert_eq!(allocations::count(), before, "{name}");
        }
    });
}

#[test]
fn sessions_run_side_by_side() {
    on_each_device(|device| {
        let loaded = plans::chain(&["fill", "use", "reset"]);
        let engine = bind(&loaded, device, cuda::Options::default()).unwrap();
        let mut host = session(&loaded, RunOn::Cpu);
        let expected: Vec<Vec<u8>> = (0..4).map(|i| run(&mut host, &ramp(i as f32))).collect();
        std::thread::scope(|scope| {
            for (i, expected) in expected.iter().enumerate() {
                let engine = &engine;
                scope.spawn(move || {
                    let mut session = engine.session().unwrap();
                    for _ in 0..200 {
                        assert!(run(&mut session, &ramp(i as f32)) == *expected);
                    }
                });
            }
        });
    });
}

#[test]
fn weights_larger_than_the_chunks_arrive_whole() {
    on_each_device(|device| {
        let mut b = Builder::new();
        let code = Some(b.code(&["add"]));
        // 40 MiB that nothing reads but three of its vectors, and small ones around it.
        let data: Vec<u8> = (0..10u32 << 20)
            .flat_map(|i| ((i % 8191) as f32).to_ne_bytes())
            .collect();
        let before = b.weight(1.0);
        // Only the file has this one.
        b.weight(9.0);
        let large = b.weight_of(&data);
        let after = b.weight(2.0);
        let (x, y) = (b.input(CUDA), b.output(CUDA));
        let places = [before, large, large, large, after].map(Place::Weight);
        let mut from = Place::Buffer(x);
        let offsets = [0, 0, 4 << 20, data.len() as u64 - BYTES, 0];
        for (i, (place, offset)) in places.into_iter().zip(offsets).enumerate() {
            let to = if i == 4 { y } else { b.scratch(CUDA) };
            let step = b.sum(code, from, place, to);
            b.plan.steps[step.index()].args[1].offset = offset;
            from = Place::Buffer(to);
        }
        let loaded = b.finish();
        let x = ramp(0.0);
        let expected = run(&mut session(&loaded, RunOn::Cpu), &x);
        let mut on_device = session(&loaded, device);
        assert!(run(&mut on_device, &x) == expected);
        assert_eq!(
            on_device.engine().device_weight_bytes(),
            data.len() as u64 + 2 * BYTES
        );
    });
}

#[test]
fn damaged_weights_are_found_when_they_are_uploaded() {
    on_each_device(|device| {
        let sums = |of_weights: bool| {
            let mut b = Builder::new();
            let (x, y, code) = (b.input(CUDA), b.output(CUDA), Some(b.code(&["add"])));
            let large = b.weight_of(&ramp(1.0).repeat(500));
            // Only the file has this one.
            b.weight(9.0);
            let small = b.weight(2.0);
            let (x, between) = (Place::Buffer(x), b.scratch(CUDA));
            let [first, second] = match of_weights {
                true => [large, small].map(Place::Weight),
                false => [x, x],
            };
            b.sum(code, x, first, between);
            b.sum(code, Place::Buffer(between), second, y);
            b.finish()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.dlplan");
        for in_memory in [sums(true), sums(false)] {
            let bytes = plans::file_of(&in_memory);
            let opened = |bytes: &[u8]| {
                std::fs::write(&path, bytes).unwrap();
                Arc::new(Loaded::open_to_bind(&path).unwrap())
            };
            let x = ramp(0.0);
            let expected = run(&mut session(&in_memory, device), &x);
            assert!(run(&mut session(&opened(&bytes), device), &x) == expected);
            let section = ::plans::file::read(&bytes).unwrap().weights;
            for at in [0, 1 << 20, section.len() - 5000, section.len() - 1] {
                let mut damaged = bytes.clone();
                damaged[section.start + at] ^= 1;
                let error = bind(&opened(&damaged), device, cuda::Options::default()).unwrap_err();
                let path = path.display();
                assert_eq!(
                    error.to_string(),
                    format!(
                        "{path}: the file is damaged: the checksum of the weights does not match"
                    )
                );
            }
        }
    });
}

#[test]
fn a_position_out_of_range_is_named_and_the_next_run_is_right() {
    on_each_device(|device| {
        let loaded = plans::chain(&["checked"]);
        let mut on_device = session(&loaded, device);
        // Negative in both steps; the first is the one to tell.
        let x = ramp(-9.0);
        on_device.input_mut(MODEL, 0).unwrap().copy_from_slice(&x);
        let error = on_device.run(MODEL).unwrap_err();
        let RunError::Step { step, fault } = &error else {
            panic!("{error}");
        };
        assert_eq!(step.step.0, 0);
        assert_eq!(step.origin, ["node0"]);
        assert_eq!(*fault, Fault::IndexOutOfRange);
        let x = ramp(0.0);
        let expected = run(&mut session(&loaded, RunOn::Cpu), &x);
        assert!(run(&mut on_device, &x) == expected);
    });
}

#[test]
fn inputs_and_outputs_can_stay_on_the_device() {
    on_each_device(|device| {
        let loaded = plans::chain(&["add"]);
        let engine = bind(&loaded, device, cuda::Options::default()).unwrap();
        let (mut first, mut second) = (engine.session().unwrap(), engine.session().unwrap());
        let x = ramp(5.0);
        let once = run(&mut session(&loaded, RunOn::Cpu), &x);
        let twice = run(&mut session(&loaded, RunOn::Cpu), &once);
        first.input_mut(MODEL, 0).unwrap().copy_from_slice(&x);
        first.upload_inputs(MODEL).unwrap();
        first.run_on_device(MODEL).unwrap();
        assert!(first.output(MODEL, 0).unwrap().iter().all(|&b| b == 0));
        let between = first.device_output(MODEL, 0).unwrap();
        assert_eq!(between.bytes, BYTES);
        // SAFETY: the output of one session is read by the other while the first rests.
        unsafe { second.copy_device_input(MODEL, 0, between) }.unwrap();
        let time = second.run_on_device_timed(MODEL).unwrap();
        assert!(time.as_nanos() > 0 && time.as_secs() < 1, "{time:?}");
        second.download_outputs(MODEL).unwrap();
        assert!(second.output(MODEL, 0).unwrap() == twice);
        first.download_outputs(MODEL).unwrap();
        assert!(first.output(MODEL, 0).unwrap() == once);
        let short = DevicePtr {
            bytes: BYTES - 4,
            ..between
        };
        // SAFETY: it is refused.
        let error = unsafe { second.copy_device_input(MODEL, 0, short) }.unwrap_err();
        assert!(matches!(error, RunError::Model(_)), "{error}");
    });
}

#[test]
fn sizes_that_a_run_decides_come_back() {
    on_each_device(|device| {
        let loaded = plans::sized();
        for device in [RunOn::Cpu, device] {
            let mut session = session(&loaded, device);
            assert_eq!(session.output_dims(MODEL, 0), Ok(vec![0]));
            for (count, size) in [(7i64, 7), (5000, N), (-1, 0)] {
                let data = count.to_ne_bytes();
                session.input_mut(MODEL, 1).unwrap().copy_from_slice(&data);
                assert!(run(&mut session, &ramp(0.0)) == ramp(2.0));
                assert_eq!(session.output_dims(MODEL, 0), Ok(vec![size]));
            }
        }
    });
}

#[test]
fn tensors_change_hands() {
    on_each_device(|device| {
        let loaded = plans::chain(&["add"]);
        let engine = bind(&loaded, device, cuda::Options::default()).unwrap();
        let (mut first, mut second) = (engine.session().unwrap(), engine.session().unwrap());
        let x = ramp(5.0);
        let once = run(&mut first, &x);
        let twice = run(&mut session(&loaded, RunOn::Cpu), &once);
        let managed = first.export_output(MODEL, 0).unwrap().into_managed();
        let versioned = first.export_output(MODEL, 0).unwrap().into_versioned();
        // The tensors outlive the session that they come from.
        drop(first);
        // SAFETY: both were just made.
        let (of_managed, of_versioned) =
            unsafe { (&mut (*managed).dl_tensor, &(*versioned).dl_tensor) };
        assert_eq!(of_managed.data, of_versioned.data);
        for tensor in [&*of_managed, of_versioned] {
            second.input_mut(MODEL, 0).unwrap().fill(0);
            second.upload_inputs(MODEL).unwrap();
            // SAFETY: the memory is the first session's, which nobody writes any more.
            unsafe { second.import_input(MODEL, 0, tensor) }.unwrap();
            second.run_on_device(MODEL).unwrap();
            second.download_outputs(MODEL).unwrap();
            assert!(second.output(MODEL, 0).unwrap() == twice);
        }
        let mut on_host = x.clone();
        let tensor = dlpack::Tensor {
            data: on_host.as_mut_ptr().cast(),
            device: dlpack::Device {
                device_type: dlpack::CPU,
                device_id: 0,
            },
            ..*of_managed
        };
        // SAFETY: the data is there.
        unsafe { second.import_input(MODEL, 0, &tensor) }.unwrap();
        second.run(MODEL).unwrap();
        assert!(second.output(MODEL, 0).unwrap() == once);
        let mut strides = [2i64];
        of_managed.strides = strides.as_mut_ptr();
        // SAFETY: it is refused before it is read.
        let error = unsafe { second.import_input(MODEL, 0, of_managed) }.unwrap_err();
        assert_eq!(
            error.to_string(),
            "input x0 of model tested takes a row-major tensor, not strides [2]"
        );
        // SAFETY: each is deleted once, and not used again.
        unsafe {
            (*managed).deleter.unwrap()(managed);
            (*versioned).deleter.unwrap()(versioned);
        }
    });
}

#[test]
fn steps_are_timed() {
    on_each_device(|device| {
        for (name, loaded) in all_plans() {
            let mut on_device = session(&loaded, device);
            let x = ramp(2.0);
            on_device.input_mut(MODEL, 0).unwrap().copy_from_slice(&x);
            let mut times = vec![];
            on_device
                .run_observed(MODEL, &mut |step, time| times.push((step.index(), time)))
                .unwrap();
            let steps: Vec<usize> = times.iter().map(|(step, _)| *step).collect();
            let all: Vec<usize> = (0..loaded.plan().steps.len()).collect();
            assert_eq!(steps, all, "{name}");
            let too_long = times.iter().find(|(_, time)| time.as_millis() > 100);
            assert_eq!(too_long, None, "{name}");
            let expected = run(&mut session(&loaded, RunOn::Cpu), &x);
            assert!(on_device.output(MODEL, 0).unwrap() == expected, "{name}");
            let spans = on_device.run_spans(MODEL).unwrap();
            assert!(on_device.output(MODEL, 0).unwrap() == expected, "{name}");
            // What a step waits for ends before it starts.
            let of = |wanted: usize| {
                let found = spans
                    .iter()
                    .find(|s| matches!(s.work, Work::Step(step) if step.index() == wanted));
                *found.unwrap()
            };
            for (i, step) in loaded.plan().steps.iter().enumerate() {
                for wait in &step.waits {
                    let (before, after) = (of(wait.index()), of(i));
                    assert!(before.start + before.duration <= after.start, "{name} {i}");
                }
            }
            let trace = chrome_trace(loaded.plan(), &[(std::time::Duration::ZERO, spans)]);
            assert!(trace.contains("\"node0\"") && trace.contains("cuda:0"));
        }
    });
}

#[test]
fn too_much_memory_is_refused_and_nothing_is_lost() {
    on_each_device(|device| {
        let mut b = Builder::new();
        let (x, y) = (b.input(CUDA), b.output(CUDA));
        let two = b.weight(2.0);
        let code = Some(b.code(&["add"]));
        b.sum(code, Place::Buffer(x), Place::Weight(two), y);
        b.plan.arenas[1].bytes = 1 << 50;
        let too_large = b.finish();
        let engine = bind(&too_large, device, cuda::Options::default()).unwrap();
        let error = engine.session().unwrap_err();
        let BindError::DeviceMemory {
            bytes, free, total, ..
        } = &error
        else {
            panic!("{error}");
        };
        assert!(*bytes >= 1 << 50 && *free > 0 && *total >= *free, "{error}");
        let loaded = plans::chain(&["add"]);
        let x = ramp(0.0);
        let expected = run(&mut session(&loaded, RunOn::Cpu), &x);
        assert!(run(&mut session(&loaded, device), &x) == expected);
    });
}

#[test]
fn missing_functions_and_images_are_named() {
    on_each_device(|device| {
        let loaded = plans::chain(&["nothing"]);
        let error = bind(&loaded, device, cuda::Options::default()).unwrap_err();
        let BindError::Function { function, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(function, "nothing");
        // It takes three parameters, and the code says four.
        let loaded = plans::chain(&["add", "checked"]);
        let error = bind(&loaded, device, cuda::Options::default()).unwrap_err();
        assert!(matches!(error, BindError::Function { .. }), "{error}");

        let mut b = Builder::new();
        let (x, y) = (b.input(CUDA), b.output(CUDA));
        let two = b.weight(2.0);
        let code = Some(b.code(&["add"]));
        b.sum(code, Place::Buffer(x), Place::Weight(two), y);
        b.plan.images[0].kind = ::plans::ImageKind::Ptx(500);
        b.plan.images[1].kind = ::plans::ImageKind::Cubin(500);
        b.plan.codes[0].images.reverse();
        let error = bind(&b.finish(), device, cuda::Options::default()).unwrap_err();
        assert!(matches!(error, BindError::NoImage { .. }), "{error}");
        assert!(error.to_string().contains("sm_500"), "{error}");

        let mut b = Builder::new();
        let (x, y) = (b.input(CUDA), b.output(CUDA));
        let two = b.weight(2.0);
        let code = Some(b.code(&["add"]));
        b.sum(code, Place::Buffer(x), Place::Weight(two), y);
        b.images.fill(b'!');
        let error = bind(&b.finish(), device, cuda::Options::default()).unwrap_err();
        // Drivers may look at PTX only when a function of it is asked for.
        let is_named = matches!(error, BindError::Image { .. } | BindError::Function { .. });
        assert!(is_named, "{error}");
    });
}

const BROKEN: &str = "device::after_a_broken_rule_only_the_cpu_goes_on";

#[test]
fn after_a_broken_rule_only_the_cpu_goes_on() {
    if !child::is_child(BROKEN) {
        on_each_device(|_| {});
        if cuda::n_devices().is_ok() {
            for how in ["together", "step by step"] {
                child::run(BROKEN, &[("DLIRC_HOW", how)]);
            }
        }
        return;
    }
    let step_by_step = std::env::var("DLIRC_HOW").unwrap() == "step by step";
    // The first device alone: after it the process has none.
    let device = RunOn::Cuda(0);
    let x = ramp(0.0);
    let good = plans::chain(&["add"]);
    let expected = run(&mut session(&good, RunOn::Cpu), &x);
    let mut beside = session(&good, device);
    assert!(run(&mut beside, &x) == expected);
    let options = cuda::Options {
        step_by_step,
        ..cuda::Options::default()
    };
    let engine = bind(&plans::chain(&["crash"]), device, options).unwrap();
    let mut broken = engine.session().unwrap();
    let error = broken.run(MODEL).unwrap_err();
    let RunError::Device { during, error, .. } = &error else {
        panic!("{error}");
    };
    assert!(error.is_sticky(), "{error}");
    let During::Steps { first, last } = during else {
        panic!("{during:?}");
    };
    assert_eq!(first.step.0, 0);
    assert_eq!(last.step.0, u32::from(!step_by_step));
    let again = broken.run(MODEL).unwrap_err();
    assert!(matches!(again, RunError::Lost { .. }), "{again}");
    assert_eq!(engine.lost(), Some(*error));
    // Everything else on the device says so too, and what to do.
    let said = |error: RunError| error.help().unwrap_or_default().contains("new process");
    assert!(said(beside.run(MODEL).unwrap_err()));
    drop((broken, engine, beside));
    let anew = bind(&good, device, cuda::Options::default()).and_then(|e| e.session());
    assert!(anew.is_err());
    assert!(run(&mut session(&good, RunOn::Cpu), &x) == expected);
}
