//! Small plans built by hand.

pub(crate) use super::layers::{conv, conv_layer, pixels, pool, self_attention};
use plans::spec::*;
use plans::tape::{BinaryFn, Reg, Scalar, Tape, TapeOp, TapeStep, UnaryFn};
use plans::{
    Arena, ArenaIndex, ArenaKind, Arg, BUFFER_ALIGN, Block, BlockIndex, Bound, Buffer, BufferIndex,
    CoRun, Code, CodeIndex, DType, Demand, Deploy, Device, Fingerprint, Image, ImageIndex,
    ImageKind, KernelIndex, KernelSpec, Launch, Model, ModelIndex, Place, Placed, Plan, Port,
    Resources, Round, Service, Step, StepCode, StepIndex, Weight, WeightIndex,
};

/// Row-major strides.
pub(crate) fn dense(dims: &[u64]) -> Vec<i64> {
    let mut strides = vec![1; dims.len()];
    for d in (1..dims.len()).rev() {
        strides[d - 1] = strides[d] * dims[d] as i64;
    }
    strides
}

pub(crate) fn operand(dtype: DType, dims: &[u64]) -> Operand {
    Operand {
        dtype,
        strides: dense(dims),
    }
}

pub(crate) fn f32s(dims: &[u64]) -> Operand {
    operand(DType::F32, dims)
}

pub(crate) fn strided(strides: &[i64]) -> Operand {
    Operand {
        dtype: DType::F32,
        strides: strides.to_vec(),
    }
}

pub(crate) fn scalar_step(op: TapeOp, dtype: DType) -> TapeStep {
    TapeStep { op, dtype }
}

/// A tape of f32 steps whose last one is the result.
pub(crate) fn tape(ops: &[TapeOp]) -> Tape {
    Tape {
        steps: ops.iter().map(|&op| scalar_step(op, DType::F32)).collect(),
        results: vec![Reg(ops.len() as u16 - 1)],
    }
}

pub(crate) fn relu_of(ops: &[TapeOp]) -> Tape {
    let last = Reg(ops.len() as u16 - 1);
    let zero = TapeOp::Const(Scalar::Float(0.0));
    let max = TapeOp::Binary(BinaryFn::Max, last, Reg(last.0 + 1));
    tape(&[ops, &[zero, max]].concat())
}

pub(crate) fn bias_relu() -> Tape {
    let add = TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1));
    relu_of(&[TapeOp::Input(0), TapeOp::Input(1), add])
}

fn empty_plan() -> Plan {
    Plan {
        fingerprint: Fingerprint {
            compiler: "dlirc 0.1.0".into(),
            target: "cpu".into(),
            options: "level=2".into(),
            ..Fingerprint::default()
        },
        ..Plan::default()
    }
}

/// A plan, the data of its weights and the bytes of its images.
pub(crate) struct Sample {
    pub(crate) plan: Plan,
    pub(crate) data: Vec<Vec<u8>>,
    pub(crate) images: Vec<Vec<u8>>,
}

impl Sample {
    pub(crate) fn new() -> Self {
        Self {
            plan: empty_plan(),
            data: vec![],
            images: vec![],
        }
    }

    pub(crate) fn arena(&mut self, kind: ArenaKind, models: &[u32]) -> ArenaIndex {
        self.plan.arenas.push(Arena {
            device: Device::Cpu,
            bytes: 0,
            kind,
            models: models.iter().copied().map(ModelIndex).collect(),
        });
        ArenaIndex(self.plan.arenas.len() as u32 - 1)
    }

    /// A buffer at `offset`, or after all others of the arena.
    pub(crate) fn buffer_at(
        &mut self,
        arena: ArenaIndex,
        name: &str,
        bytes: u64,
        offset: Option<u64>,
    ) -> BufferIndex {
        let place = &mut self.plan.arenas[arena.index()];
        let offset = offset.unwrap_or(place.bytes.next_multiple_of(BUFFER_ALIGN));
        place.bytes = place.bytes.max(offset + bytes);
        self.plan.buffers.push(Buffer {
            arena,
            offset,
            bytes,
            model: self.model(),
            name: name.into(),
        });
        BufferIndex(self.plan.buffers.len() as u32 - 1)
    }

    pub(crate) fn buffer(&mut self, arena: ArenaIndex, name: &str, bytes: u64) -> BufferIndex {
        self.buffer_at(arena, name, bytes, None)
    }

