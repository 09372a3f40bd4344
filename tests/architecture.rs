//! The rules of ARCHITECTURE.md that a compiler doesn't check: doors, unsafe code, sizes, licences.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each package of ours, and the packages of ours that it may import.
const DOORS: [(&str, &[&str]); 10] = [
    ("dlirc-ir", &[]),
    ("dlirc-plans", &[]),
    ("dlirc-onnx", &["dlirc-ir"]),
    ("dlirc-costs", &["dlirc-ir"]),
    ("dlirc-kernels", &["dlirc-ir", "dlirc-plans"]),
    (
        "dlirc-passes",
        &["dlirc-ir", "dlirc-costs", "dlirc-kernels", "dlirc-plans"],
    ),
    ("dlirc-runtime", &["dlirc-plans"]),
    ("dlirc-models", &["dlirc-onnx", "dlirc-ir"]),
    (
        "dlirc",
        &[
            "dlirc-ir",
            "dlirc-onnx",
            "dlirc-passes",
            "dlirc-kernels",
            "dlirc-costs",
            "dlirc-plans",
            "dlirc-runtime",
            "dlirc-models",
        ],
    ),
    ("xtask", &[]),
];

/// Where `unsafe` may stand: folders, and files.
const UNSAFE_CODE: [&str; 3] = [
    "runtime/",
    "onnx/src/source.rs",
    "kernels/src/cuda/compile/nvrtc.rs",
];

/// Most lines of a source file.
const MAX_LINES: usize = 800;

/// Tables that may be longer.
const TABLES: [&str; 0] = [];

/// Most packages that a program with the engine in it is built from, the engine included.
const MAX_ENGINE_PACKAGES: usize = 25;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn stdout(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What cargo knows of the workspace and of the packages that it is built from on this machine.
fn metadata() -> Value {
    let version = stdout(cargo().arg("-vV"));
    let host = version
        .lines()
        .find_map(|l| l.strip_prefix("host: "))
        .unwrap();
    let text = stdout(cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        host,
    ]));
    serde_json::from_str(&text).unwrap()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Paths below the root of all Rust files, with their text.
fn sources() -> Vec<(String, String)> {
    let mut files = vec![];
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let holds_others_code =
                    folder == root() && name == "target" || name.starts_with('.');
                if !holds_others_code && !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "sources are missing");
    let relative = |p: &PathBuf| {
        p.strip_prefix(root())
            .unwrap()
            .to_string_lossy()
            .into_owned()
    };
    files
        .iter()
        .map(|p| (relative(p), std::fs::read_to_string(p).unwrap()))
        .collect()
}

/// The words of Rust code with their lines: comments and literals left out.
fn words(code: &str) -> Vec<(usize, String)> {
    let b = code.as_bytes();
    let at = |i: usize| b.get(i).copied().unwrap_or(0);
    let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80;
    let mut words = vec![];
    let (mut i, mut line) = (0, 1);
    while i < b.len() {
        let start = i;
        match b[i] {
            b'/' if at(i + 1) == b'/' => {
                while i < b.len() && b[i] != b'\n' {
                    i += 1;
                }
            }
            b'/' if at(i + 1) == b'*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        (b'/', b'*') => (depth, i) = (depth + 1, i + 2),
                        (b'*', b'/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= b.len() {
                        break;
                    }
                }
            }
            b'"' => i = after_string(b, i),
            // A character, unless it is a lifetime.
            b'\'' if at(i + 1) == b'\\' => {
                i += 3;
                while i < b.len() && b[i] != b'\'' {
                    i += 1;
                }
                i += 1;
            }
            b'\'' => {
                let c = code[i + 1..].chars().next().map_or(1, char::len_utf8);
                i += if at(i + 1 + c) == b'\'' { c + 2 } else { 1 };
            }
            c if is_word(c) => {
                while is_word(at(i)) {
                    i += 1;
                }
                let word = &code[start..i];
                let hashes = b[i..].iter().take_while(|&&c| c == b'#').count();
                if matches!(word, "r" | "br" | "cr") && at(i + hashes) == b'"' {
                    let end = format!("\"{}", "#".repeat(hashes));
                    let body = i + hashes + 1;
                    i = code[body..]
                        .find(&end)
                        .map_or(b.len(), |n| body + n + end.len());
                } else {
                    words.push((line, word.to_string()));
                }
            }
            _ => i += 1,
        }
        line += b[start..i.min(b.len())]
            .iter()
            .filter(|&&c| c == b'\n')
            .count();
    }
    words
}

/// The end of the string that opens at `start`.
fn after_string(b: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while i < b.len() && b[i] != b'"' {
        i += if b[i] == b'\\' { 2 } else { 1 };
    }
    i + 1
}

#[test]
fn words_are_code_only() {
    let code = r##"
        // unsafe /* in a comment
        /* unsafe /* nested */ unsafe */ fn a<'unsafe_life>(c: char) -> bool {
            let _ = ("unsafe \" unsafe", r#"unsafe " unsafe"#, b"unsafe", '"', '\'', 'x', 'ü');
            unsafe { c == '"' }
        }
    "##;
    let found: Vec<_> = words(code)
        .into_iter()
        .filter(|(_, w)| w == "unsafe")
        .collect();
    assert_eq!(found, [(5, "unsafe".to_string())]);
}

