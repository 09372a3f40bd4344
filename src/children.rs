//! The blocks of a plan's models as ONNX models, to be run by anything.

use crate::driver::Request;
use crate::report::{Diagnostic, write_json};
use ir::Dim;
use onnx::children::{ChildError, Children, Port};
use plans::file::{OutputError, replace_file};
use plans::{Block, Model, ModelIndex, Plan};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Writes the blocks of each model of `plan`, which was made from `request`, as ONNX models:
/// `folder/MODEL/BLOCK/MODEL-BLOCK.onnx`, blocks counted from 0 in each model, with a `params.json`
/// beside each and one for all in `folder/MODEL`, whose `-1` is the whole model. Returns the paths of
/// the latter.
///
/// A block's nodes are those that its steps stand for, and views and constants that they need. A block
/// that stands for none, such as a copy, has no file: its `model_path` is null.
///
/// # Errors
/// When a file can't be written, or would be too large for its format.
pub fn emit(plan: &Plan, request: &Request, folder: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let models = (0..).map(ModelIndex).zip(&plan.models);
    models
        .zip(&request.models)
        .map(|((m, model), path)| {
            let blocks: Vec<&Block> = plan.blocks.iter().filter(|b| b.model == m).collect();
            emit_model(plan, request, (model, path), &blocks, folder)
        })
        .collect()
}

fn emit_model(
    plan: &Plan,
    request: &Request,
    (model, path): (&Model, &Path),
    blocks: &[&Block],
    folder: &Path,
) -> Result<PathBuf, Diagnostic> {
    let name = &model.name;
    let at_model = |d: Diagnostic| d.at(format!("model {name}"));
    if matches!(name.as_str(), "." | "..") {
        let error = Diagnostic::error("children", format!("no folder can be called {name}"));
        return Err(error.help("give the model's file another name"));
    }
    let folder = folder.join(name);
    let origins: Vec<BTreeSet<&str>> = blocks
        .iter()
        .map(|b| plan.steps[b.steps()].iter().flat_map(|s| &s.origin))
        .map(|names| names.map(String::as_str).collect())
        .collect();
    let options = onnx::ReadOptions {
        name: Some(name.clone()),
        bind: request.shapes.clone(),
    };
    let source = onnx::Source::open(path).map_err(|source| onnx::OnnxError::Open {
        file: path.display().to_string(),
        source,
    })?;
    let children = Children::of(&source, &options, &origins).map_err(|e| at_model(e.into()))?;
    let mut manifest = Map::new();
    let last = children.n_nodes.checked_sub(1);
    let whole = Entry {
        range: last.map(|last| (0, last)),
        inputs: &children.inputs,
        outputs: &children.outputs,
        path: Some(path.display().to_string()),
        nodes: vec![],
        predicted_ns: blocks.iter().map(|b| b.predicted_ns - b.cut_ns).sum(),
    };
    manifest.insert("-1".into(), whole.json());
    for (i, (part, block)) in children.parts.iter().zip(blocks).enumerate() {
        let file = format!("{name}-{i}.onnx");
        let home = folder.join(i.to_string());
        std::fs::create_dir_all(&home).map_err(|e| {
            let error = Diagnostic::error("children", format!("{}: {e}", home.display()));
            error.help("give --emit-children a folder that can be written")
        })?;
        let is_model = part.n_nodes() > 0;
        let mut entry = Entry {
            range: is_model.then(|| (part.first, part.first + part.n_nodes() - 1)),
            inputs: &part.inputs,
            outputs: &part.outputs,
            path: is_model.then(|| file.clone()),
            nodes: children.node_names(i),
            predicted_ns: block.predicted_ns,
        };
        if is_model {
            let written = replace_file::<Failed>(&home.join(&file), |out| {
                let child = children.write(i, &format!("{name}-{i}"), out);
                child.map(drop).map_err(|e| Failed(e.into()))
            });
            written.map_err(|Failed(e)| at_model(e))?;
        }
        write_json(&home.join("params.json"), &entry.json())?;
        entry.path = entry.path.map(|file| format!("{i}/{file}"));
        manifest.insert(i.to_string(), entry.json());
    }
    let list = folder.join("params.json");
    write_json(&list, &Value::Object(manifest))?;
    Ok(list)
}

/// What a manifest says of a model.
struct Entry<'a> {
    /// The first and the last of its nodes, counted over all blocks of the model.
    range: Option<(usize, usize)>,
    inputs: &'a [Port],
    outputs: &'a [Port],
    /// Where it is, from the manifest's folder; as the user gave it for the whole model.
    path: Option<String>,
    nodes: Vec<String>,
    predicted_ns: u64,
}

impl Entry<'_> {
    fn json(&self) -> Value {
        let ports = |ports: &[Port]| ports.iter().map(port).collect::<Vec<_>>();
        let mut entry = json!({
            "from": self.range.map(|r| r.0),
            "to": self.range.map(|r| r.1),
            "inputs": ports(self.inputs),
            "outputs": ports(self.outputs),
            "model_path": self.path,
            "predicted_ns": self.predicted_ns,
        });
        if !self.nodes.is_empty() {
            entry["nodes"] = json!(self.nodes);
        }
        entry
    }
}

fn port(port: &Port) -> Value {
    let shape: Vec<Value> = port
        .ty
        .shape
        .0
        .iter()
        .map(|d| match d {
            Dim::Known(n) => json!(n),
            Dim::Symbol(s) => json!(s.as_str()),
        })
        .collect();
    json!({ "name": port.name, "type": port.ty.dtype.name(), "shape": shape })
}

/// What [`replace_file`] may fail with.
struct Failed(Diagnostic);

impl From<OutputError> for Failed {
    fn from(e: OutputError) -> Self {
        Failed(Diagnostic::error("write", e.to_string()))
    }
}

impl From<ChildError> for Diagnostic {
    fn from(e: ChildError) -> Self {
        match e {
            ChildError::Model(e) => e.into(),
            ChildError::TooLarge { .. } => Diagnostic::from_error("children", &e)
                .help("cut the model into more blocks: --blocks N or --max-block TIME"),
            ChildError::Untyped { .. } => Diagnostic::from_error("children", &e)
                .help("this is a defect of dlirc; please report it with the model"),
            ChildError::Write(_) => Diagnostic::from_error("write", &e)
                .help("is there room on the disk? nothing was written"),
        }
    }
}
