//! How a region grows from its anchor: forward to the readers of its result, backward to its operands.

use ir::id::EntityId;
use ir::ops::ViewStep;
use ir::{Class, Graph, NodeId, Op, ValueId};

/// The most nodes that a region takes in; longer tapes spill registers on every device.
const MAX_NODES: usize = 48;
/// The most nodes between a value with several readers and the value in which they meet again.
const MAX_DETOUR: usize = 16;

/// What growing looks up and decides.
pub(super) struct Growth<'a> {
    pub graph: &'a Graph,
    /// For each value, its readers.
    users: Vec<Vec<NodeId>>,
    is_output: Vec<bool>,
    /// For each node, its place in the graph's order.
    position: Vec<usize>,
    /// Nodes that belong to a region.
    pub taken: Vec<bool>,
}

impl<'a> Growth<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        let mut is_output = vec![false; graph.values.len()];
        for &(_, v) in &graph.outputs {
            is_output[v.index()] = true;
        }
        let mut position = vec![usize::MAX; graph.nodes.len()];
        for (i, n) in graph.order.iter().enumerate() {
            position[n.index()] = i;
        }
        Self {
            graph,
            users: graph.users(),
            is_output,
            position,
            taken: vec![false; graph.nodes.len()],
        }
    }

    /// Takes `nodes` as one region: sorted into the graph's order.
    pub(super) fn take(&mut self, mut nodes: Vec<NodeId>) -> Vec<NodeId> {
        nodes.sort_by_key(|n| self.position[n.index()]);
        for n in &nodes {
            self.taken[n.index()] = true;
        }
        nodes
    }

    /// Elementwise readers of `value`, and of what they make, as long as all of it meets again in
    /// one value; that value replaces `value`. Returns the value in which the region ends.
    pub(super) fn forward(&self, region: &mut Vec<NodeId>, mut value: ValueId) -> ValueId {
        while region.len() < MAX_NODES {
            let Some((nodes, end)) = self.detour(region, value) else {
                break;
            };
            region.extend(nodes);
            value = end;
        }
        value
    }

    /// The shortest set of elementwise nodes through which everything that reads `value` meets
    /// again in one value.
    fn detour(&self, region: &[NodeId], value: ValueId) -> Option<(Vec<NodeId>, ValueId)> {
        let mut nodes: Vec<NodeId> = vec![];
        let mut open = vec![value];
        while nodes.len() <= MAX_DETOUR {
            // The earliest open value is the one that others may wait for.
            let at = (0..open.len()).min_by_key(|&i| self.first_user(open[i]))?;
            let v = open.swap_remove(at);
            let users = &self.users[v.index()];
            if self.is_output[v.index()] || users.is_empty() {
                return None;
            }
            for &u in users {
                if nodes.contains(&u) {
                    continue;
                }
                if region.contains(&u) || !self.fits(u, value) {
                    return None;
                }
                nodes.push(u);
                open.push(self.graph.nodes[u].outputs[0]);
            }
            // A value all of whose readers are in already is closed.
            open.retain(|&o| {
                self.is_output[o.index()]
                    || self.users[o.index()].is_empty()
                    || !self.users[o.index()].iter().all(|u| nodes.contains(u))
            });
            if let [end] = open[..] {
                if self.graph.nodes[*nodes.last()?].op.class() == Class::View {
                    continue;
                }
                return Some((nodes, end));
            }
        }
        None
    }

    fn first_user(&self, value: ValueId) -> usize {
        self.users[value.index()]
            .iter()
            .map(|u| self.position[u.index()])
            .min()
            .unwrap_or(usize::MAX)
    }

    /// Elementwise nodes (and gathers, if the kernel can load through them) that nothing outside
    /// of the region reads. What `sealed` reads stays outside: work that an epilogue cannot do.
    pub(super) fn backward(
        &self,
        region: &mut Vec<NodeId>,
        like: ValueId,
        gathers: bool,
        sealed: Option<NodeId>,
    ) {
        let mut i = 0;
        while i < region.len() && region.len() < MAX_NODES {
            if Some(region[i]) == sealed {
                i += 1;
                continue;
            }
            for &v in self.graph.nodes[region[i]].inputs.iter().flatten() {
                let Some(def) = self.graph.def_node(v) else {
                    continue;
                };
                let private = !self.is_output[v.index()]
                    && self.users[v.index()]
                        .iter()
                        .all(|u| region.contains(u) && Some(*u) != sealed);
                let loadable = gathers && is_gather(&self.graph.nodes[def].op);
                let fits = if loadable {
                    self.free(def) && self.same_size(v, like)
                } else {
                    self.fits(def, like)
                };
                if private && fits && !region.contains(&def) && self.is_direct(def, like, loadable)
                {
                    region.push(def);
                }
            }
            i += 1;
        }
    }

    /// A gather must have the very dimensions of the region; so must what feeds an elementwise node.
    fn is_direct(&self, node: NodeId, like: ValueId, gather: bool) -> bool {
        let shape = |v: ValueId| &self.graph.ty(v).shape;
        let out = self.graph.nodes[node].outputs[0];
        self.graph.nodes[node].op.class() != Class::View && (!gather || shape(out) == shape(like))
    }

    fn free(&self, node: NodeId) -> bool {
        !self.taken[node.index()] && self.graph.nodes[node].outputs.len() == 1
    }

    fn same_size(&self, a: ValueId, b: ValueId) -> bool {
        let n = |v: ValueId| self.graph.ty(v).shape.n_elements();
        n(a).is_some() && n(a) == n(b)
    }

    /// Whether `node` can be computed element by element beside `like`: elementwise over as many
    /// elements in the same order, every operand broadcast in a way that the order keeps affine.
    fn fits(&self, node: NodeId, like: ValueId) -> bool {
        let n = &self.graph.nodes[node];
        let out = n.outputs[0];
        if !self.free(node) || !self.same_size(out, like) {
            return false;
        }
        if n.op.class() == Class::View {
            return is_reshape(&n.op);
        }
        if n.op.class() != Class::Map || uses_index(self.graph, node) {
            return false;
        }
        let (shape, target) = (
            self.graph.ty(out).shape.dims(),
            self.graph.ty(like).shape.dims(),
        );
        let (Some(shape), Some(target)) = (shape, target) else {
            return false;
        };
        shape == target
            || n.inputs
                .iter()
                .flatten()
                .all(|&v| keeps_affine(self.graph, v, &shape, &target))
    }
}

