//! Passes that fail.

use super::Phase;
use ir::OpError;
use ir::eval::EvalError;
use ir::patch::PatchError;
use ir::verify::Violation;
use std::fmt;

/// What went wrong in a pass.
#[derive(Clone, PartialEq, Debug)]
pub enum Cause {
    /// It made a wrong patch.
    Patch(PatchError),
    /// Types of the program contradict an operator.
    Operator(OpError),
    /// A constant could not be computed.
    Eval(EvalError),
    /// The program broke rules of the verifier after it, or before the first pass.
    Invalid(Vec<Violation>),
    /// Passes of an earlier phase were asked for after those of a later one.
    PhaseOrder {
        /// The phase that has run.
        done: Phase,
        /// The earlier phase that was asked for.
        asked: Phase,
    },
    /// Anything else, in words.
    Other(String),
}

impl From<PatchError> for Cause {
    fn from(e: PatchError) -> Self {
        Cause::Patch(e)
    }
}

impl From<OpError> for Cause {
    fn from(e: OpError) -> Self {
        Cause::Operator(e)
    }
}

impl From<EvalError> for Cause {
    fn from(e: EvalError) -> Self {
        Cause::Eval(e)
    }
}

impl From<String> for Cause {
    fn from(e: String) -> Self {
        Cause::Other(e)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Patch(e) => e.fmt(f),
            Cause::Operator(e) => e.fmt(f),
            Cause::Eval(e) => e.fmt(f),
            Cause::Invalid(violations) => {
                write!(f, "{} rules of the program are broken", violations.len())?;
                violations.iter().try_for_each(|v| write!(f, "\n  {v}"))
            }
            Cause::PhaseOrder { done, asked } => {
                write!(f, "the {asked} phase cannot run after the {done} phase")
            }
            Cause::Other(e) => f.write_str(e),
        }
    }
}

/// A pass that failed: where, and why.
#[derive(Clone, PartialEq, Debug)]
pub struct PassError {
    /// The pass.
    pub pass: &'static str,
    /// The model.
    pub model: Option<String>,
    /// The node, by the name in the user's model where it has one.
    pub node: Option<String>,
    /// What went wrong.
    pub cause: Box<Cause>,
}

impl fmt::Display for PassError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pass {}", self.pass)?;
        if let Some(model) = &self.model {
            write!(f, ", model {model}")?;
        }
        if let Some(node) = &self.node {
            write!(f, ", node {node}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for PassError {}
