//! Generated device code, run on an emulated device and compared with the CPU implementation.
#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]

mod attention;
mod contract;
mod emulate;
mod library;
mod map;
mod movement;
mod row;
mod window;
mod recurrent;

#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../../../runtime/tests/kernels/plan.rs"]
mod plan;
#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../../../runtime/tests/kernels/reference.rs"]
mod reference;
#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../../../runtime/tests/kernels/seeded.rs"]
mod seeded;
