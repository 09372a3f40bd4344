//! Tests of the whole, in one binary.

#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]
#![allow(clippy::print_stdout, reason = "tests show their counts")]

mod architecture;
mod blocks;
mod command_line;
mod conformance;
mod device_code;
mod exported;
mod gpu;
mod lanes;
mod models;
mod plan;
mod random_models;
mod run_sizes;

use std::any::Any;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The root of the repository, or the folder that `DLIRC_ROOT` names: tests that were carried to
/// another machine find their data there.
fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        std::env::var_os("DLIRC_ROOT")
            .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
    });
    &ROOT
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
