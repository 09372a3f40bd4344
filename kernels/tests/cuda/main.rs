//! Generated device code, run on an emulated device and compared with the CPU implementation.
#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

mod attention;
mod classes;
mod contract;
mod emulate;
mod library;
mod map;
mod movement;
mod recurrent;
mod row;
mod window;

#[allow(dead_code, reason = "shared with the tests of plans")]
#[path = "../../../plans/tests/plans/layers.rs"]
mod layers;
#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../../../runtime/tests/kernels/plan.rs"]
mod plan;
#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../../../runtime/tests/kernels/reference.rs"]
mod reference;
#[allow(dead_code, unused_imports, reason = "shared with the tests of plans")]
#[path = "../../../plans/tests/plans/samples.rs"]
mod samples;
#[allow(dead_code, reason = "shared with the tests of the runtime")]
#[path = "../../../runtime/tests/kernels/seeded.rs"]
mod seeded;
#[allow(dead_code, reason = "shared with the tests of plans")]
#[path = "../../../plans/tests/plans/zoo.rs"]
mod zoo;
