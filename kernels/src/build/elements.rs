//! Elementwise nodes to tapes: what maps, prologues and epilogues share.

use super::{BuildError, KernelArg, RegionCx};
use crate::layout::Layout;
use crate::tape::TapeBuilder;
use ir::ops::ViewStep;
use ir::{Class, NodeId, Op, ValueId};
use plans::spec::{GatherAxis, Operand};
use plans::tape::Reg;
use std::collections::BTreeMap;

/// The elementwise part of a kernel under construction.
pub(super) struct Elements<'a, 'b> {
    pub cx: &'a RegionCx<'b>,
    /// The extents over which elements are computed.
    pub domain: Vec<u64>,
    /// The tape.
    pub tape: TapeBuilder,
    /// Operands from outside, in the order of their first use.
    pub inputs: Vec<Input>,
    /// How many inputs of the tape come before them.
    lead: usize,
    regs: BTreeMap<ValueId, Reg>,
}

/// An operand from outside of the region.
pub(super) struct Input {
    pub arg: KernelArg,
    pub operand: Operand,
    pub gather: Vec<GatherAxis>,
}

impl<'a, 'b> Elements<'a, 'b> {
    /// Over `domain`; the tape's first `lead` inputs are the kernel's own.
    pub(super) fn new(cx: &'a RegionCx<'b>, domain: Vec<u64>, lead: usize) -> Self {
        let (tape, regs) = (TapeBuilder::new(), BTreeMap::new());
        Self {
            cx,
            domain,
            tape,
            inputs: vec![],
            lead,
            regs,
        }
    }

    /// Says which register holds `value`.
    pub(super) fn define(&mut self, value: ValueId, reg: Reg) {
        self.regs.insert(value, reg);
    }

    /// Forgets tape and registers but not the inputs, so that another tape can read the same ones.
    pub(super) fn take_tape(&mut self) -> TapeBuilder {
        self.regs.clear();
        std::mem::take(&mut self.tape)
    }

    /// The register that holds an element of `value`, loaded or constant if no node made it.
    pub(super) fn reg(&mut self, value: ValueId, node: NodeId) -> Result<Reg, BuildError> {
        if let Some(&reg) = self.regs.get(&value) {
            return Ok(reg);
        }
        let dtype = self.cx.dtype(value);
        let reg = match self.cx.scalar_constant(value) {
            Some(x) => self.tape.constant(x, dtype),
            None => {
                let n = self.input(value, node)?;
                self.tape.input(n, dtype)
            }
        };
        self.regs.insert(value, reg);
        Ok(reg)
    }

    /// The tape's number of the input `value`, broadcast to the result of `node` and seen over the
    /// domain.
    fn input(&mut self, value: ValueId, node: NodeId) -> Result<usize, BuildError> {
        let layout = (self.cx.layout)(value);
        let dims = self.cx.dims(self.cx.graph.nodes[node].outputs[0])?;
        // A fold's operand has the domain's dimensions, and its result others.
        let same_order = layout.dims != self.domain
            && dims.iter().product::<u64>() == self.domain.iter().product::<u64>();
        let to: &[u64] = if same_order { &dims } else { &self.domain };
        let broadcast = layout.broadcast_strides(to).map(|strides| Layout {
            offset: layout.offset,
            dims: to.to_vec(),
            strides,
        });
        let broadcast = broadcast.ok_or_else(|| self.no_fit(&layout, node))?;
        let operand = self.operand_of(value, &broadcast, node)?;
        let arg = KernelArg {
            value,
            offset: layout.offset,
        };
        Ok(self.push_input(Input {
            arg,
            operand,
            gather: vec![],
        }))
    }

    fn no_fit(&self, layout: &Layout, node: NodeId) -> BuildError {
        let why = format!(
            "a value of dimensions {:?} over {:?}",
            layout.dims, self.domain
        );
        self.cx.error(node, why)
    }

    /// `value`, which lies as `layout`, as an operand over the domain.
    pub(super) fn operand_of(
        &self,
        value: ValueId,
        layout: &Layout,
        node: NodeId,
    ) -> Result<Operand, BuildError> {
        let dtype = self.cx.dtype(value);
        if layout.dims == self.domain {
            return Ok(layout.operand(dtype));
        }
        let dims = self.domain.iter().map(|&d| d as usize).collect();
        let over = layout
            .view(&ViewStep::Reshape(dims))
            .ok_or_else(|| self.no_fit(layout, node))?;
        Ok(over.operand(dtype))
    }

    /// The tape's number of `input`.
    pub(super) fn push_input(&mut self, input: Input) -> usize {
        let same = |i: &Input| {
            i.arg == input.arg && i.operand == input.operand && i.gather == input.gather
        };
        let at = self.inputs.iter().position(same).unwrap_or_else(|| {
            self.inputs.push(input);
            self.inputs.len() - 1
        });
        self.lead + at
    }

