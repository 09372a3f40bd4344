//! Regions to steps: every value gets a place in some storage, every region its kernels.

use super::arrange::{Arranged, arrange, part};
use super::bound::Bounded;
use super::plan::LowerError;
use ir::id::EntityId;
use ir::infer::InferCx;
use ir::{Def, Graph, NodeId, Op, Origin, RegionKind, StorageOrder, ValueId, WeightId, Weights};
use kernels::{BuildError, KernelArg, KernelCall, Layout, RegionCx};
use plans::{DType, Device, KernelSpec};
use std::collections::BTreeMap;

/// A tensor's memory before it has an offset.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub kind: StorageKind,
    /// Size in bytes.
    pub bytes: u64,
    /// The value that it was made for, for people.
    pub name: String,
    /// The memory that it is in.
    pub device: Device,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum StorageKind {
    Input,
    Output,
    /// A size that a run decides, read on the host.
    Size,
    Scratch,
    /// Counters of one step's device code.
    Counters,
    Weight(WeightId),
}

/// One launch before buffers have offsets.
#[derive(Clone, Debug)]
pub(super) struct StepDraft {
    pub spec: KernelSpec,
    /// For each argument: the storage, and the start in bytes.
    pub args: Vec<(usize, u64)>,
    pub label: String,
    pub origin: Origin,
    pub flop: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub device: Device,
    /// Device code, by its number among those of all models.
    pub code: Option<usize>,
    /// The storage of the code's workspace.
    pub workspace: Option<usize>,
    /// The storage of the code's counters.
    pub counters: Option<usize>,
    /// The lane that it runs in.
    pub lane: u16,
    /// Steps of other lanes that must have finished, by their positions in the model.
    pub waits: Vec<usize>,
}

/// One model, lowered.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelDraft {
    pub storages: Vec<Storage>,
    pub steps: Vec<StepDraft>,
    /// The storage of each input, in order.
    pub inputs: Vec<usize>,
    /// The storage of each output, in order.
    pub outputs: Vec<usize>,
    /// For each output, the dimension whose size a run decides, and the storage of the size.
    pub sizes: Vec<Option<(usize, usize)>>,
    /// Regions that no single kernel computes and that were split into their nodes.
    pub n_split: usize,
}

/// Lowers one model.
pub(super) fn lower_graph(
    bounded: &Bounded<'_>,
    weights: &Weights,
) -> Result<ModelDraft, LowerError> {
    let graph = &*bounded.graph;
    let mut lowering = Lowering {
        graph,
        weights,
        users_of: graph.users(),
        arranged: arrange(graph),
        places: vec![None; graph.values.len()],
        weight_storage: BTreeMap::new(),
        copies: BTreeMap::new(),
        draft: ModelDraft::default(),
    };
    lowering.ports(&bounded.sizes)?;
    let mut i = 0;
    while i < graph.order.len() {
        let region = graph.nodes[graph.order[i]].region;
        let n = graph.order[i..]
            .iter()
            .take_while(|&&n| graph.nodes[n].region == region)
            .count();
        let nodes = &graph.order[i..i + n];
        let kind = region.map_or(RegionKind::Library, |r| graph.regions[r].kind);
        lowering.region(kind, nodes)?;
        i += n;
    }
    lowering.finish()
}

#[derive(Clone, Debug)]
struct Place {
    storage: usize,
    layout: Layout,
}

struct Lowering<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    users_of: Vec<Vec<NodeId>>,
    arranged: Vec<Arranged>,
    places: Vec<Option<Place>>,
    weight_storage: BTreeMap<WeightId, usize>,
    /// Copies of values in an order of storage that some kernel asked for.
    copies: BTreeMap<(ValueId, StorageOrder), Place>,
    draft: ModelDraft,
}

