//! Programs: several graphs and the weights that they share.

use crate::entity_id;
use crate::graph::{Def, Graph};
use crate::id::{Arena, EntityId};
use crate::tensor::Tensor;
use std::collections::BTreeMap;

entity_id!(
    /// A graph of a [`Program`]: one model.
    GraphId, "g"
);
entity_id!(
    /// A constant tensor of a [`Program`], shared by every graph that holds the same content.
    WeightId, "w"
);

/// The identity of a weight: BLAKE3 over element type, dimensions and data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// The hash of `tensor`.
    pub fn of(tensor: &Tensor) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(tensor.dtype().name().as_bytes());
        hasher.update(&(tensor.dims().len() as u64).to_le_bytes());
        for &d in tensor.dims() {
            hasher.update(&(d as u64).to_le_bytes());
        }
        hasher.update(tensor.bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash of graph `graph` with its weights: of its text, which names weights by their hashes.
    pub fn of_graph(program: &Program, graph: GraphId) -> Self {
        let alone = Program {
            graphs: std::iter::once(program.graphs[graph].clone()).collect(),
            weights: program.weights.clone(),
        };
        Self(*blake3::hash(crate::text::print(&alone).as_bytes()).as_bytes())
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Constant tensors, one copy per content.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: Arena<WeightId, (ContentHash, Tensor)>,
    by_hash: BTreeMap<ContentHash, WeightId>,
}

impl Weights {
    /// Adds `tensor`, or finds the one of the same content.
    pub fn add(&mut self, tensor: Tensor) -> WeightId {
        let hash = ContentHash::of(&tensor);
        *self
            .by_hash
            .entry(hash)
            .or_insert_with(|| self.tensors.push((hash, tensor)))
    }

    /// The tensor of `id`, if there is one.
    pub fn get(&self, id: WeightId) -> Option<&Tensor> {
        self.tensors.get(id).map(|(_, t)| t)
    }

    /// The weight whose content has this hash, if there is one.
    pub fn find(&self, hash: &ContentHash) -> Option<WeightId> {
        self.by_hash.get(hash).copied()
    }

    /// The content hash of `id`.
    pub fn hash(&self, id: WeightId) -> ContentHash {
        self.tensors[id].0
    }

    /// The number of weights, those that no graph uses any more included.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// All weights in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (WeightId, &Tensor)> {
        self.tensors.iter().map(|(id, (_, t))| (id, t))
    }
}

/// Equal content in equal order.
impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        let hashes = |w: &Self| w.tensors.iter().map(|(_, (h, _))| *h).collect::<Vec<_>>();
        hashes(self) == hashes(other)
    }
}

impl std::ops::Index<WeightId> for Weights {
    type Output = Tensor;
    fn index(&self, id: WeightId) -> &Tensor {
        &self.tensors[id].1
    }
}

/// Several models compiled together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// One graph a model, in the order that the user gave.
    pub graphs: Arena<GraphId, Graph>,
    /// The weights of all graphs.
    pub weights: Weights,
}

impl Program {
    /// [Compacts](Graph::compact) every graph, drops weights that none of them uses, and numbers
    /// the rest in the order of their first use.
    pub fn compact(&mut self) {
        let mut kept = Weights::default();
        let mut new_ids: Vec<Option<WeightId>> = vec![None; self.weights.len()];
        for (_, graph) in self.graphs.iter_mut() {
            graph.compact();
            for (_, value) in graph.values.iter_mut() {
                let Def::Weight(w) = &mut value.def else {
                    continue;
                };
                let Some((hash, tensor)) = self.weights.tensors.get(*w) else {
                    continue;
                };
                *w = *new_ids[w.index()].get_or_insert_with(|| {
                    let id = kept.tensors.push((*hash, tensor.clone()));
                    kept.by_hash.insert(*hash, id);
                    id
                });
            }
        }
        self.weights = kept;
    }
}