    pub(crate) fn weight(&mut self, dims: &[u64]) -> Place {
        let index = self.plan.weights.len() as u32;
        let n: u64 = dims.iter().product();
        let data: Vec<u8> = (0..n)
            .flat_map(|i| ((i * 31 + u64::from(index) * 7) as f32 / 64.0).to_le_bytes())
            .collect();
        self.plan.weights.push(Weight {
            hash: std::array::from_fn(|i| (index as u8).wrapping_mul(37).wrapping_add(i as u8)),
            dtype: DType::F32,
            dims: dims.to_vec(),
            offset: 0,
            bytes: data.len() as u64,
            crc: crc32fast::hash(&data),
        });
        self.data.push(data);
        plans::file::place_weights(&mut self.plan.weights);
        Place::Weight(WeightIndex(index))
    }

    /// The model that is being built.
    fn model(&self) -> ModelIndex {
        ModelIndex(self.plan.models.len() as u32)
    }

    /// Device code of `functions`, as long as `bytes`.
    pub(crate) fn image(
        &mut self,
        kind: ImageKind,
        bytes: usize,
        functions: &[&str],
    ) -> ImageIndex {
        let index = self.plan.images.len() as u32;
        let data: Vec<u8> = (0..bytes).map(|i| (i * 7 + index as usize) as u8).collect();
        let resources = |(n, function): (u32, &&str)| Resources {
            function: (*function).into(),
            registers: 40 + 8 * n,
            spills: 0,
            stack_bytes: 0,
            shared_bytes: 1024 * n,
        };
        self.plan.images.push(Image {
            kind,
            offset: 0,
            bytes: bytes as u64,
            crc: crc32fast::hash(&data),
            resources: match kind {
                ImageKind::Cubin(_) => (0..).zip(functions).map(resources).collect(),
                ImageKind::Ptx(_) => vec![],
            },
        });
        self.images.push(data);
        plans::file::place_images(&mut self.plan.images);
        ImageIndex(index)
    }

    pub(crate) fn first_step(&self) -> u32 {
        self.plan.models.iter().map(|m| m.n_steps).sum()
    }

    fn kernel(&mut self, spec: KernelSpec) -> KernelIndex {
        if let Some(i) = self.plan.kernels.iter().position(|k| *k == spec) {
            return KernelIndex(i as u32);
        }
        self.plan.kernels.push(spec);
        KernelIndex(self.plan.kernels.len() as u32 - 1)
    }

    pub(crate) fn step(
        &mut self,
        label: &str,
        spec: KernelSpec,
        places: &[(Place, u64)],
    ) -> &mut Step {
        let args = spec.args();
        let bytes = |wanted: &dyn Fn(Role) -> bool| -> u64 {
            let counted = args.iter().filter(|a| wanted(a.role));
            counted
                .map(|a| a.walk.iter().map(|w| w.0).product::<u64>() * a.dtype.size() as u64)
                .sum()
        };
        let model = self.model();
        let n = self.plan.steps.len();
        let step = Step {
            kernel: self.kernel(spec),
            args: places
                .iter()
                .map(|&(place, offset)| Arg { place, offset })
                .collect(),
            model,
            device: Device::Cpu,
            code: None,
            lane: 0,
            waits: vec![],
            label: label.into(),
            origin: label
                .split('+')
                .map(|op| format!("/{}_{n}", op.to_lowercase()))
                .collect(),
            flop: bytes(&|_| true) / 2,
            bytes_read: bytes(&|r| r != Role::Write),
            bytes_written: bytes(&|r| r != Role::Read),
        };
        self.plan.steps.push(step);
        &mut self.plan.steps[n]
    }

    pub(crate) fn finish_model(
        &mut self,
        name: &str,
        inputs: Vec<Port>,
        outputs: Vec<Port>,
        blocks: &[u32],
    ) {
        let first_step = self.first_step();
        let n_steps = self.plan.steps.len() as u32 - first_step;
        let model = self.model();
        let mut first = first_step;
        for (i, &n_steps) in blocks.iter().enumerate() {
            self.plan.blocks.push(Block {
                model,
                first_step: StepIndex(first),
                n_steps,
                predicted_ns: u64::from(n_steps) * 1500,
                cut_ns: 0,
                measured_ns: (i == 0).then_some(1234),
                demand: Demand::UNKNOWN,
            });
            first += n_steps;
        }
        self.plan.fingerprint.models.push([model.0 as u8 + 1; 32]);
        self.plan.models.push(Model {
            name: name.into(),
            inputs,
            outputs,
            first_step: StepIndex(first_step),
            n_steps,
            n_nodes: n_steps * 2,
        });
    }
}

