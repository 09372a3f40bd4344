//! Plans with device code: on the GPU, where there is one, and compiled for GPUs that are not here.

use bytes::Bytes;
use dlirc::device_code::Workshop;
use dlirc::inputs;
use ir::{Program, Tensor};
use kernels::cuda::Target;
use kernels::cuda::compile::{Built, Compiler, Wanted};
use passes::lower::DEFAULT_LANES;
use plans::ModelIndex;
use runtime::{Engine, Options, RunOn};
use std::path::PathBuf;
use std::sync::{Arc, Barrier, LazyLock};

/// A GPU of this machine, and what compiles for it.
pub(crate) struct Gpu {
    pub(crate) target: Target,
    compiler: Compiler,
}

/// The first GPU, or why none is tested.
static GPU: LazyLock<Result<Gpu, String>> = LazyLock::new(|| {
    runtime::cuda::n_devices().map_err(|why| format!("no CUDA device: {why}"))?;
    let info = runtime::cuda::device(0).map_err(|why| format!("no CUDA device: {why}"))?;
    let known = Target::of_arch(info.arch).map_err(|e| e.to_string())?;
    Ok(Gpu {
        target: Target {
            n_sms: info.n_sms,
            ..known
        },
        compiler: compiler()?,
    })
});

/// NVRTC as `cargo xtask test` installs it, or wherever else it is, and what it compiled in earlier
/// runs of the tests.
pub(crate) fn workshop() -> Workshop {
    let installed: PathBuf = crate::target().join("python/nvidia/cu13/lib");
    Workshop {
        nvrtc: installed.is_dir().then_some(installed),
        cache: Some(crate::target().join("kernel-cache")),
    }
}

/// The same, ready to compile.
pub(crate) fn compiler() -> Result<Compiler, String> {
    let Workshop { nvrtc, cache } = workshop();
    Compiler::load(nvrtc.as_deref(), cache).map_err(|e| e.to_string())
}

/// The first GPU; where there is none, says so.
pub(crate) fn gpu() -> Option<&'static Gpu> {
    match &*GPU {
        Ok(gpu) => Some(gpu),
        Err(why) => {
            crate::skipped(why);
            None
        }
    }
}

/// Whether there is a GPU, without a word.
pub(crate) fn is_there() -> bool {
    GPU.is_ok()
}

impl Gpu {
    /// A plan of an optimised program for this GPU, bound to it.
    pub(crate) fn engine(&self, program: &Program, threads: usize) -> Result<Arc<Engine>, String> {
        self.engine_with(program, threads, DEFAULT_LANES)
    }

    /// The same, with at most so many lanes.
    fn engine_with(
        &self,
        program: &Program,
        threads: usize,
        lanes: u16,
    ) -> Result<Arc<Engine>, String> {
        let lowered = crate::plan::lowered_with(program, Some(self.target), &[], lanes)?;
        let wanted = Wanted {
            archs: vec![self.target.arch],
            ptx: false,
            threads: 1,
        };
        let loaded = crate::plan::loaded_with(lowered, |source| {
            let images = self
                .compiler
                .build(&[&source.text], &wanted, &|_, _| {})
                .map_err(|e| format!("{e}\n{}", source.text))?;
            let built = images.of_source.into_iter().flatten();
            Ok(built
                .map(|Built { kind, bytes, .. }| (kind, bytes))
                .collect())
        })?;
        let options = Options {
            threads,
            device: RunOn::Cuda(0),
            ..Options::default()
        };
        let engine = Engine::bind(Arc::new(loaded), &options).map_err(|e| e.to_string())?;
        Ok(Arc::new(engine))
    }
}

/// Of the classes of kernels, those that `pattern` leaves to the host.
pub(crate) fn some_classes(pattern: u64) -> Vec<String> {
    let classes = [
        "map",
        "row",
        "contract",
        "attention",
        "window",
        "movement",
        "recurrent",
        "library",
    ];
    let chosen = |i: usize| pattern >> (2 * i) & 3 == 0;
    (0..classes.len())
        .filter(|&i| chosen(i))
        .map(|i| classes[i].to_string())
        .collect()
}

