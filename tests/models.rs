//! The example models, filled with weights: as ONNX Runtime computes them, and always the same.

use dlirc::device_code::Gpus;
use dlirc::driver::{self, Compiled, Request, Target, Watch};
use dlirc::inputs;
use dlirc::oracle::{Oracle, relative_error};
use ir::Tensor;
use ir::program::ContentHash;
use models::Architecture;
use passes::manager::Observer;
use plans::ModelIndex;
use runtime::{Engine, Loaded, Options, RunOn, Session};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

/// The largest ‖out − reference‖ / ‖reference‖ of an output.
const TOLERANCE: f64 = 1e-4;

/// Models are large: one test at a time has one in memory.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

static ORACLE: LazyLock<Result<Oracle, String>> =
    LazyLock::new(|| Oracle::load(None).map_err(|e| e.text()));

/// A compilation that nobody watches.
pub(crate) struct Unwatched;

impl Observer for Unwatched {}

impl Watch for Unwatched {
    fn phase(&mut self, _name: &str) {}

    fn passes(&mut self) -> &mut dyn Observer {
        self
    }
}

/// A file that is removed when it is no longer needed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The folder of filled models and of plans.
fn folder() -> PathBuf {
    let folder = crate::target().join("models");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The model with weights; made once, and again when what makes it has changed.
pub(crate) fn filled(architecture: &Architecture) -> PathBuf {
    let home = models::folder();
    let name = architecture.name;
    let mut made_by = vec![];
    for part in [
        &format!("{name}.onnx"),
        &format!("{name}.stats.json"),
        "src/fill.rs",
        "src/random.rs",
    ] {
        made_by.extend(std::fs::read(home.join(part)).unwrap());
    }
    let hash = ContentHash::of(&Tensor::from_slice(&[made_by.len()], &made_by)).to_string();
    let version = folder().join(&hash[..12]);
    std::fs::create_dir_all(&version).unwrap();
    let path = version.join(format!("{name}.onnx"));
    if !path.exists() {
        models::fill(&architecture.graph_path(home), &path, &mut |_| {}).unwrap();
    }
    path
}

fn compile(models: &[&Path], one_at_a_time: bool) -> Compiled {
    let request = Request {
        models: models.iter().map(|&m| m.into()).collect(),
        one_at_a_time,
        ..Request::default()
    };
    driver::compile(&request, &mut Unwatched).unwrap_or_else(|e| panic!("{}", e.text()))
}

fn write(compiled: &Compiled, name: &str) -> Temporary {
    let file = Temporary(folder().join(format!("{name}.dlplan")));
    driver::write(compiled, &file.0).unwrap_or_else(|e| panic!("{}", e.text()));
    file
}

fn session(plan: &Arc<Loaded>, threads: usize) -> Session {
    let options = Options {
        threads,
        ..Options::default()
    };
    let engine = Engine::bind(Arc::clone(plan), &options).unwrap();
    Arc::new(engine).session().unwrap()
}

/// The outputs of the model called `name`, and the time of its second run.
fn run(session: &mut Session, name: &str, values: &[Tensor]) -> (Vec<Tensor>, Duration) {
    let model = session.model(name).unwrap();
    inputs::set(session, model, values).unwrap_or_else(|e| panic!("{}", e.text()));
    session.run(model).unwrap();
    let first = outputs(session, model);
    let started = Instant::now();
    session.run(model).unwrap();
    let time = started.elapsed();
    assert_same(&outputs(session, model), &first, "run twice");
    (first, time)
}

fn outputs(session: &Session, model: ModelIndex) -> Vec<Tensor> {
    inputs::outputs(session, model).unwrap_or_else(|e| panic!("{}", e.text()))
}

/// The same types, shapes and bits.
fn assert_same(a: &[Tensor], b: &[Tensor], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (n, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(a.ty(), b.ty(), "{what}");
        assert!(
            a.bytes() == b.bytes(),
            "{what}: output {n} is not the same, bit for bit"
        );
    }
}

/// Compiles, runs, and compares with ONNX Runtime, with other numbers of threads, and with the
/// same model beside another one.
fn check(name: &str) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let architecture = models::find(name).unwrap();
    let path = filled(architecture);
    let named = models::random_inputs(architecture, 1);
    let values: Vec<Tensor> = named.iter().map(|(_, t)| t.clone()).collect();

    let started = Instant::now();
    let compiled = compile(&[&path], false);
    let compile_time = started.elapsed();
    let file = write(&compiled, name);
    drop(compiled);
    let again = write(&compile(&[&path], false), &format!("{name}.again"));
    let same = std::fs::read(&file.0).unwrap() == std::fs::read(&again.0).unwrap();
    assert!(same, "compiled twice, {name} gives two plans");
    drop(again);

    let plan = Arc::new(Loaded::open(&file.0).unwrap());
    let (found, time) = run(&mut session(&plan, 2), name, &values);
    let ports = plan.plan().models[0].outputs.clone();
    compare(&path, &named, &ports, &found);
    println!(
        "{name}: {} steps, compiled in {:.1} s, run in {:.1} ms",
        plan.plan().steps.len(),
        compile_time.as_secs_f64(),
        time.as_secs_f64() * 1e3
    );
    for threads in [1, 3] {
        let (other, _) = run(&mut session(&plan, threads), name, &values);
        assert_same(&other, &found, &format!("{name} on {threads} threads"));
    }
    on_gpu(&path, name, &values, &found);
    drop((plan, file));
    beside_another(name, &path, &values, &found);
}

