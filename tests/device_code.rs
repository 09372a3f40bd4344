//! Device code of the example models and of ONNX's operators, compiled by NVRTC for GPUs that are not
//! here: all of it compiles, and nothing spills registers.

use crate::gpu;
use crate::models::Unwatched;
use dlirc::device_code::{Gpus, Workshop};
use dlirc::driver::{self, Request, Summary, Target};
use ir::Program;
use kernels::cuda::Precision;
use kernels::cuda::compile::{Compiler, Wanted};
use passes::PassCx;
use plans::Device;
use std::collections::BTreeMap;
use std::time::Instant;

/// What is compiled for.
const ARCHS: [u32; 3] = [80, 90, 100];

/// The sources of device code for one architecture, and whose they are.
#[derive(Default)]
struct Sources {
    /// By text: the model and the step that has it first.
    first: BTreeMap<String, String>,
    n_steps: usize,
    /// Steps on the host, by why.
    on_host: BTreeMap<String, usize>,
}

impl Sources {
    /// Adds those of an optimised program.
    fn add(
        &mut self,
        name: &str,
        program: &Program,
        arch: u32,
        precision: Precision,
    ) -> Result<(), String> {
        let target = kernels::cuda::Target {
            precision,
            ..kernels::cuda::Target::of_arch(arch).map_err(|e| e.to_string())?
        };
        let lowered = crate::plan::lowered_for(program, Some(target), &[])?;
        let plan = &lowered.plan;
        for step in &plan.steps {
            let class = plan.kernels[step.kernel.index()].class();
            self.n_steps += 1;
            if step.device == Device::Cpu {
                *self.on_host.entry(class.into()).or_default() += 1;
            }
        }
        for source in lowered.sources {
            let runs = |s: &&plans::Step| {
                let code = s.code.as_ref().map(|c| c.code);
                code.is_some_and(|c| source.codes.contains(&c))
            };
            let step = plan.steps.iter().find(runs);
            let summary = step.map(|s| plan.kernels[s.kernel.index()].summary());
            let label = step.map_or("", |s| &s.label);
            let whose = format!("{name}, {label}: {}", summary.unwrap_or_default());
            self.first.entry(source.text).or_insert(whose);
        }
        Ok(())
    }

    /// Compiles all, and lists what is wrong.
    fn compile(&self, compiler: &Compiler, arch: u32) -> Vec<String> {
        let texts: Vec<&str> = self.first.keys().map(String::as_str).collect();
        let wanted = Wanted {
            archs: vec![arch],
            ptx: false,
            threads: 0,
        };
        let started = Instant::now();
        let images = match compiler.build(&texts, &wanted, &|_, _| {}) {
            Ok(images) => images,
            Err(error) => return vec![error.to_string()],
        };
        println!(
            "sm_{arch}: {} kernels of {} steps, {} compiled in {:.0} s, {} kept from earlier; on the host {:?}",
            texts.len(),
            self.n_steps,
            images.n_compiled,
            started.elapsed().as_secs_f64(),
            images.n_cached,
            self.on_host
        );
        let mut wrong = vec![];
        for (built, whose) in images.of_source.iter().zip(self.first.values()) {
            for image in built {
                if image.resources.is_empty() {
                    wrong.push(format!("{whose}: nothing is known of its functions"));
                }
                for function in image.resources.iter().filter(|r| r.spills > 0) {
                    wrong.push(format!(
                        "{whose}: `{}` spills {} bytes a thread on sm_{arch}, with {} registers",
                        function.function, function.spills, function.registers
                    ));
                }
            }
        }
        wrong
    }
}

