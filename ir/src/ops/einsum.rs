//! Sums of products by an equation over named indices.

use super::contract::by_kind;
use super::map::is_number;
use super::operands::{Number, known_dims, one_type, operand};
use super::{Class, OpError, Operator};
use crate::attributes;
use crate::attrs::attrs_by_macro;
use crate::eval::{offsets, row_major_strides};
use crate::infer::{InferCx, broadcast};
use crate::shape::{Dim, Shape, TensorType};
use crate::tensor::Tensor;
use std::ops::RangeInclusive;

attributes! {
    /// The sum, over every index that the result lacks, of the products of the operands' elements.
    ///
    /// The equation names the indices of each operand's dimensions and those of the result, as
    /// numpy's `einsum`: `"ij,jk->ik"` is a matrix product. `...` stands for dimensions that
    /// broadcast. Without `->` the result has the indices that occur once, in alphabetical order.
    Einsum {
        /// The equation.
        equation: String,
    }
}

/// An equation for operands of known ranks, its indices numbered: first those of the result, in
/// order, then those that are summed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscripts {
    /// For each operand, the index of each dimension.
    pub operands: Vec<Vec<usize>>,
    /// The number of dimensions of the result: indices from there on are summed over.
    pub n_result: usize,
    /// The number of indices.
    pub n_indices: usize,
}

/// The name of an index: a letter, or a dimension under the ellipsis, counted from the back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Index {
    Ellipsis(usize),
    Letter(char),
}

impl Einsum {
    /// The equation's indices for operands of these ranks.
    pub fn subscripts(&self, ranks: &[usize]) -> Result<Subscripts, OpError> {
        let equation: String = self
            .equation
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect();
        let (left, right) = match equation.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (equation.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return Err(self.wrong(&format!(
                "{} terms for {} operands",
                terms.len(),
                ranks.len()
            )));
        }
        let operands = terms
            .iter()
            .zip(ranks)
            .map(|(term, &rank)| self.indices(term, |named| rank.checked_sub(named)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut all: Vec<Index> = operands.iter().flatten().copied().collect();
        all.sort_unstable();
        let hidden = all.iter().filter_map(|i| match i {
            Index::Ellipsis(n) => Some(n + 1),
            Index::Letter(_) => None,
        });
        let n_hidden = hidden.max().unwrap_or(0);
        let mut names: Vec<Index> = match right {
            Some(term) => self.indices(term, |_| Some(n_hidden))?,
            None => {
                let once = |i: &Index| all.iter().filter(|j| *j == i).count() == 1;
                let letters = all
                    .iter()
                    .filter(|i| matches!(i, Index::Letter(_)) && once(i));
                (0..n_hidden)
                    .rev()
                    .map(Index::Ellipsis)
                    .chain(letters.copied())
                    .collect()
            }
        };
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(self.wrong("an index twice in the result"));
            }
            if !all.contains(name) {
                return Err(self.wrong("an index in the result that no operand has"));
            }
        }
        if n_hidden > 0 && !names.contains(&Index::Ellipsis(0)) {
            return Err(self.wrong("the result lacks the dimensions under `...`"));
        }
        let n_result = names.len();
        all.dedup();
        names.extend(
            all.iter()
                .filter(|i| !names[..n_result].contains(i))
                .copied()
                .collect::<Vec<_>>(),
        );
        let number = |i: &Index| names.iter().position(|n| n == i).unwrap_or(0);
        let operands = operands
            .iter()
            .map(|o| o.iter().map(number).collect())
            .collect();
        Ok(Subscripts {
            operands,
            n_result,
            n_indices: names.len(),
        })
    }

    /// The indices of one term; `hidden` gives the number of dimensions under the ellipsis from the
    /// number of letters, if that is possible.
    fn indices(
        &self,
        term: &str,
        hidden: impl Fn(usize) -> Option<usize>,
    ) -> Result<Vec<Index>, OpError> {
        let (before, after) = match term.split_once("...") {
            Some((before, after)) => (before, Some(after)),
            None => (term, None),
        };
        let letters = |text: &str| -> Result<Vec<Index>, OpError> {
            text.chars()
                .map(|c| match c {
                    'a'..='z' | 'A'..='Z' => Ok(Index::Letter(c)),
                    c => Err(self.wrong(&format!("`{c}`, expected letters"))),
                })
                .collect()
        };
        let (mut indices, rest) = (letters(before)?, letters(after.unwrap_or(""))?);
        let n_hidden = hidden(indices.len() + rest.len());
        match (n_hidden, after) {
            (None, _) => {
                return Err(self.wrong(&format!("more indices than dimensions in `{term}`")));
            }
            (Some(n), Some(_)) => indices.extend((0..n).rev().map(Index::Ellipsis)),
            (Some(_), None) => {}
        }
        indices.extend(rest);
        Ok(indices)
    }

    fn wrong(&self, why: &str) -> OpError {
        OpError::Shape(format!("equation `{}`: {why}", self.equation))
    }

