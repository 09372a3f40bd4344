//! Folds and normalisations along axes.

use super::domain::canonical;
use super::elements::Elements;
use super::{BuildError, KernelArg, KernelCall, RegionCx};
use crate::layout::Layout;
use ir::infer::{InferCx, normalize_axis};
use ir::ops::{Fold, ViewStep};
use ir::{Class, NodeId, Op, ValueId};
use plans::spec::{Operand, Phase, RowFold, RowSpec};
use plans::tape::{BinaryFn, Reg, Tape, TapeOp, UnaryFn};
use plans::{DType, KernelSpec};

/// The one node of the region that works along rows; the nodes before it feed it elementwise, those
/// after it work on its results.
pub(super) fn build(cx: &RegionCx<'_>) -> Result<Vec<KernelCall>, BuildError> {
    let at = cx
        .nodes
        .iter()
        .position(|&n| cx.graph.nodes[n].op.class() == Class::Reduce)
        .ok_or_else(|| cx.error(cx.nodes[0], "no reduction in the region"))?;
    let mut row = Row::new(cx, at)?;
    row.anchor()?;
    row.finish()
}

/// A row kernel under construction. The domain is that of the anchor's operand, split by axes.
struct Row<'a, 'b> {
    cx: &'a RegionCx<'b>,
    elements: Elements<'a, 'b>,
    /// Elementwise nodes before the anchor.
    before: &'a [NodeId],
    anchor: NodeId,
    /// Nodes after the anchor.
    after: &'a [NodeId],
    /// The anchor's operand.
    x: ValueId,
    /// The type in which rows are computed: f32 for the shorter floating-point types.
    compute: DType,
    /// The dimensions of the anchor's operand that are folded.
    axes: Vec<usize>,
    /// The dimensions of the anchor's operand as the kernel sees them.
    dims: Vec<u64>,
    phases: Vec<Phase>,
    n_scalars: u16,
    /// Results of the anchor that have one element a row: which scalar, and its type.
    scalars: Vec<(ValueId, u16)>,
    /// The tape and the results that have one element for each of x.
    element_tape: Tape,
    element_outputs: Vec<ValueId>,
}

impl<'a, 'b> Row<'a, 'b> {
    fn new(cx: &'a RegionCx<'b>, at: usize) -> Result<Self, BuildError> {
        let anchor = cx.nodes[at];
        let x = cx.operand(anchor, 0)?;
        let dims = cx.dims(x)?;
        let compute = match cx.dtype(x) {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        };
        Ok(Self {
            cx,
            elements: Elements::new(cx, dims.clone(), 0),
            before: &cx.nodes[..at],
            anchor,
            after: &cx.nodes[at + 1..],
            x,
            compute,
            axes: vec![],
            dims,
            phases: vec![],
            n_scalars: 0,
            scalars: vec![],
            element_tape: Tape::default(),
            element_outputs: vec![],
        })
    }

    /// Elements along a row.
    fn n_columns(&self) -> f64 {
        self.axes.iter().map(|&a| self.dims[a]).product::<u64>() as f64
    }

    /// Puts an element of x on the current tape, in the type of computation.
    fn load(&mut self) -> Result<Reg, BuildError> {
        for &node in self.before {
            self.elements.apply(node)?;
        }
        let x = self.elements.reg(self.x, self.anchor)?;
        Ok(self.convert(x, self.cx.dtype(self.x), self.compute))
    }

    fn convert(&mut self, x: Reg, from: DType, to: DType) -> Reg {
        if from == to {
            x
        } else {
            self.elements.tape.push(TapeOp::Convert(x), to)
        }
    }

    fn scalar(&mut self, n: u16) -> Reg {
        let dtype = self.compute;
        self.elements.tape.push(TapeOp::RowScalar(n), dtype)
    }

    fn binary(&mut self, f: BinaryFn, x: Reg, y: Reg) -> Reg {
        let dtype = self.compute;
        self.elements.tape.push(TapeOp::Binary(f, x, y), dtype)
    }

    fn unary(&mut self, f: UnaryFn, x: Reg) -> Reg {
        let dtype = self.compute;
        self.elements.tape.push(TapeOp::Unary(f, x), dtype)
    }

    fn constant(&mut self, x: f64) -> Reg {
        let dtype = self.compute;
        self.elements.tape.constant(x, dtype)
    }

    /// A fold over the columns of what `element` makes of an element of x. Returns the row scalar.
    fn fold(
        &mut self,
        fold: RowFold,
        element: impl FnOnce(&mut Self, Reg) -> Reg,
    ) -> Result<u16, BuildError> {
        let x = self.load()?;
        let result = element(self, x);
        let tape = self.elements.take_tape().finish(vec![result]);
        self.phases.push(Phase::Fold { tape, fold });
        self.n_scalars += 1;
        Ok(self.n_scalars - 1)
    }

