//! A driver that only takes notes: what goes wrong without a device, and the order of calls.

use crate::child;
use crate::device::ramp;
use crate::plans::{self, Builder, CUDA};
use ::plans::{ModelIndex, Place};
use dlirc_runtime::cuda::{self, Unavailable};
use dlirc_runtime::{BindError, During, Engine, Loaded, Options, RunError, RunOn, Session};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

const MODEL: ModelIndex = ModelIndex(0);

/// Folders with drivers under the names by which a driver is found first and last.
struct Drivers {
    _folder: tempfile::TempDir,
    /// It does all.
    whole: PathBuf,
    /// It can't launch graphs.
    partial: PathBuf,
    /// It is no library at all.
    none: PathBuf,
}

/// The drivers, if there is a C compiler to make them.
fn drivers() -> Option<&'static Drivers> {
    static DRIVERS: OnceLock<Option<Drivers>> = OnceLock::new();
    let drivers = DRIVERS.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda_stub/driver.c");
        if !source.exists() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, options: &[&str]| {
            let to = folder.path().join(name);
            std::fs::create_dir(&to).unwrap();
            let library = to.join("libcuda.so.1");
            let done = Command::new("cc")
                .args(["-shared", "-fPIC", "-O1", "-Wl,-soname,libcuda.so.1", "-o"])
                .arg(&library)
                .arg(&source)
                .args(options)
                .output()
                .ok()?;
            assert!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
            std::fs::copy(&library, to.join("libcuda.so")).unwrap();
            Some(to)
        };
        let (whole, partial) = (make("whole", &[])?, make("partial", &["-DWITHOUT_GRAPHS"])?);
        let none = folder.path().join("none");
        std::fs::create_dir(&none).unwrap();
        for name in ["libcuda.so", "libcuda.so.1"] {
            std::fs::write(none.join(name), "no library").unwrap();
        }
        Some(Drivers {
            whole,
            partial,
            none,
            _folder: folder,
        })
    });
    if drivers.is_none() {
        println!("skipped: no C compiler, or no source of the stub driver");
    }
    drivers.as_ref()
}

/// Runs `test` in a process that finds the driver in `folder`.
fn with(folder: &Path, test: &str, variables: &[(&str, &str)]) -> String {
    let folder = folder.to_str().unwrap();
    let mut all = vec![("LD_LIBRARY_PATH", folder)];
    all.extend_from_slice(variables);
    child::run(test, &all)
}

fn bind(loaded: &Arc<Loaded>, device: RunOn) -> Result<Arc<Engine>, BindError> {
    let options = Options {
        device,
        threads: 1,
        ..Options::default()
    };
    Engine::bind(Arc::clone(loaded), &options).map(Arc::new)
}

fn session(loaded: &Arc<Loaded>) -> Session {
    bind(loaded, RunOn::Cuda(0)).unwrap().session().unwrap()
}

fn unavailable(loaded: &Arc<Loaded>, device: RunOn) -> Unavailable {
    match bind(loaded, device).unwrap_err() {
        BindError::Unavailable(why) => why,
        other => panic!("{other}"),
    }
}

/// Checks that binding says `why`, and that the host takes over if that is allowed.
fn refused(why: &Unavailable, text: &str) {
    let loaded = plans::mixed();
    assert_eq!(cuda::n_devices(), Err(why.clone()));
    assert_eq!(unavailable(&loaded, RunOn::Cuda(0)), *why);
    assert_eq!(why.to_string(), text);
    assert!(why.help().contains("on the CPU"), "{}", why.help());
    let engine = bind(&loaded, RunOn::Auto).unwrap();
    assert_eq!(engine.fallback(), Some(why));
    let mut session = engine.session().unwrap();
    session
        .input_mut(MODEL, 0)
        .unwrap()
        .copy_from_slice(&ramp(0.0));
    session.run(MODEL).unwrap();
    assert!(session.output(MODEL, 0).unwrap() == ramp(7.0));
}

