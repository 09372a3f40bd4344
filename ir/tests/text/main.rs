//! The text form, the verifier and patches, through the library's public face.

mod errors;
mod generate;
mod patches;
mod round_trip;
mod rules;