    /// Arithmetic on row scalars. Returns the new row scalar.
    fn row(&mut self, f: impl FnOnce(&mut Self) -> Reg) -> u16 {
        let result = f(self);
        let tape = self.elements.take_tape().finish(vec![result]);
        self.phases.push(Phase::Row { tape });
        self.n_scalars += 1;
        self.n_scalars - 1
    }

    /// Row scalar `scalar`, of the type of computation, is stored as `value`, of its own type.
    fn store(&mut self, value: ValueId, scalar: u16) {
        let dtype = self.cx.dtype(value);
        let scalar = if dtype == self.compute {
            scalar
        } else {
            self.row(|r| {
                let s = r.scalar(scalar);
                let from = r.compute;
                r.convert(s, from, dtype)
            })
        };
        self.scalars.push((value, scalar));
    }

    fn fail(&self, why: impl std::fmt::Display) -> BuildError {
        self.cx.error(self.anchor, why)
    }

    fn axis(&self, axis: i64) -> Result<usize, BuildError> {
        normalize_axis(axis, self.dims.len()).map_err(|e| self.fail(e))
    }

    /// Builds the phases and the element tape for the anchor's operator.
    fn anchor(&mut self) -> Result<(), BuildError> {
        let op = self.cx.graph.nodes[self.anchor].op.clone();
        match &op {
            Op::Softmax(s) => self.softmax(s.axis, false),
            Op::LogSoftmax(s) => self.softmax(s.axis, true),
            Op::LayerNormalization(n) => {
                let axis = self.axis(n.axis)?;
                self.axes = (axis..self.dims.len()).collect();
                self.normalization(f64::from(n.epsilon), true, None)
            }
            Op::RMSNormalization(n) => {
                let axis = self.axis(n.axis)?;
                self.axes = (axis..self.dims.len()).collect();
                self.normalization(f64::from(n.epsilon), false, None)
            }
            Op::InstanceNormalization(n) => {
                self.axes = (2..self.dims.len()).collect();
                self.normalization(f64::from(n.epsilon), true, Some(1))
            }
            Op::ArgMax(a) => {
                let fold = if a.select_last_index {
                    RowFold::ArgMaxLast
                } else {
                    RowFold::ArgMax
                };
                self.arg(a.axis, fold)
            }
            Op::ArgMin(a) => {
                let fold = if a.select_last_index {
                    RowFold::ArgMinLast
                } else {
                    RowFold::ArgMin
                };
                self.arg(a.axis, fold)
            }
            op => match fold_of(op) {
                Some(fold) => self.reduce(op, fold),
                None => Err(self.fail(format!("no row kernel for {}", op.name()))),
            },
        }
    }

    fn softmax(&mut self, axis: i64, log: bool) -> Result<(), BuildError> {
        self.axes = vec![self.axis(axis)?];
        let max = self.fold(RowFold::Max, |_, x| x)?;
        let sum = self.fold(RowFold::Sum, |r, x| {
            let m = r.scalar(max);
            let shifted = r.binary(BinaryFn::Sub, x, m);
            r.unary(UnaryFn::Exp, shifted)
        })?;
        let factor = self.row(|r| {
            let s = r.scalar(sum);
            r.unary(
                if log {
                    UnaryFn::Log
                } else {
                    UnaryFn::Reciprocal
                },
                s,
            )
        });
        self.elementwise(|r, x| {
            let (m, f) = (r.scalar(max), r.scalar(factor));
            let shifted = r.binary(BinaryFn::Sub, x, m);
            if log {
                return Ok(r.binary(BinaryFn::Sub, shifted, f));
            }
            let e = r.unary(UnaryFn::Exp, shifted);
            Ok(r.binary(BinaryFn::Mul, e, f))
        })
    }

