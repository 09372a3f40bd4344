//! Constant weights in the order in which device code reads them.
//!
//! ONNX keeps the taps of a filter side by side; code for a GPU reads neighbouring channels at once. So a
//! plan for a GPU holds such a weight transposed, as a weight of its own with the dimensions in the
//! order that it has. Steps on the host read the weight as the model has it.

use super::steps::{ModelDraft, StepDraft, StorageKind};
use bytes::Bytes;
use ir::{Tensor, WeightId, Weights};
use kernels::cuda::contract::weight_order;
use plans::KernelSpec;
use plans::spec::Problem;
use std::collections::BTreeMap;

/// All weights of a program, and those that were transposed.
pub(super) struct Ordered {
    /// The program's, then the transposed ones.
    pub weights: Weights,
    found: BTreeMap<(WeightId, Vec<usize>), WeightId>,
    /// The storages of transposed weights in the model at hand.
    storages: BTreeMap<WeightId, usize>,
}

/// A weight as a step could read it best.
pub(super) struct Better {
    /// What the step computes, with the strides of the transposed weight.
    pub spec: KernelSpec,
    weight: WeightId,
    order: Vec<usize>,
}

/// The argument of a contraction that is its weight.
const WEIGHT: usize = 1;

impl Ordered {
    pub(super) fn new(weights: &Weights) -> Self {
        Self {
            weights: weights.clone(),
            found: BTreeMap::new(),
            storages: BTreeMap::new(),
        }
    }

    /// Goes on to the next model.
    pub(super) fn next_model(&mut self) {
        self.storages.clear();
    }

    /// How `step` could read its weight, if it has a constant one that lies whole and row-major and is read
    /// better in another order.
    pub(super) fn better(&self, step: &StepDraft, draft: &ModelDraft) -> Option<Better> {
        let KernelSpec::Contract(spec) = &step.spec else {
            return None;
        };
        let &(storage, at) = step.args.get(WEIGHT)?;
        let StorageKind::Weight(weight) = draft.storages[storage].kind else {
            return None;
        };
        let order = weight_order(&spec.problem)?;
        let [_, (operand, extents)] = spec.problem.operands();
        let all: Vec<usize> = (0..extents.len()).collect();
        let whole = at == 0
            && extents.iter().product::<u64>() * operand.dtype.size() as u64
                == draft.storages[storage].bytes
            && lies(&operand.strides, &strides(&extents, &all), &extents);
        let new = strides(&extents, &order);
        if !whole || lies(&operand.strides, &new, &extents) {
            return None;
        }
        let mut spec = spec.clone();
        let (Problem::Conv { w, .. } | Problem::ConvTranspose { w, .. }) = &mut spec.problem else {
            return None;
        };
        w.strides = new;
        Some(Better {
            spec: KernelSpec::Contract(spec),
            weight,
            order,
        })
    }

    /// Lets `step` read its weight so; whether it can.
    pub(super) fn apply(
        &mut self,
        better: Better,
        step: &mut StepDraft,
        draft: &mut ModelDraft,
    ) -> bool {
        let KernelSpec::Contract(spec) = &better.spec else {
            return false;
        };
        let [_, (_, extents)] = spec.problem.operands();
        let key = (better.weight, better.order);
        let new = match self.found.get(&key) {
            Some(&new) => new,
            None => {
                let tensor = self.weights.get(key.0);
                let Some(tensor) = tensor.and_then(|t| transposed(t, &extents, &key.1)) else {
                    return false;
                };
                let new = self.weights.add(tensor);
                self.found.insert(key, new);
                new
            }
        };
        let storage = &mut step.args[WEIGHT].0;
        *storage = *self.storages.entry(new).or_insert_with(|| {
            let mut transposed = draft.storages[*storage].clone();
            transposed.kind = StorageKind::Weight(new);
            draft.storages.push(transposed);
            draft.storages.len() - 1
        });
        step.spec = better.spec;
        true
    }
}

/// The strides of a dense tensor whose dimensions lie in `order`, the outermost first.
fn strides(extents: &[u64], order: &[usize]) -> Vec<i64> {
    let mut strides = vec![0; extents.len()];
    let mut distance = 1;
    for &d in order.iter().rev() {
        strides[d] = distance;
        distance *= extents[d] as i64;
    }
    strides
}

/// Whether elements lie at the same places by both strides.
fn lies(a: &[i64], b: &[i64], extents: &[u64]) -> bool {
    let matters = |d: &usize| extents[*d] > 1;
    (0..extents.len()).filter(matters).all(|d| a[d] == b[d])
}

/// The elements of `tensor`, taken as row-major of `extents`, with the dimensions in `order`; `None` if it
/// has not as many.
fn transposed(tensor: &Tensor, extents: &[u64], order: &[usize]) -> Option<Tensor> {
    let size = tensor.dtype().size();
    let from = tensor.bytes();
    let rows: Vec<usize> = (0..extents.len()).collect();
    let by_row = strides(extents, &rows);
    let extent = |i: usize| extents[order[i]] as usize;
    let distance = |i: usize| by_row[order[i]] as usize * size;
    let (outer, inner) = (order.len().checked_sub(1)?, order.len() - 1);
    let mut data = Vec::with_capacity(from.len());
    let mut at = vec![0; outer];
    let mut start = 0;
    if from.len() as u64 != extents.iter().product::<u64>() * size as u64 {
        return None;
    }
    while data.len() < from.len() {
        let places = (0..extent(inner)).map(|i| start + i * distance(inner));
        for place in places {
            data.extend_from_slice(&from[place..place + size]);
        }
        for i in (0..outer).rev() {
            at[i] += 1;
            start += distance(i);
            if at[i] < extent(i) {
                break;
            }
            start -= distance(i) * extent(i);
            at[i] = 0;
        }
    }
    let dims: Vec<usize> = (0..order.len()).map(extent).collect();
    Tensor::new(tensor.dtype(), &dims, Bytes::from(data)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ir::DType;

    #[test]
    fn dimensions_change_places() {
        let data: Vec<u8> = (0..2 * 3 * 4 * 5u32).flat_map(u32::to_ne_bytes).collect();
        let tensor = Tensor::new(DType::I32, &[2, 3, 4, 5], Bytes::from(data)).unwrap();
        let extents = [2, 3, 4, 5];
        for order in [[0, 2, 3, 1], [2, 3, 0, 1], [2, 3, 1, 0], [0, 1, 2, 3]] {
            let found = transposed(&tensor, &extents, &order).unwrap();
            assert_eq!(found.dims(), order.map(|d| extents[d] as usize));
            let strides = strides(&extents, &order);
            let found = found.to_f64().unwrap();
            for (i, expected) in tensor.to_f64().unwrap().into_iter().enumerate() {
                let position = [i / 60, i / 20 % 3, i / 5 % 4, i % 5];
                let at: i64 = position
                    .iter()
                    .zip(&strides)
                    .map(|(&p, s)| p as i64 * s)
                    .sum();
                assert_eq!(found[at as usize], expected, "{order:?} {position:?}");
            }
        }
        assert_eq!(transposed(&tensor, &[2, 3, 4, 4], &[0, 2, 3, 1]), None);
    }

    #[test]
    fn strides_of_single_positions_do_not_matter() {
        assert!(lies(&[8, 1, 1, 1], &[8, 1, 8, 8], &[4, 8, 1, 1]));
        assert!(!lies(&[72, 9, 3, 1], &[72, 1, 24, 8], &[4, 8, 3, 3]));
    }
}
