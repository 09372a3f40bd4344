//! What a node is thought to cost, before anything is known of the machine.

use super::term::{EGraph, Head, Term};
use egg::Id;
use ir::id::EntityId;
use ir::{Class, Op, TensorType, Work};

/// Time by operations, bytes and launches, added up: `launch + flop / rate + bytes / bandwidth`.
///
/// Only the order of alternatives matters here. The defaults are those of a machine with 100 GFLOP/s,
/// 20 GB/s and 2 µs to start a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CostModel {
    /// Picoseconds for one operation.
    pub ps_per_flop: u64,
    /// Picoseconds for one byte read or written.
    pub ps_per_byte: u64,
    /// Picoseconds to start a kernel.
    pub launch_ps: u64,
}

impl Default for CostModel {
    fn default() -> Self {
        Self {
            ps_per_flop: 10,
            ps_per_byte: 50,
            launch_ps: 2_000_000,
        }
    }
}

/// What keeping a view in the graph costs, so that fewer views are better than more: 1 ns.
const VIEW_PS: u64 = 1_000;

impl CostModel {
    fn kernel(&self, work: Work) -> u64 {
        let bytes = work.read.saturating_add(work.written);
        self.launch_ps
            .saturating_add(work.flop.saturating_mul(self.ps_per_flop))
            .saturating_add(bytes.saturating_mul(self.ps_per_byte))
    }

    /// Picoseconds for a node.
    ///
    /// Views move nothing by themselves, but who reads a transposed view pays for it, and who reads
    /// a part of a larger tensor pays a little.
    pub fn node(&self, op: &Op, operands: &[Option<&TensorType>], results: &[TensorType]) -> u64 {
        let bytes = |t: &TensorType| t.n_bytes().unwrap_or(0) as u64;
        match op {
            Op::Reshape(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Flatten(_)
            | Op::Identity(_) => VIEW_PS,
            // The parts of a split are charged one by one.
            Op::Split(_) => 0,
            Op::Transpose(_) => {
                VIEW_PS
                    + results
                        .iter()
                        .map(bytes)
                        .sum::<u64>()
                        .saturating_mul(self.ps_per_byte)
            }
            _ if op.class() == Class::View => results.iter().map(|t| self.part(t)).sum(),
            _ if op.class() == Class::Metadata => 0,
            _ => self.kernel(op.work(operands, results)),
        }
    }

    /// Picoseconds for reading `ty` as a part of something larger.
    pub fn part(&self, ty: &TensorType) -> u64 {
        let bytes = ty.n_bytes().unwrap_or(0) as u64;
        VIEW_PS + bytes.saturating_mul(self.ps_per_byte) / 20
    }

    /// Picoseconds for a term, its operands not included.
    pub(super) fn term(&self, egraph: &EGraph, class: Id, term: &Term) -> u64 {
        let facts = &egraph.analysis;
        let types = |ids: &[Id]| -> Vec<Option<TensorType>> {
            ids.iter()
                .map(|&c| egraph[c].data.types.first().cloned())
                .collect()
        };
        let results = &egraph[class].data.types;
        match term.head {
            Head::Leaf(_) | Head::Weight(_) | Head::Literal(_) | Head::Absent => 0,
            Head::Op(id) => {
                let operands = types(&term.operands);
                let operands: Vec<_> = operands.iter().map(Option::as_ref).collect();
                self.node(facts.operators.op(id), &operands, results)
            }
            Head::Part(_) => results.first().map_or(0, |ty| self.part(ty)),
            Head::Joined(id) => {
                let operands = types(&term.operands);
                let operands: Vec<_> = operands.iter().map(Option::as_ref).collect();
                let Some(result) = results.first() else {
                    return u64::MAX;
                };
                let flop = joined_flop(egraph, id.index(), &operands, result);
                let bytes = |t: &TensorType| t.n_bytes().unwrap_or(0) as u64;
                let read = operands.iter().flatten().map(|t| bytes(t)).sum();
                self.kernel(Work {
                    flop,
                    read,
                    written: bytes(result),
                })
            }
        }
    }
}

/// The operations of a kernel and of what joined it.
fn joined_flop(
    egraph: &EGraph,
    join: usize,
    operands: &[Option<&TensorType>],
    result: &TensorType,
) -> u64 {
    let facts = &egraph.analysis;
    let join = facts.joins[join];
    let (kernel, others) = operands.split_at(join.n_kernel);
    let inner = TensorType::new(join.dtype, result.shape.clone());
    let mut read = others.to_vec();
    read.insert(join.slot.min(read.len()), Some(&inner));
    let results = std::slice::from_ref(result);
    let own = facts.operators.op(join.op).work(&read, results).flop;
    own.saturating_add(match join.kernel {
        Head::Op(id) => {
            let results = std::slice::from_ref(&inner);
            facts.operators.op(id).work(kernel, results).flop
        }
        Head::Joined(id) => joined_flop(egraph, id.index(), kernel, &inner),
        _ => 0,
    })
}
