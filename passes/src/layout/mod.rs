//! How values lie in memory.

mod choose_storage;
mod share_concat_prefixes;

pub use choose_storage::choose_storage;
pub use share_concat_prefixes::share_concat_prefixes;