pub(crate) fn port(name: &str, dtype: DType, dims: &[u64], buffer: BufferIndex) -> Port {
    Port {
        name: name.into(),
        dtype,
        dims: dims.to_vec(),
        buffer,
        size: None,
    }
}

pub(crate) fn at(buffer: BufferIndex) -> (Place, u64) {
    (Place::Buffer(buffer), 0)
}

pub(crate) fn linear(m: u64, k: u64, n: u64, tape: Tape) -> KernelSpec {
    KernelSpec::Contract(ContractSpec {
        problem: Problem::MatMul {
            batch: vec![],
            m,
            n,
            k,
            a: f32s(&[m, k]),
            b: f32s(&[k, n]),
        },
        epilogue: Epilogue {
            inputs: vec![strided(&[0, 1])],
            tape,
            outputs: vec![f32s(&[m, n])],
        },
    })
}

pub(crate) fn softmax(rows: u64, columns: u64) -> KernelSpec {
    let max = tape(&[TapeOp::Input(0)]);
    let exp = [
        TapeOp::Input(0),
        TapeOp::RowScalar(0),
        TapeOp::Binary(BinaryFn::Sub, Reg(0), Reg(1)),
        TapeOp::Unary(UnaryFn::Exp, Reg(2)),
    ];
    let divide = [
        TapeOp::RowScalar(1),
        TapeOp::Binary(BinaryFn::Div, Reg(3), Reg(4)),
    ];
    KernelSpec::Row(RowSpec {
        rows: vec![rows],
        columns: vec![columns],
        inputs: vec![f32s(&[rows, columns])],
        phases: vec![
            Phase::Fold {
                tape: max,
                fold: RowFold::Max,
            },
            Phase::Fold {
                tape: tape(&exp),
                fold: RowFold::Sum,
            },
        ],
        element_tape: tape(&[&exp[..], &divide[..]].concat()),
        element_outputs: vec![f32s(&[rows, columns])],
        row_outputs: vec![],
    })
}

/// Two linear layers and a softmax; the second hidden buffer takes the place of none.
fn add_mlp(s: &mut Sample, io: ArenaIndex, scratch: ArenaIndex) {
    let x = s.buffer(io, "x", 2 * 4 * 4);
    let out = s.buffer(io, "probabilities", 2 * 3 * 4);
    let h = s.buffer_at(scratch, "/relu", 2 * 8 * 4, Some(0));
    let z = s.buffer_at(scratch, "/logits", 2 * 3 * 4, Some(256));
    let (w1, b1) = (s.weight(&[4, 8]), s.weight(&[8]));
    let (w2, b2) = (s.weight(&[8, 3]), s.weight(&[3]));
    let add = TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1));
    let bias = tape(&[TapeOp::Input(0), TapeOp::Input(1), add]);
    s.step(
        "Gemm+Relu",
        linear(2, 4, 8, bias_relu()),
        &[at(x), (w1, 0), (b1, 0), at(h)],
    );
    s.step(
        "Gemm",
        linear(2, 8, 3, bias),
        &[at(h), (w2, 0), (b2, 0), at(z)],
    );
    s.step("Softmax", softmax(2, 3), &[at(z), at(out)]);
    let inputs = vec![port("x", DType::F32, &[2, 4], x)];
    let outputs = vec![port("probabilities", DType::F32, &[2, 3], out)];
    s.finish_model("mlp", inputs, outputs, &[2, 1]);
}

/// A convolution and two branches in lanes of their own, which write to one buffer in turns.
fn add_branches(s: &mut Sample, io: ArenaIndex, scratch: ArenaIndex) {
    let image = 8 * 8 * 4;
    let x = s.buffer(io, "image", 2 * 3 * image);
    let out = s.buffer(io, "features", 2 * 8 * image);
    let stem = s.buffer_at(scratch, "/stem", 2 * 4 * image, Some(0));
    let both = s.buffer_at(scratch, "/concat", 2 * 8 * image, Some(2 * 4 * image));
    let (w1, b1) = (s.weight(&[4, 3, 3, 3]), s.weight(&[4]));
    let (w2, b2) = (s.weight(&[4, 4, 3, 3]), s.weight(&[4]));
    let half = || strided(&[8 * 64, 64, 8, 1]);
    let first = s.first_step();
    s.step(
        "Conv+Relu",
        conv(2, 3, 4, f32s(&[2, 4, 8, 8])),
        &[at(x), (w1, 0), (b1, 0), at(stem)],
    );
    s.step(
        "Conv+Relu",
        conv(2, 4, 4, half()),
        &[at(stem), (w2, 0), (b2, 0), at(both)],
    );
    let pooled = s.step(
        "MaxPool",
        pool(2, 4, WindowFold::Max, half()),
        &[at(stem), (Place::Buffer(both), 4 * image)],
    );
    pooled.lane = 1;
    pooled.waits = vec![StepIndex(first)];
    let sum = s.step(
        "AveragePool",
        pool(2, 8, WindowFold::Average, f32s(&[2, 8, 8, 8])),
        &[at(both), at(out)],
    );
    sum.waits = vec![StepIndex(first + 2)];
    let inputs = vec![port("image", DType::F32, &[2, 3, 8, 8], x)];
    let outputs = vec![port("features", DType::F32, &[2, 8, 8, 8], out)];
    s.finish_model("branches", inputs, outputs, &[4]);
}