#[test]
fn no_driver() {
    const TEST: &str = "stub::no_driver";
    if child::is_child(TEST) {
        let text = "there is no CUDA driver on this machine";
        refused(&Unavailable::NoLibrary, text);
    } else if let Some(drivers) = drivers() {
        with(&drivers.none, TEST, &[]);
    }
}

#[test]
fn old_driver() {
    const TEST: &str = "stub::old_driver";
    if child::is_child(TEST) {
        let old = Unavailable::OldDriver {
            found: 12_080,
            needed: 13_000,
        };
        refused(&old, "the driver knows CUDA 12.8; 13.0 is needed");
    } else if let Some(drivers) = drivers() {
        with(&drivers.whole, TEST, &[("STUB_VERSION", "12080")]);
    }
}

#[test]
fn plan_for_a_newer_driver() {
    const TEST: &str = "stub::plan_for_a_newer_driver";
    if child::is_child(TEST) {
        let mut b = Builder::new();
        let (x, y, two) = (b.input(CUDA), b.output(CUDA), b.weight(2.0));
        let code = Some(b.code(&["add"]));
        b.sum(code, Place::Buffer(x), Place::Weight(two), y);
        b.plan.fingerprint.cuda_driver = 13_020;
        let old = Unavailable::OldDriver {
            found: 13_000,
            needed: 13_020,
        };
        assert_eq!(unavailable(&b.finish(), RunOn::Cuda(0)), old);
    } else if let Some(drivers) = drivers() {
        with(&drivers.whole, TEST, &[]);
    }
}

#[test]
fn missing_symbol() {
    const TEST: &str = "stub::missing_symbol";
    if child::is_child(TEST) {
        let missing = Unavailable::MissingSymbols(vec!["cuGraphLaunch"]);
        refused(&missing, "the driver library has no cuGraphLaunch");
    } else if let Some(drivers) = drivers() {
        with(&drivers.partial, TEST, &[]);
    }
}

#[test]
fn no_device() {
    const TEST: &str = "stub::no_device";
    if child::is_child(TEST) {
        refused(&Unavailable::NoDevice, "the driver finds no CUDA device");
    } else if let Some(drivers) = drivers() {
        with(&drivers.whole, TEST, &[("STUB_DEVICES", "0")]);
    }
}

#[test]
fn no_such_device() {
    const TEST: &str = "stub::no_such_device";
    if child::is_child(TEST) {
        let none = Unavailable::NoSuchDevice {
            asked: 3,
            n_devices: 2,
        };
        assert_eq!(unavailable(&plans::mixed(), RunOn::Cuda(3)), none);
        let info = cuda::device(1).unwrap();
        assert_eq!(
            (info.name.as_str(), info.arch, info.n_sms),
            ("stub 1", 90, 132)
        );
        assert_eq!(cuda::device(3), Err(none));
    } else if let Some(drivers) = drivers() {
        with(&drivers.whole, TEST, &[("STUB_DEVICES", "2")]);
    }
}

#[test]
fn out_of_memory() {
    const TEST: &str = "stub::out_of_memory";
    if child::is_child(TEST) {
        // The weights of both take 8 KiB, an arena 12 KiB.
        let engine = bind(&plans::chain(&["add"]), RunOn::Cuda(0)).unwrap();
        let first = engine.session().unwrap();
        let error = engine.session().unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no room for 12288 bytes for inputs, outputs and intermediate results: \
             4096 of the device's 24576 are free"
        );
        let error = bind(&plans::chain(&["add"]), RunOn::Cuda(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no room for 8192 bytes for the weights: 4096 of the device's 24576 are free"
        );
        assert!(error.help().is_some());
        drop(first);
        engine.session().unwrap();
    } else if let Some(drivers) = drivers() {
        with(&drivers.whole, TEST, &[("STUB_MEMORY", "24576")]);
    }
}

