//! Tests of the algebra: every rule on random operands, whole networks, extraction.

#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]

mod networks;
mod random;
mod sound;
mod support;