/// A layer that reads the first half of the channels of a buffer and writes the second, of two
/// images.
pub(crate) fn growing() -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let scratch = s.arena(ArenaKind::Scratch, &[0]);
    let image = 8 * 8 * 4;
    let x = s.buffer(io, "image", 2 * 4 * image);
    let y = s.buffer(io, "features", 2 * 8 * image);
    let both = s.buffer(scratch, "/concat", 2 * 8 * image);
    let slice = || strided(&[8 * 64, 64, 1]);
    let relu = |from: Operand, to: Operand, channels: u64| {
        KernelSpec::Map(MapSpec {
            domain: vec![2, channels, 64],
            inputs: vec![MapInput::affine(from)],
            tape: relu_of(&[TapeOp::Input(0)]),
            outputs: vec![to],
        })
    };
    let half = (Place::Buffer(both), 4 * image);
    let dense = |channels| f32s(&[2, channels, 64]);
    s.step("Relu", relu(dense(4), slice(), 4), &[at(x), at(both)]);
    s.step("Relu", relu(slice(), slice(), 4), &[at(both), half]);
    s.step("Relu", relu(dense(8), dense(8), 8), &[at(both), at(y)]);
    let inputs = vec![port("image", DType::F32, &[2, 4, 8, 8], x)];
    let outputs = vec![port("features", DType::F32, &[2, 8, 8, 8], y)];
    s.finish_model("growing", inputs, outputs, &[3]);
    s
}

/// A step of [`columns`].
pub(crate) struct ColumnStep<'a> {
    pub(crate) lane: u16,
    pub(crate) waits: &'a [u32],
    /// Columns that it reads: of the input if there are none.
    pub(crate) reads: &'a [u64],
    /// The column that it writes; a buffer of its own if `None`.
    pub(crate) writes: Option<u64>,
}

/// Steps on the four columns of one buffer, which lie in turns, and at last a copy of the input.
pub(crate) fn columns(steps: &[ColumnStep<'_>]) -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let scratch = s.arena(ArenaKind::Scratch, &[0]);
    let bytes = 8 * 4 * 4;
    let x = s.buffer(io, "x", bytes);
    let y = s.buffer(io, "y", bytes);
    let shared = s.buffer(scratch, "shared", bytes);
    for (i, step) in steps.iter().enumerate() {
        let column = |b, c: u64| (Place::Buffer(b), c * 4);
        let mut places: Vec<_> = step.reads.iter().map(|&c| column(shared, c)).collect();
        if places.is_empty() {
            places.push(at(x));
        }
        let spec = KernelSpec::Map(MapSpec {
            domain: vec![8],
            inputs: vec![MapInput::affine(strided(&[4])); places.len()],
            tape: tape(&[TapeOp::Input(0)]),
            outputs: vec![strided(&[4])],
        });
        places.push(match step.writes {
            Some(c) => column(shared, c),
            None => at(s.buffer(scratch, &format!("own{i}"), bytes)),
        });
        let made = s.step("Copy", spec, &places);
        made.lane = step.lane;
        made.waits = step.waits.iter().copied().map(StepIndex).collect();
    }
    let copy = KernelSpec::Map(MapSpec {
        domain: vec![32],
        inputs: vec![MapInput::affine(f32s(&[32]))],
        tape: tape(&[TapeOp::Input(0)]),
        outputs: vec![f32s(&[32])],
    });
    s.step("Copy", copy, &[at(x), at(y)]);
    let inputs = vec![port("x", DType::F32, &[32], x)];
    let outputs = vec![port("y", DType::F32, &[32], y)];
    let n = s.plan.steps.len() as u32;
    s.finish_model("columns", inputs, outputs, &[n]);
    s
}

/// A multilayer perceptron.
pub(crate) fn mlp() -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let scratch = s.arena(ArenaKind::Scratch, &[0]);
    add_mlp(&mut s, io, scratch);
    s
}

