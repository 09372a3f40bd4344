//! Which cases fail, where and why.

use super::stages::Stage;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The list of cases that fail: name, stage, reason.
pub(super) struct Expectations(BTreeMap<String, (String, String)>);

const HEAD: &str = "\
# Cases of ONNX 1.22 that fail: name, where, why. Whatever else fails, or passes though it is listed
# here, fails the test. DLIRC_BLESS=1 writes this file anew.
";

fn path() -> PathBuf {
    crate::root().join("tests/conformance/expectations.txt")
}

impl Expectations {
    pub(super) fn load() -> Self {
        let text = std::fs::read_to_string(path()).unwrap_or_default();
        let lines = text
            .lines()
            .filter(|l| !l.starts_with('#') && !l.is_empty());
        let fields = lines.map(|l| {
            let mut fields = l.splitn(3, " | ").map(|f| f.trim().to_string());
            let mut next = || {
                fields
                    .next()
                    .unwrap_or_else(|| panic!("{l:?} has not three fields"))
            };
            (next(), (next(), next()))
        });
        Self(fields.collect())
    }

    /// Compares with what failed, or writes it down.
    pub(super) fn check(&self, failures: &BTreeMap<&str, (Stage, &str)>) {
        if std::env::var_os("DLIRC_BLESS").is_some() {
            let mut text = HEAD.to_string();
            for (name, (stage, why)) in failures {
                let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
                text += &format!("{name} | {} | {why}\n", stage.name());
            }
            std::fs::write(path(), text).unwrap();
            return;
        }
        let mut wrong = vec![];
        for (name, (stage, why)) in failures {
            match self.0.get(*name) {
                None => wrong.push(format!("{name} fails to {}: {why}", stage.name())),
                Some((expected, _)) if expected != stage.name() => {
                    wrong.push(format!(
                        "{name} fails to {} and not to {expected}: {why}",
                        stage.name()
                    ));
                }
                Some(_) => {}
            }
        }
        for (name, (stage, _)) in &self.0 {
            if !failures.contains_key(name.as_str()) {
                wrong.push(format!(
                    "{name} passes, and was expected to fail to {stage}"
                ));
            }
        }
        assert!(
            wrong.is_empty(),
            "{} cases are not as expected (DLIRC_BLESS=1 accepts them):\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}
