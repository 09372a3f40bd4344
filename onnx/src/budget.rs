//! What parsing a file will cost, found before anything is parsed.
//!
//! An empty message takes two bytes in the file and some hundred in memory: a file of a
//! few megabytes could become gigabytes. One pass over the tags adds up what the parsed
//! messages will occupy, vectors' spare capacity included, and compares it with an
//! allowance that grows with the file. Large byte fields (weights) are windows of the
//! file: they cost nothing and earn no allowance.

use crate::proto;
use crate::wire::{self, WireError, WireType};
use std::mem::size_of;

/// How much memory parsing may take, and how deep messages may nest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes of memory that any file may take.
    pub base: u64,
    /// Bytes of memory for each byte of the file that is neither weights nor skipped.
    ///
    /// Real models take 6 to 15.
    pub per_byte: u64,
    /// Messages inside messages; a subgraph takes three levels.
    pub depth: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            base: 32 << 20,
            per_byte: 40,
            depth: 96,
        }
    }
}

/// Why a file is refused before it is parsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BudgetError {
    /// The bytes are no message at all.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Parsing would take more memory than a file of this size may.
    #[error(
        "parsing would take {} MiB of memory, and the limit for a file with {structure} bytes \
         besides weights is {} MiB", needed >> 20, allowed >> 20
    )]
    Memory {
        /// Bytes that the parsed messages would occupy.
        needed: u64,
        /// Bytes that they may.
        allowed: u64,
        /// Bytes of the file that count.
        structure: u64,
    },
    /// Messages nest too deep.
    #[error("byte {at}: messages nest deeper than the limit of {limit}")]
    Depth {
        /// Position in the file.
        at: usize,
        /// The limit.
        limit: usize,
    },
}

/// What one pass over a file's tags found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Estimate {
    /// Bytes that the parsed messages will occupy.
    pub memory: u64,
    /// Bytes of the file besides weights and skipped fields.
    pub structure: u64,
    /// The number of messages.
    pub n_messages: u64,
}

impl Budget {
    /// Checks that parsing `file` as a model stays within the budget.
    ///
    /// Takes one pass over the tags, and memory proportional to the nesting depth.
    ///
    /// # Errors
    /// When it doesn't, or when the bytes are not a message; the error names the limit.
    pub fn check(&self, file: &[u8]) -> Result<Estimate, BudgetError> {
        let estimate = self.estimate(file)?;
        let allowed = self
            .base
            .saturating_add(self.per_byte.saturating_mul(estimate.structure));
        if estimate.memory > allowed {
            return Err(BudgetError::Memory {
                needed: estimate.memory,
                allowed,
                structure: estimate.structure,
            });
        }
        Ok(estimate)
    }

