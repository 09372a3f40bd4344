//! Generated kernels run on an emulated device, and compared with the CPU implementation.

use crate::plan::{Tensor, run};
use crate::reference::{Value, set};
use crate::seeded::Seeded;
use dlirc_kernels::cuda::{Generated, Target, generate};
use dlirc_runtime::RunError;
use plans::spec::{ArgSpec, GatherAxis, KernelSpec, MovementSpec, Role};
use plans::{DType, FAULT_POSITION, Launch};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases are compiled together up to this many.
const BATCH: usize = 16;

/// A kernel to run on both.
pub(crate) struct Case {
    pub name: String,
    pub spec: KernelSpec,
    pub args: Vec<Tensor>,
    /// The device code.
    pub code: Generated,
    /// How far results may be apart: the norm of the differences over the norm of the results.
    pub tolerance: f64,
}

impl Case {
    /// The kernel on random arguments, as code for the largest common sm_90.
    pub(crate) fn new(name: impl Into<String>, spec: KernelSpec, seed: u64) -> Self {
        Self::on(&Target::of_arch(90).unwrap(), name, spec, seed)
    }

    /// The kernel on random arguments, as code for `target`.
    pub(crate) fn on(
        target: &Target,
        name: impl Into<String>,
        spec: KernelSpec,
        seed: u64,
    ) -> Self {
        let code = generate(&spec, target).unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
        Self::of(code, name, spec, seed)
    }

    /// The kernel on random arguments, as the given code.
    pub(crate) fn of(
        code: Generated,
        name: impl Into<String>,
        spec: KernelSpec,
        seed: u64,
    ) -> Self {
        spec.check().unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
        let args = arguments(&spec, &mut Seeded::new(seed));
        Self {
            name: name.into(),
            spec,
            args,
            code,
            tolerance: 1e-5,
        }
    }
}

/// Random arguments; positions that others are picked by are in range.
fn arguments(spec: &KernelSpec, seeded: &mut Seeded) -> Vec<Tensor> {
    let mut args: Vec<Tensor> = spec.args().iter().map(|a| Tensor::new(a, seeded)).collect();
    let mut positions = |at: usize, axes: &[GatherAxis], index: usize| {
        let lens = axes.iter().filter(|a| usize::from(a.index) == index);
        let Some(len) = lens.map(|a| a.len).min().filter(|&len| len > 0) else {
            return;
        };
        let tensor = &mut args[at];
        for i in 0..tensor.len() {
            let position = i128::from(seeded.below(2 * len)) - i128::from(len);
            set(tensor.dtype, &mut tensor.data, i, Value::Int(position));
        }
    };
    match spec {
        KernelSpec::Map(s) => {
            for input in &s.inputs {
                for axis in &input.gather {
                    positions(axis.index.into(), &input.gather, axis.index.into());
                }
            }
        }
        KernelSpec::Movement(MovementSpec::Scatter(s)) => {
            for n in 0..s.indices.len() {
                positions(n + 1, &s.axes, n);
            }
        }
        _ => {}
    }
    args
}

/// Checks kernels: exactly for integers, to the tolerance for floats. A kernel whose run the CPU
/// implementation refuses for a position out of range must say so too, and touch nothing outside.
///
/// The sources are left in the folder that `DLIRC_DUMP_KERNELS` names, if it is set.
pub(crate) fn check_all(cases: Vec<Case>) {
    if let Ok(folder) = std::env::var("DLIRC_DUMP_KERNELS") {
        for case in &cases {
            let name = case.name.replace([' ', '/'], "_") + ".cu";
            std::fs::write(Path::new(&folder).join(name), &case.code.source).unwrap();
        }
    }
    let Some(emulator) = emulator() else {
        println!("skipped: no C++ compiler");
        return;
    };
    for batch in cases.chunks(BATCH) {
        let results = emulator.run(batch);
        for (case, runs) in batch.iter().zip(results) {
            let expected = expected(case);
            for (placement, found) in ["at the start", "at the end"].iter().zip(runs) {
                let what = format!("{} {placement} of its memory", case.name);
                match &expected {
                    Ok(expected) => {
                        assert_eq!(found.fault, 0, "{what}: a fault\n{:#?}", case.spec);
                        compare(&what, case, &found.args, expected);
                    }
                    Err(e) => assert_eq!(found.fault, FAULT_POSITION, "{what}: no fault, but {e}"),
                }
            }
        }
    }
}

