//! What is refused before anything is built: unknown operators and opsets, all at once.

use super::constant;
use super::flatten::FlatGraph;
use super::upgrade::newest_name;
use ir::Op;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

/// The versions of ONNX's own operators that are read.
pub const OPSETS: RangeInclusive<i64> = 7..=27;

/// An operator that the model uses and dlirc doesn't have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnsupportedOperator {
    /// The namespace; empty for ONNX's own.
    pub domain: String,
    /// The operator.
    pub name: String,
    /// The version of the namespace that the model asks for, if it does.
    pub opset: Option<i64>,
    /// Why.
    pub reason: Reason,
    /// All nodes that use it.
    pub nodes: Vec<String>,
}

/// Why an operator is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// No such operator here.
    Unknown,
    /// A branch or a loop.
    ControlFlow,
    /// ONNX has it only from this opset on.
    Later(u32),
    /// The model doesn't say which version of the namespace it means.
    NoOpset,
    /// A version of ONNX's operators that is not read.
    Opset,
}

impl fmt::Display for UnsupportedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.domain.is_empty() {
            write!(f, "{}.", self.domain)?;
        }
        f.write_str(&self.name)?;
        if let Some(opset) = self.opset {
            write!(f, " (opset {opset})")?;
        }
        match self.reason {
            Reason::Unknown => {}
            Reason::ControlFlow => f.write_str(", control flow")?,
            Reason::Later(first) => write!(f, ", which ONNX has from opset {first} on")?,
            Reason::NoOpset => f.write_str(", of an opset that the model doesn't import")?,
            Reason::Opset => {
                let (first, last) = (OPSETS.start(), OPSETS.end());
                write!(f, ", of an opset outside {first} to {last}")?;
            }
        }
        // All names are in the list itself; a message for people names some.
        let some: Vec<&str> = self.nodes.iter().take(8).map(String::as_str).collect();
        let plural = if self.nodes.len() == 1 {
            "node"
        } else {
            "nodes"
        };
        write!(f, ": {plural} {}", some.join(", "))?;
        match self.nodes.len() - some.len() {
            0 => Ok(()),
            more => write!(f, " and {more} others"),
        }
    }
}

/// Every operator of `flat` that is not supported, by name.
pub(crate) fn unsupported(flat: &FlatGraph<'_>) -> Vec<UnsupportedOperator> {
    let catalogue: BTreeMap<&str, &[u32]> = Op::catalogue()
        .map(|(name, versions, _)| (name, versions))
        .collect();
    let mut refused: BTreeMap<(&str, &str, Option<i64>, Reason), Vec<String>> = BTreeMap::new();
    for node in &flat.nodes {
        if let Some(reason) = refuse(&catalogue, node.domain, node.op, node.opset) {
            let nodes = refused
                .entry((node.domain, node.op, node.opset, reason))
                .or_default();
            nodes.push(flat.display_node(node));
        }
    }
    let list = refused.into_iter();
    list.map(
        |((domain, name, opset, reason), nodes)| UnsupportedOperator {
            domain: domain.to_owned(),
            name: name.to_owned(),
            opset,
            reason,
            nodes,
        },
    )
    .collect()
}

fn refuse(
    catalogue: &BTreeMap<&str, &[u32]>,
    domain: &str,
    op: &str,
    opset: Option<i64>,
) -> Option<Reason> {
    if !domain.is_empty() {
        return Some(Reason::Unknown);
    }
    if matches!(op, "If" | "Loop" | "Scan") {
        return Some(Reason::ControlFlow);
    }
    let newest = newest_name(op);
    let versions = match catalogue.get(newest) {
        Some(versions) => versions,
        None if op == constant::NAME => &&[][..],
        None => return Some(Reason::Unknown),
    };
    let Some(opset) = opset else {
        return Some(Reason::NoOpset);
    };
    if !OPSETS.contains(&opset) {
        return Some(Reason::Opset);
    }
    match versions.first() {
        Some(&first) if newest == op && i64::from(first) > opset => Some(Reason::Later(first)),
        _ => None,
    }
}