#[test]
fn packages_import_what_the_doors_allow() {
    let metadata = metadata();
    let members: BTreeSet<&str> = list(&metadata, "workspace_members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let doors: BTreeMap<&str, &[&str]> = DOORS.into_iter().collect();
    let mut wrong = vec![];
    let mut seen = BTreeSet::new();
    for package in list(&metadata, "packages") {
        if !members.contains(text(package, "id")) {
            continue;
        }
        let name = text(package, "name");
        seen.insert(name);
        let Some(allowed) = doors.get(name) else {
            wrong.push(format!("{name} has no entry in the list of doors"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let ours = !dependency["path"].is_null();
            let to = text(dependency, "name");
            if ours && text(dependency, "kind") != "dev" && !allowed.contains(&to) {
                wrong.push(format!("{name} imports {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, doors.keys().copied().collect());
}

/// What the engine is built from, printed as a tree.
#[test]
fn the_engine_stands_on_few_packages() {
    let tree = |prefix| {
        stdout(cargo().args([
            "tree",
            "-p",
            "dlirc-runtime",
            "-e",
            "normal,build",
            "--prefix",
            prefix,
        ]))
    };
    println!("{}", tree("indent"));
    let list = tree("none");
    let packages: BTreeSet<&str> = list
        .lines()
        .map(|l| l.split(" (").next().unwrap_or(l))
        .filter(|l| !l.is_empty())
        .collect();
    println!("{} packages", packages.len());
    assert!(packages.iter().any(|p| p.starts_with("dlirc-plans ")));
    for ours in [
        "dlirc-ir ",
        "dlirc-onnx ",
        "dlirc-passes ",
        "dlirc-kernels ",
    ] {
        assert!(
            !packages.iter().any(|p| p.starts_with(ours)),
            "the engine holds {ours}"
        );
    }
    assert!(
        packages.len() <= MAX_ENGINE_PACKAGES,
        "{} packages",
        packages.len()
    );
}

#[test]
fn unsafe_code_has_one_address() {
    let allowed = |path: &str| UNSAFE_CODE.iter().any(|a| path.starts_with(a));
    let mut wrong = vec![];
    let mut n_allowed = 0;
    for (path, code) in sources() {
        for (line, _) in words(&code).into_iter().filter(|(_, w)| w == "unsafe") {
            if allowed(&path) {
                n_allowed += 1;
            } else {
                wrong.push(format!("{path}:{line}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "unsafe code stands at {}",
        wrong.join(", ")
    );
    assert!(
        n_allowed > 0,
        "nothing was found where there must be something"
    );
}

#[test]
fn no_order_depends_on_hashes() {
    let mut wrong = vec![];
    for (path, code) in sources() {
        for (line, word) in words(&code) {
            if matches!(word.as_str(), "HashMap" | "HashSet" | "RandomState") {
                wrong.push(format!("{path}:{line}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_can_be_read_in_one_go() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !TABLES.contains(&path.as_str()))
        .map(|(path, code)| (path, code.lines().count()))
        .filter(|&(_, lines)| lines > MAX_LINES)
        .map(|(path, lines)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

/// The licences that deny.toml allows.
fn allowed_licences() -> BTreeSet<String> {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let licences = deny.split("[licenses]").nth(1).unwrap();
    let list = licences
        .split("allow = [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    list.split(',')
        .map(|l| l.trim().trim_matches('"').to_string())
        .filter(|l| !l.is_empty())
        .collect()
}

/// Whether an SPDX expression can be met with the licences of `allowed`: alternatives by `OR` or
/// `/`, `AND` binding closer, parentheses.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let met = any(&mut words, allowed);
    assert!(words.is_empty(), "{expression} is no licence expression");
    met
}

fn any(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = all(words, allowed);
    while words.pop_if(|w| *w == "OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while words.pop_if(|w| *w == "AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<String>) -> bool {
    let word = words.pop().unwrap_or_default();
    if word == "(" {
        let met = any(words, allowed);
        assert_eq!(words.pop(), Some(")"));
        return met;
    }
    let mut licence = word.to_string();
    if words.pop_if(|w| *w == "WITH").is_some() {
        licence = format!("{licence} WITH {}", words.pop().unwrap_or_default());
    }
    allowed.contains(&licence)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
        .map(String::from)
        .into();
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(GPL-3.0 OR MIT) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ] {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "Apache-2.0",
        "MIT AND (GPL-3.0 OR Zlib)",
    ] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn licences_of_all_dependencies_are_allowed() {
    let allowed = allowed_licences();
    let metadata = metadata();
    let wrong: Vec<String> = list(&metadata, "packages")
        .iter()
        .filter(|p| !is_met(text(p, "license"), &allowed))
        .map(|p| {
            format!(
                "{} {}: {:?}",
                text(p, "name"),
                text(p, "version"),
                text(p, "license")
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
