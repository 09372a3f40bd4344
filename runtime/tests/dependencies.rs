//! The runtime loads on machines without a compiler: what it depends on is short, and all of it is
//! listed here.

#![allow(clippy::unwrap_used, reason = "in a test a panic is a finding")]

use std::collections::BTreeSet;
use std::process::Command;

/// Every package whose code the runtime holds.
const ALLOWED: [&str; 16] = [
    "bytemuck",
    "cfg-if",
    "cobs",
    "crc32fast",
    "cudarc",
    "dlirc-plans",
    "dlirc-runtime",
    "half",
    "libc",
    "libloading",
    "memmap2",
    "postcard",
    "serde",
    "serde_core",
    "thiserror",
    "zerocopy",
];

#[test]
fn the_dependency_tree_is_short() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "dlirc-runtime", "--edges"])
        .arg("normal,no-proc-macro")
        .args(["--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let text = String::from_utf8(tree.stdout).expect("cargo prints text");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    println!("{text}");
    let packages: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| {
            line.trim_start_matches(['│', '├', '└', '─', ' '])
                .split_once(" v")
        })
        .map(|(name, _)| name)
        .collect();
    let others: Vec<&&str> = packages.iter().filter(|p| !ALLOWED.contains(p)).collect();
    assert!(
        others.is_empty(),
        "the runtime depends on {others:?}; is that worth it?"
    );
    assert!(packages.contains("dlirc-plans"));
}
