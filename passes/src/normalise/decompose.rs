//! Operators that others can say, where no kernel says them.

use super::decomposed::{attention, einsum, folds, movement, normalizations, rotary, selections};
use crate::manager::{Changed, PassCx, PassError};
use crate::pattern::sweep;
use ir::{Op, Program};

/// Einsum becomes a matrix product; norms, groups and one-hot codes become reductions and arithmetic.
///
/// Before: `Einsum(%0, %1) {equation = "bhid,bhjd->bhij"}`. After:
/// `%2 = Transpose(%1) {perm = [0, 1, 3, 2]}`, `MatMul(%0, %2)`.
///
/// Batch normalisations whose statistics are not constant, `GroupNormalization`, `LpNormalization`,
/// `MeanVarianceNormalization`, `GlobalLpPool`, `Hardmax`, `OneHot`, `RotaryEmbedding`,
/// `CenterCropPad`, and `Compress` and `ReverseSequence` by constants likewise; `Attention` with a
/// cache becomes concatenations and one without. Refused: equations with an index twice in one
/// operand, or of more than two operands; dimensions that are not known.
pub fn decompose(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node).clone() {
        Op::Einsum(op) => einsum::decompose(s, node, &op),
        Op::BatchNormalization(op) => normalizations::batch(s, node, &op),
        Op::GroupNormalization(op) => normalizations::group(s, node, &op),
        Op::LpNormalization(op) => normalizations::lp(s, node, &op),
        Op::MeanVarianceNormalization(op) => normalizations::mean_variance(s, node, &op),
        Op::GlobalLpPool(op) => normalizations::global_lp(s, node, &op),
        Op::Hardmax(op) => selections::hardmax(s, node, &op),
        Op::Attention(op) => attention::attention(s, node, &op),
        Op::RotaryEmbedding(op) => rotary::rotary(s, node, &op),
        Op::Pad(op) => movement::pad(s, node, &op),
        Op::CenterCropPad(op) => movement::center(s, node, &op),
        Op::Compress(op) => movement::compress(s, node, &op),
        Op::ReverseSequence(op) => movement::reverse_sequence(s, node, &op),
        op @ (Op::ReduceMax(_) | Op::ReduceMin(_)) => folds::bools(s, node, op),
        Op::OneHot(op) => selections::one_hot(s, node, &op),
        _ => Ok(()),
    })
}
