//! What can be wrong with a model, as far as its file goes.

use crate::budget::BudgetError;
use crate::external::ExternalError;
use crate::import::{
    AttributeError, BindError, GraphProblem, InlineError, InputError, UnsupportedOperator,
    UpgradeError,
};
use crate::tensor::TensorError;
use ir::{DType, OpError};
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
    /// Calls of the model's own functions can't be resolved.
    #[error("{file}: functions can't be inlined")]
    Inline {
        /// The file.
        file: String,
        /// Why.
        source: InlineError,
    },
    /// Values and nodes that don't make a graph: every violation.
    #[error("{file} breaks the rules of a graph{}", lines(problems))]
    Graph {
        /// The file.
        file: String,
        /// What is wrong.
        problems: Vec<GraphProblem>,
    },
    /// Operators that dlirc doesn't have: all of them.
    #[error("{file} uses operators that are not supported{}", lines(operators))]
    Unsupported {
        /// The file.
        file: String,
        /// The operators, with the nodes that use them.
        operators: Vec<UnsupportedOperator>,
    },
    /// An input is refused.
    #[error("{file}: input {input:?} is refused")]
    Input {
        /// The file.
        file: String,
        /// The input.
        input: String,
        /// Why.
        source: InputError,
    },
    /// A shape that the user gives is refused.
    #[error("{file}: the shape given for {name:?} is refused")]
    Bind {
        /// The file.
        file: String,
        /// What it is given for.
        name: String,
        /// Why.
        source: BindError,
    },
    /// A node is refused.
    #[error("{file}: node {node:?} ({operator}, opset {opset}) is refused")]
    Node {
        /// The file.
        file: String,
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// The version that it was written for.
        opset: i64,
        /// Why.
        source: Box<NodeError>,
    },
    /// An output has another element type than the file says.
    #[error("{file}: output {output:?} is of {found}, and the file says {declared}")]
    Output {
        /// The file.
        file: String,
        /// The output.
        output: String,
        /// The type in the file.
        declared: DType,
        /// The type that the nodes give.
        found: DType,
    },
}

/// Why a node is refused.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// An attribute can't be read.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// The operator refuses what it is given.
    #[error(transparent)]
    Operator(#[from] UpgradeError),
    /// The operator needs to know an operand that may depend on open dimensions.
    #[error("{source}; the inputs leave these dimensions open: {}", dimensions.join(", "))]
    OpenShape {
        /// The names of the dimensions.
        dimensions: Vec<String>,
        /// What the operator says.
        source: OpError,
    },
}

/// One line each.
fn lines(items: &[impl std::fmt::Display]) -> String {
    items.iter().map(|item| format!("\n  {item}")).collect()
}

impl OnnxError {
    /// A word that names the kind of error, for scripts and for looking it up.
    pub fn code(&self) -> &'static str {
        match self {
            OnnxError::Open { .. } => "onnx-open",
            OnnxError::Budget { .. } => "onnx-budget",
            OnnxError::NotAModel { .. } => "onnx-format",
            OnnxError::Tensor { .. } => "onnx-tensor",
            OnnxError::Inline { .. } => "onnx-function",
            OnnxError::Graph { .. } => "onnx-graph",
            OnnxError::Unsupported { .. } => "onnx-unsupported",
            OnnxError::Input { .. } => "onnx-input",
            OnnxError::Bind { .. } => "onnx-shape",
            OnnxError::Node { .. } => "onnx-node",
            OnnxError::Output { .. } => "onnx-output",
        }
    }

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
            OnnxError::Unsupported { .. } => {
                Some("export the model with other operators, for an opset from 7 to 27")
            }
            OnnxError::Input {
                source: InputError::NoShape,
                ..
            } => Some("give the shape: --shape INPUT=DIMS"),
            OnnxError::Node { source, .. } => node_help(source),
            OnnxError::Inline { .. }
            | OnnxError::Graph { .. }
            | OnnxError::Input { .. }
            | OnnxError::Bind { .. }
            | OnnxError::Output { .. } => None,
        }
    }
}

fn node_help(error: &NodeError) -> Option<&'static str> {
    match error {
        NodeError::OpenShape { .. } => {
            Some("give the dimensions that it depends on: --shape NAME=SIZE")
        }
        NodeError::Operator(_) | NodeError::Attribute(_) => None,
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
