//! The rules of [`canonicalize`](super::canonicalize), by kind of operator.

pub(super) mod axes;
pub(super) mod contractions;
pub(super) mod maps;
pub(super) mod views;
pub(super) mod windows;
