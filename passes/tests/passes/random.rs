//! Random programs mean the same before and after normalising.

use crate::evaluate::{outputs, same};
use dlirc_passes::manager::{Options, PassCx};
use dlirc_passes::normalise;
use ir::attrs::{Attr, Attrs};
use ir::patch::infer_node;
use ir::{DType, Graph, Op, Origin, Program, Tensor, TensorType, ValueId};
use proptest::prelude::*;

/// Numbers that decide what is made; 0 once they have run out.
struct Choices<'a>(std::slice::Iter<'a, u32>);

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        self.0.next().map_or(0, |&c| c as usize % n)
    }

    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }
}

struct Maker<'a> {
    c: Choices<'a>,
    program: Program,
    graph: Graph,
    values: Vec<ValueId>,
}

impl Maker<'_> {
    fn value(&mut self) -> ValueId {
        // The latest values are the likeliest, so that chains grow.
        let n = self.values.len();
        let back = self.c.below(n).min(self.c.below(n));
        self.values[n - 1 - back]
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        let ty = tensor.ty();
        let weight = self.program.weights.add(tensor);
        self.graph.add_weight(None, ty, weight)
    }

    fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::from_slice(&[values.len()], values))
    }

    fn number(&mut self) -> ValueId {
        let v = self.c.of(&[1.0f32, 0.0, 2.0, 0.5, -1.0, 3.0, 0.25]);
        let dims: &[usize] = self.c.of(&[&[][..], &[1], &[1, 1]]);
        self.constant(Tensor::from_slice(dims, &[v]))
    }

    /// A constant that broadcasts to `dims` in one of several ways.
    fn like(&mut self, dims: &[usize]) -> ValueId {
        let mut dims = dims.to_vec();
        for d in &mut dims {
            if self.c.below(3) == 0 {
                *d = 1;
            }
        }
        let keep = self.c.below(dims.len() + 1);
        let dims = dims[dims.len() - keep..].to_vec();
        let n: usize = dims.iter().product();
        let step = self.c.below(5) as f32;
        let values: Vec<f32> = (0..n).map(|i| (i % 5) as f32 * 0.25 * step + 0.5).collect();
        self.constant(Tensor::from_slice(&dims, &values))
    }

    /// A node, if it types.
    fn node(&mut self, name: &str, attrs: &[(&str, Attr)], inputs: &[Option<ValueId>], n: usize) {
        let attrs: Attrs = attrs
            .iter()
            .map(|(k, v)| (k.to_string(), v.clone()))
            .collect();
        let op = Op::read(name, &attrs)
            .expect("a known operator")
            .expect("known attributes");
        let Ok(types) = infer_node(&self.graph, &self.program.weights, &op, inputs, n) else {
            return;
        };
        if types
            .iter()
            .any(|t| t.shape.n_elements().is_none_or(|n| n > 2000))
        {
            return;
        }
        let origin = Origin::node(&format!("{name}{}", self.graph.order.len()));
        let node = self.graph.add_node(op, inputs.to_vec(), types, origin);
        let outputs = self.graph.nodes[node].outputs.clone();
        let float = |v: &ValueId| self.graph.ty(*v).dtype == DType::F32;
        self.values.extend(outputs.into_iter().filter(float));
    }

    fn step(&mut self) {
        let x = self.value();
        let dims = self.graph.ty(x).shape.dims().expect("known dimensions");
        let (rank, n) = (dims.len(), dims.iter().product::<usize>());
        let axis =
            self.c.below(rank.max(1)) as i64 - if self.c.below(2) == 0 { rank as i64 } else { 0 };
        let int = |v: i64| Attr::Int(v);
        match self.c.below(24) {
            0 => {
                let mut perm: Vec<i64> = (0..rank as i64).collect();
                for i in (1..rank).rev() {
                    perm.swap(i, self.c.below(i + 1));
                }
                self.node("Transpose", &[("perm", Attr::Ints(perm))], &[Some(x)], 1);
            }
            1 | 2 => {
                // Any way to cut the number of elements into dimensions.
                let (mut left, mut target) = (n, vec![]);
                for _ in 0..self.c.below(4) {
                    let divisors: Vec<usize> =
                        (1..=left.max(1)).filter(|&d| left % d == 0).collect();
                    let d = self.c.of(&divisors);
                    target.push(d as i64);
                    left /= d.max(1);
                }
                target.push(if self.c.below(2) == 0 {
                    -1
                } else {
                    left as i64
                });
                let shape = self.ints(&target);
                self.node("Reshape", &[], &[Some(x), Some(shape)], 1);
            }
            3 => {
                let axes = self.ints(&[axis]);
                let name = self.c.of(&["Unsqueeze", "Squeeze"]);
                self.node(name, &[], &[Some(x), Some(axes)], 1);
            }
            4 => self.node("Flatten", &[("axis", int(axis))], &[Some(x)], 1),
            5 => {
                let (start, end) = (self.c.below(5) as i64 - 2, self.c.of(&[1, 2, 3, 100, -1]));
                let (s, e, a) = (self.ints(&[start]), self.ints(&[end]), self.ints(&[axis]));
                let step = self.c.of(&[1, 1, 2, -1]);
                let t = self.ints(&[step]);
                self.node(
                    "Slice",
                    &[],
                    &[Some(x), Some(s), Some(e), Some(a), Some(t)],
                    1,
                );
            }
            6 => {
                let Some(&size @ 1..) = dims.get(axis.rem_euclid(rank.max(1) as i64) as usize)
                else {
                    return;
                };
                let k = (self.c.below(3) as i64 - 1).min(size as i64 - 2);
                let index = if self.c.below(2) == 0 {
                    self.constant(Tensor::scalar(k))
                } else {
                    self.ints(&[k, k + 1])
                };
                self.node("Gather", &[("axis", int(axis))], &[Some(x), Some(index)], 1);
            }
            7 => {
                let full: Vec<i64> = dims
                    .iter()
                    .map(|&d| if d == 1 { 2 } else { d as i64 })
                    .collect();
                let shape = self.ints(&full);
                self.node("Expand", &[], &[Some(x), Some(shape)], 1);
            }
            8 => {
                let y = self.value();
                self.node(
                    "Concat",
                    &[("axis", int(axis))],
                    &[Some(x), Some(y), Some(x)],
                    1,
                );
            }
            9 => self.node("Split", &[("axis", int(axis))], &[Some(x)], 2),
            10 | 11 => {
                let y = self.value();
                let name = self.c.of(&["Add", "Mul", "Sub", "Max", "Min"]);
                self.node(name, &[], &[Some(x), Some(y)], 1);
            }
            12 | 13 => {
                let name = self.c.of(&["Add", "Mul", "Sub", "Div", "Max", "Pow"]);
                let c = if name == "Pow" {
                    // The square root of minus infinity is not its power of a half.
                    let exponent = self.c.of(&[2.0f32, 3.0, 1.0, -1.0, 1.5]);
                    self.constant(Tensor::scalar(exponent))
                } else if self.c.below(2) == 0 {
                    self.number()
                } else {
                    self.like(&dims)
                };
                let both = if self.c.below(3) == 0 && name != "Div" && name != "Pow" {
                    [Some(c), Some(x)]
                } else {
                    [Some(x), Some(c)]
                };
                self.node(name, &[], &both, 1);
            }
            14 => {
                let name = self.c.of(&[
                    "Relu", "Sigmoid", "Tanh", "Erf", "Neg", "Identity", "Abs", "Softplus",
                ]);
                self.node(name, &[], &[Some(x)], 1);
            }
            15 => {
                let (lo, hi) = (self.number(), self.number());
                let lo = (self.c.below(2) == 0).then_some(lo);
                self.node("Clip", &[], &[Some(x), lo, Some(hi)], 1);
            }
            16 => {
                let name = self.c.of(&["ReduceMean", "ReduceSum", "ReduceMax"]);
                let keep = int(self.c.below(2) as i64);
                let axes = self.ints(&[axis]);
                let axes = (self.c.below(3) > 0).then_some(axes);
                self.node(name, &[("keepdims", keep)], &[Some(x), axes], 1);
            }
            17 => self.node("Softmax", &[("axis", int(axis))], &[Some(x)], 1),
            18 => {
                let last = dims.last().copied().unwrap_or(1);
                let transposed = self.c.below(2) == 0;
                let shape = if transposed { [4, last] } else { [last, 4] };
                let values: Vec<f32> = (0..4 * last).map(|i| (i % 7) as f32 * 0.25 - 0.5).collect();
                let w = self.constant(Tensor::from_slice(&shape, &values));
                let c = self.like(&[1, 4]);
                if rank == 2 {
                    let alpha = Attr::Float(self.c.of(&[1.0, 0.5]));
                    let attrs = [("transB", int(transposed.into())), ("alpha", alpha)];
                    self.node("Gemm", &attrs, &[Some(x), Some(w), Some(c)], 1);
                } else {
                    self.node("MatMul", &[], &[Some(x), Some(w)], 1);
                }
            }
            19 => {
                let channels = dims.get(1).copied().unwrap_or(1);
                let kernel = vec![2usize; rank.saturating_sub(2)];
                let shape: Vec<usize> = [3, channels].into_iter().chain(kernel).collect();
                let size: usize = shape.iter().product();
                let values: Vec<f32> = (0..size).map(|i| (i % 5) as f32 * 0.5 - 1.0).collect();
                let w = self.constant(Tensor::from_slice(&shape, &values));
                let pad = self.c.of(&["NOTSET", "SAME_UPPER", "VALID"]);
                self.node(
                    "Conv",
                    &[("auto_pad", Attr::Str(pad.into()))],
                    &[Some(x), Some(w)],
                    1,
                );
            }
            20 => {
                let channels = dims.get(1).copied().unwrap_or(1);
                let list =
                    |k: f32| -> Vec<f32> { (0..channels).map(|i| i as f32 * 0.1 + k).collect() };
                let stats = [0.5, -0.25, 0.1, 1.0]
                    .map(|k| Some(self.constant(Tensor::from_slice(&[channels], &list(k)))));
                let inputs: Vec<_> = [Some(x)].into_iter().chain(stats).collect();
                self.node("BatchNormalization", &[], &inputs, 1);
            }
            21 => {
                let pads: Vec<i64> = (0..2 * rank)
                    .map(|i| if i % rank < 2 { 0 } else { 1 })
                    .collect();
                let pads = self.ints(&pads);
                self.node("Pad", &[], &[Some(x), Some(pads)], 1);
            }
            22 => {
                let kernel = Attr::Ints(vec![2; rank.saturating_sub(2)]);
                let name = self.c.of(&["MaxPool", "AveragePool"]);
                let ceil = int(self.c.below(2) as i64);
                let attrs = [
                    ("kernel_shape", kernel.clone()),
                    ("strides", kernel),
                    ("ceil_mode", ceil),
                ];
                self.node(name, &attrs, &[Some(x)], 1);
            }
            _ => {
                let (y, z) = (self.value(), self.value());
                let name = self.c.of(&["Sum", "Mean", "Max"]);
                self.node(name, &[], &[Some(x), Some(y), Some(z)], 1);
            }
        }
    }
}

