//! Attention.

use super::{BuildError, KernelCall, RegionCx};
use crate::layout::Layout;
use ir::ops::{Attention, ViewStep};
use ir::{NodeId, Op, ValueId};
use plans::KernelSpec;
use plans::spec::AttentionSpec;

/// The region's only node.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let node = cx.nodes[0];
    let n = &cx.graph.nodes[node];
    let Op::Attention(op) = &n.op else {
        return Err(cx.error(node, format!("no attention kernel for {}", n.op.name())));
    };
    if cx.optional(node, 4).is_some() || n.outputs[1..].iter().any(|v| cx.outputs.contains(v)) {
        return Err(cx.error(node, "past keys, and results beside Y, have no kernel"));
    }
    Attend { cx, node, op }.build()
}

struct Attend<'a, 'b> {
    cx: &'a RegionCx<'b>,
    node: NodeId,
    op: &'a Attention,
}

impl Attend<'_, '_> {
    fn build(&self) -> Result<Vec<KernelCall>, BuildError> {
        let (cx, node) = (self.cx, self.node);
        let shape = cx.infer(node, |i| self.op.shape(i))?;
        let known = |d: &ir::Dim| d.known().ok_or_else(|| cx.error(node, "unknown sizes"));
        let (q_heads, kv_heads) = (known(&shape.q_heads)?, known(&shape.kv_heads)?);
        let (batch, size) = (known(&shape.batch)?, known(&shape.size)?);
        let (q_len, kv_len) = (known(&shape.q_length)?, known(&shape.kv_length)?);
        let v_size = known(&shape.v_size)?;
        let shared = q_heads / kv_heads;
        let [q, k, v] = [
            cx.operand(node, 0)?,
            cx.operand(node, 1)?,
            cx.operand(node, 2)?,
        ];
        let out = cx.graph.nodes[node].outputs[0];
        // Batch, heads of k and v, heads of q that share one, position, element.
        let dims =
            |shared: usize, length: usize, size: usize| [batch, kv_heads, shared, length, size];
        let q_layout = self.heads(q, q_heads, dims(shared, q_len, size))?;
        let k_layout = self.heads(k, kv_heads, dims(1, kv_len, size))?;
        let v_layout = self.heads(v, kv_heads, dims(1, kv_len, v_size))?;
        let out_layout = self.heads(out, q_heads, dims(shared, q_len, v_size))?;
        let over = |l: &Layout, value: ValueId, last: [usize; 2]| {
            let domain = dims(shared, last[0], last[1]).map(|d| d as u64);
            l.operand_over(&domain, cx.dtype(value))
                .ok_or_else(|| cx.error(node, format!("{:?} does not fit {domain:?}", l.dims)))
        };
        let mut args = vec![cx.position(q), cx.position(k), cx.position(v)];
        let mask = match cx.optional(node, 3) {
            None => None,
            Some(mask) => {
                args.push(cx.position(mask));
                let layout = (cx.layout)(mask);
                let to = vec![batch, q_heads, q_len, kv_len];
                let split = dims(shared, q_len, kv_len).to_vec();
                let layout = layout
                    .view(&ViewStep::Broadcast(to))
                    .and_then(|l| l.view(&ViewStep::Reshape(split)))
                    .ok_or_else(|| cx.error(node, "a mask that differs among shared heads"))?;
                Some(layout.operand(cx.dtype(mask)))
            }
        };
        args.push(cx.position(out));
        let spec = AttentionSpec {
            batch: vec![batch as u64, kv_heads as u64, shared as u64],
            q_len: q_len as u64,
            kv_len: kv_len as u64,
            qk_size: size as u64,
            v_size: v_size as u64,
            scale: self.op.factor(size) as f32,
            softcap: (self.op.softcap != 0.0).then_some(self.op.softcap),
            causal: self.op.is_causal.then_some(0),
            q: over(&q_layout, q, [q_len, size])?,
            k: over(&k_layout, k, [kv_len, size])?,
            v: over(&v_layout, v, [kv_len, v_size])?,
            mask,
            out: over(&out_layout, out, [q_len, v_size])?,
        };
        Ok(vec![KernelCall {
            spec: KernelSpec::Attention(spec),
            args,
        }])
    }

    /// `value` as `dims`: batch, heads, heads that share, position, element.
    fn heads(
        &self,
        value: ValueId,
        n_heads: usize,
        dims: [usize; 5],
    ) -> Result<Layout, BuildError> {
        let mut layout = (self.cx.layout)(value);
        if layout.dims.len() == 3 {
            let split = vec![dims[0], dims[3], n_heads, dims[4]];
            layout = self.view(&layout, &ViewStep::Reshape(split))?;
            layout = self.view(&layout, &ViewStep::Permute(vec![0, 2, 1, 3]))?;
        }
        self.view(&layout, &ViewStep::Reshape(dims.to_vec()))
    }

    fn view(&self, layout: &Layout, step: &ViewStep) -> Result<Layout, BuildError> {
        layout.view(step).ok_or_else(|| {
            self.cx.error(
                self.node,
                format!("{:?} does not lie as {step:?}", layout.dims),
            )
        })
    }
}
