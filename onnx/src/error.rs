//! What can be wrong with a model, as far as its file goes.

use crate::budget::BudgetError;
use crate::external::ExternalError;
use crate::tensor::TensorError;
use std::io;

/// Why a model can't be read.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file can't be opened.
    #[error("can't open {file}")]
    Open {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file asks for more than a file may, or isn't in the wire format at all.
    #[error("{file} is refused before parsing")]
    Budget {
        /// The file.
        file: String,
        /// Which limit, and by how much.
        source: BudgetError,
    },
    /// The file is damaged, or something else than a model.
    #[error("{file} is not an ONNX model: {reason}")]
    NotAModel {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// A constant is refused.
    #[error("{file}: tensor {tensor:?} is refused")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name, or the node and attribute that hold it.
        tensor: String,
        /// Why.
        source: TensorError,
    },
}

impl OnnxError {
    /// What the user can do next, where there is something.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            OnnxError::Open { .. } => Some("check the path and its permissions"),
            OnnxError::Budget {
                source: BudgetError::Wire(_),
                ..
            }
            | OnnxError::NotAModel { .. } => {
                Some("export the model again, or check that the file was copied whole")
            }
            OnnxError::Budget { .. } => {
                Some("if the file is trusted, move large constants into raw data or external files")
            }
            OnnxError::Tensor { source, .. } => tensor_help(source),
        }
    }
}

fn tensor_help(error: &TensorError) -> Option<&'static str> {
    match error {
        TensorError::NoData { .. } => {
            Some("the graph comes without weights; `dlirc fill` gives it random ones")
        }
        TensorError::External(ExternalError::LinkOutside { .. }) => {
            Some("copy the file into the model's folder, links followed (`cp -L`)")
        }
        TensorError::External(ExternalError::OutsideFolder { .. }) => {
            Some("save the model with its external data in its own folder")
        }
        TensorError::External(ExternalError::Open { .. }) => {
            Some("put the file beside the model: exporters write both, and both are needed")
        }
        TensorError::UnsupportedType { .. } => {
            Some("export the model with bool, integer, float, bfloat16 or complex tensors")
        }
        TensorError::NegativeDim { .. }
        | TensorError::TooLarge { .. }
        | TensorError::TwoData { .. }
        | TensorError::WrongField { .. }
        | TensorError::WrongLength { .. }
        | TensorError::OutOfRange { .. }
        | TensorError::External(
            ExternalError::NoLocation
            | ExternalError::NoFolder { .. }
            | ExternalError::BadNumber { .. }
            | ExternalError::OutOfRange { .. },
        ) => None,
    }
}
