//! Tests of the whole, in one binary.

#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]
#![allow(clippy::print_stdout, reason = "tests show their counts")]

mod architecture;
mod command_line;
mod conformance;
mod models;
mod plan;
mod random_models;
mod run_sizes;

use std::any::Any;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where builds go, and what tests make or need.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or(panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}

/// Says that the test that calls it did not test anything; the line is counted.
fn skipped(why: &str) {
    // Not by `println!`, which is shown for failed tests only.
    let _ = writeln!(std::io::stdout(), "skipped: {why}");
}
