//! `dlirc explain`: what the optimiser did with a model, and why not more.

use crate::cli::compile::shape;
use crate::cli::table::table;
use crate::driver::{self, Request, Summary};
use crate::report::{Diagnostic, NO, data};
use clap::Args;
use ir::Program;
use passes::PassCx;
use passes::manager::{Execution, Refusal, node_name};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what the optimiser did with models, and what it left alone for which reason.
#[derive(Args)]
#[command(after_help = "\
Examples:
  dlirc explain resnet50.onnx
  dlirc explain bert.onnx --node /encoder/layer.0/attention/MatMul
  dlirc explain gpt2.onnx --pass rewrite_algebra")]
pub(super) struct Explain {
    /// The models.
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// Sizes that the models leave open: all dimensions of an input, or one named dimension.
    #[arg(long = "shape", value_name = "NAME=DIMS", value_parser = shape)]
    shapes: Vec<(String, Vec<usize>)>,
    /// Only what concerns nodes whose names contain this text.
    #[arg(long, value_name = "TEXT")]
    node: Option<String>,
    /// Only what this pass says.
    #[arg(long, value_name = "PASS")]
    pass: Option<String>,
}

impl Explain {
    pub(super) fn run(self) -> Result<ExitCode, Diagnostic> {
        if let Some(pass) = &self.pass {
            super::pass::find(pass)?;
        }
        let request = Request {
            models: self.models.clone(),
            shapes: self.shapes.iter().cloned().collect(),
            ..Default::default()
        };
        let mut program = driver::read(&request, &mut Summary::default())?;
        let options = passes::Options {
            explain: true,
            ..Default::default()
        };
        let mut cx = PassCx::new(options);
        driver::optimise(&mut program, &mut cx, &[])?;

        let is_asked = |r: &&Refusal| {
            self.pass.as_ref().is_none_or(|p| r.pass == p.as_str())
                && self.node.as_ref().is_none_or(|n| r.node.contains(n))
        };
        let mut text = String::new();
        if let Some(node) = &self.node {
            text += &whereabouts(&program, node);
        } else {
            text += &done(&cx.executions, self.pass.as_deref());
        }
        let refusals: Vec<&Refusal> = cx.refusals.iter().filter(is_asked).collect();
        if !refusals.is_empty() {
            text += "\nleft alone:\n";
        }
        for refusal in &refusals {
            let _ = writeln!(text, "  {refusal}");
        }
        let found = !text.is_empty();
        if !found {
            text += "no node of that name\n";
        }
        data(text.as_bytes())?;
        Ok(if found {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NO)
        })
    }
}

/// A pass, its runs, changes, milliseconds and notes.
type Row<'a> = (&'a str, u64, usize, f64, Vec<(&'a str, u64)>);

/// What each pass did, its runs added up, in the order of their first runs.
fn done(executions: &[Execution], pass: Option<&str>) -> String {
    let mut rows: Vec<Row<'_>> = vec![];
    for run in executions
        .iter()
        .filter(|e| pass.is_none_or(|p| p == e.pass))
    {
        let at = match rows.iter().position(|r| r.0 == run.pass) {
            Some(at) => at,
            None => {
                rows.push((run.pass, 0, 0, 0.0, vec![]));
                rows.len() - 1
            }
        };
        let row = &mut rows[at];
        row.1 += 1;
        row.2 += run.changes;
        row.3 += run.time.as_secs_f64() * 1e3;
        for &(name, n) in &run.notes {
            match row.4.iter_mut().find(|(other, _)| *other == name) {
                Some((_, sum)) => *sum += n,
                None => row.4.push((name, n)),
            }
        }
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|r| {
            vec![
                r.0.into(),
                r.1.to_string(),
                r.2.to_string(),
                format!("{:.1}", r.3),
            ]
        })
        .collect();
    let mut text = table(&["pass", "runs", "changes", "ms"], &cells);
    for (pass, .., notes) in rows.iter().filter(|r| !r.4.is_empty()) {
        let notes: Vec<String> = notes
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        let _ = writeln!(text, "{pass}: {}", notes.join(", "));
    }
    text
}

/// The regions that hold what became of the nodes whose names contain `name`.
fn whereabouts(program: &Program, name: &str) -> String {
    let mut text = String::new();
    for (_, graph) in program.graphs.iter() {
        for &n in &graph.order {
            let node = &graph.nodes[n];
            if !node.origin.names().any(|o| o.contains(name)) {
                continue;
            }
            let _ = write!(text, "{}: {}", graph.name, node_name(graph, n));
            if let Some(region) = node.region {
                let fellows: Vec<&str> = graph
                    .order
                    .iter()
                    .filter(|&&m| graph.nodes[m].region == Some(region))
                    .map(|&m| graph.nodes[m].op.name())
                    .collect();
                let kind = graph.regions[region].kind;
                let _ = write!(
                    text,
                    " in a region of kind {kind:?}: {}",
                    fellows.join(" + ")
                );
            }
            text.push('\n');
        }
    }
    text
}