fn check(all: &[Sources; ARCHS.len()], compiler: &Compiler) {
    let mut wrong = vec![];
    for (sources, arch) in all.iter().zip(ARCHS) {
        wrong.extend(sources.compile(compiler, arch));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// NVRTC; where there is none, says so.
fn compiler() -> Option<Compiler> {
    match gpu::compiler() {
        Ok(compiler) => Some(compiler),
        Err(why) => {
            crate::skipped(&why);
            None
        }
    }
}

fn request(name: &str, workshop: Workshop) -> Request {
    Request {
        models: vec![crate::models::filled(models::find(name).unwrap())],
        target: Target::Cuda(Gpus::new(vec![90])),
        workshop,
        ..Request::default()
    }
}

#[test]
fn a_second_compilation_compiles_no_kernel() {
    if compiler().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let workshop = Workshop {
        cache: Some(folder.path().join("cache")),
        ..gpu::workshop()
    };
    let mut files = vec![];
    for n_compiled in [true, false] {
        let request = request("gru", workshop.clone());
        let compiled = driver::compile(&request, &mut Unwatched);
        let compiled = compiled.unwrap_or_else(|e| panic!("{}", e.text()));
        let code = compiled.summary.device_code.as_ref().unwrap();
        assert_eq!(code.n_compiled > 0, n_compiled, "{code:?}");
        assert_eq!(code.n_compiled + code.n_cached, code.n_sources);
        assert_eq!(compiled.plan.images.len(), 2 * code.n_sources);
        let file = folder.path().join("plan");
        driver::write(&compiled, &file).unwrap_or_else(|e| panic!("{}", e.text()));
        files.push(std::fs::read(&file).unwrap());
    }
    assert!(files[0] == files[1], "the same models give two plans");
}

#[test]
fn without_nvrtc_an_error_says_what_to_install() {
    let workshop = Workshop {
        nvrtc: Some("/there/is/none".into()),
        cache: None,
    };
    let error = driver::compile(&request("gru", workshop), &mut Unwatched).err();
    let error = error.expect("there is no NVRTC");
    assert_eq!(error.code, "no-nvrtc");
    assert!(error.text().contains("pip install nvidia-cuda-nvrtc"));
    assert!(error.text().contains("/there/is/none"), "{}", error.text());
}

/// Models whose kernels for tensor cores are compiled too: convolutions, products, transposed convolutions.
const ON_TENSOR_CORES: [&str; 3] = ["resnet50", "vit_b_16", "dcgan"];

#[test]
fn kernels_of_all_models_compile_and_spill_nothing() {
    let Some(compiler) = compiler() else { return };
    let mut all: [Sources; ARCHS.len()] = Default::default();
    for architecture in models::list() {
        let request = Request {
            models: vec![crate::models::filled(architecture)],
            ..Request::default()
        };
        let mut program = driver::read(&request, &mut Summary::default())
            .unwrap_or_else(|e| panic!("{}", e.text()));
        let mut cx = PassCx::new(passes::Options::default());
        driver::optimise(&mut program, &mut cx, &[]).unwrap_or_else(|e| panic!("{}", e.text()));
        let on_tensor_cores = ON_TENSOR_CORES.contains(&architecture.name);
        let precisions = Precision::ALL.into_iter();
        for precision in precisions.filter(|p| *p == Precision::Fp32 || on_tensor_cores) {
            for (sources, arch) in all.iter_mut().zip(ARCHS) {
                let added = sources.add(architecture.name, &program, arch, precision);
                added.unwrap();
            }
        }
    }
    check(&all, &compiler);
}

/// Architectures but the second are for every so many of the operators' kernels: they differ in
/// little, and there are many.
const SAMPLED: usize = 4;

#[test]
fn kernels_of_all_operators_compile_and_spill_nothing() {
    let Some(compiler) = compiler() else { return };
    let Some(programs) = crate::conformance::programs() else {
        return;
    };
    let mut all: [Sources; ARCHS.len()] = Default::default();
    for (i, (name, program)) in programs.iter().enumerate() {
        for (sources, arch) in all.iter_mut().zip(ARCHS) {
            if arch == ARCHS[1] || i % SAMPLED == 0 {
                sources
                    .add(name, program, arch, Precision::Fp32)
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
    }
    check(&all, &compiler);
}
