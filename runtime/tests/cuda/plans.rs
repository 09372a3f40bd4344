//! Plans for a CUDA device, written by hand: sums of vectors of 1024 floats.

use dlirc_runtime::Loaded;
use plans::file;
use plans::spec::{KernelSpec, MapInput, MapSpec, Operand, TransferSpec};
use plans::tape::{BinaryFn, Reg, TapeOp, TapeStep};
use plans::{
    Arena, ArenaIndex, ArenaKind, Arg, BUFFER_ALIGN, Block, Buffer, BufferIndex, Code, CodeIndex,
    DType, Demand, Device, Fingerprint, Image, ImageIndex, ImageKind, KernelIndex, Launch, Model,
    ModelIndex, Place, Plan, Port, RunSize, Step, StepCode, StepIndex, Tape, Weight, WeightIndex,
};
use std::sync::Arc;

/// Elements of all vectors.
pub(crate) const N: u64 = 1024;
/// Bytes of a vector.
pub(crate) const BYTES: u64 = 4 * N;
/// The first device.
pub(crate) const CUDA: Device = Device::Cuda(0);

const ARENAS: [(Device, ArenaKind); 5] = [
    (CUDA, ArenaKind::Io),
    (CUDA, ArenaKind::Scratch),
    (CUDA, ArenaKind::Counters),
    (Device::Cpu, ArenaKind::Io),
    (Device::Cpu, ArenaKind::Scratch),
];

/// A plan that grows by steps. Kernel 0 is the sum, kernel 1 a transfer.
pub(crate) struct Builder {
    pub(crate) plan: Plan,
    pub(crate) weights: Vec<u8>,
    pub(crate) images: Vec<u8>,
}

/// The kernels as PTX for an architecture.
pub(crate) fn ptx(arch: u32) -> String {
    let early = if arch >= 90 {
        "griddepcontrol.launch_dependents; griddepcontrol.wait;"
    } else {
        ""
    };
    include_str!("kernels.ptx")
        .replace("EARLY", early)
        .replace("TARGET", &arch.to_string())
}

impl Builder {
    pub(crate) fn new() -> Self {
        let mut images = vec![];
        let mut places = vec![];
        for arch in [90, 80] {
            let text = ptx(arch);
            images.resize(images.len().next_multiple_of(BUFFER_ALIGN as usize), 0);
            places.push(Image {
                kind: ImageKind::Ptx(arch),
                offset: images.len() as u64,
                bytes: text.len() as u64,
                crc: 0,
                resources: vec![],
            });
            images.extend_from_slice(text.as_bytes());
        }
        let arena = |(device, kind)| Arena {
            device,
            bytes: 0,
            kind,
            models: vec![ModelIndex(0)],
        };
        let transfer = TransferSpec {
            dtype: DType::F32,
            len: N,
        };
        Self {
            plan: Plan {
                fingerprint: Fingerprint {
                    compiler: "test".to_owned(),
                    target: "cuda:sm_90".to_owned(),
                    models: vec![[0; 32]],
                    cuda_driver: 13_000,
                    ..Fingerprint::default()
                },
                models: vec![Model {
                    name: "tested".to_owned(),
                    inputs: vec![],
                    outputs: vec![],
                    first_step: StepIndex(0),
                    n_steps: 0,
                    n_nodes: 1,
                }],
                arenas: ARENAS.into_iter().map(arena).collect(),
                kernels: vec![sum(), KernelSpec::Transfer(transfer)],
                images: places,
                ..Plan::default()
            },
            weights: vec![],
            images,
        }
    }

    /// A buffer of so many bytes.
    pub(crate) fn buffer(&mut self, device: Device, kind: ArenaKind, bytes: u64) -> BufferIndex {
        let arena = ARENAS.iter().position(|&a| a == (device, kind)).unwrap();
        let offset = self.plan.arenas[arena].bytes.next_multiple_of(BUFFER_ALIGN);
        self.plan.arenas[arena].bytes = offset + bytes;
        self.plan.buffers.push(Buffer {
            arena: ArenaIndex(arena as u32),
            offset,
            bytes,
            model: ModelIndex(0),
            name: format!("buffer{}", self.plan.buffers.len()),
        });
        BufferIndex(self.plan.buffers.len() as u32 - 1)
    }

