//! The text form, the verifier and patches, through the library's public face.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod errors;
mod generate;
mod patches;
mod round_trip;
mod rules;