#[test]
fn refused_code() {
    const TEST: &str = "stub::refused_code";
    if child::is_child(TEST) {
        let mut b = Builder::new();
        let (x, y, two) = (b.input(CUDA), b.output(CUDA), b.weight(2.0));
        let code = Some(b.code(&["add"]));
        b.sum(code, Place::Buffer(x), Place::Weight(two), y);
        b.images.fill(b'!');
        let error = bind(&b.finish(), RunOn::Cuda(0)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model tested, step 0 (Add), nodes node0: the driver refuses its code: \
             cuLibraryLoadData: CUDA_ERROR_INVALID_IMAGE (200)\nline 1: no version"
        );
    } else if let Some(drivers) = drivers() {
        with(&drivers.whole, TEST, &[]);
    }
}

#[test]
fn refused_launch() {
    const TEST: &str = "stub::refused_launch";
    if child::is_child(TEST) {
        let engine = bind(&plans::chain(&["add"]), RunOn::Cuda(0)).unwrap();
        assert_eq!(
            engine.session().unwrap_err().to_string(),
            "model tested, step 1 (Add), nodes node1: the launch of `add` with [8, 1, 1] blocks of \
             [128, 1, 1] threads: cuGraphAddNode_v2: an error without a name (1)"
        );
        engine.session().unwrap();
    } else if let Some(drivers) = drivers() {
        let fail = [("STUB_FAIL", "cuGraphAddNode_v2:2:1")];
        with(&drivers.whole, TEST, &fail);
    }
}

#[test]
fn refused_graph() {
    const TEST: &str = "stub::refused_graph";
    if child::is_child(TEST) {
        let engine = bind(&plans::chain(&["add"]), RunOn::Cuda(0)).unwrap();
        let error = engine.session().unwrap_err();
        let BindError::Launch { step, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(step.step.0, 1);
        engine.session().unwrap();
    } else if let Some(drivers) = drivers() {
        let fail = [("STUB_FAIL", "cuGraphInstantiateWithParams:1:1")];
        with(&drivers.whole, TEST, &fail);
    }
}

#[test]
fn failed_copy() {
    const TEST: &str = "stub::failed_copy";
    if child::is_child(TEST) {
        let mut session = session(&plans::chain(&["add"]));
        let error = session.run(MODEL).unwrap_err();
        let RunError::Device { model, during, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!((model.as_str(), during), ("tested", &During::Inputs));
        session.run(MODEL).unwrap();
    } else if let Some(drivers) = drivers() {
        // The first copy is that of the weights.
        let fail = [("STUB_FAIL", "cuMemcpyHtoDAsync_v2:2:1")];
        with(&drivers.whole, TEST, &fail);
    }
}

#[test]
fn failed_launch() {
    const TEST: &str = "stub::failed_launch";
    if child::is_child(TEST) {
        let loaded = plans::chain(&["add"]);
        let engine = bind(&loaded, RunOn::Cuda(0)).unwrap();
        let mut broken = engine.session().unwrap();
        let error = broken.run(MODEL).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model tested, one of the steps 0 (Add) to 1 (Add): cuGraphLaunch: \
             CUDA_ERROR_ILLEGAL_ADDRESS (700)"
        );
        let lost = "the device was lost by an earlier error: cuGraphLaunch: \
                    CUDA_ERROR_ILLEGAL_ADDRESS (700)";
        assert_eq!(broken.run(MODEL).unwrap_err().to_string(), lost);
        assert!(engine.session().is_err());
        drop((broken, engine));
        assert!(bind(&loaded, RunOn::Cuda(0)).is_err());
        let on_host = bind(&loaded, RunOn::Cpu).unwrap();
        on_host.session().unwrap().run(MODEL).unwrap();
    } else if let Some(drivers) = drivers() {
        with(
            &drivers.whole,
            TEST,
            &[("STUB_FAIL", "cuGraphLaunch:1:700")],
        );
    }
}

#[test]
fn older_devices_start_nothing_early() {
    const TEST: &str = "stub::older_devices_start_nothing_early";
    if child::is_child(TEST) {
        session(&plans::chain(&["add"])).run(MODEL).unwrap();
    } else if let Some(drivers) = drivers() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let variables = [("STUB_ARCH", "86"), ("STUB_LOG", log.to_str().unwrap())];
        with(&drivers.whole, TEST, &variables);
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.contains("cuLibraryLoadData sm_80"), "{log}");
        assert!(
            log.contains(" after 0\n") && !log.contains("early"),
            "{log}"
        );
    }
}

