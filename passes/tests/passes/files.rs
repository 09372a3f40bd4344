//! Pass tests: one text file each, in `tests/<phase>/<pass>/`.
//!
//! A file holds `// pass: NAME` and other options, a program, and what becomes of it:
//!
//! - `-- expect --`: the program after the pass, canonically printed;
//! - `-- refused: REASON --`: nothing changes, and the pass says a reason that holds this text;
//! - `-- unchanged --`: nothing changes, and nothing needs to be said.
//!
//! Options: `// ints below: N` for integer inputs (2 if not given), `// then: NAME, NAME` for passes
//! that run after it. `DLIRC_BLESS=1` rewrites what comes after `-- expect --`. Both programs are
//! evaluated on seeded inputs and must agree, so a blessed wrong answer fails all the same.

use crate::evaluate::{assert_same, outputs};
use dlirc_passes::Phase;
use dlirc_passes::manager::{Options, PassCx, all, find, run_pass};
use std::path::{Path, PathBuf};

struct Case<'a> {
    pass: &'a str,
    then: Vec<&'a str>,
    ints_below: u64,
    /// All up to the line of the verdict.
    before: &'a str,
    verdict: &'a str,
    expected: &'a str,
}

fn parse(text: &str) -> Result<Case<'_>, String> {
    let at = text.find("\n-- ").ok_or("there is no `-- expect --`")? + 1;
    let (before, rest) = text.split_at(at);
    let (verdict, expected) = rest.split_once('\n').unwrap_or((rest, ""));
    let verdict = verdict
        .strip_prefix("-- ")
        .and_then(|v| v.strip_suffix(" --"));
    let mut case = Case {
        pass: "",
        then: vec![],
        ints_below: 2,
        before,
        verdict: verdict.ok_or("the verdict does not end in ` --`")?,
        expected,
    };
    for line in before.lines() {
        let Some((key, value)) = line.strip_prefix("// ").and_then(|l| l.split_once(": ")) else {
            continue;
        };
        match key {
            "pass" => case.pass = value,
            "then" => case.then = value.split(", ").collect(),
            "ints below" => case.ints_below = value.parse().map_err(|_| "no number")?,
            _ => {}
        }
    }
    Ok(case)
}

fn check(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let case = parse(&text)?;
    let folder = path
        .parent()
        .and_then(Path::file_name)
        .and_then(|f| f.to_str());
    if folder != Some(case.pass) {
        return Err(format!(
            "the pass is `{}`, not its folder's name",
            case.pass
        ));
    }
    let mut program = ir::text::parse(case.before).map_err(|e| e.to_string())?;
    let old = outputs(&program, case.ints_below)?;
    let printed = ir::text::print(&program);
    let mut cx = PassCx::new(Options {
        verify: true,
        explain: true,
        ..Options::default()
    });
    let mut changed = 0;
    for name in [case.pass].iter().chain(&case.then) {
        let pass = find(name).ok_or_else(|| format!("there is no pass `{name}`"))?;
        changed += run_pass(&pass, &mut program, &mut cx)
            .map_err(|e| e.to_string())?
            .0;
    }
    let after = ir::text::print(&program);
    let new = outputs(&program, case.ints_below)?;
    assert_same(&old, &new, &path.display().to_string());
    match case.verdict.strip_prefix("refused: ") {
        None if case.verdict == "expect" => {
            if std::env::var_os("DLIRC_BLESS").is_some() {
                let blessed = format!("{}-- expect --\n{after}", case.before);
                std::fs::write(path, blessed).map_err(|e| e.to_string())?;
            } else if after != case.expected {
                return Err(format!("expected\n{}found\n{after}", case.expected));
            }
            if changed == 0 {
                return Err("the pass says that it changed nothing".into());
            }
        }
        None if case.verdict != "unchanged" => return Err("unknown verdict".into()),
        verdict => {
            if after != printed || changed != 0 {
                return Err(format!("{changed} changes: \n{after}"));
            }
            let said: Vec<String> = cx.refusals.iter().map(|r| r.to_string()).collect();
            let reason = verdict.unwrap_or_default();
            if verdict.is_some() && !said.iter().any(|s| s.contains(reason)) {
                return Err(format!("expected the reason `{reason}`, found {said:?}"));
            }
        }
    }
    Ok(())
}

fn folder(phase: Phase, pass: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join(phase.name()).join(pass)
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).map(|e| e.flatten().map(|e| e.path()).collect());
    let mut paths: Vec<PathBuf> = entries.unwrap_or_default();
    paths.retain(|p| p.extension().is_some_and(|e| e == "dlir"));
    paths.sort();
    paths
}

#[test]
fn passes_do_what_their_files_say() {
    let mut failed = vec![];
    let mut n = 0;
    for pass in all() {
        for path in cases(&folder(pass.phase, pass.name)) {
            n += 1;
            if let Err(why) = check(&path) {
                failed.push(format!("{}: {why}", path.display()));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {n} failed\n\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

#[test]
fn every_normalising_pass_has_a_case_that_fires_and_one_that_does_not() {
    for pass in all().filter(|p| p.phase == Phase::Normalise) {
        let names: Vec<String> = cases(&folder(pass.phase, pass.name))
            .iter()
            .filter_map(|p| Some(p.file_stem()?.to_str()?.to_string()))
            .collect();
        for kind in ["fired", "refused"] {
            assert!(
                names.iter().any(|n| n.starts_with(kind)),
                "{}: no {kind}*.dlir",
                pass.name
            );
        }
    }
}