    /// An intermediate vector.
    pub(crate) fn scratch(&mut self, device: Device) -> BufferIndex {
        self.buffer(device, ArenaKind::Scratch, BYTES)
    }

    fn port(&mut self, device: Device, name: String) -> Port {
        Port {
            name,
            dtype: DType::F32,
            dims: vec![N],
            buffer: self.buffer(device, ArenaKind::Io, BYTES),
            size: None,
        }
    }

    pub(crate) fn input(&mut self, device: Device) -> BufferIndex {
        let name = format!("x{}", self.plan.models[0].inputs.len());
        let port = self.port(device, name);
        let buffer = port.buffer;
        self.plan.models[0].inputs.push(port);
        buffer
    }

    pub(crate) fn output(&mut self, device: Device) -> BufferIndex {
        let name = format!("y{}", self.plan.models[0].outputs.len());
        let port = self.port(device, name);
        let buffer = port.buffer;
        self.plan.models[0].outputs.push(port);
        buffer
    }

    /// A vector all of whose elements are `value`.
    pub(crate) fn weight(&mut self, value: f32) -> WeightIndex {
        let data = value.to_ne_bytes().repeat(N as usize);
        self.weight_of(&data)
    }

    pub(crate) fn weight_of(&mut self, data: &[u8]) -> WeightIndex {
        let at = self.weights.len().next_multiple_of(BUFFER_ALIGN as usize);
        self.weights.resize(at, 0);
        self.weights.extend_from_slice(data);
        let n = self.plan.weights.len() as u32;
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_le_bytes());
        self.plan.weights.push(Weight {
            hash,
            dtype: DType::F32,
            dims: vec![data.len() as u64 / 4],
            offset: at as u64,
            bytes: data.len() as u64,
            crc: 0,
        });
        WeightIndex(n)
    }

    /// Code that computes the sum by launching these functions.
    pub(crate) fn code(&mut self, functions: &[&str]) -> CodeIndex {
        let in_steps = functions.contains(&"fill");
        let launches = functions.iter().map(|function| Launch {
            function: (*function).to_owned(),
            grid: if *function == "reset" {
                [1, 1, 1]
            } else {
                [8, 1, 1]
            },
            block: if *function == "reset" {
                [1, 1, 1]
            } else {
                [128, 1, 1]
            },
            cluster: [1, 1, 1],
            shared_bytes: 0,
            cooperative: false,
            starts_early: true,
        });
        self.plan.codes.push(Code {
            kernel: KernelIndex(0),
            schedule: "{}".to_owned(),
            images: vec![ImageIndex(0), ImageIndex(1)],
            launches: launches.collect(),
            workspace: if in_steps { BYTES } else { 0 },
            counters: if in_steps { 4 } else { 0 },
            may_fault: functions.contains(&"checked"),
        });
        CodeIndex(self.plan.codes.len() as u32 - 1)
    }

    /// `to = a + b` by `code`, or on the host if there is none.
    pub(crate) fn sum(
        &mut self,
        code: Option<CodeIndex>,
        a: Place,
        b: Place,
        to: BufferIndex,
    ) -> StepIndex {
        let device = if code.is_some() { CUDA } else { Device::Cpu };
        let step_code = code.map(|code| {
            let needs = self.plan.codes[code.index()].clone();
            let mut own = |bytes, kind| (bytes > 0).then(|| self.buffer(CUDA, kind, bytes));
            StepCode {
                code,
                workspace: own(needs.workspace, ArenaKind::Scratch),
                counters: own(needs.counters, ArenaKind::Counters),
            }
        });
        self.step(0, device, step_code, vec![a, b, Place::Buffer(to)])
    }

    /// A copy between host and device.
    pub(crate) fn transfer(&mut self, from: BufferIndex, to: BufferIndex) -> StepIndex {
        self.step(1, CUDA, None, vec![Place::Buffer(from), Place::Buffer(to)])
    }

    fn step(
        &mut self,
        kernel: u32,
        device: Device,
        code: Option<StepCode>,
        places: Vec<Place>,
    ) -> StepIndex {
        let n = self.plan.steps.len() as u32;
        self.plan.steps.push(Step {
            kernel: KernelIndex(kernel),
            args: places
                .into_iter()
                .map(|place| Arg { place, offset: 0 })
                .collect(),
            model: ModelIndex(0),
            device,
            code,
            lane: 0,
            waits: vec![],
            label: ["Add", "Copy"][kernel as usize].to_owned(),
            origin: vec![format!("node{n}")],
            flop: N,
            bytes_read: 2 * BYTES,
            bytes_written: BYTES,
        });
        StepIndex(n)
    }

    /// Puts a step in a lane, after steps of others.
    pub(crate) fn order(&mut self, step: StepIndex, lane: u16, waits: &[StepIndex]) {
        self.plan.steps[step.index()].lane = lane;
        self.plan.steps[step.index()].waits = waits.to_vec();
    }

    /// The plan, its steps in one block for each stretch on one device.
    pub(crate) fn finish(mut self) -> Arc<Loaded> {
        self.plan.models[0].n_steps = self.plan.steps.len() as u32;
        for (i, step) in self.plan.steps.iter().enumerate() {
            let before = i.checked_sub(1).map(|i| self.plan.steps[i].device);
            match self.plan.blocks.last_mut() {
                Some(block) if before == Some(step.device) => block.n_steps += 1,
                _ => self.plan.blocks.push(Block {
                    model: ModelIndex(0),
                    first_step: StepIndex(i as u32),
                    n_steps: 1,
                    predicted_ns: 0,
                    cut_ns: 0,
                    measured_ns: None,
                    demand: Demand::UNKNOWN,
                }),
            }
        }
        let loaded = Loaded::from_parts_with_images(self.plan, &self.weights, &self.images);
        match loaded {
            Ok(loaded) => Arc::new(loaded),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A plan's file.
pub(crate) fn file_of(loaded: &Loaded) -> Vec<u8> {
    let valid = loaded.plan();
    let mut plan = Plan::clone(valid);
    for (weight, of) in plan.weights.iter_mut().zip(&valid.weights) {
        weight.crc = file::crc32(loaded.weight(of));
    }
    for (image, of) in plan.images.iter_mut().zip(&valid.images) {
        image.crc = file::crc32(loaded.image(of));
    }
    let weight = |w: WeightIndex| loaded.weight(&valid.weights[w.index()]);
    let image = |i: ImageIndex| loaded.image(&valid.images[i.index()]);
    file::to_bytes(&plan, weight, image).unwrap()
}

fn sum() -> KernelSpec {
    let operand = Operand {
        dtype: DType::F32,
        strides: vec![1],
    };
    let step = |op| TapeStep {
        op,
        dtype: DType::F32,
    };
    KernelSpec::Map(MapSpec {
        domain: vec![N],
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
    })
}

/// y = (x + 2) + 3, in two steps of the same code.
pub(crate) fn chain(functions: &[&str]) -> Arc<Loaded> {
    let mut b = Builder::new();
    let (x, y) = (b.input(CUDA), b.output(CUDA));
    let (two, three) = (b.weight(2.0), b.weight(3.0));
    let between = b.scratch(CUDA);
    let code = Some(b.code(functions));
    b.sum(code, Place::Buffer(x), Place::Weight(two), between);
    b.sum(code, Place::Buffer(between), Place::Weight(three), y);
    b.finish()
}

/// y = ((x + 1) + (x + 2)) + (x + 4), the parts in parallel lanes.
pub(crate) fn lanes() -> Arc<Loaded> {
    let mut b = Builder::new();
    let (x, y) = (b.input(CUDA), b.output(CUDA));
    let weights = [1.0, 2.0, 4.0].map(|w| b.weight(w));
    let parts = [(); 4].map(|()| b.scratch(CUDA));
    let code = Some(b.code(&["add"]));
    let buffer = Place::Buffer;
    let s0 = b.sum(code, buffer(x), Place::Weight(weights[0]), parts[0]);
    let s1 = b.sum(code, buffer(x), Place::Weight(weights[1]), parts[1]);
    let s2 = b.sum(code, buffer(x), Place::Weight(weights[2]), parts[2]);
    let s3 = b.sum(code, buffer(parts[0]), buffer(parts[1]), parts[3]);
    let s4 = b.sum(code, buffer(parts[3]), buffer(parts[2]), y);
    b.order(s1, 1, &[]);
    b.order(s2, 2, &[]);
    b.order(s3, 0, &[s0, s1]);
    b.order(s4, 0, &[s1, s2]);
    b.finish()
}

/// y = (((x + 1) + 2) + ((x + 1) + 4)) + 2: two branches between two steps, the second of which writes
/// where the first one wrote.
pub(crate) fn branches() -> Arc<Loaded> {
    let mut b = Builder::new();
    let (x, y) = (b.input(CUDA), b.output(CUDA));
    let weights = [1.0, 2.0, 4.0].map(|w| Place::Weight(b.weight(w)));
    let parts = [(); 3].map(|()| b.scratch(CUDA));
    let code = Some(b.code(&["add"]));
    let buffer = Place::Buffer;
    let s0 = b.sum(code, buffer(x), weights[0], parts[0]);
    b.sum(code, buffer(parts[0]), weights[1], parts[1]);
    let s2 = b.sum(code, buffer(parts[0]), weights[2], parts[2]);
    let s3 = b.sum(code, buffer(parts[1]), buffer(parts[2]), parts[0]);
    b.sum(code, buffer(parts[0]), weights[1], y);
    b.order(s2, 1, &[s0]);
    b.order(s3, 0, &[s2]);
    b.finish()
}

/// y = x + 2, of which x1, an i64, says how much counts.
pub(crate) fn sized() -> Arc<Loaded> {
    let mut b = Builder::new();
    let (x, y, two) = (b.input(CUDA), b.output(CUDA), b.weight(2.0));
    let code = Some(b.code(&["add"]));
    b.sum(code, Place::Buffer(x), Place::Weight(two), y);
    let from = b.buffer(CUDA, ArenaKind::Io, RunSize::BYTES);
    let count = b.buffer(Device::Cpu, ArenaKind::Io, RunSize::BYTES);
    b.plan.models[0].inputs.push(Port {
        name: "x1".to_owned(),
        dtype: DType::I64,
        dims: vec![1],
        buffer: from,
        size: None,
    });
    b.plan.models[0].outputs[0].size = Some(RunSize { axis: 0, count });
    b.plan.kernels.push(KernelSpec::Transfer(TransferSpec {
        dtype: DType::I64,
        len: 1,
    }));
    let step = b.transfer(from, count);
    b.plan.steps[step.index()].kernel = KernelIndex(2);
    b.finish()
}

/// y = ((x + 1) + 2) + 4, the middle on the host; input and output lie on the host.
pub(crate) fn mixed() -> Arc<Loaded> {
    let mut b = Builder::new();
    let (x, y) = (b.input(Device::Cpu), b.output(Device::Cpu));
    let weights = [1.0, 2.0, 4.0].map(|w| Place::Weight(b.weight(w)));
    let on_device = [(); 4].map(|()| b.scratch(CUDA));
    let on_host = [(); 2].map(|()| b.scratch(Device::Cpu));
    let code = Some(b.code(&["add"]));
    let buffer = Place::Buffer;
    b.transfer(x, on_device[0]);
    b.sum(code, buffer(on_device[0]), weights[0], on_device[1]);
    b.transfer(on_device[1], on_host[0]);
    b.sum(None, buffer(on_host[0]), weights[1], on_host[1]);
    b.transfer(on_host[1], on_device[2]);
    b.sum(code, buffer(on_device[2]), weights[2], on_device[3]);
    b.transfer(on_device[3], y);
    b.finish()
}