    /// Layer, instance and root-mean-square normalisation. Scale and bias (operands 1 and 2) are
    /// aligned at the back, or lie along dimension `channel`.
    fn normalization(
        &mut self,
        epsilon: f64,
        center: bool,
        channel: Option<usize>,
    ) -> Result<(), BuildError> {
        let n = self.n_columns();
        let mean = match center {
            false => None,
            true => {
                let sum = self.fold(RowFold::Sum, |_, x| x)?;
                Some(self.row(|r| {
                    let (s, k) = (r.scalar(sum), r.constant(1.0 / n));
                    r.binary(BinaryFn::Mul, s, k)
                }))
            }
        };
        let centred = |r: &mut Self, x: Reg| match mean {
            None => x,
            Some(mean) => {
                let m = r.scalar(mean);
                r.binary(BinaryFn::Sub, x, m)
            }
        };
        let squares = self.fold(RowFold::Sum, |r, x| {
            let d = centred(r, x);
            r.binary(BinaryFn::Mul, d, d)
        })?;
        let factor = self.row(|r| {
            let (s, k, e) = (r.scalar(squares), r.constant(1.0 / n), r.constant(epsilon));
            let variance = r.binary(BinaryFn::Mul, s, k);
            let shifted = r.binary(BinaryFn::Add, variance, e);
            let root = r.unary(UnaryFn::Sqrt, shifted);
            r.unary(UnaryFn::Reciprocal, root)
        });
        for (output, scalar) in [(1, mean), (2, Some(factor))] {
            if let (Some(&v), Some(scalar)) =
                (self.cx.graph.nodes[self.anchor].outputs.get(output), scalar)
                && self.cx.outputs.contains(&v)
            {
                self.store(v, scalar);
            }
        }
        self.elementwise(|r, x| {
            let d = centred(r, x);
            let f = r.scalar(factor);
            let mut y = r.binary(BinaryFn::Mul, d, f);
            for (operand, f) in [(1, BinaryFn::Mul), (2, BinaryFn::Add)] {
                if let Some(value) = r.cx.optional(r.anchor, operand) {
                    let p = r.parameter(value, channel)?;
                    y = r.binary(f, y, p);
                }
            }
            Ok(y)
        })
    }

    /// The element of a scale or bias, in the type of computation.
    fn parameter(&mut self, value: ValueId, channel: Option<usize>) -> Result<Reg, BuildError> {
        let dtype = self.cx.dtype(value);
        let reg = match channel {
            None => self.elements.reg(value, self.anchor)?,
            Some(channel) => {
                let layout = (self.cx.layout)(value);
                let mut strides = vec![0; self.dims.len()];
                strides[channel] = layout.strides[0];
                let n = self.elements.push_input(super::elements::Input {
                    arg: KernelArg {
                        value,
                        offset: layout.offset,
                    },
                    operand: Operand { dtype, strides },
                    gather: vec![],
                });
                self.elements.tape.input(n, dtype)
            }
        };
        Ok(self.convert(reg, dtype, self.compute))
    }

    fn arg(&mut self, axis: i64, fold: RowFold) -> Result<(), BuildError> {
        self.axes = vec![self.axis(axis)?];
        let scalar = self.fold(fold, |_, x| x)?;
        self.scalars
            .push((self.cx.graph.nodes[self.anchor].outputs[0], scalar));
        Ok(())
    }

    fn reduce(&mut self, op: &Op, fold: Fold) -> Result<(), BuildError> {
        self.axes = self.reduced_axes(op)?;
        // Roots and logarithms of integers are no integers before they are stored.
        let is_real = matches!(fold, Fold::L2 | Fold::LogSum | Fold::LogSumExp);
        if is_real && !self.compute.is_float() {
            self.compute = DType::F64;
        }
        let n = self.n_columns();
        let max = match fold {
            Fold::LogSumExp => Some(self.fold(RowFold::Max, |_, x| x)?),
            _ => None,
        };
        let kind = match fold {
            Fold::Min => RowFold::Min,
            Fold::Max => RowFold::Max,
            Fold::Prod => RowFold::Prod,
            _ => RowFold::Sum,
        };
        let folded = self.fold(kind, |r, x| match fold {
            Fold::L1 => r.unary(UnaryFn::Abs, x),
            Fold::L2 | Fold::SumSquare => r.binary(BinaryFn::Mul, x, x),
            Fold::LogSumExp => {
                let m = r.scalar(max.expect("taken above"));
                let shifted = r.binary(BinaryFn::Sub, x, m);
                r.unary(UnaryFn::Exp, shifted)
            }
            _ => x,
        })?;
        let scalar = match fold {
            Fold::Sum | Fold::Prod | Fold::Min | Fold::Max | Fold::L1 | Fold::SumSquare => folded,
            _ => self.row(|r| {
                let s = r.scalar(folded);
                match fold {
                    Fold::Mean => {
                        let k = r.constant(n);
                        r.binary(BinaryFn::Div, s, k)
                    }
                    Fold::L2 => r.unary(UnaryFn::Sqrt, s),
                    Fold::LogSumExp => {
                        let (m, l) = (
                            r.scalar(max.expect("taken above")),
                            r.unary(UnaryFn::Log, s),
                        );
                        r.binary(BinaryFn::Add, m, l)
                    }
                    _ => r.unary(UnaryFn::Log, s),
                }
            }),
        };
        self.after_reduction(scalar)
    }

