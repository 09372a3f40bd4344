//! One spelling for each operator.

use super::canonical;
use crate::manager::{Changed, PassCx, PassError};
use crate::pattern::sweep;
use ir::{Op, Program};

/// Operators that say the same in two ways say it in one, and operators that others can say go.
///
/// Before: `Conv(%0, w0) {auto_pad = "SAME_UPPER", group = 1}`, `Gemm(%1, w1, w2) {transB = 1}`,
/// `Squeeze(%2)`, `Softmax(%3)`, `Add(w3, %4)`. After: `Conv(%0, w0) {pads = [1, 1, 1, 1]}`,
/// `MatMul(%1, w4)` and `Add(%5, w2)`, `Reshape(%2, w5)`, `Softmax(%3) {axis = 1}`, `Add(%4, w3)`.
///
/// - Axes count from the front; attributes that say the default are left out; pads are explicit.
/// - Flatten, Squeeze, Unsqueeze, Identity and Dropout are Reshape or nothing; so are Gather and
///   GatherND of elements that follow one another, and Slice.
/// - Gemm is MatMul with transposes, products and sums around it.
/// - Folds along axes of one element are elementwise.
/// - Sums, means, minima and maxima of several operands are chains of two.
/// - Constants stand on the right; neutral elements go; small constant powers are products.
pub fn canonicalize(program: &mut Program, cx: &mut PassCx<'_>) -> Result<Changed, PassError> {
    sweep(program, cx, |s, node| match s.op(node).clone() {
        Op::Identity(_) | Op::Dropout(_) => canonical::views::identity(s, node),
        Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => canonical::views::reshape(s, node),
        Op::Reshape(op) => canonical::views::target(s, node, &op),
        Op::Transpose(op) => canonical::views::permutation(s, node, &op),
        Op::Gather(op) => canonical::views::gather(s, node, &op),
        Op::GatherND(op) => canonical::views::gather_nd(s, node, &op),
        Op::Slice(_) => canonical::views::slice(s, node),
        Op::Split(op) => canonical::views::split(s, node, &op),
        Op::Expand(_) => canonical::views::expand(s, node),
        Op::Concat(op) => canonical::views::concat(s, node, &op),
        Op::Gemm(op) => canonical::contractions::gemm(s, node, &op),
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::LpPool(_) => canonical::windows::window(s, node),
        Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) => canonical::windows::global(s, node),
        Op::Cast(op) => canonical::maps::cast(s, node, &op),
        Op::CastLike(_) => canonical::maps::cast_like(s, node),
        Op::Clip(_) => canonical::maps::clip(s, node),
        Op::Pow(_) => canonical::maps::power(s, node),
        Op::Sum(_) | Op::Mean(_) | Op::Max(_) | Op::Min(_) => canonical::maps::chain(s, node),
        Op::Add(_)
        | Op::Sub(_)
        | Op::Mul(_)
        | Op::Div(_)
        | Op::And(_)
        | Op::Or(_)
        | Op::Xor(_)
        | Op::Equal(_) => canonical::maps::binary(s, node),
        Op::Where(_) => canonical::maps::choice(s, node),
        Op::ArgMax(op) => canonical::axes::position(s, node, op.axis),
        Op::ArgMin(op) => canonical::axes::position(s, node, op.axis),
        op if canonical::axes::folds(&op) => canonical::axes::reduction(s, node),
        _ => canonical::axes::axis(s, node),
    })
}