    fn estimate(&self, file: &[u8]) -> Result<Estimate, BudgetError> {
        let mut found = Estimate {
            memory: size_of::<proto::ModelProto>() as u64,
            structure: file.len() as u64,
            n_messages: 1,
        };
        let mut open = vec![Frame::new(Kind::Model, file.len())];
        let mut at = 0;
        while let Some(frame) = open.last_mut() {
            if at == frame.end {
                open.pop();
                continue;
            }
            let field = wire::read_field(file, at, frame.end)?;
            at = field.content.end;
            let len = field.content.len() as u64;
            match frame.kind.field(field.number) {
                Cost::Skipped => found.structure -= (field.content.end - field.start) as u64,
                Cost::Window => found.structure -= len,
                Cost::Inline => {}
                Cost::Text => found.memory += heap(len),
                Cost::Texts(slot) => {
                    found.memory += heap(len) + frame.extend(slot, 1, size_of::<String>());
                }
                Cost::Numbers {
                    size,
                    slot,
                    encoding,
                } => {
                    let n = match (field.wire_type, encoding) {
                        (WireType::Bytes, Encoding::Fixed) => len / size as u64,
                        (WireType::Bytes, Encoding::Varint) => {
                            file[field.content].iter().filter(|&&b| b < 0x80).count() as u64
                        }
                        (WireType::Varint | WireType::Fixed32 | WireType::Fixed64, _) => 1,
                    };
                    found.memory += frame.extend(slot, n, size);
                }
                Cost::Message { kind, place } => {
                    found.n_messages += 1;
                    found.memory += match place {
                        Place::Inside => 0,
                        Place::Boxed => heap(kind.size() as u64),
                        Place::List(slot) => frame.extend(slot, 1, kind.size()),
                    };
                    if field.wire_type == WireType::Bytes {
                        if open.len() == self.depth {
                            return Err(BudgetError::Depth {
                                at: field.start,
                                limit: self.depth,
                            });
                        }
                        at = field.content.start;
                        open.push(Frame::new(kind, field.content.end));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Bytes that an allocation of `len` takes, its bookkeeping included.
fn heap(len: u64) -> u64 {
    if len == 0 {
        0
    } else {
        len.max(16).saturating_add(16)
    }
}

/// A message that the pass is inside of.
struct Frame {
    kind: Kind,
    end: usize,
    lens: [u64; SLOTS],
}

/// The most lists that one message holds.
const SLOTS: usize = 8;

impl Frame {
    fn new(kind: Kind, end: usize) -> Self {
        Self {
            kind,
            end,
            lens: [0; SLOTS],
        }
    }

    /// The bytes by which a list's buffer, which doubles when full, grows when `n` elements
    /// of `size` bytes are added.
    fn extend(&mut self, slot: u8, n: u64, size: usize) -> u64 {
        let len = &mut self.lens[usize::from(slot)];
        let capacity = |len: u64| {
            if len == 0 {
                0
            } else {
                len.next_power_of_two().max(4)
            }
        };
        let before = capacity(*len);
        *len += n;
        (capacity(*len) - before) * size as u64
    }
}

/// The messages of [`proto`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    OtherType,
    TensorType,
    Shape,
    Dimension,
    OperatorSet,
    Function,
    Entry,
}

/// Where a message lies in its parent.
#[derive(Clone, Copy)]
enum Place {
    Inside,
    Boxed,
    List(u8),
}

/// How numbers lie in the file.
#[derive(Clone, Copy)]
enum Encoding {
    Fixed,
    Varint,
}

/// What a field costs in memory.
#[derive(Clone, Copy)]
enum Cost {
    /// Not read.
    Skipped,
    /// A window of the file.
    Window,
    /// Part of its message.
    Inline,
    /// A copy of its bytes.
    Text,
    /// An element of a list of texts.
    Texts(u8),
    /// Elements of a list of numbers of `size` bytes in memory.
    Numbers {
        size: usize,
        slot: u8,
        encoding: Encoding,
    },
    /// A message.
    Message { kind: Kind, place: Place },
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Kind::Model => size_of::<proto::ModelProto>(),
            Kind::Graph => size_of::<proto::GraphProto>(),
            Kind::Node => size_of::<proto::NodeProto>(),
            Kind::Attribute => size_of::<proto::AttributeProto>(),
            Kind::Tensor => size_of::<proto::TensorProto>(),
            Kind::SparseTensor => size_of::<proto::SparseTensorProto>(),
            Kind::ValueInfo => size_of::<proto::ValueInfoProto>(),
            Kind::Type => size_of::<proto::TypeProto>(),
            Kind::OtherType => size_of::<proto::OtherTypeProto>(),
            Kind::TensorType => size_of::<proto::TensorTypeProto>(),
            Kind::Shape => size_of::<proto::TensorShapeProto>(),
            Kind::Dimension => size_of::<proto::DimensionProto>(),
            Kind::OperatorSet => size_of::<proto::OperatorSetIdProto>(),
            Kind::Function => size_of::<proto::FunctionProto>(),
            Kind::Entry => size_of::<proto::StringStringEntryProto>(),
        }
    }

    /// What field `number` of this message costs: one line a field of [`proto`].
    fn field(self, number: u32) -> Cost {
        let list = |kind, slot| Cost::Message {
            kind,
            place: Place::List(slot),
        };
        let boxed = |kind| Cost::Message {
            kind,
            place: Place::Boxed,
        };
        let inside = |kind| Cost::Message {
            kind,
            place: Place::Inside,
        };
        let fixed = |size, slot| Cost::Numbers {
            size,
            slot,
            encoding: Encoding::Fixed,
        };
        let varint = |size, slot| Cost::Numbers {
            size,
            slot,
            encoding: Encoding::Varint,
        };
        match (self, number) {
            (Kind::Model, 1 | 5) => Cost::Inline,
            (Kind::Model, 2..=4) => Cost::Text,
            (Kind::Model, 7) => inside(Kind::Graph),
            (Kind::Model, 8) => list(Kind::OperatorSet, 0),
            (Kind::Model, 14) => list(Kind::Entry, 1),
            (Kind::Model, 25) => list(Kind::Function, 2),
            (Kind::Graph, 1) => list(Kind::Node, 0),
            (Kind::Graph, 2) => Cost::Text,
            (Kind::Graph, 5) => list(Kind::Tensor, 1),
            (Kind::Graph, 11) => list(Kind::ValueInfo, 2),
            (Kind::Graph, 12) => list(Kind::ValueInfo, 3),
            (Kind::Graph, 13) => list(Kind::ValueInfo, 4),
            (Kind::Graph, 15) => list(Kind::SparseTensor, 5),
            (Kind::Node, 1) => Cost::Texts(0),
            (Kind::Node, 2) => Cost::Texts(1),
            (Kind::Node, 3 | 4 | 7 | 8) => Cost::Text,
            (Kind::Node, 5) => list(Kind::Attribute, 2),
            (Kind::Attribute, 1 | 4 | 21) => Cost::Text,
            (Kind::Attribute, 2 | 3 | 20) => Cost::Inline,
            (Kind::Attribute, 5) => boxed(Kind::Tensor),
            (Kind::Attribute, 6) => boxed(Kind::Graph),
            (Kind::Attribute, 7) => fixed(4, 0),
            (Kind::Attribute, 8) => varint(8, 1),
            (Kind::Attribute, 9) => Cost::Texts(2),
            (Kind::Attribute, 10) => list(Kind::Tensor, 3),
            (Kind::Attribute, 11) => list(Kind::Graph, 4),
            (Kind::Tensor, 1) => varint(8, 0),
            (Kind::Tensor, 2 | 14) => Cost::Inline,
            (Kind::Tensor, 4) => fixed(4, 1),
            (Kind::Tensor, 5) => varint(4, 2),
            (Kind::Tensor, 6) => Cost::Texts(3),
            (Kind::Tensor, 7) => varint(8, 4),
            (Kind::Tensor, 8) => Cost::Text,
            (Kind::Tensor, 9) => Cost::Window,
            (Kind::Tensor, 10) => fixed(8, 5),
            (Kind::Tensor, 11) => varint(8, 6),
            (Kind::Tensor, 13) => list(Kind::Entry, 7),
            (Kind::SparseTensor, 1) => boxed(Kind::Tensor),
            (Kind::ValueInfo, 1) => Cost::Text,
            (Kind::ValueInfo, 2) => inside(Kind::Type),
            (Kind::Type, 1) => inside(Kind::TensorType),
            (Kind::Type, 4 | 5 | 8 | 9) => inside(Kind::OtherType),
            (Kind::TensorType, 1) => Cost::Inline,
            (Kind::TensorType, 2) => inside(Kind::Shape),
            (Kind::Shape, 1) => list(Kind::Dimension, 0),
            (Kind::Dimension, 1) => Cost::Inline,
            (Kind::Dimension, 2) => Cost::Text,
            (Kind::OperatorSet, 1) => Cost::Text,
            (Kind::OperatorSet, 2) => Cost::Inline,
            (Kind::Function, 1 | 10 | 13) => Cost::Text,
            (Kind::Function, 4) => Cost::Texts(0),
            (Kind::Function, 5) => Cost::Texts(1),
            (Kind::Function, 6) => Cost::Texts(2),
            (Kind::Function, 7) => list(Kind::Node, 3),
            (Kind::Function, 9) => list(Kind::OperatorSet, 4),
            (Kind::Function, 11) => list(Kind::Attribute, 5),
            (Kind::Entry, 1 | 2) => Cost::Text,
            (_, _) => Cost::Skipped,
        }
    }
}

#[cfg(test)]
mod tests;