/// All tests of devices, on the stub.
#[test]
fn what_runs_on_devices_runs_on_the_stub() {
    let Some(drivers) = drivers() else { return };
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "device::",
            "rounds::",
            "serving::",
            "several::",
            "--nocapture",
        ])
        .env("LD_LIBRARY_PATH", &drivers.whole)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(!text.contains("skipped"), "{text}");
}

/// The notes of a plan that is bound and run twice: what concerns code, which is loaded while the
/// weights are uploaded, and the rest.
pub(crate) fn notes(test: &str) -> Option<(String, String)> {
    let drivers = drivers()?;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    with(&drivers.whole, test, &[("STUB_LOG", log.to_str().unwrap())]);
    let log = std::fs::read_to_string(log).unwrap();
    let is_code = |line: &&str| {
        ["cuLibrary", "cuKernel", "cuFunc"]
            .iter()
            .any(|start| line.starts_with(start))
            && !line.starts_with("cuLibraryUnload")
    };
    let (code, rest): (Vec<&str>, Vec<&str>) = log.lines().partition(is_code);
    Some((code.join("\n"), rest.join("\n")))
}

#[test]
fn calls_for_a_chain() {
    const TEST: &str = "stub::calls_for_a_chain";
    if child::is_child(TEST) {
        let mut session = session(&plans::chain(&["fill", "use", "reset"]));
        session.run(MODEL).unwrap();
        session.run_on_device(MODEL).unwrap();
        return;
    }
    let Some((code, rest)) = notes(TEST) else {
        return;
    };
    assert_eq!(code, CHAIN_CODE);
    assert_eq!(rest, CHAIN);
}

const CHAIN_CODE: &str = "\
cuLibraryLoadData sm_90
cuLibraryGetKernel fill
cuFuncLoad fill
cuLibraryGetKernel use
cuFuncLoad use
cuLibraryGetKernel reset
cuFuncLoad reset";
const CHAIN: &str = "\
cuDriverGetVersion
cuInit 0
cuDevicePrimaryCtxRetain 0
cuMemAlloc 8192: D0+0
cuMemHostAlloc 8192 flags 3: H1+0
cuStreamCreate 1
cuMemcpyHtoDAsync D0+0 = H1+0, 8192 bytes
cuEventRecord
cuStreamSynchronize
cuStreamSynchronize
cuStreamDestroy
cuMemFreeHost H1+0
cuStreamCreate 1
cuMemAlloc 20992: D2+0
cuMemHostAlloc 8192 flags 3: H3+0
cuMemHostAlloc 1 flags 3: H4+0
cuMemsetD8Async D2+0 = 0, 8192 bytes
cuMemsetD8Async D2+20480 = 0, 260 bytes
cuGraphCreate
cuGraphAddNode 0 fill <8 1 1> <128 1 1> 0: D2+0 D0+0 D2+8192 D2+12288 D2+20480
cuGraphAddNode 1 use <8 1 1> <128 1 1> 0: D2+0 D0+0 D2+8192 D2+12288 D2+20480 after 0 early
cuGraphAddNode 2 reset <1 1 1> <1 1 1> 0: D2+0 D0+0 D2+8192 D2+12288 D2+20480 after 1 early
cuGraphAddNode 3 fill <8 1 1> <128 1 1> 0: D2+8192 D0+4096 D2+4096 D2+16384 D2+20736 after 2 early
cuGraphAddNode 4 use <8 1 1> <128 1 1> 0: D2+8192 D0+4096 D2+4096 D2+16384 D2+20736 after 3 early
cuGraphAddNode 5 reset <1 1 1> <1 1 1> 0: D2+8192 D0+4096 D2+4096 D2+16384 D2+20736 after 4 early
cuGraphInstantiate 6 nodes
cuGraphUpload 6 nodes
cuGraphDestroy
cuStreamSynchronize
cuMemcpyHtoDAsync D2+0 = H3+0, 4096 bytes
cuGraphLaunch 6 nodes
cuMemcpyDtoHAsync H3+4096 = D2+4096, 4096 bytes
cuStreamSynchronize
cuGraphLaunch 6 nodes
cuStreamSynchronize
cuStreamSynchronize
cuStreamDestroy
cuGraphExecDestroy
cuMemFree D2+0
cuMemFreeHost H3+0
cuMemFreeHost H4+0
cuLibraryUnload
cuMemFree D0+0
cuDevicePrimaryCtxRelease 0";

