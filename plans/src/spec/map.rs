//! Elementwise kernels.

use super::{ArgSpec, Operand, Role};
use crate::tape::Tape;
use serde::{Deserialize, Serialize};

/// Every element of a domain computed by a tape from the elements of some inputs.
///
/// Elementwise chains, copies between layouts, gathers, iotas and masks are all of this class.
/// Arguments: the inputs, then the outputs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MapSpec {
    /// The extent of each dimension.
    pub domain: Vec<u64>,
    /// What the tape's `Input`s are.
    pub inputs: Vec<MapInput>,
    /// Computes one element of each output.
    pub tape: Tape,
    /// Where the tape's results go.
    pub outputs: Vec<Operand>,
}

/// An input of a [`MapSpec`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MapInput {
    /// Type and strides over the domain.
    pub operand: Operand,
    /// Dimensions that another input picks a position of; each adds to the offset.
    pub gather: Vec<GatherAxis>,
}

impl MapInput {
    /// An input that is read at affine positions only.
    pub fn affine(operand: Operand) -> Self {
        Self {
            operand,
            gather: vec![],
        }
    }
}

/// A dimension of an input whose position is the element of another input (an affine one, of type
/// i32 or i64). Negative positions count from the end; others out of range are an error of the run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GatherAxis {
    /// Which input holds the positions.
    pub index: u16,
    /// The extent of the dimension.
    pub len: u64,
    /// The distance between neighbours, in elements.
    pub stride: i64,
}

impl MapSpec {
    /// The arguments, inputs first.
    pub fn args(&self) -> Vec<ArgSpec> {
        let inputs = self.inputs.iter().map(|i| {
            let reach = i
                .gather
                .iter()
                .try_fold(i.operand.reach(&self.domain), |reach, g| {
                    let last = i64::try_from(g.len)
                        .ok()?
                        .checked_sub(1)?
                        .checked_mul(g.stride)?;
                    let Some((low, high)) = reach else {
                        return Some(None);
                    };
                    Some(Some((
                        low.checked_add(last.min(0))?,
                        high.checked_add(last.max(0))?,
                    )))
                });
            ArgSpec {
                name: "in",
                role: Role::Read,
                dtype: i.operand.dtype,
                reach: reach.flatten(),
            }
        });
        let outputs = self.outputs.iter().map(|o| ArgSpec {
            name: "out",
            role: Role::Write,
            dtype: o.dtype,
            reach: o.reach(&self.domain),
        });
        inputs.chain(outputs).collect()
    }
}
