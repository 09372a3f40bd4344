//! The rules of [`decompose`](super::decompose), by kind of operator.

pub(super) mod einsum;
pub(super) mod normalizations;
pub(super) mod selections;
