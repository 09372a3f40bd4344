//! One way of writing each computation: constants folded, views cancelled, patterns recognised.

mod broadcast;
mod cancel_views;
mod canonical;
mod canonicalize;
mod contents;
mod decompose;
mod decomposed;
mod fold_batch_norm;
mod fold_constants;
mod fold_padding;
mod merge_common;
mod normalization;
mod recognize_attention;
mod recognize_gates;
mod recognize_gelu;
mod recognize_layer_norm;
mod recognize_rms_norm;
mod recognize_softmax;
mod remove_dead;
mod scores;
mod view_chain;

pub use cancel_views::cancel_views;
pub use canonicalize::canonicalize;
pub use decompose::decompose;
pub use fold_batch_norm::fold_batch_norm;
pub use fold_constants::fold_constants;
pub use fold_padding::fold_padding;
pub use merge_common::merge_common;
pub use recognize_attention::recognize_attention;
pub use recognize_gates::recognize_gates;
pub use recognize_gelu::recognize_gelu;
pub use recognize_layer_norm::recognize_layer_norm;
pub use recognize_rms_norm::recognize_rms_norm;
pub use recognize_softmax::recognize_softmax;
pub use remove_dead::remove_dead;
