//! Tests that need a process of their own: they run this program again, with one test.

use std::process::Command;

/// Says which test a child is to run.
const VARIABLE: &str = "DLIRC_TEST_CHILD";

/// Whether this process runs `test` for another one.
pub(crate) fn is_child(test: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|value| value == test)
}

/// Runs `test` in a process of its own, with these variables, and gives what it prints. It must be
/// the path of a test of this program.
pub(crate) fn run(test: &str, variables: &[(&str, &str)]) -> String {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, test)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