/// What the CPU implementation makes of the arguments.
///
/// A plan's outputs have no gaps; those of an elementwise kernel that have some are computed side by
/// side and put in their places.
fn expected(case: &Case) -> Result<Vec<Tensor>, RunError> {
    let KernelSpec::Map(spec) = &case.spec else {
        return run(&case.spec, &case.args, 1, None);
    };
    let n: u64 = spec.domain.iter().product();
    let first = spec.inputs.len();
    let has_gaps = |tensor: &Tensor| tensor.len() as u64 != n;
    if !case.args[first..].iter().any(has_gaps) {
        return run(&case.spec, &case.args, 1, None);
    }
    let mut spec = spec.clone();
    let mut args = case.args.clone();
    for (output, tensor) in spec.outputs.iter_mut().zip(&mut args[first..]) {
        let mut distance = 1;
        for (stride, extent) in output.strides.iter_mut().zip(&spec.domain).rev() {
            *stride = distance;
            distance *= *extent as i64;
        }
        tensor.data = vec![0; n as usize * tensor.dtype.size()];
        tensor.start = 0;
    }
    let dense = run(&KernelSpec::Map(spec), &args, 1, None)?;
    let mut results = case.args.clone();
    for (arg, (result, dense)) in case.spec.args()[first..]
        .iter()
        .zip(results[first..].iter_mut().zip(&dense[first..]))
    {
        for (i, offset) in walked(arg).into_iter().enumerate() {
            result.set(offset, dense.get(i as i64));
        }
    }
    Ok(results)
}

fn compare(what: &str, case: &Case, found: &[Vec<u8>], expected: &[Tensor]) {
    for (n, arg) in case.spec.args().iter().enumerate() {
        let (given, found) = (&case.args[n], &found[n]);
        if arg.role == Role::Read {
            assert!(given.data == *found, "{what}: argument {n} is overwritten");
            continue;
        }
        let found = Tensor {
            data: found.clone(),
            ..given.clone()
        };
        let mut differences = 0.0;
        let mut norm = 0.0;
        let mut touched = vec![false; found.len()];
        let mut offsets = walked(arg);
        offsets.sort_unstable();
        offsets.dedup();
        for offset in offsets {
            touched[(offset + found.start) as usize] = true;
            let (a, b) = (found.get(offset), expected[n].get(offset));
            let fine = match (a, b) {
                (Value::Float(a), Value::Float(b)) if b.is_finite() => {
                    differences += (a - b) * (a - b);
                    norm += b * b;
                    a.is_finite()
                }
                (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
                _ => a == b,
            };
            assert!(
                fine,
                "{what}: argument {n}, element {offset}: {a:?}, not {b:?}\n{:#?}\n{}",
                case.spec, case.code.source
            );
        }
        for (i, touched) in touched.iter().enumerate() {
            let at = i * arg.dtype.size()..(i + 1) * arg.dtype.size();
            assert!(
                *touched || found.data[at.clone()] == given.data[at],
                "{what}: argument {n}: element {i}, which is not the kernel's, is overwritten"
            );
        }
        let tolerance = match arg.dtype {
            DType::F16 => case.tolerance.max(2e-3),
            DType::BF16 => case.tolerance.max(1e-2),
            _ => case.tolerance,
        };
        let least = 1e-6 * (found.len().max(1) as f64).sqrt();
        let error = differences.sqrt() / norm.sqrt().max(least);
        assert!(
            error <= tolerance,
            "{what}: argument {n} is apart by {error:e}\n{:#?}\n{}",
            case.spec,
            case.code.source
        );
    }
}

/// The offsets of an argument's elements, in the order of the walk.
fn walked(arg: &ArgSpec) -> Vec<i64> {
    let mut all = vec![0];
    for &(n, stride) in &arg.walk {
        all = all
            .into_iter()
            .flat_map(|offset| (0..n as i64).map(move |i| offset + i * stride))
            .collect();
    }
    all
}

struct Outcome {
    args: Vec<Vec<u8>>,
    fault: u32,
}

/// The C++ compiler and the compiled half of the emulator.
struct Emulator {
    compiler: String,
    object: PathBuf,
}

static PROGRAMS: AtomicUsize = AtomicUsize::new(0);

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// `None` where there is no C++ compiler.
fn emulator() -> Option<&'static Emulator> {
    static EMULATOR: OnceLock<Option<Emulator>> = OnceLock::new();
    let emulator = EMULATOR.get_or_init(|| {
        let given = std::env::var("CXX").ok();
        let compiler = given
            .into_iter()
            .chain(["c++".to_owned(), "g++".to_owned(), "clang++".to_owned()])
            .find(|c| {
                let version = Command::new(c).arg("--version").output();
                version.is_ok_and(|o| o.status.success())
            })?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda");
        let source = folder.join("emulate.cpp");
        let mut text = std::fs::read(&source).unwrap();
        text.extend(std::fs::read(folder.join("emulate.hpp")).unwrap());
        let object = scratch(&format!("emulate-{:08x}.o", crc32fast::hash(&text)));
        if !object.exists() {
            let fresh = scratch(&format!("emulate-{}.o", std::process::id()));
            compile(
                &compiler,
                &["-c".as_ref(), source.as_ref()],
                &fresh,
                "the emulator",
            );
            std::fs::rename(&fresh, &object).unwrap();
        }
        Some(Emulator { compiler, object })
    });
    emulator.as_ref()
}

