//! Recorded requests: files that say when which model was asked.

use crate::load::arrivals::Arrival;
use crate::report::Diagnostic;
use plans::{Model, ModelIndex};
use serde::Deserialize;
use std::borrow::Cow;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// What is read of a line; a record of a scene has it too.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    arrival_ns: u64,
}

/// Reads lines of JSON, each an object with `model` and `arrival_ns`, in any order; other fields are
/// passed over, so that the requests of an earlier scene can be sent again. Blank lines are, too.
///
/// # Errors
/// When the file can't be read, a line is something else, or the plan has no such model.
pub fn read(path: &Path, models: &[Model]) -> Result<Vec<Arrival>, Diagnostic> {
    let place = format!("file {}", path.display());
    let file = std::fs::File::open(path).map_err(|e| {
        Diagnostic::error("arrivals", format!("the requests can't be read: {e}"))
            .at(&place)
            .help("name a file, or one of poisson, regular, periodic and bursty")
    })?;
    let mut reader = BufReader::new(file);
    let (mut text, mut n) = (String::new(), 0u64);
    let mut arrivals = vec![];
    loop {
        text.clear();
        n += 1;
        let read = reader.read_line(&mut text).map_err(|e| {
            Diagnostic::error("arrivals", format!("line {n} can't be read: {e}")).at(&place)
        })?;
        if read == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&text).map_err(|e| {
            Diagnostic::error("arrivals", format!("line {n} is no request: {e}"))
                .at(&place)
                .help(r#"a line looks like {"model": "resnet50", "arrival_ns": 1500000}"#)
        })?;
        let model = models.iter().position(|m| m.name == line.model);
        let model = model.ok_or_else(|| {
            let names: Vec<&str> = models.iter().map(|m| m.name.as_str()).collect();
            Diagnostic::error(
                "arrivals",
                format!(
                    "line {n} asks for {}, and the plan has no such model",
                    line.model
                ),
            )
            .at(&place)
            .help(format!("the plan has {}", names.join(", ")))
        })?;
        arrivals.push(Arrival {
            at_ns: line.arrival_ns,
            model: ModelIndex(model as u32),
        });
    }
    // Stable: of requests at the same time, the file's order stays.
    arrivals.sort_by_key(|a| a.at_ns);
    Ok(arrivals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::record::tests::model;

    fn of(text: &str) -> Result<Vec<Arrival>, Diagnostic> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path, &[model("a"), model("b")])
    }

    #[test]
    fn lines_are_sorted_by_time() {
        let text = "{\"arrival_ns\": 5, \"model\": \"b\", \"x\": [1]}\n\n{\"model\":\"a\",\"arrival_ns\":3}";
        let at = |at_ns, m| Arrival {
            at_ns,
            model: ModelIndex(m),
        };
        assert_eq!(of(text), Ok(vec![at(3, 0), at(5, 1)]));
        assert_eq!(of(""), Ok(vec![]));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, words) in [
            (
                "{\"model\":\"a\",\"arrival_ns\":1}\nx",
                "line 2 is no request",
            ),
            ("{\"model\":\"a\"}", "missing field `arrival_ns`"),
            (
                "{\"model\":\"a\",\"arrival_ns\":-1}",
                "line 1 is no request",
            ),
            ("{\"model\":\"c\",\"arrival_ns\":1}", "line 1 asks for c"),
        ] {
            let error = of(text).unwrap_err().text();
            assert!(error.contains(words), "{error}");
        }
    }
}
