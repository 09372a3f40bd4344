//! Drafts of all models to one plan.

use super::memory::{Lifetime, place};
use super::steps::{ModelDraft, StorageKind, lower_graph};
use bytes::Bytes;
use ir::id::EntityId;
use ir::{Program, WeightId};
use plans::{
    Arena, ArenaIndex, ArenaKind, Arg, BUFFER_ALIGN, Block, Buffer, BufferIndex, Device,
    Fingerprint, KernelIndex, KernelSpec, Model, ModelIndex, Place, Plan, Port, Step, StepIndex,
    Weight, WeightIndex,
};
use std::collections::BTreeMap;
use std::fmt;

/// Why a program has no plan.
#[derive(Clone, PartialEq, Debug)]
pub enum LowerError {
    /// A dimension is not known.
    UnknownShape {
        /// The model.
        model: String,
        /// The value.
        value: String,
        /// Its shape, with the names of what is not known.
        shape: String,
    },
    /// No kernel computes a node.
    Build {
        /// The model.
        model: String,
        /// The user's nodes.
        node: String,
        /// The operator.
        operator: &'static str,
        /// Why.
        why: String,
    },
}

impl fmt::Display for LowerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LowerError::UnknownShape {
                model,
                value,
                shape,
            } => {
                write!(
                    f,
                    "model {model}: the shape {shape} of `{value}` is not known at compile time"
                )
            }
            LowerError::Build {
                model,
                node,
                operator,
                why,
            } => {
                write!(f, "model {model}: node `{node}` ({operator}): {why}")
            }
        }
    }
}

impl std::error::Error for LowerError {}

/// What shapes a plan beside the program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LowerOptions {
    /// The target as the user gave it.
    pub target: String,
    /// Whether models never run at once, so that one arena serves them all in turn.
    pub one_at_a_time: bool,
    /// Number of nodes of each model before optimisation.
    pub n_nodes: Vec<u32>,
    /// BLAKE3 of each model after import.
    pub hashes: Vec<[u8; 32]>,
    /// All options in canonical text.
    pub options: String,
    /// The compiler's version.
    pub compiler: String,
}

/// A plan and the content of its weights.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The plan.
    pub plan: Plan,
    /// The data of each weight, in the plan's order.
    pub weights: Vec<Bytes>,
    /// Regions that no single kernel computes and that were split into their nodes.
    pub n_split: usize,
}

/// The plan of `program`, whose graphs have regions.
pub fn lower(program: &Program, options: &LowerOptions) -> Result<Lowered, LowerError> {
    let drafts = program
        .graphs
        .iter()
        .map(|(_, graph)| lower_graph(graph, &program.weights))
        .collect::<Result<Vec<_>, _>>()?;
    let mut builder = Builder {
        program,
        plan: empty_plan(options),
        kernels: BTreeMap::new(),
    };
    let (weights, data) = builder.weights(&drafts);
    let mut shared_scratch = 0;
    for (m, draft) in drafts.iter().enumerate() {
        let scratch = builder.model(m, draft, &weights, options);
        shared_scratch = shared_scratch.max(scratch);
    }
    if options.one_at_a_time {
        builder.plan.arenas[0].bytes = shared_scratch;
    }
    let n_split = drafts.iter().map(|d| d.n_split).sum();
    Ok(Lowered {
        plan: builder.plan,
        weights: data,
        n_split,
    })
}

fn empty_plan(options: &LowerOptions) -> Plan {
    let arenas = if options.one_at_a_time {
        vec![Arena {
            device: Device::Cpu,
            bytes: 0,
            kind: ArenaKind::Scratch,
            models: vec![],
        }]
    } else {
        vec![]
    };
    Plan {
        fingerprint: Fingerprint {
            compiler: options.compiler.clone(),
            target: options.target.clone(),
            models: options.hashes.clone(),
            options: options.options.clone(),
        },
        models: vec![],
        arenas,
        buffers: vec![],
        weights: vec![],
        kernels: vec![],
        images: vec![],
        codes: vec![],
        steps: vec![],
        blocks: vec![],
        warnings: vec![],
    }
}

