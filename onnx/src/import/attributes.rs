//! Attributes of ONNX nodes as those of `ir`.

use crate::external::ExternalFiles;
use crate::proto::{AttributeProto, attribute_type as kind};
use crate::tensor::{self, TensorError};
use ir::Tensor;
use ir::attrs::{Attr, Attrs};
use std::collections::BTreeMap;

/// Why an attribute can't be read.
#[derive(Debug, thiserror::Error)]
#[allow(
    missing_docs,
    reason = "the fields carry the values that the messages show"
)]
pub enum AttributeError {
    /// A kind of value that operators here don't have.
    #[error("attribute {name:?} is {what}, which is not supported")]
    Unsupported { name: String, what: &'static str },
    /// Type and content don't match, or there is neither.
    #[error("attribute {name:?} has no value of its type")]
    NoValue { name: String },
    /// Bytes that are no text.
    #[error("attribute {name:?} is not UTF-8 text")]
    NotText { name: String },
    /// The same attribute twice.
    #[error("attribute {name:?} is given twice")]
    Duplicate { name: String },
    /// A bad tensor.
    #[error("attribute {name:?}: the tensor is refused")]
    Tensor { name: String, source: TensorError },
    /// An element type that doesn't exist, or that dlirc doesn't have.
    #[error("attribute {name:?}: element type {} is not supported", tensor::data_type_name(*code))]
    Type { name: String, code: i32 },
}

/// A node's attributes: numbers and texts, and tensors.
#[derive(Debug, Default)]
pub(crate) struct NodeAttributes {
    /// Numbers, texts, types, and lists of them.
    pub(crate) attrs: Attrs,
    /// Tensors.
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

/// Attributes that ONNX gives as the number of an element type.
const ELEMENT_TYPES: [&str; 2] = ["to", "dtype"];

/// Reads a node's attributes.
pub(crate) fn read(
    attributes: &[(&str, &AttributeProto)],
    files: &mut ExternalFiles,
) -> Result<NodeAttributes, AttributeError> {
    let mut read = NodeAttributes::default();
    for &(name, attribute) in attributes {
        if read.attrs.contains_key(name) || read.tensors.contains_key(name) {
            return Err(AttributeError::Duplicate {
                name: name.to_owned(),
            });
        }
        if type_of(attribute) == kind::TENSOR {
            let t = attribute.t.as_deref().ok_or_else(|| no_value(name))?;
            let t = tensor::read(t, files).map_err(|source| AttributeError::Tensor {
                name: name.to_owned(),
                source,
            })?;
            read.tensors.insert(name.to_owned(), t);
        } else {
            read.attrs.insert(name.to_owned(), value(name, attribute)?);
        }
    }
    Ok(read)
}

fn no_value(name: &str) -> AttributeError {
    AttributeError::NoValue {
        name: name.to_owned(),
    }
}

/// The attribute's type: old files don't say it, and then it is that of the only field there is.
fn type_of(a: &AttributeProto) -> i32 {
    match a.r#type {
        Some(t) if t != kind::UNDEFINED => t,
        _ => [
            (kind::FLOAT, a.f.is_some()),
            (kind::INT, a.i.is_some()),
            (kind::STRING, a.s.is_some()),
            (kind::TENSOR, a.t.is_some()),
            (kind::GRAPH, a.g.is_some()),
            (kind::FLOATS, !a.floats.is_empty()),
            (kind::INTS, !a.ints.is_empty()),
            (kind::STRINGS, !a.strings.is_empty()),
            (kind::TENSORS, !a.tensors.is_empty()),
            (kind::GRAPHS, !a.graphs.is_empty()),
        ]
        .into_iter()
        .find_map(|(t, there)| there.then_some(t))
        .unwrap_or(kind::UNDEFINED),
    }
}

fn value(name: &str, a: &AttributeProto) -> Result<Attr, AttributeError> {
    let as_text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(AttributeError::NotText {
            name: name.to_owned(),
        }),
    };
    let unsupported = |what| {
        Err(AttributeError::Unsupported {
            name: name.to_owned(),
            what,
        })
    };
    // A writer of the third version of the wire format leaves zeros and empty lists out.
    match type_of(a) {
        kind::FLOAT => Ok(Attr::Float(a.f.unwrap_or_default())),
        kind::INT if ELEMENT_TYPES.contains(&name) => {
            let number = a.i.unwrap_or_default();
            let code = i32::try_from(number).unwrap_or(-1);
            match tensor::dtype_of(code) {
                Ok(dtype) => Ok(Attr::Type(dtype)),
                Err(_) => Err(AttributeError::Type {
                    name: name.to_owned(),
                    code,
                }),
            }
        }
        kind::INT => Ok(Attr::Int(a.i.unwrap_or_default())),
        kind::STRING => Ok(Attr::Str(as_text(a.s.as_deref().unwrap_or_default())?)),
        kind::FLOATS => Ok(Attr::Floats(a.floats.clone())),
        kind::INTS => Ok(Attr::Ints(a.ints.clone())),
        kind::STRINGS => Ok(Attr::Strs(
            a.strings
                .iter()
                .map(|s| as_text(s))
                .collect::<Result<_, _>>()?,
        )),
        kind::GRAPH | kind::GRAPHS => unsupported("a graph"),
        kind::TENSORS => unsupported("a list of tensors"),
        kind::SPARSE_TENSOR | kind::SPARSE_TENSORS => unsupported("a sparse tensor"),
        kind::TYPE_PROTO | kind::TYPE_PROTOS => unsupported("a type"),
        _ => Err(no_value(name)),
    }
}