impl Lowering<'_> {
    fn name(&self, v: ValueId) -> String {
        self.graph.values[v]
            .name
            .as_deref()
            .map_or_else(|| v.to_string(), str::to_string)
    }

    fn dims(&self, v: ValueId) -> Result<Vec<u64>, LowerError> {
        let ty = self.graph.ty(v);
        let dims = ty.shape.dims().ok_or_else(|| LowerError::UnknownShape {
            model: self.graph.name.clone(),
            value: self.name(v),
            shape: ty.shape.to_string(),
        })?;
        Ok(dims.into_iter().map(|d| d as u64).collect())
    }

    fn dtype(&self, v: ValueId) -> DType {
        kernels::tape::dtype(self.graph.ty(v).dtype)
    }

    fn storage(&mut self, kind: StorageKind, v: ValueId) -> Result<usize, LowerError> {
        let n: u64 = self.dims(v)?.iter().product();
        let bytes = n * self.dtype(v).size() as u64;
        self.draft.storages.push(Storage {
            kind,
            bytes,
            name: self.name(v),
            device: Device::Cpu,
        });
        Ok(self.draft.storages.len() - 1)
    }

    /// Storage for what the user sees.
    fn ports(&mut self, sizes: &[Option<(usize, ValueId)>]) -> Result<(), LowerError> {
        for &v in &self.graph.inputs {
            let storage = self.storage(StorageKind::Input, v)?;
            self.draft.inputs.push(storage);
            let layout = Layout::dense(&self.dims(v)?, StorageOrder::RowMajor);
            self.places[v.index()] = Some(Place { storage, layout });
        }
        for (name, v) in &self.graph.outputs {
            let storage = self.storage(StorageKind::Output, *v)?;
            self.draft.storages[storage].name = name.to_string();
            self.draft.outputs.push(storage);
        }
        for (size, (name, _)) in sizes.iter().zip(&self.graph.outputs) {
            let size = match *size {
                Some((axis, v)) => Some((axis, self.count(name, v)?)),
                None => None,
            };
            self.draft.sizes.push(size);
        }
        Ok(())
    }

    /// Storage for a size that a run decides; outputs of the same size share it.
    fn count(&mut self, name: &str, v: ValueId) -> Result<usize, LowerError> {
        if let Some(place) = &self.places[v.index()] {
            return Ok(place.storage);
        }
        let storage = self.storage(StorageKind::Size, v)?;
        self.draft.storages[storage].name = format!("size of {name}");
        let layout = Layout::dense(&[], StorageOrder::RowMajor);
        self.places[v.index()] = Some(Place { storage, layout });
        Ok(storage)
    }

    /// Where `v` lies, if it has been decided.
    fn place(&mut self, v: ValueId) -> Result<Place, LowerError> {
        if let Some(place) = &self.places[v.index()] {
            return Ok(place.clone());
        }
        let Def::Weight(w) = self.graph.values[v].def else {
            return self.make_place(v);
        };
        let storage = match self.weight_storage.get(&w) {
            Some(&s) => s,
            None => {
                let s = self.storage(StorageKind::Weight(w), v)?;
                self.weight_storage.insert(w, s);
                s
            }
        };
        let layout = Layout::dense(&self.dims(v)?, StorageOrder::RowMajor);
        let place = Place { storage, layout };
        self.places[v.index()] = Some(place.clone());
        Ok(place)
    }

    /// Decides where a result lies.
    fn make_place(&mut self, v: ValueId) -> Result<Place, LowerError> {
        let dims = self.dims(v)?;
        let place = match self.arranged[v.index()].clone() {
            Arranged::Own => Place {
                storage: self.storage(StorageKind::Scratch, v)?,
                layout: Layout::dense(&dims, self.graph.values[v].storage),
            },
            Arranged::Output(n) => Place {
                storage: self.draft.outputs[n],
                layout: Layout::dense(&dims, StorageOrder::RowMajor),
            },
            Arranged::Permuted(order) => {
                let permuted: Vec<u64> = order.iter().map(|&d| dims[d]).collect();
                let dense = Layout::dense(&permuted, StorageOrder::RowMajor);
                let mut strides = vec![0; dims.len()];
                for (&d, &stride) in order.iter().zip(&dense.strides) {
                    strides[d] = stride;
                }
                let storage = self.storage(StorageKind::Scratch, v)?;
                Place {
                    storage,
                    layout: Layout {
                        offset: 0,
                        dims,
                        strides,
                    },
                }
            }
            Arranged::Slice { of, axis, start } => {
                let whole = self.place(of)?;
                Place {
                    storage: whole.storage,
                    layout: part(&whole.layout, axis, start, &dims),
                }
            }
        };
        self.places[v.index()] = Some(place.clone());
        Ok(place)
    }

    fn region(&mut self, kind: RegionKind, nodes: &[NodeId]) -> Result<(), LowerError> {
        if kind == RegionKind::View {
            return nodes.iter().try_for_each(|&n| self.view(n));
        }
        if let [node] = nodes
            && let Op::Concat(_) = self.graph.nodes[*node].op
        {
            return self.concat(*node);
        }
        let outputs = self.stored(nodes);
        let mark = (self.draft.steps.len(), self.draft.storages.len());
        match self.kernels(kind, nodes, &outputs) {
            Ok(()) => Ok(()),
            Err(why) if nodes.len() == 1 => Err(why),
            Err(LowerError::Build { .. }) => {
                // Each node by itself needs nothing of the others but their results in memory.
                self.draft.steps.truncate(mark.0);
                self.draft.n_split += 1;
                for &n in nodes {
                    match crate::fuse::kind_alone(self.graph, n) {
                        RegionKind::View => self.view(n)?,
                        kind => self.kernels(kind, &[n], &self.graph.nodes[n].outputs.clone())?,
                    }
                }
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Results of `nodes` that something else reads.
    fn stored(&self, nodes: &[NodeId]) -> Vec<ValueId> {
        let inside = |n: &NodeId| nodes.contains(n);
        let mut stored = vec![];
        for &n in nodes {
            // A library kernel writes every result, read or not.
            let all = self.graph.nodes[n].op.class() == ir::Class::Library;
            for &v in &self.graph.nodes[n].outputs {
                if all || self.graph.is_output(v) || self.users(v).iter().any(|u| !inside(u)) {
                    stored.push(v);
                }
            }
        }
        if stored.is_empty() {
            stored.extend(nodes.last().map(|&n| self.graph.nodes[n].outputs[0]));
        }
        stored
    }

    fn users(&self, v: ValueId) -> &[NodeId] {
        &self.users_of[v.index()]
    }

    /// The kernels of a region and their steps.
    fn kernels(
        &mut self,
        kind: RegionKind,
        nodes: &[NodeId],
        outputs: &[ValueId],
    ) -> Result<(), LowerError> {
        let mut near: BTreeMap<ValueId, Place> = BTreeMap::new();
        for &n in nodes {
            for (i, v) in self.graph.nodes[n].inputs.clone().into_iter().enumerate() {
                let Some(v) = v else { continue };
                let inside = self.graph.def_node(v).is_some_and(|d| nodes.contains(&d));
                if !inside {
                    let place = self.operand(n, i, v)?;
                    near.insert(v, place);
                }
            }
        }
        for &v in outputs {
            let place = self.place(v)?;
            near.insert(v, place);
        }
        let layout = |v: ValueId| near[&v].layout.clone();
        let cx = RegionCx {
            graph: self.graph,
            weights: self.weights,
            kind,
            nodes,
            outputs,
            layout: &layout,
        };
        let calls = kernels::build::region(&cx).map_err(|e| self.build_error(e))?;
        let mut work = (0u64, label(self.graph, nodes), origin(self.graph, nodes));
        for &n in nodes {
            let node = &self.graph.nodes[n];
            let inputs: Vec<_> = node
                .inputs
                .iter()
                .map(|v| v.map(|v| self.graph.ty(v)))
                .collect();
            let results: Vec<_> = node
                .outputs
                .iter()
                .map(|&v| self.graph.ty(v).clone())
                .collect();
            work.0 += node.op.work(&inputs, &results).flop;
        }
        let n_calls = calls.len();
        for (i, call) in calls.into_iter().enumerate() {
            let flop = if i + 1 == n_calls { work.0 } else { 0 };
            self.push(call, &near, work.1.clone(), work.2.clone(), flop);
        }
        Ok(())
    }

    fn build_error(&self, e: BuildError) -> LowerError {
        let node = &self.graph.nodes[e.node];
        LowerError::Build {
            model: self.graph.name.clone(),
            node: node.origin.names().collect::<Vec<_>>().join(", "),
            operator: node.op.name(),
            why: e.why,
        }
    }

    /// Where operand `i` of `node` lies for a kernel; convolutions want channels innermost.
    fn operand(&mut self, node: NodeId, i: usize, v: ValueId) -> Result<Place, LowerError> {
        let place = self.place(v)?;
        let images = matches!(
            self.graph.nodes[node].op,
            Op::Conv(_) | Op::ConvTranspose(_)
        ) && i == 0;
        // With few channels the kernel gathers a pixel's values as fast from planes.
        const FEW_CHANNELS: u64 = 4;
        let layout = &place.layout;
        if images && layout.dims[1] > FEW_CHANNELS && layout.strides[1] != 1 {
            let positions: u64 = layout.dims[2..].iter().product();
            let one_pixel = positions == 1 && layout.is_row_major();
            if !one_pixel {
                return self.copy(v, StorageOrder::ChannelsLast);
            }
            let mut place = place;
            place.layout = Layout {
                offset: place.layout.offset,
                ..Layout::dense(&place.layout.dims, StorageOrder::ChannelsLast)
            };
            return Ok(place);
        }
        Ok(place)
    }

    /// A dense copy of `v` in `order`.
    fn copy(&mut self, v: ValueId, order: StorageOrder) -> Result<Place, LowerError> {
        if let Some(place) = self.copies.get(&(v, order)) {
            return Ok(place.clone());
        }
        let from = self.place(v)?;
        let storage = self.storage(StorageKind::Scratch, v)?;
        let to = Place {
            storage,
            layout: Layout::dense(&from.layout.dims, order),
        };
        self.push_copy(v, &from, &to);
        self.copies.insert((v, order), to.clone());
        Ok(to)
    }

    fn push_copy(&mut self, v: ValueId, from: &Place, to: &Place) {
        let call = kernels::build::copy(self.dtype(v), (v, &from.layout), (v, &to.layout));
        let origin = match self.graph.def_node(v) {
            Some(n) => self.graph.nodes[n].origin.clone(),
            None => Origin::default(),
        };
        let bytes = from.layout.n_elements() * self.dtype(v).size() as u64;
        let size = self.dtype(v).size() as u64;
        let start = |offset: i64| offset as u64 * size;
        let args = vec![
            (from.storage, start(call.args[0].offset)),
            (to.storage, start(call.args[1].offset)),
        ];
        self.draft.steps.push(StepDraft {
            spec: call.spec,
            args,
            label: "Copy".into(),
            origin,
            flop: 0,
            bytes_read: bytes,
            bytes_written: bytes,
            device: Device::Cpu,
            code: None,
            workspace: None,
            counters: None,
            lane: 0,
            waits: vec![],
        });
    }

    fn push(
        &mut self,
        call: KernelCall,
        places: &BTreeMap<ValueId, Place>,
        label: String,
        origin: Origin,
        flop: u64,
    ) {
        let specs = call.spec.args();
        let mut args = vec![];
        let (mut bytes_read, mut bytes_written) = (0, 0);
        for (&KernelArg { value, offset }, spec) in call.args.iter().zip(&specs) {
            let place = &places[&value];
            args.push((place.storage, offset as u64 * spec.dtype.size() as u64));
            let bytes = place.layout.n_elements() * spec.dtype.size() as u64;
            match spec.role {
                plans::spec::Role::Read => bytes_read += bytes,
                plans::spec::Role::Write | plans::spec::Role::Update => bytes_written += bytes,
            }
        }
        self.draft.steps.push(StepDraft {
            spec: call.spec,
            args,
            label,
            origin,
            flop,
            bytes_read,
            bytes_written,
            device: Device::Cpu,
            code: None,
            workspace: None,
            counters: None,
            lane: 0,
            waits: vec![],
        });
    }

    /// A view moves nothing where strides can express it; else its operand is copied first.
    fn view(&mut self, node: NodeId) -> Result<(), LowerError> {
        let n = &self.graph.nodes[node];
        let x = n.inputs[0].ok_or_else(|| self.node_error(node, "no operand"))?;
        let types: Vec<_> = n
            .inputs
            .iter()
            .map(|v| v.map(|v| self.graph.ty(v)))
            .collect();
        let constants: Vec<_> = n
            .inputs
            .iter()
            .map(|v| v.and_then(|v| self.weights.get(self.graph.weight(v)?)))
            .collect();
        let cx = InferCx::new(&types, &constants, n.outputs.len());
        for (output, &v) in n.outputs.iter().enumerate() {
            if self.users(v).is_empty() && !self.graph.is_output(v) {
                continue;
            }
            let steps = n.op.view(&cx, output).ok_or_else(|| {
                self.node_error(
                    node,
                    "its shape depends on values that are not known at compile time",
                )
            })?;
            let mut place = self.place(x)?;
            for step in &steps {
                let viewed = match place.layout.view(step) {
                    Some(layout) => layout,
                    None => {
                        place = self.densify(x, &place)?;
                        place.layout.view(step).ok_or_else(|| {
                            self.node_error(node, "a view of a dense tensor is affine")
                        })?
                    }
                };
                place.layout = viewed;
            }
            self.places[v.index()] = Some(place);
        }
        Ok(())
    }

    /// A row-major copy of what lies at `place`.
    fn densify(&mut self, v: ValueId, place: &Place) -> Result<Place, LowerError> {
        let is_value = self.places[v.index()]
            .as_ref()
            .is_some_and(|p| p.layout == place.layout);
        if is_value {
            return self.copy(v, StorageOrder::RowMajor);
        }
        let bytes = place.layout.n_elements() * self.dtype(v).size() as u64;
        let name = self.name(v);
        self.draft.storages.push(Storage {
            kind: StorageKind::Scratch,
            bytes,
            name,
            device: Device::Cpu,
        });
        let to = Place {
            storage: self.draft.storages.len() - 1,
            layout: Layout::dense(&place.layout.dims, StorageOrder::RowMajor),
        };
        self.push_copy(v, place, &to);
        Ok(to)
    }

    /// Copies what was not written in place.
    fn concat(&mut self, node: NodeId) -> Result<(), LowerError> {
        let n = &self.graph.nodes[node];
        let result = n.outputs[0];
        let whole = self.place(result)?;
        let Op::Concat(concat) = &n.op else {
            return Err(self.node_error(node, "no concatenation"));
        };
        let axis = ir::infer::normalize_axis(concat.axis, whole.layout.dims.len())
            .map_err(|e| self.node_error(node, &e.to_string()))?;
        let mut start = 0;
        for &v in n.inputs.iter().flatten() {
            let from = self.place(v)?;
            let extent = from.layout.dims[axis];
            let there = Place {
                storage: whole.storage,
                layout: part(&whole.layout, axis, start, &from.layout.dims),
            };
            let in_place = from.storage == there.storage && from.layout == there.layout;
            if !in_place && from.layout.n_elements() > 0 {
                self.push_copy(v, &from, &there);
                if let Some(step) = self.draft.steps.last_mut() {
                    step.label = "Concat".into();
                    step.origin = n.origin.clone();
                }
            }
            start += extent;
        }
        Ok(())
    }

    fn node_error(&self, node: NodeId, why: &str) -> LowerError {
        self.build_error(BuildError {
            node,
            why: why.to_string(),
        })
    }

    /// Copies outputs that no kernel wrote in place.
    fn finish(mut self) -> Result<ModelDraft, LowerError> {
        for (i, (_, v)) in self.graph.outputs.iter().enumerate() {
            let from = self.place(*v)?;
            let to = Place {
                storage: self.draft.outputs[i],
                layout: Layout::dense(&from.layout.dims, StorageOrder::RowMajor),
            };
            let in_place =
                from.storage == to.storage && from.layout.offset == 0 && from.layout.is_row_major();
            if !in_place && from.layout.n_elements() > 0 {
                self.push_copy(*v, &from, &to);
            }
        }
        Ok(self.draft)
    }
}

/// The operators of `nodes`, for people: `Conv+Add+Relu`.
fn label(graph: &Graph, nodes: &[NodeId]) -> String {
    const SHOWN: usize = 6;
    let names: Vec<&str> = nodes
        .iter()
        .map(|&n| &graph.nodes[n].op)
        .filter(|op| op.class() != ir::Class::View || nodes.len() == 1)
        .map(Op::name)
        .collect();
    match names.len() {
        n if n > SHOWN => format!("{}+{} more", names[..SHOWN].join("+"), n - SHOWN),
        _ => names.join("+"),
    }
}

fn origin(graph: &Graph, nodes: &[NodeId]) -> Origin {
    let mut origin = Origin::default();
    for &n in nodes {
        origin.merge(&graph.nodes[n].origin);
    }
    origin
}