/// Three models as a service: two that may overlap, and one that shares memory with the second.
pub(crate) fn deployed() -> Sample {
    let mut s = Sample::new();
    for models in [vec![0], vec![1, 2]] {
        s.arena(ArenaKind::Io, &models);
        s.arena(ArenaKind::Scratch, &models);
    }
    for (arenas, name) in [([0, 1], "first"), ([2, 3], "second"), ([2, 3], "third")] {
        add_mlp(&mut s, ArenaIndex(arenas[0]), ArenaIndex(arenas[1]));
        if let Some(model) = s.plan.models.last_mut() {
            model.name = name.into();
        }
    }
    for (i, block) in s.plan.blocks.iter_mut().enumerate() {
        block.demand = [
            Demand {
                compute: 700,
                memory: 100,
            },
            Demand {
                compute: 200,
                memory: 950,
            },
            Demand {
                compute: 500,
                memory: 500,
            },
            Demand {
                compute: 900,
                memory: 20,
            },
            Demand {
                compute: 1000,
                memory: 300,
            },
            Demand::UNKNOWN,
        ][i];
        block.predicted_ns = [3000, 1000, 2000, 4000, 500, 700][i];
        block.measured_ns = (i == 3).then_some(3800);
    }
    s.plan.co_run = vec![CoRun {
        blocks: [BlockIndex(0), BlockIndex(3)],
        slowdown: [1500, 1250],
    }];
    let placed = |block, lane, after: &[u32], start_ns, end_ns| Placed {
        block: BlockIndex(block),
        lane,
        after: after.to_vec(),
        start_ns,
        end_ns,
    };
    let service = |model, rate_mhz, deadline_ns, priority, bound| Service {
        model: ModelIndex(model),
        rate_mhz,
        deadline_ns,
        priority,
        bound,
    };
    let bound = Bound {
        wait_ns: 4000,
        response_ns: 9500,
    };
    s.plan.deploy = Some(Deploy {
        policy: "interleave".into(),
        services: vec![
            service(0, 120_500, Some(20_000), 2, Some(bound)),
            service(1, 90_000, None, 0, Some(bound)),
            service(2, 0, None, 0, None),
        ],
        rounds: vec![
            Round {
                placed: vec![
                    placed(2, 0, &[], 0, 2400),
                    placed(0, 1, &[], 0, 3600),
                    placed(3, 0, &[], 2400, 6400),
                    placed(4, 1, &[2], 6400, 6900),
                    placed(1, 0, &[1], 6400, 7600),
                    placed(5, 1, &[], 6900, 7700),
                ],
                makespan_ns: 7700,
            },
            Round {
                placed: vec![placed(2, 0, &[], 0, 2000), placed(3, 0, &[], 2000, 5800)],
                makespan_ns: 5800,
            },
        ],
    });
    s
}

/// Branches in lanes.
pub(crate) fn branches() -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let scratch = s.arena(ArenaKind::Scratch, &[0]);
    add_branches(&mut s, io, scratch);
    s
}

/// Two models that share scratch memory.
pub(crate) fn pair() -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0, 1]);
    let scratch = s.arena(ArenaKind::Scratch, &[0, 1]);
    add_mlp(&mut s, io, scratch);
    add_branches(&mut s, io, scratch);
    s.plan.warnings =
        vec!["models `mlp` and `branches` share scratch memory: never at once".into()];
    s
}

