//! The language of dlirc: typed graphs of tensor operators.
//!
//! A [`Program`] holds one [`Graph`] a model and the weights that they share.
//! A graph is an arena of values and nodes in topological order; operators are a
//! closed enum, [`Op`], made from one list in [`ops`]. Everything prints as text
//! ([`text`]) and parses back, and [`verify`] reports every violation of the rules
//! that the rest of the compiler relies on.

pub mod attrs;
pub mod dtype;
pub mod eval;
pub mod graph;
pub mod id;
pub mod infer;
pub mod ops;
pub mod patch;
pub mod program;
pub mod scalar;
pub mod shape;
pub mod tensor;
pub mod text;
pub mod verify;

pub use dtype::DType;
pub use graph::{
    Def, Graph, Node, NodeId, Origin, Region, RegionId, RegionKind, StorageOrder, Value, ValueId,
};
pub use ops::{Class, Op, OpError, Operator, Work};
pub use patch::Patch;
pub use program::{GraphId, Program, WeightId, Weights};
pub use shape::{Dim, Shape, Symbol, TensorType};
pub use tensor::Tensor;
