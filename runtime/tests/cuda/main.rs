//! Plans on a CUDA device: on each that there is, and on a driver that only takes notes.
#![allow(clippy::unwrap_used, reason = "what panics fails the test")]
#![allow(
    clippy::print_stdout,
    reason = "tests say what they skip, children what they found"
)]

mod allocations;
mod child;
mod device;
mod plans;
mod rounds;
mod serving;
mod several;
mod stub;
mod trace;
