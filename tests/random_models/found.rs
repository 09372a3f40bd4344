//! What random models found.

use super::check;
use super::draft::{Draft, attrs};
use ir::{DType, ValueId};

/// Compares all ways to compute the model that `build` makes of an input of dimensions `dims`.
fn agrees(dims: &[usize], build: impl FnOnce(&mut Draft, ValueId) -> Option<ValueId>) {
    let mut draft = Draft::new("model", 7);
    draft.add_input(dims);
    let input = draft.pick(0).unwrap();
    let result = build(&mut draft, input).expect("the operators take the input");
    draft.keep(result);
    draft.finish();
    if let Err(why) = check::check(&[draft]) {
        panic!("{why}");
    }
}

#[test]
fn means_of_halves_are_halves() {
    agrees(&[1, 2, 3, 3], |d, x| {
        let halves = d.node("Cast", attrs! { to: DType::F16 }, &[x])?;
        d.node("GlobalAveragePool", attrs! {}, &[halves])
    });
}

#[test]
fn roots_and_logarithms_of_integers_are_truncated() {
    for op in ["ReduceL2", "ReduceLogSumExp"] {
        agrees(&[2, 3, 5], |d, x| {
            let integers = d.node("Cast", attrs! { to: DType::I32 }, &[x])?;
            let axes = d.ints(&[2]);
            d.node(op, attrs! {}, &[integers, axes])
        });
    }
}

#[test]
fn interpolated_integers_are_rounded() {
    agrees(&[1, 2, 7, 5], |d, x| {
        let integers = d.node("Cast", attrs! { to: DType::I32 }, &[x])?;
        let scales = d.constant(ir::Tensor::from_slice(&[4], &[1.0f32, 1.0, 2.0, 2.0]));
        let operands = [Some(integers), None, Some(scales)];
        let results = d.nodes("Resize", attrs! { mode: "linear" }, &operands, 1)?;
        results.first().copied()
    });
}
