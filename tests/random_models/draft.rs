//! A graph under construction whose values are all known, and known to be well-conditioned.

use ir::attrs::{Attr, Attrs};
use ir::infer::InferCx;
use ir::program::Weights;
use ir::{DType, Graph, Op, Origin, Tensor, TensorType, ValueId};
use models::{Values, random_tensor};
use std::collections::BTreeMap;

/// Most elements of a value.
const MAX_ELEMENTS: usize = 2_000;
/// Most dimensions of a value.
const MAX_RANK: usize = 5;
/// Most outputs of a graph.
const MAX_OUTPUTS: usize = 4;
/// Greatest magnitude of an element.
const MAX_MAGNITUDE: f64 = 1e4;
/// A result's largest error, in units of its type's noise, for it to be kept.
const MAX_AMPLIFICATION: f64 = 30.0;

/// A value's content, and what it would be if every node so far had made an error.
struct Known {
    exact: Tensor,
    noisy: Tensor,
}

/// See the module.
pub(super) struct Draft {
    pub(super) graph: Graph,
    pub(super) weights: Weights,
    /// What the inputs are given.
    pub(super) inputs: Vec<Tensor>,
    /// Values that moves may read.
    pool: Vec<ValueId>,
    known: BTreeMap<ValueId, Known>,
    seed: u64,
}

/// An attribute from what it is written as.
pub(super) trait IntoAttr {
    fn attr(self) -> Attr;
}

macro_rules! into_attr {
    ($($ty:ty, |$v:ident| $attr:expr;)*) => {$(
        impl IntoAttr for $ty {
            fn attr(self) -> Attr {
                let $v = self;
                $attr
            }
        }
    )*};
}
into_attr! {
    i64, |v| Attr::Int(v);
    usize, |v| Attr::Int(v as i64);
    f32, |v| Attr::Float(v);
    bool, |v| Attr::Int(v.into());
    &str, |v| Attr::Str(v.into());
    Vec<i64>, |v| Attr::Ints(v);
    DType, |v| Attr::Type(v);
}

/// Attributes: `attrs!{ axis: 1, keepdims: false }`.
macro_rules! attrs {
    ($($name:ident: $value:expr),* $(,)?) => {{
        #[allow(unused_mut, reason = "the list may be empty")]
        let mut attrs = ir::attrs::Attrs::new();
        $(attrs.insert(stringify!($name).into(), crate::random_models::draft::IntoAttr::attr($value));)*
        attrs
    }};
}
pub(super) use attrs;

