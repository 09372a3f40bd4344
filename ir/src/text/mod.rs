//! The text form of programs, `.dlir`.
//!
//! [`print()`] writes a whole program canonically: compacted, renumbered, weights in the order of
//! their first use. [`parse`] reads it back to an equal program. In outline:
//!
//! ```text
//! // a comment, to the end of the line
//! weight w0: i64[2] = [1, -1]
//! weight w1: f32[64] = splat 0.5
//! weight w2: f32[512, 512] = hash 3fa9…
//! model resnet50 {
//!   input %0 "data": f32[N, 64, 8, 8]
//!   %3 "conv1": f32[N, 64, 4, 4] channels_last = Conv(%0, w2 "conv1.weight", _) {strides = [2, 2]} @"node_a", "node_b"
//!   region map {
//!     %4: f32[N, 64, 4, 4] = Relu(%3)
//!   }
//!   output "logits" = %4
//! }
//! ```
//!
//! - Optional operands left out are `_`. A constant is written where it is used, as its weight, with
//!   the name and the storage order that the value has; equal spelling is one value.
//! - Weights of more than [`LITERAL_LIMIT`] elements that are not all equal are written as their
//!   content hash, and read back only where the weights are at hand ([`parse_with`]).
//! - The reader also takes what the printer never writes: `random SEED` (normal numbers; small
//!   integers; coin flips) and `uniform SEED LOW HIGH` in place of a weight's content, labels such
//!   as `%scores`, and results without a type, which inference fills in.
//! - Attribute lists without elements are `[]`, `floats []` and `strings []`.

mod content;
mod lex;
mod parse;
mod print;

use crate::graph::{RegionKind, StorageOrder};
use crate::program::{Program, Weights};
use std::fmt;

/// Weights of at most this many elements are printed element by element.
pub const LITERAL_LIMIT: usize = 64;

/// Most bytes of weights that [`parse`] makes from `splat`, `random` and `uniform`, all together.
pub const GENERATED_LIMIT: usize = 256 << 20;

/// Why text is not a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The text of the line.
    pub text: String,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:>1$}", "^", self.column)
    }
}

impl std::error::Error for ParseError {}

/// The canonical text of `program`.
///
/// Every id in it must be in bounds, as [`verify`](crate::verify::program) checks.
pub fn print(program: &Program) -> String {
    let mut program = program.clone();
    program.compact();
    print::program(&program)
}

/// The program that `text` says; weights by content hash are an error.
pub fn parse(text: &str) -> Result<Program, ParseError> {
    parse_with(text, &Weights::default())
}

/// The program that `text` says; weights by content hash are taken from `weights`.
///
/// Names and syntax are checked here, everything else by [`verify`](crate::verify::program).
pub fn parse_with(text: &str, weights: &Weights) -> Result<Program, ParseError> {
    parse::program(text, weights)
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self))
    }
}

impl RegionKind {
    /// Every kind, in order.
    pub const ALL: [RegionKind; 9] = [
        RegionKind::Map,
        RegionKind::RowReduce,
        RegionKind::Contract,
        RegionKind::Attention,
        RegionKind::Window,
        RegionKind::Movement,
        RegionKind::Recurrent,
        RegionKind::Library,
        RegionKind::View,
    ];

    /// The name that the text form uses.
    pub const fn name(self) -> &'static str {
        match self {
            RegionKind::Map => "map",
            RegionKind::RowReduce => "row_reduce",
            RegionKind::Contract => "contract",
            RegionKind::Attention => "attention",
            RegionKind::Window => "window",
            RegionKind::Movement => "movement",
            RegionKind::Recurrent => "recurrent",
            RegionKind::Library => "library",
            RegionKind::View => "view",
        }
    }
}

impl StorageOrder {
    /// The word after a type in the text form; none for the default.
    const fn word(self) -> Option<&'static str> {
        match self {
            StorageOrder::RowMajor => None,
            StorageOrder::ChannelsLast => Some("channels_last"),
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [StorageOrder::ChannelsLast]
            .into_iter()
            .find(|s| s.word() == Some(word))
    }
}

/// Whether `name` can be written without quotes.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
