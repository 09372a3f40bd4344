//! Random inputs that make sense.

use crate::architectures::{Architecture, Values};
use crate::random::Stream;
use ir::{DType, Tensor};

/// A random value for each input of `architecture`, in order, by name.
///
/// The same seed gives the same values on every machine.
pub fn random_inputs(architecture: &Architecture, seed: u64) -> Vec<(&'static str, Tensor)> {
    let inputs = architecture.inputs.iter();
    inputs
        .map(|i| {
            (
                i.name,
                random_tensor(i.name, i.dtype, i.dims, i.values, seed),
            )
        })
        .collect()
}

/// Random values for the input called `name`; they depend on the name, the seed, and nothing else.
///
/// Every number is rounded to the type; complex tensors get real ones.
pub fn random_tensor(
    name: &str,
    dtype: DType,
    dims: &[usize],
    values: Values,
    seed: u64,
) -> Tensor {
    let stream = Stream::new(name, seed);
    let n = dims.iter().product::<usize>() as u64;
    let of = |f: &dyn Fn(u64) -> f64| (0..n).map(f).collect::<Vec<_>>();
    let numbers = match values {
        Values::Normal => of(&|i| stream.normal(i)),
        Values::Below(bound) => of(&|i| stream.below(i, bound.max(1)) as f64),
        Values::Ones => of(&|_| 1.0),
    };
    let part = match dtype {
        DType::C64 => DType::F32,
        DType::C128 => DType::F64,
        _ => return Tensor::from_f64(dtype, dims, &numbers),
    };
    let parts: Vec<f64> = numbers.into_iter().flat_map(|re| [re, 0.0]).collect();
    let data = Tensor::from_f64(part, &[parts.len()], &parts)
        .bytes()
        .clone();
    Tensor::new(dtype, dims, data).expect("two parts an element")
}

/// Values that probably make sense for an input of a model that isn't in the list, by name and type.
pub fn guess_values(input: &str, dtype: DType) -> Values {
    if dtype.is_float() {
        return Values::Normal;
    }
    let name = input.to_ascii_lowercase();
    if name.contains("mask") {
        Values::Ones
    } else if dtype == DType::Bool {
        Values::Below(2)
    } else if name.contains("token_type") || name.contains("segment") {
        // Two kinds of sentence.
        Values::Below(2)
    } else {
        // Small enough for every vocabulary, and for most index inputs.
        Values::Below(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    #[test]
    fn inputs_are_in_range_and_repeatable() {
        let gcn = find("gcn").unwrap();
        let inputs = random_inputs(gcn, 1);
        assert_eq!(inputs, random_inputs(gcn, 1));
        assert_ne!(inputs, random_inputs(gcn, 2));
        let nodes = inputs[1].1.to_i64().unwrap();
        assert!(nodes.iter().all(|n| (0..2708).contains(n)) && nodes.iter().any(|&n| n > 2600));
        assert_ne!(inputs[1].1, inputs[2].1);
        let bert = random_inputs(find("bert_base").unwrap(), 1);
        assert_eq!(bert[1].1.to_i64().unwrap(), vec![1; 128]);
    }

    #[test]
    fn every_type_can_be_made() {
        for dtype in DType::ALL {
            let values = guess_values("x", dtype);
            assert_eq!(
                random_tensor("x", dtype, &[2, 3], values, 0).n_elements(),
                6
            );
        }
    }

    #[test]
    fn guesses_go_by_name_and_type() {
        assert_eq!(guess_values("attention_mask", DType::I64), Values::Ones);
        assert_eq!(guess_values("attention_mask", DType::F32), Values::Normal);
        assert_eq!(guess_values("token_type_ids", DType::I64), Values::Below(2));
        assert_eq!(guess_values("input_ids", DType::I32), Values::Below(100));
    }
}