struct Builder<'a> {
    program: &'a Program,
    plan: Plan,
    /// Kernels by their encoding.
    kernels: BTreeMap<Vec<u8>, KernelIndex>,
}

impl Builder<'_> {
    /// The weights that any step reads, and their data.
    fn weights(&mut self, drafts: &[ModelDraft]) -> (BTreeMap<WeightId, WeightIndex>, Vec<Bytes>) {
        let used: std::collections::BTreeSet<WeightId> = drafts
            .iter()
            .flat_map(|d| {
                d.steps
                    .iter()
                    .flat_map(|s| s.args.iter().map(|&(s, _)| d.storages[s].kind))
            })
            .filter_map(|kind| match kind {
                StorageKind::Weight(w) => Some(w),
                _ => None,
            })
            .collect();
        let (mut index, mut data, mut offset) = (BTreeMap::new(), vec![], 0u64);
        for w in used {
            let tensor = &self.program.weights[w];
            let bytes = tensor.bytes();
            index.insert(w, WeightIndex(self.plan.weights.len() as u32));
            self.plan.weights.push(Weight {
                hash: self.program.weights.hash(w).0,
                dtype: kernels::tape::dtype(tensor.dtype()),
                dims: tensor.dims().iter().map(|&d| d as u64).collect(),
                offset,
                bytes: bytes.len() as u64,
                crc: crc32fast::hash(bytes),
            });
            offset = (offset + bytes.len() as u64).next_multiple_of(BUFFER_ALIGN);
            data.push(bytes.clone());
        }
        (index, data)
    }

    /// Adds one model. Returns how much scratch memory it needs.
    fn model(
        &mut self,
        m: usize,
        draft: &ModelDraft,
        weights: &BTreeMap<WeightId, WeightIndex>,
        options: &LowerOptions,
    ) -> u64 {
        let model = ModelIndex(m as u32);
        let (places, scratch) = self.buffers(model, draft, weights, options.one_at_a_time);
        let first_step = StepIndex(self.plan.steps.len() as u32);
        for step in &draft.steps {
            let kernel = self.kernel(&step.call.spec);
            let args = step
                .args
                .iter()
                .map(|&(storage, offset)| Arg {
                    place: places[storage],
                    offset,
                })
                .collect();
            self.plan.steps.push(Step {
                kernel,
                args,
                model,
                device: Device::Cpu,
                code: None,
                lane: 0,
                waits: vec![],
                label: step.label.clone(),
                origin: step.origin.names().map(str::to_string).collect(),
                flop: step.flop,
                bytes_read: step.bytes_read,
                bytes_written: step.bytes_written,
            });
        }
        let n_steps = draft.steps.len() as u32;
        let graph = &self.program.graphs[ir::GraphId::from_index(m)];
        let port = |name: &str, v: ir::ValueId, storage: usize| {
            let ty = graph.ty(v);
            let Place::Buffer(buffer) = places[storage] else {
                unreachable!("ports are buffers, never weights")
            };
            Port {
                name: name.to_string(),
                dtype: kernels::tape::dtype(ty.dtype),
                dims: ty
                    .shape
                    .dims()
                    .unwrap_or_default()
                    .iter()
                    .map(|&d| d as u64)
                    .collect(),
                buffer,
            }
        };
        let name = |v: ir::ValueId| graph.values[v].name.as_deref().unwrap_or_default();
        let inputs = graph
            .inputs
            .iter()
            .zip(&draft.inputs)
            .map(|(&v, &s)| port(name(v), v, s))
            .collect();
        let outputs = graph
            .outputs
            .iter()
            .zip(&draft.outputs)
            .map(|((n, v), &s)| port(n, *v, s))
            .collect();
        self.plan.models.push(Model {
            name: graph.name.clone(),
            inputs,
            outputs,
            first_step,
            n_steps,
            n_nodes: options.n_nodes.get(m).copied().unwrap_or(0),
        });
        if n_steps > 0 {
            let block = Block {
                model,
                first_step,
                n_steps,
                predicted_ns: 0,
                measured_ns: None,
            };
            self.plan.blocks.push(block);
        }
        scratch
    }

    /// Buffers for the storages of a model; returns the place of each storage and the size of scratch.
    fn buffers(
        &mut self,
        model: ModelIndex,
        draft: &ModelDraft,
        weights: &BTreeMap<WeightId, WeightIndex>,
        one_at_a_time: bool,
    ) -> (Vec<Place>, u64) {
        let mut touched: Vec<Option<(usize, usize)>> = vec![None; draft.storages.len()];
        for (i, step) in draft.steps.iter().enumerate() {
            for &(s, _) in &step.args {
                touched[s] = Some((touched[s].map_or(i, |(first, _)| first), i));
            }
        }
        let scratch: Vec<usize> = (0..draft.storages.len())
            .filter(|&s| draft.storages[s].kind == StorageKind::Scratch && touched[s].is_some())
            .collect();
        let lifetimes: Vec<Lifetime> = scratch
            .iter()
            .map(|&s| {
                let (first, last) = touched[s].unwrap_or_default();
                Lifetime {
                    bytes: draft.storages[s].bytes,
                    first,
                    last,
                }
            })
            .collect();
        let (offsets, scratch_bytes) = place(&lifetimes, BUFFER_ALIGN);
        let io = ArenaIndex(self.plan.arenas.len() as u32);
        self.plan.arenas.push(Arena {
            device: Device::Cpu,
            bytes: 0,
            kind: ArenaKind::Io,
            models: vec![model],
        });
        let scratch_arena = if one_at_a_time {
            self.plan.arenas[0].models.push(model);
            ArenaIndex(0)
        } else {
            self.plan.arenas.push(Arena {
                device: Device::Cpu,
                bytes: scratch_bytes,
                kind: ArenaKind::Scratch,
                models: vec![model],
            });
            ArenaIndex(self.plan.arenas.len() as u32 - 1)
        };
        let mut scratch_offset = vec![0; draft.storages.len()];
        for (&s, &offset) in scratch.iter().zip(&offsets) {
            scratch_offset[s] = offset;
        }
        let mut io_bytes = 0u64;
        let mut places = vec![];
        for (s, storage) in draft.storages.iter().enumerate() {
            let (arena, offset) = match storage.kind {
                StorageKind::Weight(w) => {
                    // A weight that no step reads has no place; nothing asks for it.
                    let index = weights.get(&w).copied().unwrap_or(WeightIndex(u32::MAX));
                    places.push(Place::Weight(index));
                    continue;
                }
                StorageKind::Scratch if touched[s].is_none() => {
                    places.push(Place::Buffer(BufferIndex(u32::MAX)));
                    continue;
                }
                StorageKind::Scratch => (scratch_arena, scratch_offset[s]),
                StorageKind::Input | StorageKind::Output => {
                    let at = io_bytes;
                    io_bytes += storage.bytes.next_multiple_of(BUFFER_ALIGN);
                    (io, at)
                }
            };
            places.push(Place::Buffer(BufferIndex(self.plan.buffers.len() as u32)));
            self.plan.buffers.push(Buffer {
                arena,
                offset,
                bytes: storage.bytes,
                model,
                name: storage.name.clone(),
            });
        }
        self.plan.arenas[io.index()].bytes = io_bytes;
        (places, scratch_bytes)
    }

    /// The kernel of `spec`, shared with every step that needs the same.
    fn kernel(&mut self, spec: &KernelSpec) -> KernelIndex {
        let key = postcard::to_allocvec(spec).unwrap_or_else(|_| format!("{spec:?}").into_bytes());
        let next = KernelIndex(self.plan.kernels.len() as u32);
        let index = *self.kernels.entry(key).or_insert(next);
        if index == next {
            self.plan.kernels.push(spec.clone());
        }
        index
    }
}