fn compile(compiler: &str, inputs: &[&std::ffi::OsStr], to: &Path, what: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda");
    let output = Command::new(compiler)
        .args([
            "-std=c++17",
            "-O1",
            "-w",
            "-fno-strict-aliasing",
            "-pthread",
        ])
        .arg("-I")
        .arg(folder)
        .args(inputs)
        .arg("-o")
        .arg(to)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{what} does not compile:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Emulator {
    /// The outcomes of two runs of each case: with arguments at the start and at the end of memory.
    fn run(&self, cases: &[Case]) -> Vec<[Outcome; 2]> {
        let n = PROGRAMS.fetch_add(1, Ordering::Relaxed);
        let file = |what: &str| scratch(&format!("kernels-{}-{n}{what}", std::process::id()));
        let (source, program) = (file(".cpp"), file(""));
        let (arguments, results) = (file(".in"), file(".out"));
        std::fs::write(&source, program_of(cases)).unwrap();
        compile(
            &self.compiler,
            &[source.as_ref(), self.object.as_ref()],
            &program,
            &source.display().to_string(),
        );
        std::fs::write(&arguments, arguments_of(cases)).unwrap();
        let ran = Command::new(&program)
            .args([&arguments, &results])
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{} ends with {}:\n{}",
            source.display(),
            ran.status,
            String::from_utf8_lossy(&ran.stderr)
        );
        let outcomes = outcomes_of(cases, &std::fs::read(&results).unwrap());
        for path in [source, program, arguments, results] {
            std::fs::remove_file(path).unwrap();
        }
        outcomes
    }
}

/// The program that runs the cases.
fn program_of(cases: &[Case]) -> String {
    let mut text = "#include \"emulate.hpp\"\n".to_owned();
    let mut list = String::new();
    for (n, case) in cases.iter().enumerate() {
        let code = &case.code;
        // The names of functions repeat from case to case.
        let functions = code.source.replace("extern \"C\" ", "");
        writeln!(text, "namespace case{n} {{\n{functions}\n}}").unwrap();
        let launches: String = code.launches.iter().map(|l| launch(n, l)).collect();
        writeln!(
            text,
            "static const emulation::Launch launches{n}[] = {{{launches}{{}}}};"
        )
        .unwrap();
        writeln!(
            list,
            "{{{:?}, launches{n}, {}, {}, {}, {}}},",
            case.name,
            code.launches.len(),
            code.workspace,
            code.counters,
            code.may_fault
        )
        .unwrap();
    }
    writeln!(
        text,
        "static const emulation::Case cases[] = {{\n{list}}};\n\
         int main(int n, char** words) {{ return emulation::run(cases, {}, n, words); }}",
        cases.len()
    )
    .unwrap();
    text
}

fn launch(case: usize, launch: &Launch) -> String {
    let threads: u32 = launch.block.iter().product();
    assert!(threads <= 1024, "a block of {threads} threads");
    let [grid, block] = [launch.grid, launch.block].map(|[x, y, z]| format!("{{{x}, {y}, {z}}}"));
    format!(
        "{{&emulation::call<&case{case}::{}>, {grid}, {block}, {}, {}, {}}}, ",
        launch.function, launch.shared_bytes, launch.cooperative, launch.starts_early
    )
}

fn arguments_of(cases: &[Case]) -> Vec<u8> {
    let mut bytes = vec![];
    let number = |n: usize| (n as u64).to_ne_bytes();
    for case in cases {
        bytes.extend(number(case.args.len()));
        for arg in &case.args {
            bytes.extend(number(arg.data.len()));
            bytes.extend(number(arg.start as usize * arg.dtype.size()));
            bytes.extend_from_slice(&arg.data);
        }
    }
    bytes
}

fn outcomes_of(cases: &[Case], mut bytes: &[u8]) -> Vec<[Outcome; 2]> {
    let mut take = |n: usize| {
        let (head, tail) = bytes.split_at(n);
        bytes = tail;
        head.to_vec()
    };
    let outcomes = cases
        .iter()
        .map(|case| {
            [(); 2].map(|()| Outcome {
                args: case.args.iter().map(|arg| take(arg.data.len())).collect(),
                fault: u32::from_ne_bytes(take(4).try_into().unwrap()),
            })
        })
        .collect();
    assert!(bytes.is_empty(), "the emulator wrote more than results");
    outcomes
}
