//! The reader: against a second reader, on hostile files, and on every encoding of tensors.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails as it should"
)]

mod external_data;
mod hostile;
mod second_reader;
mod tensors;
mod translate;