/// Compiles for the GPU, where there is one, and compares with what the CPU found: alone and beside
/// another model, again and again.
fn on_gpu(path: &Path, name: &str, values: &[Tensor], on_cpu: &[Tensor]) {
    let Some(gpu) = crate::gpu::gpu() else {
        return;
    };
    let other = models::find("squeezenet1_1").unwrap();
    let mut alone: Option<Vec<Tensor>> = None;
    for models in [vec![path.to_path_buf()], vec![filled(other), path.into()]] {
        let request = Request {
            models,
            target: Target::Cuda(Gpus {
                ptx: false,
                ..Gpus::new(vec![gpu.target.arch])
            }),
            workshop: crate::gpu::workshop(),
            ..Request::default()
        };
        let compiled = driver::compile(&request, &mut Unwatched);
        let compiled = compiled.unwrap_or_else(|e| panic!("{}", e.text()));
        let file = write(&compiled, &format!("{name}.gpu"));
        for warning in &compiled.plan.warnings {
            println!("  {warning}");
        }
        let plan = Arc::new(Loaded::open(&file.0).unwrap());
        let options = Options {
            device: RunOn::Cuda(0),
            ..Options::default()
        };
        let engine = Arc::new(Engine::bind(plan, &options).unwrap());
        let mut session = engine.session().unwrap();
        let model = engine.plan().models.last().unwrap().name.clone();
        let (found, time) = run(&mut session, &model, values);
        println!("  on the GPU in {:.3} ms", time.as_secs_f64() * 1e3);
        for (n, (found, expected)) in found.iter().zip(on_cpu).enumerate() {
            let error = relative_error(found, expected);
            println!("  output {n}: error {error:.1e} to the CPU's");
            assert!(
                error <= TOLERANCE,
                "output {n} of {name} differs by {error:e} from the CPU's"
            );
        }
        match &alone {
            Some(alone) => {
                assert_same(&found, alone, &format!("{name} beside another, on the GPU"))
            }
            None => alone = Some(found),
        }
    }
}

/// Compares with ONNX Runtime, where there is one.
fn compare(path: &Path, named: &[(&str, Tensor)], ports: &[plans::Port], found: &[Tensor]) {
    let oracle = match &*ORACLE {
        Ok(oracle) => oracle,
        Err(why) => {
            crate::skipped(&format!("comparison with ONNX Runtime: {why}"));
            return;
        }
    };
    let named: Vec<(&str, &Tensor)> = named.iter().map(|(name, t)| (*name, t)).collect();
    let mut peer = oracle
        .open(path, 2)
        .unwrap_or_else(|e| panic!("{}", e.text()));
    let (expected, _) = peer.run(&named).unwrap_or_else(|e| panic!("{}", e.text()));
    let names = peer.output_names();
    assert_eq!(names.len(), ports.len());
    for ((port, found), (name, expected)) in
        ports.iter().zip(found).zip(names.iter().zip(&expected))
    {
        assert_eq!(port.name, *name);
        let error = relative_error(found, expected);
        println!("  {name}: {} error {error:.1e}", found.ty());
        assert!(
            error <= TOLERANCE,
            "{name} differs by {error:e} from ONNX Runtime"
        );
    }
}

/// In one plan with another model, run before and after it, with memory of its own and shared.
fn beside_another(name: &str, path: &Path, values: &[Tensor], alone: &[Tensor]) {
    let other = if name == "squeezenet1_1" {
        "gru"
    } else {
        "squeezenet1_1"
    };
    let architecture = models::find(other).unwrap();
    let other_path = filled(architecture);
    let other_values: Vec<Tensor> = models::random_inputs(architecture, 2)
        .into_iter()
        .map(|(_, t)| t)
        .collect();
    for one_at_a_time in [false, true] {
        let file = write(
            &compile(&[&other_path, path], one_at_a_time),
            &format!("{name}.beside"),
        );
        let mut session = session(&Arc::new(Loaded::open(&file.0).unwrap()), 2);
        let (before, _) = run(&mut session, other, &other_values);
        let (found, _) = run(&mut session, name, values);
        assert_same(&found, alone, &format!("{name} beside {other}"));
        let (after, _) = run(&mut session, other, &other_values);
        assert_same(&after, &before, &format!("{other} after {name}"));
    }
}

macro_rules! models {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*

        #[test]
        fn every_architecture_is_tested() {
            let listed: Vec<&str> = models::list().iter().map(|a| a.name).collect();
            assert_eq!(listed, [$(stringify!($name)),*]);
        }
    };
}

models! {
    resnet18 resnet50 resnet152 r3d_18 mobilenet_v2 squeezenet1_1 googlenet inception_v3 densenet121
    vgg19 yolov2 yolov3 lstm gru bert_base gpt2 vit_b_16 dcgan gcn
}
