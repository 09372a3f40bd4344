//! How values lie in memory.

mod choose_storage;

pub use choose_storage::choose_storage;
