//! Plans of one kernel, run.

use crate::reference::{Value, agrees, get, set};
use crate::seeded::Seeded;
use dlirc_runtime as runtime;
use plans::spec::{ArgSpec, KernelSpec, Role};
use plans::{
    Arena, ArenaIndex, ArenaKind, Arg, BUFFER_ALIGN, Block, Buffer, BufferIndex, DType, Demand,
    Device, Fingerprint, KernelIndex, Model, ModelIndex, Place, Plan, Port, Step, StepIndex,
    Weight, WeightIndex,
};
use runtime::{Engine, Loaded, Options, RunError};
use std::sync::Arc;

/// An argument's tensor, one-dimensional: what lies there, and the element that the argument starts at.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub dtype: DType,
    pub data: Vec<u8>,
    pub start: i64,
    /// Whether it is given as a weight.
    pub is_weight: bool,
}

impl Tensor {
    /// Memory for all that an argument reaches, filled with seeded values.
    pub(crate) fn new(arg: &ArgSpec, seeded: &mut Seeded) -> Self {
        let (low, high) = arg.reach.unwrap_or((0, -1));
        let n = (high - low + 1) as usize;
        let mut tensor = Self {
            dtype: arg.dtype,
            data: vec![0; n * arg.dtype.size()],
            start: -low,
            is_weight: false,
        };
        for i in 0..n {
            let value = seeded.value(arg.dtype);
            set(arg.dtype, &mut tensor.data, i, value);
        }
        tensor
    }

    pub(crate) fn get(&self, offset: i64) -> Value {
        get(self.dtype, &self.data, (self.start + offset) as usize)
    }

    pub(crate) fn set(&mut self, offset: i64, value: Value) {
        let i = (self.start + offset) as usize;
        set(self.dtype, &mut self.data, i, value);
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len() / self.dtype.size()
    }
}

/// Seeded tensors for all arguments of a kernel.
pub(crate) fn tensors(spec: &KernelSpec, seeded: &mut Seeded) -> Vec<Tensor> {
    spec.args().iter().map(|a| Tensor::new(a, seeded)).collect()
}

/// A plan whose only step applies `spec` to inputs (or weights) and outputs. An argument that is
/// updated is an output that a copy of an input comes before.
pub(crate) fn plan_of(spec: &KernelSpec, args: &[Tensor]) -> (Plan, Vec<u8>) {
    let specs = spec.args();
    assert_eq!(specs.len(), args.len());
    let mut io = 0u64;
    let mut plan = empty();
    let mut weights = vec![];
    let mut step_args = vec![];
    for (n, (spec, tensor)) in specs.iter().zip(args).enumerate() {
        let bytes = tensor.data.len() as u64;
        let offset = tensor.start as u64 * tensor.dtype.size() as u64;
        if spec.role == Role::Read && tensor.is_weight {
            weights.resize(weights.len().next_multiple_of(BUFFER_ALIGN as usize), 0);
            let mut hash = [0; 32];
            hash[0] = n as u8;
            plan.weights.push(Weight {
                hash,
                dtype: tensor.dtype,
                dims: vec![tensor.len() as u64],
                offset: weights.len() as u64,
                bytes,
                crc: 0,
            });
            weights.extend_from_slice(&tensor.data);
            let w = WeightIndex(plan.weights.len() as u32 - 1);
            step_args.push(Arg {
                place: Place::Weight(w),
                offset,
            });
            continue;
        }
        let buffer = BufferIndex(plan.buffers.len() as u32);
        plan.buffers.push(Buffer {
            arena: ArenaIndex(0),
            offset: io,
            bytes,
            model: ModelIndex(0),
            name: format!("arg{n}"),
        });
        io = (io + bytes).next_multiple_of(BUFFER_ALIGN);
        let port = Port {
            name: format!("arg{n}"),
            dtype: tensor.dtype,
            dims: vec![tensor.len() as u64],
            buffer,
            size: None,
        };
        let model = &mut plan.models[0];
        match spec.role {
            Role::Read => model.inputs.push(port),
            Role::Write => model.outputs.push(port),
            Role::Update => {
                let before = BufferIndex(plan.buffers.len() as u32);
                plan.buffers.push(Buffer {
                    arena: ArenaIndex(0),
                    offset: io,
                    bytes,
                    model: ModelIndex(0),
                    name: format!("before{n}"),
                });
                io = (io + bytes).next_multiple_of(BUFFER_ALIGN);
                model.inputs.push(Port {
                    name: format!("before{n}"),
                    buffer: before,
                    ..port.clone()
                });
                model.outputs.push(port);
                push_copy(&mut plan, before, buffer, tensor);
            }
        }
        step_args.push(Arg {
            place: Place::Buffer(buffer),
            offset,
        });
    }
    plan.kernels.push(spec.clone());
    let kernel = KernelIndex(plan.kernels.len() as u32 - 1);
    plan.steps.push(step(kernel, step_args));
    plan.arenas[0].bytes = io;
    let n_steps = plan.steps.len() as u32;
    plan.models[0].n_steps = n_steps;
    plan.blocks[0].n_steps = n_steps;
    (plan, weights)
}