    /// The nodes after a reduction, on row scalars.
    fn after_reduction(&mut self, scalar: u16) -> Result<(), BuildError> {
        let result = self.cx.graph.nodes[self.anchor].outputs[0];
        if self.cx.outputs.contains(&result) {
            self.store(result, scalar);
        }
        if !self.after.is_empty() {
            let reg = self.scalar(scalar);
            let reg = self.convert(reg, self.compute, self.cx.dtype(result));
            self.elements.define(result, reg);
            for &node in self.after {
                self.elements.apply(node)?;
            }
            let last = self.after[self.after.len() - 1];
            let value = self.cx.graph.nodes[last].outputs[0];
            let reg = self.elements.reg(value, last)?;
            let tape = self.elements.take_tape().finish(vec![reg]);
            self.phases.push(Phase::Row { tape });
            self.n_scalars += 1;
            self.scalars.push((value, self.n_scalars - 1));
        }
        Ok(())
    }

    fn reduced_axes(&self, op: &Op) -> Result<Vec<usize>, BuildError> {
        let graph = self.cx.graph;
        let inputs = &graph.nodes[self.anchor].inputs;
        let types: Vec<_> = inputs.iter().map(|v| v.map(|v| graph.ty(v))).collect();
        let constants: Vec<_> = inputs
            .iter()
            .map(|v| v.and_then(|v| self.cx.constant(v)))
            .collect();
        let cx = InferCx::new(&types, &constants, 1);
        axes_of(op, &cx).map_err(|e| self.fail(e))
    }

    /// The element tape: `f` of an element of x, then the nodes after the anchor; also the stored
    /// values of the nodes before it.
    fn elementwise(
        &mut self,
        f: impl FnOnce(&mut Self, Reg) -> Result<Reg, BuildError>,
    ) -> Result<(), BuildError> {
        let x = self.load()?;
        let y = f(self, x)?;
        let result = self.cx.graph.nodes[self.anchor].outputs[0];
        let y = self.convert(y, self.compute, self.cx.dtype(result));
        self.elements.define(result, y);
        for &node in self.after {
            self.elements.apply(node)?;
        }
        let mut results = vec![];
        for &v in self.cx.outputs {
            if self.scalars.iter().all(|&(s, _)| s != v) {
                results.push(self.elements.reg(v, self.anchor)?);
                self.element_outputs.push(v);
            }
        }
        self.element_tape = self.elements.take_tape().finish(results);
        Ok(())
    }

