//! The printer: a compacted program to text.

use super::lex::quote;
use super::{content, is_identifier};
use crate::attrs::Attr;
use crate::graph::{Def, Graph, Node, RegionId, StorageOrder, ValueId};
use crate::program::Program;
use crate::shape::{Dim, TensorType};
use std::fmt::Write;

/// The text of `program` as it is numbered.
pub(super) fn program(program: &Program) -> String {
    let mut out = String::new();
    for (id, tensor) in program.weights.iter() {
        let content =
            content::write(tensor).unwrap_or_else(|| format!("hash {}", program.weights.hash(id)));
        line(
            &mut out,
            format_args!("weight {id}: {} = {content}", ty(&tensor.ty())),
        );
    }
    for (_, graph) in program.graphs.iter() {
        model(&mut out, graph);
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

fn model(out: &mut String, graph: &Graph) {
    line(out, format_args!("model {} {{", name(&graph.name)));
    for &v in &graph.inputs {
        line(out, format_args!("  input {}", result(graph, v)));
    }
    let mut open: Option<RegionId> = None;
    for &n in &graph.order {
        let node = &graph.nodes[n];
        if node.region != open {
            if open.is_some() {
                line(out, format_args!("  }}"));
            }
            open = node.region;
            if let Some(r) = open {
                line(
                    out,
                    format_args!("  region {} {{", graph.regions[r].kind.name()),
                );
            }
        }
        let indent = if open.is_some() { "    " } else { "  " };
        line(out, format_args!("{indent}{}", node_text(graph, node)));
    }
    if open.is_some() {
        line(out, format_args!("  }}"));
    }
    for (output, v) in &graph.outputs {
        line(
            out,
            format_args!("  output {} = {}", quote(output), operand(graph, *v)),
        );
    }
    line(out, format_args!("}}"));
}

fn node_text(graph: &Graph, node: &Node) -> String {
    let results: Vec<_> = node.outputs.iter().map(|&v| result(graph, v)).collect();
    let operands: Vec<_> = node
        .inputs
        .iter()
        .map(|v| v.map_or("_".into(), |v| operand(graph, v)))
        .collect();
    let mut out = format!(
        "{} = {}({})",
        results.join(", "),
        node.op.name(),
        operands.join(", ")
    );
    let attrs: Vec<_> = node
        .op
        .attrs()
        .iter()
        .map(|(key, value)| format!("{} = {}", name(key), attr(value)))
        .collect();
    if !attrs.is_empty() {
        let _ = write!(out, " {{{}}}", attrs.join(", "));
    }
    for (i, origin) in node.origin.names().enumerate() {
        let _ = write!(out, "{}{}", if i == 0 { " @" } else { ", " }, quote(origin));
    }
    out
}

/// `%3 "name": f32[2] channels_last`.
fn result(graph: &Graph, v: ValueId) -> String {
    let value = &graph.values[v];
    let mut out = v.to_string();
    if let Some(n) = &value.name {
        let _ = write!(out, " {}", quote(n));
    }
    let _ = write!(out, ": {}", ty(&value.ty));
    storage(&mut out, value.storage);
    out
}

fn operand(graph: &Graph, v: ValueId) -> String {
    let value = &graph.values[v];
    let Def::Weight(w) = value.def else {
        return v.to_string();
    };
    let mut out = w.to_string();
    if let Some(n) = &value.name {
        let _ = write!(out, " {}", quote(n));
    }
    storage(&mut out, value.storage);
    out
}

fn storage(out: &mut String, order: StorageOrder) {
    if let Some(word) = order.word() {
        let _ = write!(out, " {word}");
    }
}

fn ty(ty: &TensorType) -> String {
    let dims: Vec<_> = ty
        .shape
        .0
        .iter()
        .map(|d| match d {
            Dim::Known(n) => n.to_string(),
            Dim::Symbol(s) => name(s.as_str()),
        })
        .collect();
    format!("{}[{}]", ty.dtype, dims.join(", "))
}

fn name(text: &str) -> String {
    if is_identifier(text) {
        text.into()
    } else {
        quote(text)
    }
}

fn attr(attr: &Attr) -> String {
    fn list<T>(empty: &str, items: &[T], f: impl Fn(&T) -> String) -> String {
        if items.is_empty() {
            return empty.into();
        }
        format!("[{}]", items.iter().map(f).collect::<Vec<_>>().join(", "))
    }
    match attr {
        Attr::Int(v) => v.to_string(),
        Attr::Float(v) => content::float(*v),
        Attr::Str(s) => quote(s),
        Attr::Ints(v) => list("[]", v, i64::to_string),
        Attr::Floats(v) => list("floats []", v, |v| content::float(*v)),
        Attr::Strs(v) => list("strings []", v, |s| quote(s)),
        Attr::Type(t) => t.to_string(),
    }
}