/// Whether `value`, broadcast to `shape`, can be indexed affinely by `target`, a reshape of `shape`.
fn keeps_affine(graph: &Graph, value: ValueId, shape: &[usize], target: &[usize]) -> bool {
    let Some(dims) = graph.ty(value).shape.dims() else {
        return false;
    };
    let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
    let dense = kernels::Layout::dense(&dims, graph.values[value].storage);
    dense
        .view(&ViewStep::Broadcast(shape.to_vec()))
        .and_then(|l| l.view(&ViewStep::Reshape(target.to_vec())))
        .is_some()
}

fn is_gather(op: &Op) -> bool {
    matches!(op, Op::Gather(_) | Op::GatherElements(_) | Op::GatherND(_))
}

/// Views that keep every element in its row-major place.
fn is_reshape(op: &Op) -> bool {
    matches!(
        op,
        Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Flatten(_) | Op::Identity(_)
    )
}

/// Whether `node` depends on where an element stands.
pub(super) fn uses_index(graph: &Graph, node: NodeId) -> bool {
    let n = &graph.nodes[node];
    let dtypes: Vec<_> = n
        .inputs
        .iter()
        .map(|v| v.map(|v| graph.ty(v).dtype))
        .collect();
    n.op.scalar(&dtypes).is_none_or(|f| {
        f.steps
            .iter()
            .any(|(op, _)| matches!(op, ir::scalar::ScalarOp::Index(_)))
    })
}