/// The relative error that is put on results of a type, about the rounding of a few operations.
fn noise(dtype: DType) -> f64 {
    match dtype {
        DType::F64 | DType::F32 => 1e-5,
        DType::F16 => 2e-3,
        DType::BF16 => 1.6e-2,
        _ => 0.0,
    }
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

impl Draft {
    pub(super) fn new(name: &str, seed: u64) -> Self {
        Self {
            graph: Graph::new(name),
            weights: Weights::default(),
            inputs: vec![],
            pool: vec![],
            known: BTreeMap::new(),
            seed: seed << 32,
        }
    }

    fn random(&mut self, dtype: DType, dims: &[usize], values: Values) -> Tensor {
        self.seed += 1;
        random_tensor("value", dtype, dims, values, self.seed)
    }

    /// An input that the pool has.
    pub(super) fn add_input(&mut self, dims: &[usize]) {
        let tensor = self.random(DType::F32, dims, Values::Normal);
        let value = self.input(tensor);
        self.pool.push(value);
    }

    /// An input of whole numbers below `bound`, which the pool doesn't have.
    pub(super) fn index_input(&mut self, dims: &[usize], bound: usize) -> ValueId {
        let tensor = self.random(DType::I64, dims, Values::Below(bound as u64));
        self.input(tensor)
    }

    fn input(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("in{}", self.inputs.len());
        let value = self.graph.add_input(&name, tensor.ty());
        self.inputs.push(tensor.clone());
        self.known.insert(
            value,
            Known {
                exact: tensor.clone(),
                noisy: tensor,
            },
        );
        value
    }

    /// A constant.
    pub(super) fn constant(&mut self, tensor: Tensor) -> ValueId {
        let weight = self.weights.add(tensor.clone());
        let value = self.graph.add_weight(None, tensor.ty(), weight);
        self.known.insert(
            value,
            Known {
                exact: tensor.clone(),
                noisy: tensor,
            },
        );
        value
    }

    pub(super) fn ints(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::from_slice(&[values.len()], values))
    }

    /// A constant of one number and rank 0, of the type of `like`.
    pub(super) fn scalar(&mut self, like: ValueId, number: f64) -> ValueId {
        let dtype = self.dtype(like);
        self.constant(Tensor::from_f64(dtype, &[], &[number]))
    }

    /// A constant of normal numbers, of the type of `like`.
    pub(super) fn weight(&mut self, like: ValueId, dims: &[usize]) -> ValueId {
        let dtype = self.dtype(like);
        let tensor = self.random(dtype, dims, Values::Normal);
        self.constant(tensor)
    }

    /// A constant of numbers around 1, of the type of `like`.
    pub(super) fn positive(&mut self, like: ValueId, dims: &[usize]) -> ValueId {
        let dtype = self.dtype(like);
        let normal = self
            .random(DType::F64, dims, Values::Normal)
            .to_f64()
            .unwrap();
        let positive: Vec<f64> = normal.iter().map(|v| 0.5 + v.abs()).collect();
        self.constant(Tensor::from_f64(dtype, dims, &positive))
    }

    /// A value of the pool; 0 is the newest.
    pub(super) fn pick(&self, back: u8) -> Option<ValueId> {
        let n = self.pool.len();
        // Mostly one of the newest, so that graphs are deep.
        let back = usize::from(back);
        let back = if back < 128 {
            back % n.min(3)
        } else {
            back % n
        };
        self.pool.get(n - 1 - back).copied()
    }

    pub(super) fn keep(&mut self, value: ValueId) -> Option<ValueId> {
        if !self.pool.contains(&value) {
            self.pool.push(value);
        }
        Some(value)
    }

    pub(super) fn ty(&self, value: ValueId) -> &TensorType {
        self.graph.ty(value)
    }

    pub(super) fn dtype(&self, value: ValueId) -> DType {
        self.ty(value).dtype
    }

    pub(super) fn dims(&self, value: ValueId) -> Vec<usize> {
        self.known[&value].exact.dims().to_vec()
    }

    /// The first result of a new node; none where the operator refuses it, or where the result
    /// would be of little use: large, huge, not a number, or mostly made of rounding errors.
    pub(super) fn node(&mut self, op: &str, attrs: Attrs, inputs: &[ValueId]) -> Option<ValueId> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.nodes(op, attrs, &inputs, 1)?.first().copied()
    }

    /// All results of a new node, as [`Draft::node`].
    pub(super) fn nodes(
        &mut self,
        op: &str,
        attrs: Attrs,
        inputs: &[Option<ValueId>],
        n_outputs: usize,
    ) -> Option<Vec<ValueId>> {
        let op = Op::read(op, &attrs)
            .unwrap_or_else(|| panic!("there is no operator {op}"))
            .unwrap_or_else(|e| panic!("{op}: {e}"));
        let types: Vec<_> = inputs.iter().map(|v| v.map(|v| self.graph.ty(v))).collect();
        let constants: Vec<_> = inputs
            .iter()
            .map(|v| v.and_then(|v| self.weights.get(self.graph.weight(v)?)))
            .collect();
        let results = op
            .infer(&InferCx::new(&types, &constants, n_outputs))
            .ok()?;
        let fits = |t: &TensorType| {
            let n = t.shape.n_elements().unwrap_or(0);
            t.shape.rank() <= MAX_RANK && (1..=MAX_ELEMENTS).contains(&n)
        };
        if !results.iter().all(fits) {
            return None;
        }
        let operands = |known: &dyn Fn(&Known) -> Tensor| -> Vec<Option<Tensor>> {
            inputs
                .iter()
                .map(|v| v.map(|v| known(&self.known[&v])))
                .collect()
        };
        let exact = operands(&|k| k.exact.clone());
        let exact = op
            .eval(
                &exact.iter().map(Option::as_ref).collect::<Vec<_>>(),
                n_outputs,
            )
            .ok()?;
        let noisy = operands(&|k| k.noisy.clone());
        let noisy = op
            .eval(
                &noisy.iter().map(Option::as_ref).collect::<Vec<_>>(),
                n_outputs,
            )
            .ok()?;
        // Gates are of magnitude 1, however small the sum of what they let through.
        let inner = if op.class() == ir::Class::Recurrent {
            1.0
        } else {
            0.0
        };
        let mut known = vec![];
        for (exact, noisy) in exact.into_iter().zip(noisy) {
            known.push(self.known(exact, noisy, inner)?);
        }
        let origin = Origin::node(&format!("{}_{}", op.name(), self.graph.nodes.len()));
        let node = self.graph.add_node(op, inputs.to_vec(), results, origin);
        let outputs = self.graph.nodes[node].outputs.clone();
        self.known.extend(outputs.iter().copied().zip(known));
        Some(outputs)
    }

    /// Puts noise on a result, unless the result is of little use; `inner` is the magnitude of what it
    /// is made of.
    fn known(&mut self, exact: Tensor, noisy: Tensor, inner: f64) -> Option<Known> {
        let noise = noise(exact.dtype());
        if noise == 0.0 {
            return (exact == noisy).then_some(Known { exact, noisy });
        }
        let (e, mut n) = (exact.to_f64()?, noisy.to_f64()?);
        let scale = greatest(&e);
        if !e.iter().chain(&n).all(|v| v.is_finite()) || scale > MAX_MAGNITUDE {
            return None;
        }
        let signs = self
            .random(DType::I8, exact.dims(), Values::Below(2))
            .to_f64()?;
        for (v, sign) in n.iter_mut().zip(signs) {
            *v += (2.0 * sign - 1.0) * noise * (v.abs() + 0.1 * scale.max(inner));
        }
        let error = e
            .iter()
            .zip(&n)
            .fold(0.0f64, |m, (e, n)| m.max((e - n).abs()));
        if error > MAX_AMPLIFICATION * noise * scale {
            return None;
        }
        let noisy = Tensor::from_f64(exact.dtype(), exact.dims(), &n);
        Some(Known { exact, noisy })
    }

    /// Makes outputs of values that nothing reads.
    pub(super) fn finish(&mut self) {
        let users = self.graph.users();
        let unread = |v: &&ValueId| users[ir::id::EntityId::index(**v)].is_empty();
        let mut outputs: Vec<ValueId> = self.pool.iter().filter(unread).copied().collect();
        if outputs.len() > MAX_OUTPUTS {
            outputs.drain(..outputs.len() - MAX_OUTPUTS);
        }
        // One that others read too, now and then.
        if self.pool.len().is_multiple_of(3) {
            outputs.extend(self.pool.get(self.pool.len() / 2));
            outputs.dedup();
        }
        for (i, value) in outputs.into_iter().enumerate() {
            self.graph.outputs.push((format!("out{i}").into(), value));
        }
    }

    /// What output `n` is, and how far from it a result may be.
    pub(super) fn expected(&self, n: usize) -> (&Tensor, f64) {
        let Known { exact, noisy } = &self.known[&self.graph.outputs[n].1];
        let noise = noise(exact.dtype());
        if noise == 0.0 {
            return (exact, 0.0);
        }
        let (e, n) = (exact.to_f64().unwrap(), noisy.to_f64().unwrap());
        let error = e
            .iter()
            .zip(&n)
            .fold(0.0f64, |m, (e, n)| m.max((e - n).abs()));
        (exact, 2.0 * error + 2.0 * noise * greatest(&e))
    }
}
