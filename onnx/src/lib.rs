//! The front end of dlirc: ONNX bytes to [`ir::Program`].
//!
//! A file is mapped ([`source`]), held against a memory [`budget`], parsed into our own
//! [`proto`] messages without copying weights, and imported: opset differences end here.
//!
//! Files are not trusted: whatever bytes they hold, the outcome is a model or an
//! [`OnnxError`], in time and memory proportional to the file.

#![deny(unsafe_code)]

pub mod budget;
pub mod children;
mod error;
pub mod external;
pub mod import;
pub mod proto;
pub mod source;
pub mod tensor;
pub mod wire;

pub use budget::Budget;
pub use error::{NodeError, OnnxError};
pub use import::{Imported, ReadOptions, read, read_source};
pub use source::Source;

use prost::Message;
use proto::ModelProto;
use std::path::Path;

/// Maps the file at `path` and parses it.
///
/// # Errors
/// When it can't be opened, is no model, or asks for more memory than [`Budget`] allows.
pub fn open(path: &Path) -> Result<(Source, ModelProto), OnnxError> {
    let source = Source::open(path).map_err(|source| OnnxError::Open {
        file: path.display().to_string(),
        source,
    })?;
    let model = parse(&source)?;
    Ok((source, model))
}

/// Parses a model; its weights stay windows of the source's bytes.
///
/// # Errors
/// When the bytes are no model, or ask for more memory than [`Budget`] allows.
pub fn parse(source: &Source) -> Result<ModelProto, OnnxError> {
    let file = || source.name().to_owned();
    if source.bytes().is_empty() {
        return Err(OnnxError::NotAModel {
            file: file(),
            reason: "it is empty".into(),
        });
    }
    Budget::default()
        .check(source.bytes())
        .map_err(|source| OnnxError::Budget {
            file: file(),
            source,
        })?;
    let model = ModelProto::decode(source.bytes().clone()).map_err(|e| {
        // The parser lists every message that it was inside of.
        let mut reason: String = e.to_string().chars().take(200).collect();
        reason.insert_str(0, "damaged: ");
        OnnxError::NotAModel {
            file: file(),
            reason,
        }
    })?;
    if model.graph.is_none() || model.ir_version.is_none() {
        let reason = "it has no graph or no format version".into();
        return Err(OnnxError::NotAModel {
            file: file(),
            reason,
        });
    }
    Ok(model)
}