fn push_copy(plan: &mut Plan, from: BufferIndex, to: BufferIndex, tensor: &Tensor) {
    let operand = plans::spec::Operand {
        dtype: tensor.dtype,
        strides: vec![1],
    };
    plan.kernels.push(KernelSpec::Map(plans::spec::MapSpec {
        domain: vec![tensor.len() as u64],
        inputs: vec![plans::spec::MapInput::affine(operand.clone())],
        tape: plans::Tape::identity(tensor.dtype),
        outputs: vec![operand],
    }));
    let kernel = KernelIndex(plan.kernels.len() as u32 - 1);
    let arg = |buffer| Arg {
        place: Place::Buffer(buffer),
        offset: 0,
    };
    plan.steps.push(step(kernel, vec![arg(from), arg(to)]));
}

fn step(kernel: KernelIndex, args: Vec<Arg>) -> Step {
    Step {
        kernel,
        args,
        model: ModelIndex(0),
        device: Device::Cpu,
        code: None,
        lane: 0,
        waits: vec![],
        label: "Tested".to_owned(),
        origin: vec!["node".to_owned()],
        flop: 0,
        bytes_read: 0,
        bytes_written: 0,
    }
}

fn empty() -> Plan {
    Plan {
        fingerprint: Fingerprint {
            compiler: "test".to_owned(),
            target: "cpu".to_owned(),
            models: vec![[0; 32]],
            ..Fingerprint::default()
        },
        models: vec![Model {
            name: "tested".to_owned(),
            inputs: vec![],
            outputs: vec![],
            first_step: StepIndex(0),
            n_steps: 1,
            n_nodes: 1,
        }],
        arenas: vec![Arena {
            device: Device::Cpu,
            bytes: 0,
            kind: ArenaKind::Io,
            models: vec![ModelIndex(0)],
        }],
        blocks: vec![Block {
            model: ModelIndex(0),
            first_step: StepIndex(0),
            n_steps: 1,
            predicted_ns: 0,
            cut_ns: 0,
            measured_ns: None,
            demand: Demand::UNKNOWN,
        }],
        ..Plan::default()
    }
}

/// Runs a kernel on `threads` threads; the results replace the data of its written arguments.
pub(crate) fn run(
    spec: &KernelSpec,
    args: &[Tensor],
    threads: usize,
    level: Option<runtime::cpu::level::Level>,
) -> Result<Vec<Tensor>, RunError> {
    let (plan, weights) = plan_of(spec, args);
    let loaded = Loaded::from_parts(plan, &weights).unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
    let options = Options {
        threads,
        level,
        ..Options::default()
    };
    let engine =
        Engine::bind(Arc::new(loaded), &options).unwrap_or_else(|e| panic!("{e}\n{spec:#?}"));
    let mut session = Arc::new(engine).session().unwrap();
    let model = session.model("tested").unwrap();
    let specs = spec.args();
    let (mut n_inputs, mut n_outputs) = (0, 0);
    for (spec, arg) in specs.iter().zip(args) {
        if spec.role == Role::Write || arg.is_weight {
            continue;
        }
        let input = session.input_mut(model, n_inputs).unwrap();
        input.copy_from_slice(&arg.data);
        n_inputs += 1;
    }
    // Twice: what a run leaves behind must not change the next one.
    session.run(model)?;
    session.run(model)?;
    let mut results = args.to_vec();
    for (spec, arg) in specs.iter().zip(&mut results) {
        if spec.role != Role::Read {
            arg.data
                .copy_from_slice(session.output(model, n_outputs).unwrap());
            n_outputs += 1;
        }
    }
    Ok(results)
}

/// Runs a kernel at several numbers of threads and levels of instructions, and compares with
/// `expected`, the arguments after it.
pub(crate) fn check(spec: &KernelSpec, args: &[Tensor], expected: &[Tensor], tolerance: f64) {
    use dlirc_runtime::cpu::level::Level;
    for level in [Level::Portable, Level::Avx2Fma, Level::Avx512] {
        let one = run(spec, args, 1, Some(level)).unwrap();
        let three = run(spec, args, 3, Some(level)).unwrap();
        for (n, arg) in spec.args().iter().enumerate() {
            if arg.role == Role::Read {
                continue;
            }
            assert!(
                one[n].data == three[n].data,
                "argument {n} differs between 1 and 3 threads\n{spec:#?}"
            );
            for i in 0..one[n].len() {
                let found = get(arg.dtype, &one[n].data, i);
                let wanted = get(arg.dtype, &expected[n].data, i);
                assert!(
                    agrees(arg.dtype, found, wanted, tolerance),
                    "argument {n}, element {i} at {level:?}: {found:?}, not {wanted:?}\n{spec:#?}"
                );
            }
        }
    }
}