/// A model, ready to run, and what it is run with.
struct Ready {
    name: &'static str,
    engine: Arc<Engine>,
    inputs: Vec<Tensor>,
}

impl Ready {
    /// The bits of the outputs of each of so many runs, in a session of its own; after each, `then`.
    fn runs(&self, n: usize, mut then: impl FnMut(Vec<Bytes>)) {
        let mut session = self.engine.session().unwrap();
        let model = ModelIndex(0);
        for _ in 0..n {
            inputs::set(&mut session, model, &self.inputs)
                .unwrap_or_else(|e| panic!("{}", e.text()));
            session.run(model).unwrap();
            let outputs =
                inputs::outputs(&session, model).unwrap_or_else(|e| panic!("{}", e.text()));
            then(outputs.iter().map(|t| t.bytes().clone()).collect());
        }
    }
}

/// How often a model is run alone, and how often beside another one.
const RUNS: usize = 30;

/// Runs each model again and again: alone, then while the next one runs in another thread.
fn always_the_same(all: &[Ready], of_one_lane: &[Ready]) {
    let expected: Vec<Vec<Bytes>> = all
        .iter()
        .map(|ready| {
            let mut first = None;
            ready.runs(RUNS, |bits| match &first {
                None => first = Some(bits),
                Some(first) => assert!(*first == bits, "{}: another run, other bits", ready.name),
            });
            first.unwrap()
        })
        .collect();
    for (ready, expected) in of_one_lane.iter().zip(&expected) {
        ready.runs(1, |bits| {
            assert!(
                bits == *expected,
                "{}: one lane gives other bits",
                ready.name
            );
        });
    }
    for i in 0..all.len() {
        let pair = [i, (i + 1) % all.len()];
        let together = Barrier::new(pair.len());
        std::thread::scope(|scope| {
            for n in pair {
                let (ready, expected, together) = (&all[n], &expected[n], &together);
                let beside = all[pair[0] + pair[1] - n].name;
                scope.spawn(move || {
                    together.wait();
                    ready.runs(RUNS, |bits| {
                        assert!(
                            bits == *expected,
                            "{} beside {beside}: other bits",
                            ready.name
                        );
                    });
                });
            }
        });
    }
}

fn ready(name: &'static str, bind: impl Fn(&Program) -> Result<Arc<Engine>, String>) -> Ready {
    let inputs = models::random_inputs(models::find(name).unwrap(), 1);
    Ready {
        name,
        engine: bind(&crate::lanes::optimised(name)).unwrap_or_else(|e| panic!("{name}: {e}")),
        inputs: inputs.into_iter().map(|(_, t)| t).collect(),
    }
}

#[test]
fn results_are_the_same_every_time_and_beside_other_models() {
    let Some(gpu) = gpu() else { return };
    // Several lanes, sums that blocks share, blocks that wait for each other, scatters.
    let names = ["googlenet", "gru", "resnet18", "gcn", "squeezenet1_1"];
    let with = |lanes: u16| names.map(|n| ready(n, |p| gpu.engine_with(p, 1, lanes)));
    always_the_same(&with(DEFAULT_LANES), &with(1));
}

#[test]
fn sessions_of_several_threads_share_a_host() {
    let bind = |program: &Program| {
        let loaded = Arc::new(crate::plan::loaded(program)?);
        let options = Options {
            threads: 2,
            ..Options::default()
        };
        let engine = Engine::bind(loaded, &options).map_err(|e| e.to_string())?;
        Ok(Arc::new(engine))
    };
    let all = ["squeezenet1_1", "gru"].map(|name| ready(name, bind));
    always_the_same(&all, &all);
}