    /// The finished kernel, over canonical rows and columns.
    fn finish(mut self) -> Result<Vec<KernelCall>, BuildError> {
        if self.element_outputs.is_empty() {
            // Stored values of the nodes before a plain reduction.
            let stored: Vec<ValueId> = self
                .cx
                .outputs
                .iter()
                .copied()
                .filter(|v| self.scalars.iter().all(|(s, _)| s != v))
                .collect();
            if !stored.is_empty() {
                self.load()?;
                let mut results = vec![];
                for &v in &stored {
                    results.push(self.elements.reg(v, self.anchor)?);
                }
                self.element_tape = self.elements.take_tape().finish(results);
                self.element_outputs = stored;
            }
        }
        let rank = self.dims.len();
        let kept: Vec<usize> = (0..rank).filter(|d| !self.axes.contains(d)).collect();
        let cx = self.cx;
        let split = |strides: &[i64], set: &[usize]| -> Vec<i64> {
            set.iter().map(|&d| strides[d]).collect()
        };
        // One list of strides for each operand, rows and columns apart.
        let element_layouts: Vec<Layout> = self
            .element_outputs
            .iter()
            .map(|&v| self.as_x((cx.layout)(v)))
            .collect::<Result<_, _>>()?;
        let all: Vec<&[i64]> = element_layouts
            .iter()
            .map(|l| &l.strides[..])
            .chain(self.elements.inputs.iter().map(|i| &i.operand.strides[..]))
            .collect();
        let mut rows: Vec<Vec<i64>> = all.iter().map(|s| split(s, &kept)).collect();
        let mut columns: Vec<Vec<i64>> = all.iter().map(|s| split(s, &self.axes)).collect();
        let mut row_strides: Vec<Vec<i64>> = self
            .scalars
            .iter()
            .map(|&(v, _)| self.row_strides(&(cx.layout)(v), &kept))
            .collect::<Result<_, _>>()?;
        let mut row_domain: Vec<u64> = kept.iter().map(|&d| self.dims[d]).collect();
        let mut column_domain: Vec<u64> = self.axes.iter().map(|&d| self.dims[d]).collect();
        // The order of the columns is part of what argmax means.
        let ordered = self.phases.iter().any(|p| {
            matches!(
                p,
                Phase::Fold {
                    fold: RowFold::ArgMax
                        | RowFold::ArgMaxLast
                        | RowFold::ArgMin
                        | RowFold::ArgMinLast,
                    ..
                }
            )
        });
        let mut row_lists: Vec<&mut Vec<i64>> =
            rows.iter_mut().chain(row_strides.iter_mut()).collect();
        canonical(&mut row_domain, &mut row_lists, &[]);
        let mut column_lists: Vec<&mut Vec<i64>> = columns.iter_mut().collect();
        if !ordered {
            canonical(&mut column_domain, &mut column_lists, &[]);
        }
        let dtypes: Vec<DType> = self
            .element_outputs
            .iter()
            .map(|&v| cx.dtype(v))
            .chain(self.elements.inputs.iter().map(|i| i.operand.dtype))
            .collect();
        let mut operands: Vec<Operand> = rows
            .into_iter()
            .zip(columns)
            .zip(dtypes)
            .map(|((r, c), dtype)| Operand {
                dtype,
                strides: [r, c].concat(),
            })
            .collect();
        let inputs = operands.split_off(self.element_outputs.len());
        let mut args: Vec<KernelArg> = self.elements.inputs.iter().map(|i| i.arg).collect();
        args.extend(self.element_outputs.iter().map(|&v| cx.position(v)));
        args.extend(self.scalars.iter().map(|&(v, _)| cx.position(v)));
        let row_outputs = self
            .scalars
            .iter()
            .zip(row_strides)
            .map(|(&(v, n), strides)| {
                (
                    n,
                    Operand {
                        dtype: cx.dtype(v),
                        strides,
                    },
                )
            })
            .collect();
        let spec = RowSpec {
            rows: row_domain,
            columns: column_domain,
            inputs,
            phases: self.phases,
            element_tape: self.element_tape,
            element_outputs: operands,
            row_outputs,
        };
        Ok(vec![KernelCall {
            spec: KernelSpec::Row(spec),
            args,
        }])
    }

    /// A stored value of the shape of x under the dimensions of x.
    fn as_x(&self, layout: Layout) -> Result<Layout, BuildError> {
        if layout.dims == self.dims {
            return Ok(layout);
        }
        let dims = self.dims.iter().map(|&d| d as usize).collect();
        layout
            .view(&ViewStep::Reshape(dims))
            .ok_or_else(|| self.fail(format!("{:?} does not lie as {:?}", layout.dims, self.dims)))
    }

    /// The strides of a value with one element a row, with the axes kept as 1 or gone.
    fn row_strides(&self, layout: &Layout, kept: &[usize]) -> Result<Vec<i64>, BuildError> {
        if layout.dims.len() == self.dims.len() {
            return Ok(kept.iter().map(|&d| layout.strides[d]).collect());
        }
        if layout.dims.len() == kept.len() {
            return Ok(layout.strides.clone());
        }
        Err(self.fail(format!("a result of dimensions {:?}", layout.dims)))
    }
}

/// The fold of a plain reduction.
fn fold_of(op: &Op) -> Option<Fold> {
    Some(match op {
        Op::ReduceL1(_) => Fold::L1,
        Op::ReduceL2(_) => Fold::L2,
        Op::ReduceLogSum(_) => Fold::LogSum,
        Op::ReduceLogSumExp(_) => Fold::LogSumExp,
        Op::ReduceMax(_) => Fold::Max,
        Op::ReduceMean(_) => Fold::Mean,
        Op::ReduceMin(_) => Fold::Min,
        Op::ReduceProd(_) => Fold::Prod,
        Op::ReduceSum(_) => Fold::Sum,
        Op::ReduceSumSquare(_) => Fold::SumSquare,
        _ => return None,
    })
}

/// The axes of a plain reduction.
fn axes_of(op: &Op, cx: &InferCx<'_>) -> Result<Vec<usize>, ir::OpError> {
    macro_rules! axes {
        ($($name:ident),*) => {
            match op {
                $(Op::$name(r) => r.axes(cx),)*
                op => Err(ir::OpError::Unsupported(format!("{} has no axes", op.name()))),
            }
        };
    }
    axes!(
        ReduceL1,
        ReduceL2,
        ReduceLogSum,
        ReduceLogSumExp,
        ReduceMax,
        ReduceMean,
        ReduceMin,
        ReduceProd,
        ReduceSum,
        ReduceSumSquare
    )
}
