//! What a random model may do next.

mod contract;
mod elementwise;
mod movement;
mod rows;
mod sequence;

use super::Move;
use super::draft::Draft;
use ir::ValueId;

/// Adds nodes to the draft; none where it doesn't apply.
type Apply = fn(&mut Draft, Move) -> Option<ValueId>;

/// All moves.
pub(super) const MOVES: &[(&str, Apply)] = &[
    ("unary", elementwise::unary),
    ("unary", elementwise::unary),
    ("binary", elementwise::binary),
    ("binary", elementwise::binary),
    ("with_weight", elementwise::with_weight),
    ("with_weight", elementwise::with_weight),
    ("clip", elementwise::clip),
    ("select", elementwise::select),
    ("logic", elementwise::logic),
    ("gelu", elementwise::gelu),
    ("gate", elementwise::gate),
    ("cast", elementwise::cast),
    ("integers", elementwise::integers),
    ("matmul", contract::matmul),
    ("matmul", contract::matmul),
    ("matmul_left", contract::matmul_left),
    ("matmul_pool", contract::matmul_pool),
    ("gemm", contract::gemm),
    ("conv", contract::conv),
    ("conv", contract::conv),
    ("conv_block", contract::conv_block),
    ("conv_block", contract::conv_block),
    ("conv_transpose", contract::conv_transpose),
    ("siblings", contract::siblings),
    ("residual", contract::residual),
    ("einsum", contract::einsum),
    ("pool", rows::pool),
    ("global_pool", rows::global_pool),
    ("reduce", rows::reduce),
    ("reduce", rows::reduce),
    ("softmax", rows::softmax),
    ("softmax_by_parts", rows::softmax_by_parts),
    ("normalization", rows::normalization),
    ("layer_norm_by_parts", rows::layer_norm_by_parts),
    ("rms_norm_by_parts", rows::rms_norm_by_parts),
    ("arg_reduce", rows::arg_reduce),
    ("top_k", rows::top_k),
    ("cum_sum", rows::cum_sum),
    ("transpose", movement::transpose),
    ("transpose", movement::transpose),
    ("reshape", movement::reshape),
    ("reshape", movement::reshape),
    ("squeeze", movement::squeeze),
    ("slice", movement::slice),
    ("slice", movement::slice),
    ("split", movement::split),
    ("concat", movement::concat),
    ("concat", movement::concat),
    ("expand", movement::expand),
    ("tile", movement::tile),
    ("gather", movement::gather),
    ("embed", movement::embed),
    ("pad", movement::pad),
    ("resize", movement::resize),
    ("depth_space", movement::depth_space),
    ("scatter", movement::scatter),
    ("trilu", movement::trilu),
    ("attention_by_parts", sequence::attention_by_parts),
    ("attention_by_parts", sequence::attention_by_parts),
    ("attention", sequence::attention),
    ("recurrent", sequence::recurrent),
];

/// One of `list`.
fn one_of<T: Copy>(list: &[T], p: u8) -> T {
    list[usize::from(p) % list.len()]
}

/// An axis of a value of `rank` dimensions, which must have one.
fn axis_of(rank: usize, p: u8) -> Option<usize> {
    (rank > 0).then(|| usize::from(p) % rank)
}
