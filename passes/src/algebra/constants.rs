//! Computing the constants that were chosen.

use super::term::{EGraph, Head, Term};
use egg::Id;
use ir::eval::broadcast_strides;
use ir::id::EntityId;
use ir::{DType, Op, OpError, Tensor, WeightId};
use std::collections::BTreeMap;

/// A constant: one of the program's, or a new one.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// The program has it.
    Weight(WeightId),
    /// Computed.
    New(Tensor),
}

/// Constants of one region, each computed once.
pub(super) struct Constants<'a> {
    egraph: &'a EGraph,
    terms: BTreeMap<Id, Term>,
    values: BTreeMap<Id, Value>,
}

impl<'a> Constants<'a> {
    /// The constants of `egraph`, none computed yet.
    pub(super) fn new(egraph: &'a EGraph) -> Self {
        Self {
            egraph,
            terms: super::extract::constants(egraph),
            values: BTreeMap::new(),
        }
    }

    /// Whether `class` is a constant.
    pub(super) fn contains(&self, class: Id) -> bool {
        self.terms.contains_key(&class)
    }

    /// The value of `class`.
    pub(super) fn value(&mut self, class: Id) -> Result<Value, OpError> {
        if let Some(value) = self.values.get(&class) {
            return Ok(value.clone());
        }
        let term = self
            .terms
            .get(&class)
            .ok_or(OpError::NotConstant("operand"))?
            .clone();
        let value = match term.head {
            Head::Weight(w) => Value::Weight(w),
            Head::Literal(l) => Value::New(self.egraph.analysis.literals[l.index()].clone()),
            Head::Op(id) => {
                let mut operands = vec![];
                for &operand in &term.operands {
                    operands.push(if self.contains(operand) {
                        Some(self.tensor(operand)?)
                    } else {
                        None
                    });
                }
                let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
                Value::New(evaluate(self.egraph.analysis.operators.op(id), &operands)?)
            }
            Head::Leaf(_) | Head::Absent | Head::Part(_) | Head::Joined(_) => {
                return Err(OpError::NotConstant("operand"));
            }
        };
        self.values.insert(class, value.clone());
        Ok(value)
    }

    fn tensor(&mut self, class: Id) -> Result<Tensor, OpError> {
        match self.value(class)? {
            Value::New(tensor) => Ok(tensor),
            Value::Weight(w) => {
                let known = self.egraph.analysis.weights.get(&w);
                known
                    .map(|(t, _)| t.clone())
                    .ok_or(OpError::NotConstant("weight"))
            }
        }
    }
}

/// The one result of `op`: by loops over `f32` for what rules do to whole weights, else by reference
/// evaluation.
fn evaluate(op: &Op, operands: &[Option<&Tensor>]) -> Result<Tensor, OpError> {
    if let [Some(a), Some(b)] = operands
        && a.dtype() == DType::F32
        && b.dtype() == DType::F32
    {
        let fast = match op {
            Op::Mul(_) => broadcast(a, b, |x, y| x * y),
            Op::Add(_) => broadcast(a, b, |x, y| x + y),
            Op::MatMul(_) => product(a, b),
            _ => None,
        };
        if let Some(result) = fast {
            return Ok(result);
        }
    }
    let results = op.eval(operands, 1)?;
    results
        .into_iter()
        .next()
        .ok_or_else(|| OpError::Value("no result".into()))
}

/// `f` of the elements of `a` and `b`, where `b` broadcasts to `a`.
fn broadcast(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32) -> Option<Tensor> {
    let dims = a.dims();
    let padded = dims.len().checked_sub(b.dims().len())?;
    let fits = b
        .dims()
        .iter()
        .zip(&dims[padded..])
        .all(|(&b, &a)| b == a || b == 1);
    if !fits {
        return None;
    }
    let (dims, strides) = merged(dims, &broadcast_strides(dims, b.dims()));
    let (&n, outer_dims) = dims.split_last()?;
    let (&stride, outer_strides) = strides.split_last()?;
    let (x, y) = (a.to_vec::<f32>()?, b.to_vec::<f32>()?);
    let mut out = x;
    let rows = ir::eval::offsets(outer_dims, outer_strides);
    if n > 0 {
        for (row, base) in out.chunks_exact_mut(n).zip(rows) {
            if stride == 0 {
                let factor = y[base];
                row.iter_mut().for_each(|v| *v = f(*v, factor));
            } else {
                row.iter_mut()
                    .zip(&y[base..])
                    .for_each(|(v, &w)| *v = f(*v, w));
            }
        }
    }
    Some(from_f32(a.dims(), &out))
}

/// Dimensions and an operand's strides with neighbours merged that one index can run through.
fn merged(dims: &[usize], strides: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut out: (Vec<usize>, Vec<usize>) = (vec![], vec![]);
    for (&d, &s) in dims.iter().zip(strides) {
        if d == 1 {
            continue;
        }
        match (out.0.last_mut(), out.1.last_mut()) {
            (Some(outer), Some(stride)) if *stride == s * d => {
                *outer *= d;
                *stride = s;
            }
            _ => {
                out.0.push(d);
                out.1.push(s);
            }
        }
    }
    if out.0.is_empty() {
        return (vec![1], vec![0]);
    }
    out
}

/// The product of a matrix and a vector or of a vector and a matrix, summed in `f64`.
fn product(a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let (x, y) = (a.to_vec::<f32>()?, b.to_vec::<f32>()?);
    match (a.dims(), b.dims()) {
        (&[m, k], &[depth]) if k == depth && k > 0 => {
            let sums: Vec<f32> = x
                .chunks_exact(k)
                .map(|row| {
                    row.iter()
                        .zip(&y)
                        .map(|(&a, &b)| f64::from(a) * f64::from(b))
                        .sum::<f64>() as f32
                })
                .collect();
            Some(from_f32(&[m], &sums))
        }
        (&[k], &[depth, n]) if k == depth && n > 0 => {
            let mut sums = vec![0f64; n];
            for (&a, row) in x.iter().zip(y.chunks_exact(n)) {
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(s, &b)| *s += f64::from(a) * f64::from(b));
            }
            let sums: Vec<f32> = sums.into_iter().map(|s| s as f32).collect();
            Some(from_f32(&[n], &sums))
        }
        _ => None,
    }
}

fn from_f32(dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(dims, values)
}
