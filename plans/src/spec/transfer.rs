//! Copies between devices.

use super::{ArgSpec, MapInput, MapSpec, Operand, Role, SpecError, rules};
use crate::DType;
use crate::tape::Tape;
use serde::{Deserialize, Serialize};

/// A tensor's bytes copied as they are, the only kernel whose arguments may lie on different
/// devices. Arguments: from, to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TransferSpec {
    /// The element type.
    pub dtype: DType,
    /// The number of elements, one after the other on both sides.
    pub len: u64,
}

impl TransferSpec {
    fn operand(&self) -> Operand {
        Operand {
            dtype: self.dtype,
            strides: vec![1],
        }
    }

    /// The map that computes the same on one device.
    pub fn as_map(&self) -> MapSpec {
        MapSpec {
            domain: vec![self.len],
            inputs: vec![MapInput::affine(self.operand())],
            tape: Tape::identity(self.dtype),
            outputs: vec![self.operand()],
        }
    }

    /// The arguments.
    pub fn args(&self) -> Vec<ArgSpec> {
        let operand = self.operand();
        vec![
            ArgSpec::new("from", Role::Read, &operand, &[self.len]),
            ArgSpec::new("to", Role::Write, &operand, &[self.len]),
        ]
    }

    /// Checks that the spec makes sense.
    ///
    /// # Errors
    ///
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), SpecError> {
        rules::operand("the tensor", &self.operand(), &[self.len])
    }
}