/// A chain of `n` residual layers of `width` numbers, in three buffers that take turns.
pub(crate) fn chain(n: u32, width: u64) -> Sample {
    let mut s = Sample::new();
    let io = s.arena(ArenaKind::Io, &[0]);
    let scratch = s.arena(ArenaKind::Scratch, &[0]);
    let bytes = width * 4;
    let x = s.buffer(io, "x", bytes);
    let y = s.buffer(io, "y", bytes);
    let slot = bytes.next_multiple_of(BUFFER_ALIGN);
    let add = |n: usize| {
        let mut ops: Vec<TapeOp> = (0..n as u16).map(TapeOp::Input).collect();
        if n == 2 {
            ops.push(TapeOp::Binary(BinaryFn::Add, Reg(0), Reg(1)));
        }
        KernelSpec::Map(MapSpec {
            domain: vec![width],
            inputs: vec![MapInput::affine(f32s(&[width])); n],
            tape: relu_of(&ops),
            outputs: vec![f32s(&[width])],
        })
    };
    let mut earlier: Vec<BufferIndex> = vec![x];
    for i in 0..n {
        let out = if i + 1 == n {
            y
        } else {
            let offset = slot * u64::from(i % 3);
            s.buffer_at(scratch, &format!("/layer.{i}/relu"), bytes, Some(offset))
        };
        let mut places: Vec<_> = earlier.iter().rev().take(2).map(|&b| at(b)).collect();
        let label = if places.len() == 2 {
            "Add+Relu"
        } else {
            "Relu"
        };
        let spec = add(places.len());
        places.push(at(out));
        s.step(label, spec, &places);
        earlier.push(out);
    }
    let inputs = vec![port("x", DType::F32, &[width], x)];
    let outputs = vec![port("y", DType::F32, &[width], y)];
    let blocks: Vec<u32> = (0..n).step_by(100).map(|i| (n - i).min(100)).collect();
    s.finish_model("chain", inputs, outputs, &blocks);
    s
}

fn launch(function: &str, grid: [u32; 3]) -> Launch {
    Launch {
        function: function.into(),
        grid,
        block: [128, 1, 1],
        cluster: [1; 3],
        shared_bytes: 8192,
        cooperative: false,
        starts_early: true,
    }
}

/// A linear layer on a GPU in two launches, with workspace and counters, a softmax of it on the
/// host, and the copies between the two.
pub(crate) fn device() -> Sample {
    let mut s = Sample::new();
    s.plan.fingerprint.target = "cuda:sm_90,sm_80".into();
    s.plan.fingerprint.cuda_driver = 13000;
    s.plan.warnings = vec!["model device: `/softmax_2` runs on the host".into()];
    let io = s.arena(ArenaKind::Io, &[0]);
    let scratch = s.arena(ArenaKind::Scratch, &[0]);
    let counters = s.arena(ArenaKind::Counters, &[0]);
    for arena in [io, scratch, counters] {
        s.plan.arenas[arena.index()].device = Device::Cuda(0);
    }
    let host = s.arena(ArenaKind::Scratch, &[0]);
    let x = s.buffer(io, "x", 2 * 64 * 4);
    let y = s.buffer(io, "y", 2 * 8 * 4);
    let z = s.buffer(scratch, "/logits", 2 * 8 * 4);
    let partial = s.buffer(scratch, "workspace of step 0", 4096);
    let arrived = s.buffer(counters, "counters of step 0", 8);
    let (z_host, y_host) = (s.buffer(host, "/logits", 64), s.buffer(host, "y", 64));
    let (w, b) = (s.weight(&[64, 8]), s.weight(&[8]));
    let functions = ["contract", "contract_reduce"];
    let images = vec![
        s.image(ImageKind::Cubin(80), 300, &functions),
        s.image(ImageKind::Cubin(90), 1000, &functions),
        s.image(ImageKind::Ptx(90), 700, &functions),
    ];
    s.plan.codes.push(Code {
        kernel: KernelIndex(0),
        schedule: r#"{"tile":[16,8],"split_k":4}"#.into(),
        images,
        launches: vec![
            launch(functions[0], [4, 2, 1]),
            launch(functions[1], [1, 1, 1]),
        ],
        workspace: 4000,
        counters: 8,
        may_fault: false,
    });
    let gemm = s.step(
        "Gemm+Relu",
        linear(2, 64, 8, bias_relu()),
        &[at(x), (w, 0), (b, 0), at(z)],
    );
    gemm.device = Device::Cuda(0);
    gemm.code = Some(StepCode {
        code: CodeIndex(0),
        workspace: Some(partial),
        counters: Some(arrived),
    });
    let transfer = || {
        KernelSpec::Transfer(TransferSpec {
            dtype: DType::F32,
            len: 16,
        })
    };
    s.step("Transfer", transfer(), &[at(z), at(z_host)]).device = Device::Cuda(0);
    s.step("Softmax", softmax(2, 8), &[at(z_host), at(y_host)]);
    s.step("Transfer", transfer(), &[at(y_host), at(y)]).device = Device::Cuda(0);
    let inputs = vec![port("x", DType::F32, &[2, 64], x)];
    let outputs = vec![port("y", DType::F32, &[2, 8], y)];
    s.finish_model("device", inputs, outputs, &[2, 1, 1]);
    s
}
