//! The rules of [`decompose`](super::decompose), by kind of operator.

pub(super) mod attention;
pub(super) mod einsum;
pub(super) mod folds;
pub(super) mod movement;
pub(super) mod normalizations;
pub(super) mod rotary;
pub(super) mod selections;