    /// Adds the arithmetic of `node`.
    pub(super) fn apply(&mut self, node: NodeId) -> Result<(), BuildError> {
        let graph = self.cx.graph;
        let n = &graph.nodes[node];
        match n.op.class() {
            Class::Map => {}
            Class::View => {
                // Only views that keep the row-major order are part of a region.
                let x = self.cx.operand(node, 0)?;
                let reg = self.reg(x, node)?;
                self.regs.insert(n.outputs[0], reg);
                return Ok(());
            }
            _ => return self.gather(node),
        }
        let operands = n
            .inputs
            .iter()
            .map(|v| v.map(|v| self.reg(v, node)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let dtypes: Vec<_> = n
            .inputs
            .iter()
            .map(|v| v.map(|v| graph.ty(v).dtype))
            .collect();
        let f = n.op.scalar(&dtypes).ok_or_else(|| {
            self.cx
                .error(node, format!("{} is not elementwise", n.op.name()))
        })?;
        let reg = self.tape.apply(&f, &operands, self.domain.len());
        self.regs.insert(n.outputs[0], reg);
        Ok(())
    }

    /// Adds the load of `node`, a gather.
    fn gather(&mut self, node: NodeId) -> Result<(), BuildError> {
        let n = &self.cx.graph.nodes[node];
        let (data, index) = (self.cx.operand(node, 0)?, self.cx.operand(node, 1)?);
        let data_layout = (self.cx.layout)(data);
        let index_layout = (self.cx.layout)(index);
        let rank = data_layout.dims.len();
        let wrong = |why: &str| self.cx.error(node, why);
        let axis_of =
            |axis: i64| ir::infer::normalize_axis(axis, rank).map_err(|e| wrong(&e.to_string()));
        let index_dtype = self.cx.dtype(index);
        let load_index = |strides: Vec<i64>, offset: i64| Input {
            arg: KernelArg {
                value: index,
                offset,
            },
            operand: Operand {
                dtype: index_dtype,
                strides,
            },
            gather: vec![],
        };
        // Strides of the data over the result, and for each picked dimension the input of positions.
        let (strides, picked): (Vec<i64>, Vec<(Input, usize)>) = match &n.op {
            Op::Gather(g) => {
                let axis = axis_of(g.axis)?;
                let index_rank = index_layout.dims.len();
                let mut over_index = vec![0; axis];
                over_index.extend(&index_layout.strides);
                over_index.resize(rank - 1 + index_rank, 0);
                let mut strides = data_layout.strides[..axis].to_vec();
                strides.resize(axis + index_rank, 0);
                strides.extend(&data_layout.strides[axis + 1..]);
                (
                    strides,
                    vec![(load_index(over_index, index_layout.offset), axis)],
                )
            }
            Op::GatherElements(g) => {
                let axis = axis_of(g.axis)?;
                let mut strides = data_layout.strides.clone();
                strides[axis] = 0;
                let index = load_index(index_layout.strides.clone(), index_layout.offset);
                (strides, vec![(index, axis)])
            }
            Op::GatherND(g) => {
                let batch =
                    usize::try_from(g.batch_dims).map_err(|_| wrong("negative batch_dims"))?;
                let last = index_layout.dims.len() - 1;
                let depth = index_layout.dims[last] as usize;
                let mut strides = data_layout.strides[..batch].to_vec();
                strides.resize(last, 0);
                strides.extend(&data_layout.strides[batch + depth..]);
                let out_rank = strides.len();
                let picked = (0..depth).map(|i| {
                    let mut over = index_layout.strides[..last].to_vec();
                    over.resize(out_rank, 0);
                    let offset = index_layout.offset + i as i64 * index_layout.strides[last];
                    (load_index(over, offset), batch + i)
                });
                (strides, picked.collect())
            }
            op => {
                return Err(wrong(&format!(
                    "{} cannot be part of an elementwise kernel",
                    op.name()
                )));
            }
        };
        if self.cx.dims(n.outputs[0])? != self.domain {
            return Err(wrong("a gather must have the shape of its region"));
        }
        let gather = picked
            .into_iter()
            .map(|(index, axis)| GatherAxis {
                index: self.push_input(index) as u16,
                len: data_layout.dims[axis],
                stride: data_layout.strides[axis],
            })
            .collect();
        let dtype = self.cx.dtype(data);
        let input = self.push_input(Input {
            arg: KernelArg {
                value: data,
                offset: data_layout.offset,
            },
            operand: Operand { dtype, strides },
            gather,
        });
        let reg = self.tape.input(input, dtype);
        self.regs.insert(n.outputs[0], reg);
        Ok(())
    }
}
