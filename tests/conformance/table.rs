//! What becomes of each operator's cases, on the CPU and on the GPU, as a table for people.

use super::cases::Case;
use super::stages::{Outcome, Seen, Stage, Tried};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

/// Where the table goes, if one was asked for.
fn file() -> Option<PathBuf> {
    std::env::var_os("DLIRC_OPERATOR_TABLE").map(PathBuf::from)
}

/// Whether one was asked for.
pub(super) fn is_wanted() -> bool {
    file().is_some()
}

/// The operators, by name.
#[derive(Default)]
pub(super) struct Table(BTreeMap<String, Row>);

/// An operator's cases.
#[derive(Default)]
struct Row {
    n_cases: usize,
    /// Those that have no plan.
    n_refused: usize,
    n_passed_cpu: usize,
    n_passed_gpu: usize,
    /// Those whose plans for a GPU have steps on the host.
    n_on_host: usize,
    cpu_error: f64,
    gpu_error: f64,
}

impl Row {
    fn add(&mut self, tried: &Tried) {
        let failed = match &tried.outcome {
            Outcome::Passed => None,
            Outcome::Failed(stage, _) => Some(*stage),
        };
        self.n_cases += 1;
        self.n_refused += usize::from(failed.is_some_and(|s| s <= Stage::Compile));
        self.n_passed_cpu += usize::from(failed.is_none_or(|s| s > Stage::Run));
        let Seen {
            on_host,
            cpu_error,
            gpu_error,
        } = tried.seen;
        self.n_passed_gpu += usize::from(gpu_error.is_some());
        self.n_on_host += usize::from(on_host == Some(true));
        self.cpu_error = self.cpu_error.max(cpu_error.unwrap_or(0.0));
        self.gpu_error = self.gpu_error.max(gpu_error.unwrap_or(0.0));
    }
}

const HEAD: &str = "\
# Operators

What becomes of ONNX's own cases for single operators, of ONNX 1.22, but for those that it gives a
second time, expanded to other operators. *Refused* are those that have no plan: what dlirc does not have, it says by name. *On the
host* are those whose plans for a GPU have steps that run on the CPU. The error is the greatest of all
passing cases, ‖found − expected‖ / ‖expected‖ of an output.

Made by `DLIRC_OPERATOR_TABLE=FILE` in the environment of `cargo xtask gpu`, or of the conformance
suite alone.

";

impl Table {
    /// Adds a case that was tried, unless it is one of operators that stand for another one.
    pub(super) fn add(&mut self, name: &str, case: &Case, tried: &Tried) {
        if name.contains("_expanded") {
            return;
        }
        let nodes = case.model.graph.iter().flat_map(|g| &g.node);
        let operators: BTreeSet<String> = nodes
            .map(|n| match n.domain() {
                "" => n.op_type().to_string(),
                domain => format!("{domain}.{}", n.op_type()),
            })
            .collect();
        for operator in operators {
            self.0.entry(operator).or_default().add(tried);
        }
    }

    /// Writes it, if it was asked for.
    pub(super) fn write(&self) {
        let Some(file) = file() else { return };
        let gpu = crate::gpu::is_there().then(|| runtime::cuda::device(0).unwrap().name);
        std::fs::write(&file, self.text(gpu.as_deref())).unwrap();
        println!("the table of operators is in {}", file.display());
    }

    /// The table; `gpu` names the GPU, if there is one.
    fn text(&self, gpu: Option<&str>) -> String {
        let mut text = HEAD.to_string();
        text += &match gpu {
            Some(gpu) => format!("The GPU is one {gpu}.\n\n"),
            None => "Of a GPU nothing is known yet: there was none.\n\n".to_string(),
        };
        text += "| operator | cases | refused | right on the CPU | error | right on the GPU | error | on the host |\n";
        text += "|---|--:|--:|--:|--:|--:|--:|--:|\n";
        let error = |n: usize, error: f64| match n {
            0 => "–".to_string(),
            _ if error == 0.0 => "0".to_string(),
            _ => format!("{error:.0e}"),
        };
        for (operator, row) in &self.0 {
            let (passed, wrong) = match gpu {
                Some(_) => (
                    row.n_passed_gpu.to_string(),
                    error(row.n_passed_gpu, row.gpu_error),
                ),
                None => ("–".to_string(), "–".to_string()),
            };
            let _ = writeln!(
                text,
                "| {operator} | {} | {} | {} | {} | {passed} | {wrong} | {} |",
                row.n_cases,
                row.n_refused,
                row.n_passed_cpu,
                error(row.n_passed_cpu, row.cpu_error),
                row.n_on_host
            );
        }
        text
    }
}

#[test]
fn a_row_counts_how_far_cases_came() {
    let tried = |outcome: Outcome, seen: Seen| Tried {
        outcome,
        baked: vec![],
        seen,
    };
    let seen = Seen {
        on_host: Some(false),
        cpu_error: Some(2e-7),
        gpu_error: None,
    };
    let mut row = Row::default();
    row.add(&tried(
        Outcome::Failed(Stage::Compile, String::new()),
        Seen::default(),
    ));
    row.add(&tried(
        Outcome::Failed(Stage::Run, String::new()),
        Seen::default(),
    ));
    row.add(&tried(Outcome::Failed(Stage::Gpu, String::new()), seen));
    row.add(&tried(
        Outcome::Passed,
        Seen {
            on_host: Some(true),
            cpu_error: Some(0.0),
            gpu_error: Some(3e-6),
        },
    ));
    let table = Table(BTreeMap::from([("Conv".to_string(), row)]));
    let last = |gpu: Option<&str>| table.text(gpu).lines().last().map(str::to_string);
    assert_eq!(
        last(Some("H200")).as_deref(),
        Some("| Conv | 4 | 1 | 2 | 2e-7 | 1 | 3e-6 | 1 |")
    );
    assert_eq!(
        last(None).as_deref(),
        Some("| Conv | 4 | 1 | 2 | 2e-7 | – | – | 1 |")
    );
}