fn program(choices: &[u32]) -> Program {
    let mut graph = Graph::new("random");
    let inputs: [&[usize]; 3] = [&[2, 3, 4, 4], &[4, 6], &[1, 4, 1]];
    let values = inputs
        .iter()
        .enumerate()
        .map(|(i, dims)| graph.add_input(&format!("x{i}"), TensorType::known(DType::F32, dims)))
        .collect();
    let mut maker = Maker {
        c: Choices(choices.iter()),
        program: Program::default(),
        graph,
        values,
    };
    for _ in 0..4 + choices.len() / 12 {
        maker.step();
    }
    let Maker {
        mut program,
        mut graph,
        values,
        mut c,
        ..
    } = maker;
    let last = values.len() - 1;
    for (i, v) in [last, last - c.below(last + 1)].into_iter().enumerate() {
        graph.outputs.push((format!("y{i}").into(), values[v]));
    }
    program.graphs.push(graph);
    program
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn normalised_programs_compute_the_same(choices in prop::collection::vec(any::<u32>(), 20..400)) {
        let original = program(&choices);
        ir::verify::program(&original).map_err(|v| TestCaseError::fail(v[0].to_string()))?;
        let mut program = original.clone();
        let mut cx = PassCx::new(Options { verify: true, explain: true, ..Options::default() });
        let text = ir::text::print(&original);
        normalise(&mut program, &mut cx)
            .map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
        let old = outputs(&original, 2).map_err(TestCaseError::reject)?;
        let new = outputs(&program, 2).map_err(TestCaseError::fail)?;
        same(&old, &new, |_| 1e-4)
            .map_err(|e| TestCaseError::fail(format!("{e}\n{text}{}", ir::text::print(&program))))?;
        // Normal programs stay as they are.
        let normal = ir::text::print(&program);
        normalise(&mut program, &mut PassCx::default())
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(ir::text::print(&program), normal);
    }
}