#[test]
fn calls_for_host_and_device() {
    const TEST: &str = "stub::calls_for_host_and_device";
    if child::is_child(TEST) {
        session(&plans::mixed()).run(MODEL).unwrap();
        return;
    }
    let Some((_, rest)) = notes(TEST) else {
        return;
    };
    assert_eq!(rest, MIXED);
}

const MIXED: &str = "\
cuDriverGetVersion
cuInit 0
cuDevicePrimaryCtxRetain 0
cuMemAlloc 8192: D0+0
cuMemHostAlloc 12288 flags 3: H1+0
cuStreamCreate 1
cuMemcpyHtoDAsync D0+0 = H1+0, 4096 bytes
cuMemcpyHtoDAsync D0+4096 = H1+8192, 4096 bytes
cuEventRecord
cuStreamSynchronize
cuStreamSynchronize
cuStreamDestroy
cuMemFreeHost H1+0
cuMemHostAlloc 8192 flags 3: H2+0
cuMemHostAlloc 8192 flags 3: H3+0
cuStreamCreate 1
cuMemAlloc 16384: D4+0
cuMemHostAlloc 1 flags 3: H5+0
cuMemHostAlloc 1 flags 3: H6+0
cuGraphCreate
cuGraphAddNode 0 copy D4+0 = H2+0, 4096 bytes
cuGraphAddNode 1 add <8 1 1> <128 1 1> 0: D4+0 D0+0 D4+4096 after 0
cuGraphAddNode 2 copy H3+0 = D4+4096, 4096 bytes after 1
cuGraphInstantiate 3 nodes
cuGraphUpload 3 nodes
cuGraphDestroy
cuGraphCreate
cuGraphAddNode 0 copy D4+8192 = H3+4096, 4096 bytes
cuGraphAddNode 1 add <8 1 1> <128 1 1> 0: D4+8192 D0+4096 D4+12288 after 0
cuGraphAddNode 2 copy H2+4096 = D4+12288, 4096 bytes after 1
cuGraphInstantiate 3 nodes
cuGraphUpload 3 nodes
cuGraphDestroy
cuStreamSynchronize
cuGraphLaunch 3 nodes
cuStreamSynchronize
cuGraphLaunch 3 nodes
cuStreamSynchronize
cuStreamSynchronize
cuStreamDestroy
cuGraphExecDestroy
cuGraphExecDestroy
cuMemFree D4+0
cuMemFreeHost H5+0
cuMemFreeHost H6+0
cuLibraryUnload
cuMemFree D0+0
cuMemFreeHost H2+0
cuMemFreeHost H3+0
cuDevicePrimaryCtxRelease 0";