    /// The size of each index.
    fn sizes(&self, subscripts: &Subscripts, shapes: &[&Shape]) -> Result<Vec<Dim>, OpError> {
        let mut sizes = Shape(vec![Dim::Known(1); subscripts.n_indices]);
        for (indices, shape) in subscripts.operands.iter().zip(shapes) {
            if indices.len() != shape.rank() {
                return Err(self.wrong(&format!("{} indices for {shape}", indices.len())));
            }
            for (&i, dim) in indices.iter().zip(&shape.0) {
                let (a, b) = (Shape(vec![sizes.dim(i).clone()]), Shape(vec![dim.clone()]));
                let size = broadcast(&a, &b).map_err(|_| {
                    self.wrong(&format!("an index of size {} and of size {dim}", a.dim(0)))
                })?;
                sizes.0[i] = size.dim(0).clone();
            }
        }
        Ok(sizes.0)
    }

    fn product<T: Number>(
        &self,
        inputs: &[Option<&Tensor>],
        ty: &TensorType,
    ) -> Result<Tensor, OpError> {
        let tensors: Vec<&Tensor> = (0..inputs.len())
            .map(|i| operand(inputs, i))
            .collect::<Result<_, _>>()?;
        let ranks: Vec<usize> = tensors.iter().map(|t| t.dims().len()).collect();
        let subscripts = self.subscripts(&ranks)?;
        let shapes: Vec<Shape> = tensors.iter().map(|t| t.ty().shape).collect();
        let sizes = Shape(self.sizes(&subscripts, &shapes.iter().collect::<Vec<_>>())?);
        let sizes = sizes.dims().unwrap_or_default();
        let (outer, inner) = sizes.split_at(subscripts.n_result);
        let factors = tensors
            .iter()
            .zip(&subscripts.operands)
            .map(|(t, indices)| {
                // The distance in the operand between neighbours along each index; 0 where it broadcasts.
                let mut strides = vec![0; sizes.len()];
                for ((&i, stride), &dim) in indices
                    .iter()
                    .zip(row_major_strides(t.dims()))
                    .zip(t.dims())
                {
                    strides[i] += if dim == 1 { 0 } else { stride };
                }
                let walk = |dims: &[usize], strides: &[usize]| offsets(dims, strides).collect();
                let (bases, steps): (Vec<usize>, Vec<usize>) = (
                    walk(outer, &strides[..outer.len()]),
                    walk(inner, &strides[outer.len()..]),
                );
                Ok((T::read(t)?, bases, steps))
            })
            .collect::<Result<Vec<_>, OpError>>()?;
        let n_inner: usize = inner.iter().product();
        let element = |o: usize| {
            let mut sum = T::ZERO;
            for i in 0..n_inner {
                let terms = factors
                    .iter()
                    .map(|(values, bases, steps)| values[bases[o] + steps[i]]);
                sum = terms.reduce(T::times).map_or(sum, |term| sum.plus(term));
            }
            sum
        };
        let y: Vec<T> = (0..outer.iter().product()).map(element).collect();
        Ok(T::write(ty.dtype, &known_dims(ty)?, &y))
    }
}

impl Operator for Einsum {
    const NAME: &'static str = "Einsum";
    const VERSIONS: &'static [u32] = &[12];
    const INPUTS: RangeInclusive<usize> = 1..=usize::MAX;
    const CLASS: Class = Class::Contract;

    attrs_by_macro!();

    fn infer(&self, cx: &InferCx<'_>) -> Result<Vec<TensorType>, OpError> {
        let dtype = one_type(cx, cx.n_inputs(), is_number, "a number")?;
        let shapes = (0..cx.n_inputs())
            .map(|i| cx.shape(i))
            .collect::<Result<Vec<_>, _>>()?;
        let ranks: Vec<usize> = shapes.iter().map(|s| s.rank()).collect();
        let subscripts = self.subscripts(&ranks)?;
        let mut sizes = self.sizes(&subscripts, &shapes)?;
        sizes.truncate(subscripts.n_result);
        Ok(vec![TensorType::new(dtype, Shape(sizes))])
    }

    fn eval(
        &self,
        inputs: &[Option<&Tensor>],
        types: &[TensorType],
    ) -> Result<Vec<Tensor>, OpError> {
        let ty = &types[0];
        by_kind(
            ty.dtype,
            || self.product::<f64>(inputs, ty),
            || self.product::<i128>(inputs, ty),
        )
    }

    fn flop(&self, inputs: &[Option<&TensorType>], _outputs: &[TensorType]) -> u64 {
        let shapes: Vec<&Shape> = inputs.iter().flatten().map(|t| &t.shape).collect();
        let ranks: Vec<usize> = shapes.iter().map(|s| s.rank()).collect();
        let sizes = self
            .subscripts(&ranks)
            .and_then(|s| self.sizes(&s, &shapes))
            .unwrap_or_default();
        let terms = sizes.iter().map(|d| d.known().unwrap_or(0) as u64);
        terms.fold(inputs.len() as u64, u64::saturating_mul)
    }
}
